"""The sections of the page on what transfer truly reaches: by readouts of frozen encoders, and by fine-tuning."""

from __future__ import annotations

import numpy as np

from models.minitaskonomy.oracle.finetuned import STATISTICS
from models.minitaskonomy.oracle.finetuned import Settings as FineTuned
from models.minitaskonomy.oracle.readout import Budget
from models.minitaskonomy.page.markdown import format_interval, format_table
from models.minitaskonomy.page.results import Results
from onnxspace.evaluation.correlation import kendall_tau


def write_oracle(found: Results) -> str:
    seeds = len(found.oracle.values)
    ceiling, random = found.last("oracle of one seed"), found.last("random")
    said = ""
    if ceiling is not None and random is not None:
        said = (
            f" A random order has P@3 = {random.mean['P@3']:.3f}. The oracle of one seed, as a prediction of the other {seeds - 1}"
            f" seeds' mean, reaches P@1 = {format_interval(ceiling, 'P@1')}, P@3 = {format_interval(ceiling, 'P@3')} and"
            f" τ = {format_interval(ceiling, 'tau')}: no score can be expected to do much better."
        )
    return f"""## The oracle

A source's encoder is frozen, and a readout on it is trained for the target task from few labels; what counts is the loss on other rooms, as a mean over {seeds} seeds, which draw the labels.{said}

![What each target gets from each source](minitaskonomy-oracle.png)"""


def write_finetuned(found: Results) -> str:
    """What fine-tuning all layers gives, beside the frozen encoders."""
    tuned, columns = found.finetuned, found.main
    if tuned is None:
        return ""
    rows, taus = [], []
    for target in tuned.targets:
        mine, frozen = (one.mean[one.targets.index(target)][columns] for one in (tuned, found.oracle))
        there = np.isfinite(mine)
        taus.append(kendall_tau(frozen[there], mine[there]))
        cells = [
            f"{found.sources[int(np.nanargmax(one))]}, {np.nanmax(one):.3f}; {np.nanmedian(one):.3f}" for one in (frozen, mine)
        ]
        rows.append([target, *cells, f"{taus[-1]:.2f}"])
    how = FineTuned()
    return f"""## The oracle by fine-tuning

For {len(tuned.targets)} targets, every layer of the original network of PyTorch is trained with a new readout of the same form on the same labelled rooms, {how.labelled} for pictures and {how.images} for classes, and judged by the same losses on the same test rooms, by {how.seeds} seeds: {how.how.readout.steps} steps in batches of {how.how.readout.batch}, the encoder at the rate at which it was trained ({how.how.rate:g}), the readout at that of readouts on frozen encoders ({how.how.readout.rate:g}). Nothing in this was chosen by its results, but that targets of numbers per image are left out: there, the readout of 18 thousand weights learned nothing in so few steps. Weights come out of the ONNX files, into which batch normalisation was merged; it is live again, with the moments that its channels have on {STATISTICS} rooms from which the network learned, and each encoder is compared with its file. Only the lengths of rows of weights, on which the function does not depend, are those of a network that was trained anew. Sources are the {int(columns.sum())} networks of the main architecture. Levels can't be compared with those of frozen encoders, whose readouts have {Budget().steps} steps, or a closed form for classes; orders can.

The best source and the median of 1 − loss, and Kendall's τ of the two orders (mean {np.mean(taus):.2f}):

{format_table(["target", "frozen: best; median", "fine-tuned: best; median", "τ"], rows)}

How rankings by each kind of evidence do on both truths is shown beside the other zoo in [docs/ranking.md](ranking.md)."""
