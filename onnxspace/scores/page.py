"""The page `docs/scores.md`, written from the registry: `python -m onnxspace.scores.page > docs/scores.md`."""

from __future__ import annotations

from onnxspace.scores.registry import GROUP, SCORES, ScoreSpec

_PAGE = """# Scores

Each is a function of `onnxspace.scores` that takes NumPy arrays and returns a number; larger is better. A score with
labels is called as `sfda(features, labels)`, one of two models as `cka(features_a, features_b)`, and one in a direction as
`predictivity(outputs_of_the_target, features_of_the_source)`. Docstrings describe shapes and further arguments. Values of
different scores are not comparable, and neither are those of one score on different images.

This page is written by `python -m onnxspace.scores.page > docs/scores.md`.

{table}

`predictivity`, `probability_predictivity` and `knn_agreement` train on some images and test on others, in four folds: commands
split images by their content, functions by a fixed permutation of positions. `mean_rank` combines two of them, and takes the
features of several sources, `mean_rank(outputs_of_the_target, [features, …])`; [Results](results.md) defines what it ranks.

`prepare(features, labels)` checks both once and caches quantities that several scores share; pass it in their place.
`sfda_ensemble([features, …], labels)` selects models that complement each other.

## The ranking of `transfer`

`onnxspace transfer` and `onnxspace.rate` rank models by the **mean rank of `knn`, `linear_probe` and `logme`**, and of `logme` and
`linear_probe` where labels are not classes. The combination is fixed: where all transfers were measured, it agreed better with
frozen transfer, which trains a readout only, than any of its parts and than `sfda`. Fine-tuning of all layers is another question,
which no score of fixed features answers well. The first score named by `--by` ranks in the combination's place. Equal values
share a place, and count with the mean of their ranks; values are equal within rounding (1e-5), as those of two exports of one
network are.

**Evidence.** The ranking rests on `labels`, which it states. With `--known`, a table of results on other datasets, it is the mean of two
ranks, that by labels and that of the mean rank elsewhere, and rests on `labels + known`; a model that the table lacks keeps its
rank by labels. Results on other tasks predict fine-tuning better than features do.

**Held-out images.** `knn` predicts each image from all others, `linear_probe` from the other folds: 2 to 10 folds with even shares
of every class, since a class whose only missing image is the one to be predicted is the rarest of the rest, and a probe without
signal would score below chance. In `transfer` an image's fold depends on a hash of its pixels, not on file names or their order,
and identical images are held out together. Functions that get arrays alone take a fixed random order of positions;
`prepare(features, labels, content=order_by_content(hash_images(images)))` gives them the content (`onnxspace.scores.folds`).
The probe's ridge is chosen by generalised cross-validation within the folds that are trained on.

**Brackets.** The results of single images are resampled (1,000 times, all models together): values get 95 % intervals, and a model
is in the bracket of a better-placed one if the interval of their difference, averaged over `knn` and `linear_probe`, includes 0.
The order within a bracket has no meaning. With `--known` brackets still rest on the images alone.

**Chance.** A row has what each score gives if predictions and labels are paired at random, Σ p_c q_c with the shares of class c
among labels and predictions, another the share of the most frequent class. If no model is better than chance, by intervals that
hold for all of them together, or none differs from the first by more than its error, a sentence says so. A model that is not
better than the constant answer by its own interval is marked with `*`.

**Pictures.** Every photo is resized once, from its file to the larger side of a model's input (224 where that is open), and cropped
to a square. `--json` has schema `onnxspace/transfer/2`: `ranking` has `source`, `value`, `place`, `bracket`, `above_constant` and
`by`; a `value` is a mean rank (1 is best) or that of the score that ranks (larger is better).

## Labels and arrays

Missing labels are NaN, None or masked, and their images are left out. Labels that are words, integers or booleans are classes,
a matrix of 0 and 1 is multilabel, and other numbers are regression targets. Features may have any real dtype and may be
memory-mapped; NaN and infinity are rejected. Arithmetic is in float64.

Another package adds a score as an entry point of the group `{group}` that names a `Spec` of
`onnxspace.scores.registry`. With its `held_out`, rankings by the score have intervals and brackets.
"""


def render_table() -> str:
    """Render the scores of this package as a Markdown table."""
    head = "| score | takes | labels | values | what it is | source |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| `{name}` | {_describe_input(s)} | {', '.join(s.labels) or 'none'} | {s.values} | {s.summary} | {s.source} |"
        for name, s in SCORES.items()
    )


def _describe_input(one: ScoreSpec) -> str:
    if one.directed:
        return f"{one.arrays[0]} of the target and {one.arrays[1]} of the source"
    return f"{' and '.join(one.arrays)} of two models" if one.needs == "pair" else one.needs


def render_page() -> str:
    """Render the page `docs/scores.md`."""
    return _PAGE.format(table=render_table(), group=GROUP)


if __name__ == "__main__":
    print(render_page(), end="")
