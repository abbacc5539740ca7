"""Conditions of `--where`: what they choose, and what is said of those that can't be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxspace.errors import ConfigError
from onnxspace.inputs.labels import Labels
from onnxspace.spaces.insert import NO_SUM
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.where import parse_where
from tests.helpers.spaces import draft

ENTRIES: tuple[CatalogueEntry, ...] = tuple(
    replace(draft(number), labels=labels, added=f"2026-0{number}-01", maps=NO_SUM if number == 1 else None)
    for number, labels in enumerate(
        (
            Labels("hf:org/net", "pytorch", "", "Apache-2.0", "", ("detector", "team=vision")),
            Labels("", "tensorflow", "", "mit", "", ("team=speech", "size=7")),
            Labels(tags=("odd name",)),
        ),
        1,
    )
)


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        ((), {1, 2, 3}),
        (("license=apache-2.0",), {1}),
        (("LICENSE = 'APACHE-2.0' AND tag=detector",), {1}),
        (("license=mit or tag=detector",), {1, 2}),
        (("license=mit or tag=detector and framework=tensorflow",), {2}),
        (("license=mit or tag=detector", "framework=pytorch"), {1}),
        (("license!=mit",), {1, 3}),
        (('license=""',), {3}),
        (('license!=""',), {1, 2}),
        (("team=vision",), {1}),
        (("tag=team=vision",), {1}),
        (("tag=team=*",), {1, 2}),
        (("team!=vision",), {2, 3}),
        (("added>=2026-02",), {2, 3}),
        (("added<2026-02 or added>2026-03",), {1, 3}),
        (("size<8",), {2}),
        (("source=hf:*",), {1}),
        (("source=zoo/2.onnx",), {2}),
        (("kind=maps",), {1}),
        (("name=model-?",), set()),
        (("name=model-[12]",), set()),
        (("tag='odd name'",), {3}),
        (("producer=test and opset=17",), None),
    ],
)
def test_conditions(texts: tuple[str, ...], numbers: set[int] | None) -> None:
    if numbers is None:
        with pytest.raises(ConfigError, match="there is no key 'opset'"):
            parse_where(texts).select(ENTRIES)
        return
    assert {entry.name for entry in parse_where(texts).select(ENTRIES)} == {f"model-{n}" for n in numbers}


def test_an_unknown_key_has_its_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no key 'licence'; did you mean license\?"):
        parse_where("licence=mit").select(ENTRIES)
    with pytest.raises(ConfigError, match=r"did you mean team\?"):
        parse_where("teams=vision").select(ENTRIES)


@pytest.mark.parametrize(
    "text",
    ["", "license", "license=", "=mit", "license=mit and", "license=mit tag=x", "license==mit", "and=x and", "(license=mit)",
     "license='mit", "a=b" + " or a=b" * 100, "x" * 5000, "license mit apache"],
)  # fmt: skip
def test_what_can_not_be_read_is_one_sentence_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_where(text).select(ENTRIES)
    assert str(error.value).startswith("--where")
    assert "\n" not in str(error.value)
