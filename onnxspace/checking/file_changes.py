"""How the facts of two files differ, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnxspace.checking.file_facts import FileFacts


def file_changes(new: FileFacts, old: FileFacts) -> Iterator[str]:
    """How the facts of two files differ, a sentence each: inputs, outputs, opset, producer, parameters, operators."""
    if not old.of_file:
        return
    for what in ("inputs", "outputs"):
        yield from _signature_changes(what[:-1], getattr(new, what), getattr(old, what))
    if new.opset != old.opset:
        yield f"opset {old.opset} became {new.opset}"
    if new.producer != old.producer:
        yield f"the producer {old.producer or 'unknown'} became {new.producer or 'unknown'}"
    if new.parameters != old.parameters:
        yield f"{old.parameters:,} parameters became {new.parameters:,}"
    counted = sorted({*new.operators, *old.operators})
    moved = [f"{name} {old.operators.get(name, 0)} → {new.operators.get(name, 0)}" for name in counted
             if new.operators.get(name, 0) != old.operators.get(name, 0)]  # fmt: skip
    if moved:
        more = f" and {len(moved) - 8} more" if len(moved) > 8 else ""
        yield f"operators: {', '.join(moved[:8])}{more}"


def _signature_changes(what: str, new: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    if list(new.values()) == list(old.values()) and list(new) != list(old):
        yield f"{what}s are named {', '.join(new)} instead of {', '.join(old)}"
        return
    for name in {**old, **new}:
        if name not in new:
            yield f"{what} {name} ({old[name]}) was removed"
        elif name not in old:
            yield f"{what} {name} ({new[name]}) is new"
        elif new[name] != old[name]:
            yield f"{what} {name} is {new[name]} instead of {old[name]}"
