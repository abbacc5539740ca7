"""What README and the pages of docs/ say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.commands.check import check
from onnxspace.cli.commands.score import score
from onnxspace.inputs.axes import AXES
from onnxspace.inputs.config import PROVENANCE, load_config
from onnxspace.inputs.methods import METHODS
from tests.helpers.nets import classifier, save
from tests.helpers.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text("utf-8")
MOST_WORDS, LEAST_PICTURES = 1000, 3


def read(page: str) -> str:
    return (REPOSITORY / "docs" / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", read(page), re.S)


def rows(page: str, title: str = "") -> list[list[str]]:
    """Cells of the lines of a page's table that begin with a code span, below the head line `title`."""
    text = read(page)
    lines = (text.split(f"\n## {title}\n")[1].split("\n## ")[0] if title else text).splitlines()
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| `") and line != "| `--by` |"]


def long_options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_readme_is_short_and_has_pictures() -> None:
    text = re.sub(r"<!--.*?-->", "", re.sub(r"```.*?```", "", README, flags=re.S))
    assert len(text.split()) <= MOST_WORDS
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= LEAST_PICTURES
    for picture in pictures:
        assert (REPOSITORY / picture).stat().st_size <= 200_000
        with Image.open(REPOSITORY / picture) as image:
            assert min(image.size) > 300


def test_the_action_and_the_hook_ask_for_what_there_is() -> None:
    from onnxspace.checking.child.forms import FORMS as CHILD_FORMS
    from onnxspace.checking.formats import FORMATS
    from onnxspace.cli.commands.check import FORMS

    asked = (REPOSITORY / "action.yml").read_text("utf-8").split('programs/onnxspace" check')[1].split("- name:")[0]
    assert set(re.findall(r"(--[a-z-]+)", asked)) == {"--quiet", "--pictures", "--format"} <= long_options(check)
    assert set(re.findall(r"--format ([a-z]+)", asked)) <= set(FORMATS)
    assert "entry: onnxspace check\n" in (REPOSITORY / ".pre-commit-hooks.yaml").read_text("utf-8")
    assert set(FORMS) == set(CHILD_FORMS)


def test_the_tasks_of_transfer_are_the_kinds_of_labels() -> None:
    from onnxspace.cli.commands.transfer import KINDS
    from onnxspace.inputs.photos import KINDS as LABEL_KINDS

    assert KINDS == LABEL_KINDS


def test_the_page_on_checks_has_every_metric_and_a_valid_plan() -> None:
    import tomllib

    from onnxspace.checking.measure import METRICS
    from onnxspace.checking.plan import parse_plan

    page = (REPOSITORY / "docs/check.md").read_text("utf-8")
    rows = {row.split("`")[1]: row.split("|")[-2].strip() for row in page.splitlines() if row.startswith("| `")}
    signs = {"more": "at least", "less": "at most"}
    limits = {name: "none" if m.limit is None else f"{signs[m.better]} {m.limit:g}" for name, m in METRICS.items()}
    assert rows == limits
    toml = page.split("```toml\n")[1].split("```")[0]
    plan = parse_plan(tomllib.loads(toml)["check"], Path("onnxspace.toml"))
    assert [one.name for one in plan.artifacts] == ["resnet50", "resnet50-int8", "digits", "student"]


def test_the_scores_of_transfer_named_are_its_defaults() -> None:
    from onnxspace.workflows.rate import DEFAULT_SCORES

    paragraph = next(line for line in read("commands/transfer.md").splitlines() if line.startswith("By default the mean rank"))
    named = re.findall(r"`([a-z_]+)`", paragraph.split("Nothing is trained")[0])
    assert set(named) == {*DEFAULT_SCORES["classes"]}


def test_the_table_of_scores_of_two_models_is_the_registry() -> None:
    from onnxspace.scores.registry import SCORES

    listed = [row for row in rows("pair-scores.md") if len(row) == 4 and row[0].strip() != "`--by`"]
    pairs = {name: spec for name, spec in SCORES.items() if spec.needs == "pair"}
    assert [row[0].strip(" `") for row in listed] == list(pairs)
    assert [row[2].strip().split(", ") for row in listed] == [list(spec.arrays) for spec in pairs.values()]
    assert [row[3].strip() for row in listed] == [spec.source for spec in pairs.values()]


def test_the_choices_of_options_are_those_of_the_library() -> None:
    from onnxspace.inputs.execution import DEVICES
    from onnxspace.inputs.methods import BASELINES

    for option, choices in (("method", tuple(METHODS)), ("device", DEVICES)):
        declared = next(p for p in score.params if p.name == option)
        assert isinstance(declared.type, click.Choice)
        assert tuple(declared.type.choices) == choices
    described = re.findall(r"^- `([a-z]+)`", read("methods.md"), re.M)
    assert sorted(described) == sorted(BASELINES)


def test_the_presets_that_are_described_are_the_librarys() -> None:
    from onnxspace.inputs.pixel_presets import PRESETS

    described = [name for row in rows("howto/preprocessing.md", "Presets") for name in re.findall(r"`([a-z0-9-]+)`", row[0])]
    assert sorted(described) == sorted(PRESETS)


