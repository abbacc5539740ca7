"""The section of docs/ranking.md with both zoos, and the summary of docs/evidence.md, from the zoos' tables alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from models.both.comparison import MODELS, Zoo, format_cells, format_comparison, format_rows, read_minitaskonomy, read_realzoo
from models.realzoo.study import MEASURES, Kind
from onnxspace.storage.atomic import whole_file

BEGIN, END = "<!-- both zoos: written by `python -m models.both` -->", "<!-- end of both zoos -->"
_FIRST = "<!-- realzoo: written by"
TITLES: dict[Kind, str] = {"frozen": "Readouts of frozen networks", "finetuned": "Fine-tuning"}
#: The summary's rows: the question, where numbers are (a ranking, or what stands beside), words.
SUMMARY = (
    ("frozen", "random order", "a random order"),
    ("frozen", "generated attribution", "`none`: affinity of maps, `score` without pictures"),
    ("frozen", "pictures mean_rank", "`pictures`: `score --probe photos/`"),
    ("frozen", "labels", "`labels`: `transfer --data photos/`"),
    ("frozen", "ceiling: one seed of the truth, for the others", "ceiling: the truth's own noise"),
    ("finetuned", "random order", "a random order"),
    ("finetuned", "generated attribution", "`none`"),
    ("finetuned", "pictures mean_rank", "`pictures`"),
    ("finetuned", "labels", "`labels`"),
    ("finetuned", "finetune answers", "`finetuned`, no labels: `score --probe photos/ --by finetune`"),
    ("finetuned", "finetune", "`finetuned`: `transfer --data photos/ --by finetune`"),
    ("finetuned", "ceiling: one seed of the truth, for the others", "ceiling: the truth's own noise"),
)  # fmt: skip
_SHORT: dict[str, str] = {"frozen": "frozen", "finetuned": "fine-tuned"}


def read_zoos() -> tuple[Zoo, Zoo]:
    """Both zoos, from the tables of the repository."""
    return read_realzoo(), read_minitaskonomy()


def format_summary(zoos: Sequence[Zoo]) -> str:
    """Rankings by default with each evidence, against both truths."""
    head = ["transfer", "ranked by", *(f"{zoo.name}: {name}" for zoo in zoos for name in (*MEASURES[:2], "points lost"))]
    rows = []
    for kind, name, words in SUMMARY:
        cells = [cell for zoo in zoos for cell in _find_cells(zoo, kind, name)]  # type: ignore[arg-type]
        rows.append([_SHORT[kind], words, *cells])
    return format_rows(head, rows)


def _find_cells(zoo: Zoo, kind: Kind, name: str) -> list[str]:
    beside = zoo.judge_beside(kind)
    return format_cells(beside[name] if name in beside else zoo.judge(kind, name))


def format_section(zoos: Sequence[Zoo]) -> str:
    """The section's text."""
    tables = "\n".join(f"### {title}\n\n{format_comparison(zoos, kind)}" for kind, title in TITLES.items())
    return f"{_introduce(zoos)}\n{tables}"


def _introduce(zoos: Sequence[Zoo]) -> str:
    truths = zoos[1].truths
    how = json.loads((MODELS / "minitaskonomy" / "finetuned.json").read_text("utf-8"))["settings"]
    frozen, tuned = truths["frozen"], truths["finetuned"]
    return f"""## Both zoos side by side

realzoo has {len(zoos[0].truths["frozen"].targets)} targets of classes and {len(zoos[0].truths["frozen"].sources)} sources of four architectures; the truth is accuracy. [mini-Taskonomy](minitaskonomy.md) has {len(frozen.sources)} sources of one architecture; the truth is the share of what there is to know of rendered rooms (1 − loss), most targets are pictures, and the question is which task is near. Its *frozen* truth is of all {len(frozen.targets)} targets, {len(frozen.each["frozen"])} seeds; its *fine-tuned* truth of {len(tuned.targets)} ({", ".join(tuned.targets)}), {len(tuned.each["finetuned"])} seeds: every layer of the original network with a new readout, {how["how"]["readout"]["steps"]} steps in batches of {how["how"]["readout"]["batch"]} of {how["labelled"]} labelled rooms ({how["images"]} for classes). The tool has {_count_pictures()} pictures of a target on either zoo. Kendall's τ, P@3 against the five best, regret in points of 100 (of accuracy; of the share of what there is to know); means over targets, 95 % intervals over them (bootstrap). Rankings by labels and by fine-tuning on labels take a class per picture, which two targets of mini-Taskonomy have: too few for an interval, and for any conclusion. Bold is what the command does by default.

The defaults for pictures and for labels (both mean ranks) were chosen by published results of a third zoo, so both zoos are independent evaluations of them. `predictivity` was chosen on mini-Taskonomy's frozen truth, so its row there is not an independent evaluation. The schedule of fine-tuning in small and the rule for restoring normalisation were chosen on realzoo, so the rows `finetuned` there are not independent either. Nothing was chosen on mini-Taskonomy's fine-tuned truth, in which the encoder has the learning rate of its training, and the readout that of readouts on frozen encoders.

Results: the list of similar models (`none`) does not tell where to start, on either zoo and for either kind of transfer. `mean_rank` by pictures is good on both zoos for frozen networks; on mini-Taskonomy each kind of predictivity alone is better by more than the intervals, because `knn_agreement` is the weaker half for outputs that are pictures. Fine-tuning in small is better than pictures and labels on realzoo by more than the intervals, and not better than pictures on mini-Taskonomy.
"""


def _count_pictures() -> int:
    from models.minitaskonomy.ranking import IMAGES

    return IMAGES


def write_section(page: Path, section: str) -> None:
    """Put the section between its marks in `page`, before the section of realzoo where they are not there yet."""
    text, marked = page.read_text("utf-8"), f"{BEGIN}\n{section}{END}\n"
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        text = before + marked + rest.partition(f"{END}\n")[2]
    else:
        before, mark, rest = text.partition(_FIRST)
        text = f"{before}{marked}\n{mark}{rest}"
    with whole_file(page) as partial:
        partial.write_text(text, "utf-8")
