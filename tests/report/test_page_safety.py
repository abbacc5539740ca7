"""A page asks for nothing, runs its own scripts only, and shows hostile names as text, in colours that can be told apart."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from tests.helpers.pages import HOSTILE, NAMES, page_of, result


def test_it_asks_for_nothing(tmp_path: Path) -> None:
    result(tmp_path / "out", NAMES)
    page = page_of(tmp_path / "out")
    assert all(re.match(r"data:(image/webp;base64,|,$)|#[a-z]+$", address) for address in page.addresses())
    style = "".join(page.content["style"])
    assert re.findall(r"url\((.*?)\)", style) == ['"#colours"']
    assert "@import" not in style
    policy = page.policy()
    assert policy["default-src"] == ["'none'"]
    assert policy["img-src"] == ["data:", "blob:"]
    assert not {"connect-src", "frame-src", "font-src", "object-src"} & set(policy)
    assert all(re.fullmatch(r"'sha256-.{44}'", one) for one in (*policy["script-src"], *policy["style-src"]))


def test_the_policy_allows_the_scripts_that_are_there(tmp_path: Path) -> None:
    result(tmp_path / "out", NAMES)
    page = page_of(tmp_path / "out")
    _, *scripts = page.content["script"]
    hashes = ["'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in scripts]
    assert page.policy()["script-src"] == hashes
    for text in (*scripts, *page.content["style"]):
        assert not re.search(r"</(script|style)|<!--|<script", text, re.I)


def test_no_attribute_is_a_script_or_a_style(tmp_path: Path) -> None:
    result(tmp_path / "out", NAMES)
    names = {name for _, given in page_of(tmp_path / "out").elements for name in given}
    assert not {name for name in names if name.startswith("on")}
    assert "style" not in names


def test_hostile_names_change_nothing_but_the_text(tmp_path: Path) -> None:
    plain, wild = tmp_path / "a/out", tmp_path / "b/out"
    result(plain, tuple(f"m{i}" for i in range(len(HOSTILE))), warnings=("calm",), probe="calm")
    result(wild, HOSTILE, warnings=(HOSTILE[0],), probe=HOSTILE[0] + HOSTILE[10])
    calm = page_of(plain, title="calm")
    page = page_of(wild, title=HOSTILE[0], target=HOSTILE[1])
    assert page.tags == calm.tags
    assert page.policy() == calm.policy()
    assert page.data["names"][:2] == list(HOSTILE[:2])
    assert HOSTILE[2] in "".join(page.content[""])
    shown = "".join(page.data["names"]) + "".join(page.content[""])
    assert not {"\x1b", "\u202e", "\udcff"} & set(shown)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_the_contrast_that_wcag_asks_for(tmp_path: Path) -> None:
    """4.5 for text and 3 for what is drawn, in the light and in the dark (WCAG 2.2, 1.4.3 and 1.4.11)."""
    result(tmp_path / "out", NAMES)
    style = "".join(page_of(tmp_path / "out").content["style"])
    for block in re.findall(r":root[^{]*\{([^}]*)\}", style)[:2]:
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block))
        for ink, least in (("ink", 4.5), ("soft", 4.5), ("accent", 4.5), ("second", 3.0)):
            for ground in ("paper", "card", "wash"):
                bright, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
                assert (bright + 0.05) / (dark + 0.05) >= least, (ink, ground)