def test_the_table_of_methods_is_the_registry() -> None:
    """Names in its order, the options of each, and what a map costs."""
    listed = [row for row in rows("methods.md") if row[0].strip() != "`--method`"]
    assert [row[0].strip(" `") for row in listed] == list(METHODS)
    for row, spec in zip(listed, METHODS.values(), strict=True):
        assert re.findall(r"`--([a-z]+)`", row[3]) == list(spec.options)
        several = [name for name in spec.options if name in ("steps", "samples", "units")]
        assert re.findall(r"`--([a-z]+)`", row[2]) == several


def test_the_defaults_of_methods_are_those_of_the_library() -> None:
    from onnxspace.attribution.lrp import RULE_SETS
    from onnxspace.inputs.methods import Settings

    paragraph = next(line for line in read("methods.md").splitlines() if line.startswith("By default, `--steps`"))
    stated = re.findall(r"`--([a-z]+)`(?: is)? ([\d.]+\d)", paragraph)
    assert dict(stated) == {name: str(getattr(Settings(), name)) for name in ("steps", "samples", "noise", "units")}
    assert (RULE_SETS["elrp"].epsilon, RULE_SETS["lrp-epsilon"].epsilon, RULE_SETS["lrp-gamma"].gamma) == (1e-4, 1e-6, 0.25)
    assert (RULE_SETS["lrp-alpha-beta"].alpha, RULE_SETS["lrp-alpha-beta"].beta) == (2, 1)


def test_the_configuration_example_is_valid_and_complete(tmp_path: Path) -> None:
    from dataclasses import fields

    (tmp_path / "onnxspace.toml").write_text(blocks("configuration.md", "toml")[0], "utf-8")
    options = load_config(tmp_path / "onnxspace.toml").models["resnet50"]
    elsewhere = ["bands", "frames", "still", "inputs", "license", "tags"]  # docs/inputs.md, docs/catalogue.md
    keys = [f.name for f in fields(options) if f.name not in PROVENANCE]
    assert [name for name in keys if getattr(options, name) is None] == ["input", "pixels", *elsewhere]
    assert options.scale == pytest.approx(1 / 255)


def test_the_example_of_rules_is_valid(tmp_path: Path) -> None:
    from onnxspace.attribution.lrp import find_rule_set

    (tmp_path / "onnxspace.toml").write_text(blocks("configuration.md", "toml")[1], "utf-8")
    rules = load_config(tmp_path / "onnxspace.toml").rules
    assert find_rule_set("elrp", rules["elrp"]).epsilon == 1e-3


#: Probe images of the example, and as many as its results need.
MANY, FEW = "Probes.generate(64)", "Probes.generate(8)"


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_children: None) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photos/black.png")
    for number in range(12):
        (tmp_path / "labelled" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "labelled" / "ab"[number % 2] / f"{number}.png")
    names: dict[str, Any] = {}
    example = blocks("python.md", "python")[0]
    assert MANY in example
    exec(example.replace(MANY, FEW), names)
    assert names["maps"].shape == (8, 224, 224)
    assert names["result"].names == ("a", "b")
    assert names["other"].shape == (8, 224, 224)
    assert (tmp_path / "maps.png").is_file()
    assert len(names["result"].rank("a").sources) == 1


def test_both_labelled_blocks_are_there_for_ci() -> None:
    for label in ("main job", "tests"):
        assert len(re.findall(rf"<!-- {label} -->\s*```sh\n", README)) == 1


def list_pages() -> list[Path]:
    elsewhere = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "converters/README.md", "models/README.md")
    return [*(REPOSITORY / page for page in elsewhere), *sorted((REPOSITORY / "docs").rglob("*.md"))]


def find_anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    heads = [re.sub(r"[^\w\- ]", "", head.lower()) for head in re.findall(r"^#+ (.+)$", text, re.M)]
    return {head.strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", list_pages(), ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.S)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    dead = []
    for target in targets:
        address, _, anchor = target.partition("#")
        goal = page.parent / address if address else page
        if not goal.exists() or (anchor and anchor not in find_anchors(goal)):
            dead.append(target)
    assert dead == []


def test_the_table_of_operators_is_the_registrys() -> None:
    from onnxspace.torchgraph.support import render_page

    assert (REPOSITORY / "docs/operators.md").read_text("utf-8") == render_page()


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (REPOSITORY / "docs").rglob("*.png")}
    assert len(sizes) > 10
    assert {name: size for name, size in sizes.items() if size > 200_000} == {}


def test_configuration_of_other_inputs_is_valid(tmp_path: Path) -> None:
    text = read("inputs.md")
    np.save(tmp_path / "mask.npy", np.zeros((1, 1, 4, 4)))
    (tmp_path / "onnxspace.toml").write_text("\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)), "utf-8")
    models = load_config(tmp_path / "onnxspace.toml").models
    assert (models["landcover"].bands, models["x3d"].still) == ((2, 1, 0), True)
    assert set(models["unet"].inputs or ()) == {"timestep", "mask", "token_ids"}
    assert all(f"`{axes}`" in text for axes in AXES)
