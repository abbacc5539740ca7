"""Targets as users write them: what is parsed, what is refused, and that they pass to a worker unchanged."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxspace.errors import ConfigError, ProbeError
from onnxspace.inputs.methods import METHODS, check_target
from onnxspace.inputs.targets import Target, make_targets, parse_index, parse_region, parse_value


def test_each_class_rank_and_value_is_a_target() -> None:
    found = make_targets(["cat", 3], ["boxes[0, :, 4]", "scores"], top=2, region="10,20,30,40")
    assert [one.words for one in found] == [
        "class cat of scores in 10,20,30,40", "class 3 of scores in 10,20,30,40", "most probable class of scores in 10,20,30,40",
        "class 2 by probability of scores in 10,20,30,40", "boxes[0,:,4]",
    ]  # fmt: skip
    assert make_targets() == ()
    assert [one.words for one in make_targets(values=["a", "b[0]"])] == ["a", "b[0]"]
    assert make_targets(box="1,2,3,4.5")[0].words == "score of the box nearest to 1,2,3,4.5"
    assert make_targets(["x"], contrast=True)[0].words == "class x against the others"


@pytest.mark.parametrize("text", ["0,:,4", "...,1:3", "-1", "::2,0", "1:-1:3"])
def test_an_index_is_numpys(text: str) -> None:
    values = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    np.testing.assert_array_equal(values[parse_index(text)], eval(f"values[{text}]", {"values": values}))


@pytest.mark.parametrize(
    "text", ["", "a", "0,,1", "1:2:0", "[0]", "None", "...,...", "99999999999", "0;1", "9" * 400, "0," * 9 + "0"]
)
def test_what_is_no_index_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"index|out of range"):
        parse_index(text)


def test_names_with_brackets_colons_and_spaces() -> None:
    assert parse_value("Identity:0") == Target(output="Identity:0")
    assert parse_value("a[b][0,1]") == Target(output="a[b]", index="0,1")
    for text in ("", "  ", "x" * 400, "a\nb", "a[b]"):
        with pytest.raises(ConfigError):
            parse_value(text)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"top": 0}, "from 1 to 16"),
        ({"top": 17}, "from 1 to 16"),
        ({"top": True}, "from 1 to 16"),
        ({"classes": [""]}, "not a name"),
        ({"classes": list(range(33))}, "33 targets are more than 32"),
        ({"region": "1,2,3"}, "x,y,w,h"),
        ({"region": "1,2,0,4"}, "x,y,w,h"),
        ({"region": "-1,2,3,4"}, "x,y,w,h"),
        ({"region": "none.png"}, "neither x,y,w,h nor a file"),
        ({"box": "1,2,3,nan"}, "--box"),
        ({"box": "1,2,3,4", "region": "1,2,3,4"}, "two questions"),
        ({"classes": ["a"], "values": ["b", "c"]}, "of one output"),
        ({"contrast": True}, "Give --class or --top"),
        ({"classes": ["a"], "values": ["b[0]"], "contrast": True}, "Give --class or --top"),
        ({"classes": ["a"], "region": "1,2,3,4", "contrast": True}, "Leave out --region"),
    ],
)
def test_what_can_not_be_asked_is_refused_in_a_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_targets(**given)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_mask_is_its_bright_half_cut_as_photos_are(tmp_path: Path) -> None:
    mask = np.zeros((100, 300), np.uint8)
    mask[:50, 100:200] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    region = parse_region(str(tmp_path / "mask.png"))
    assert region.name == "mask.png"
    bits = np.unpackbits(np.frombuffer(base64.b64decode(region.mask or ""), np.uint8)).reshape(224, 224)
    assert bits[:112].all()
    assert not bits[112:].any()
    Image.new("L", (10, 10)).save(tmp_path / "black.png")
    with pytest.raises(ConfigError, match="no bright pixel"):
        parse_region(str(tmp_path / "black.png"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ProbeError, match="not an image"):
        parse_region(str(tmp_path / "text.png"))


def test_a_target_passes_as_json(tmp_path: Path) -> None:
    Image.new("L", (10, 10), 255).save(tmp_path / "mask.png")
    for one in (
        *make_targets(["cat"], ["a[0]"], top=1, contrast=False),
        *make_targets(["cat"], region=tmp_path / "mask.png"),
        *make_targets(region="1,2,3,4"),
        *make_targets(box="1,2,3,4"),
    ):
        assert Target.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_methods_without_one_number_refuse_targets() -> None:
    refusing = [name for name, spec in METHODS.items() if not spec.explains_targets]
    assert refusing == ["unit-saliency", "attention-rollout"]
    for name in refusing:
        with pytest.raises(ConfigError, match=f"{name} does not explain class a"):
            check_target(name, Target(word="a"))
    check_target("elrp", Target(word="a"))
