"""The page that the benchmark writes: a table for each part, and what was skipped."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.gpu.bench import Bench


def describe(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{name}, torch {torch.__version__}"


def render(bench: Bench, titles: Mapping[str, str]) -> str:
    lines = ["# On a GPU", "", f"Measured by `python -m benchmarks.gpu` on {describe(bench.device)}.", ""]
    for name, rows in bench.rows.items():
        lines += [f"## {name}", "", f"{titles[name]}.", ""]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines += [f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"] if rows else ["Nothing was measured."]
        lines += [f"| {' | '.join(_cell(row.get(key, '')) for key in keys)} |" for row in rows] + [""]
    skipped = [f"- {one}" for one in dict.fromkeys(bench.skipped)] or ["Nothing was skipped."]
    return "\n".join([*lines, "## Skipped", "", *skipped, ""])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:.5f}"
        if isinstance(value, float) and abs(value) <= 1
        else f"{value:.1f}"
        if isinstance(value, float)
        else str(value)
    )
