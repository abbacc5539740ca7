"""A pytest plugin that measures processor time: of each test, with its fixtures and all processes that it starts.

    .venv/bin/python -m pytest -n 0 -p tests.helpers.processor_time --processor-time times.tsv tests/storage

writes a row per test: seconds of its fixtures, of the test itself, and its name; and prints the dearest files. Durations of pytest
are times of a clock, which depend on what else the machine does. What a session or a module sets up is counted in the test that
needs it first; a process whose parent has ended before it is not counted.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")
_SHOWN = 40  # files that are printed


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor-time", metavar="FILE", help="Write the processor time of each test to FILE.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _measure(item, "fixtures")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _measure(item, "test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield from _measure(item, "fixtures")


def _measure(item: pytest.Item, part: str) -> Iterator[None]:
    before = measure_processor_time()
    try:
        return (yield)
    finally:
        item.user_properties.append((part, max(0.0, measure_processor_time() - before)))


def measure_processor_time() -> float:
    """Seconds of processor time that this process, its children and their children have used, those that have ended included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + _measure_living(os.getpid())


def _measure_living(parent: int) -> float:
    """The same for the processes below `parent` that run now, as Linux lists them."""
    return sum(_measure_one(number) + _measure_living(number) for number in _list_children(parent))


def _list_children(parent: int) -> list[int]:
    numbers: list[str] = []
    with suppress(OSError):  # it, or one of its threads, has ended
        for thread in os.scandir(f"/proc/{parent}/task"):
            numbers += Path(thread.path, "children").read_text("utf-8").split()
    return [int(number) for number in numbers]


def _measure_one(number: int) -> float:
    try:
        fields = Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


class Table:
    """What has been measured of all tests; with pytest-xdist, in the process that collects their reports."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, dict[str, Counter[str]]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            row = self.rows.setdefault(report.nodeid, Counter())
            for part, seconds in report.user_properties:
                if part in ("fixtures", "test") and isinstance(seconds, float):
                    row[part] += seconds  # type: ignore[assignment]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = [f"{row['fixtures']:.3f}\t{row['test']:.3f}\t{name}\n" for name, row in self.rows.items()]
        self.path.write_text("fixtures\ttest\tname\n" + "".join(lines), "utf-8")
        files = Counter[str]()
        for name, row in self.rows.items():
            files[name.partition("::")[0]] += row.total()
        terminalreporter.write_line(f"{files.total():.0f} seconds of processor time")
        for file, seconds in files.most_common(_SHOWN):
            terminalreporter.write_line(f"{seconds:8.1f}  {file}")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--processor-time")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(Path(path)), "processor_time_table")
