"""Where a graph is cut, and which segments are computed again in the backward pass, so that its memory stays within a bound.

A cut keeps the values that cross it. Segments that are computed again hold what their derivatives need one after another; the others
hold it from the forward pass on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from onnxspace.attribution.checkpointing.profile import Profile

#: Sizes of segments that are tried, as shares of what the whole graph keeps.
_SHARES = (0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.06, 0.04)
#: Gradients and temporary values of one node in the backward pass, in sizes of its largest value.
_TEMPORARY = 3


@dataclass(frozen=True)
class Segment:
    """The units from `first` on, before `end`. If it is `recomputed`, its activations are dropped and computed again."""

    first: int
    end: int
    recomputed: bool = True


@dataclass(frozen=True)
class Plan:
    """The segments of a graph in order, and an estimate of the bytes that its forward and backward pass take at their peak."""

    segments: tuple[Segment, ...]
    peak: int

    @property
    def recomputes(self) -> bool:
        """Whether any segment is computed again."""
        return any(segment.recomputed for segment in self.segments)


def plan_segments(profile: Profile, room: int) -> Plan:
    """Return the fastest plan whose peak is at most `room` bytes, or that with the lowest peak where there is none.

    A graph that fits is one segment. Otherwise segments keep their activations where there is room for them, first those that save
    the most time for it.
    """
    sizes = _Sizes(profile)
    whole = sizes.estimate([Segment(0, len(profile.units), recomputed=False)])
    if whole.peak <= room or len(profile.units) < 2:
        return whole
    total = sum(sizes.count_inside(segment) for segment in whole.segments)
    plans = [sizes.estimate(cut) for share in _SHARES if (cut := sizes.divide(int(share * total)))]
    best = min([whole, *plans], key=lambda plan: plan.peak)
    return sizes.keep_some(best, room)


class _Sizes:
    """Bytes of the parts of a profile."""

    def __init__(self, profile: Profile) -> None:
        self.units, self.outputs = profile.units, profile.outputs

    @cached_property
    def last_use(self) -> dict[str, int]:
        """The last unit that reads each value; one behind all units where the graph returns it."""
        found = {name: place for place, unit in enumerate(self.units) for name in (*unit.made, *unit.reads)}
        return {**found, **dict.fromkeys(self.outputs, len(self.units))}

    def divide(self, room: int) -> list[Segment]:
        """The segments of up to `room` bytes whose cuts keep the fewest bytes; empty where one unit needs more."""
        best: list[tuple[int, int]] = [
            (0, 0)
        ]  # of the units before each place: the bytes kept, and where the last segment begins
        for end in range(1, len(self.units) + 1):
            options = [(best[first][0] + kept, first) for first, kept in self._list_segments(end, room) if best[first][1] >= 0]
            best.append(min(options, default=(0, -1)))
        return list(self._follow([first for _, first in best]))

    def _list_segments(self, end: int, room: int) -> Iterator[tuple[int, int]]:
        """The first units of segments that end before `end` and keep up to `room` bytes, with the bytes that cross their end."""
        inside = crossing = 0
        saved: set[str] = set()
        for first in range(end - 1, -1, -1):
            unit = self.units[first]
            saved |= unit.saved
            inside += unit.own + sum(size for name, size in unit.made.items() if name in saved)
            crossing += sum(size for name, size in unit.made.items() if self.last_use[name] >= end)
            if inside > room:
                return
            yield first, crossing

    def _follow(self, begins: Sequence[int]) -> Iterator[Segment]:
        """The segments whose beginnings were chosen, in order; none where one unit fits in no segment."""
        found: list[Segment] = []
        end = len(self.units)
        while end > 0 and begins[end] >= 0:
            found.append(Segment(begins[end], end))
            end = begins[end]
        yield from () if end else reversed(found)

    def estimate(self, segments: Sequence[Segment]) -> Plan:
        """The plan of these segments, of which the last is not computed again: its activations are used at once."""
        chosen = (*segments[:-1], replace(segments[-1], recomputed=False))
        kept, peak = 0, 0
        for segment in chosen:
            inside, crossing = self.count_inside(segment), self.count_crossing(segment)
            units = self.units[segment.first : segment.end]
            kept += crossing + (0 if segment.recomputed else inside)
            gradients = crossing + _TEMPORARY * max(unit.largest for unit in units)
            peak = max(peak, kept + gradients + (inside if segment.recomputed else 0))
        return Plan(chosen, peak)

    def count_inside(self, segment: Segment) -> int:
        """Bytes that the derivatives in a segment need of what is computed there."""
        units = self.units[segment.first : segment.end]
        saved = {name for unit in units for name in unit.saved}
        return sum(unit.own + sum(size for name, size in unit.made.items() if name in saved) for unit in units)

    def count_crossing(self, segment: Segment) -> int:
        """Bytes of the values of a segment that are used behind it."""
        units = self.units[segment.first : segment.end]
        return sum(size for unit in units for name, size in unit.made.items() if self.last_use[name] >= segment.end)

    def keep_some(self, plan: Plan, room: int) -> Plan:
        """The plan with as many segments not computed again as `room` allows."""
        order = sorted(
            (place for place, one in enumerate(plan.segments) if one.recomputed), key=lambda n: self._rate(plan.segments[n])
        )
        for place in order:
            changed = list(plan.segments)
            changed[place] = replace(changed[place], recomputed=False)
            candidate = self.estimate(changed)
            plan = candidate if candidate.peak <= room else plan
        return plan

    def _rate(self, segment: Segment) -> float:
        """Bytes for each second that are saved if a segment is not computed again."""
        seconds = sum(unit.seconds for unit in self.units[segment.first : segment.end])
        return self.count_inside(segment) / max(seconds, 1e-9)
