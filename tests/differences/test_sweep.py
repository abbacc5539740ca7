"""Which layers should stay in float: against ONNX Runtime's own quantisation of networks with a planted layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxspace as ox
from benchmarks.precision import compare
from onnxspace.differences.child import tasks
from onnxspace.differences.precision import PrecisionLayer, PrecisionSweep
from onnxspace.errors import ConfigError, ModelError
from tests.helpers import diff_edits as edits
from tests.helpers import diff_pairs as pairs
from tests.helpers.commands import Run

COMMAND = "diff"
FRAGILE = ("/6/conv1/Conv", "/6/conv2/Conv")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(pairs.fold(pairs.base()), "plain.onnx")
    onnx.save(weaken(pairs.fold(pairs.base())), "fragile.onnx")
    return tmp_path


def weaken(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network computes the same, with one channel between two layers 200 times as large, which hides all others from a single scale."""

    def scale(values: np.ndarray[Any, Any], factor: float, axis: int) -> np.ndarray[Any, Any]:
        factors = np.ones(values.shape[axis])
        factors[0] = factor
        return values * factors.reshape([-1 if k == axis else 1 for k in range(values.ndim)])

    grown = edits.change_of(model, FRAGILE[0], lambda w: scale(w, 200, 0))
    grown = edits.change_of(grown, FRAGILE[0], lambda w: scale(w, 200, 0), 2)
    return edits.change_of(grown, FRAGILE[1], lambda w: scale(w, 1 / 200, 1))


def test_fragile_layers_stay_in_float_and_onnxruntime_agrees(place: Path) -> None:
    """Errors of ONNX Runtime's quantisation without exclusion, with the advice, and with as many layers at random."""
    swept, none, advised, drawn = compare(place / "fragile.onnx", within=0.05, draws=6)
    assert FRAGILE[0] in swept.keep
    assert swept.ranked[0].name in FRAGILE
    assert swept.chosen is not None
    assert swept.chosen <= 0.05
    assert swept.all_rounded is not None
    assert swept.all_rounded > 0.05
    assert 1 / 3 < none / swept.all_rounded < 3
    assert advised < 0.6 * none
    assert advised < np.mean(drawn)


def test_nothing_has_to_stay_where_rounding_costs_little(place: Path) -> None:
    swept = ox.sweep_precision("plain.onnx", "half", keep_within=0.01)
    assert swept.keep == ()
    assert swept.all_rounded is not None
    assert 0 < swept.all_rounded < 0.01
    assert "none has to stay in float for 1 %" in swept.summary
    assert len(swept.layers) == sum(node.op_type in ("Conv", "Gemm") for node in pairs.base().graph.node)


def test_a_choice_that_the_printed_errors_do_not_need_is_explained() -> None:
    layers = (PrecisionLayer("/head/Gemm", "Gemm", 0.04, True), PrecisionLayer("/first/Conv", "Conv", 0.01, False))
    swept = PrecisionSweep("net", "net.onnx", "int8", 0.05, layers, 0.023, 0.022, 0.036)
    assert swept.summary == (
        "With all 2 layers in eight bits, the outputs of net differ by 2.3 %; with 1 layer in float, by 2.2 %: /head/Gemm."
        " The choice is by other images, on which they differ by more than 5 %."
    )
    assert "other images" not in replace(swept, all_rounded=0.07).summary


def test_fewer_layers_stay_where_more_is_allowed(place: Path) -> None:
    counts = [len(ox.sweep_precision("fragile.onnx", keep_within=share).keep) for share in (0.005, 0.05, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0


def test_the_command_prints_the_advice_and_what_another_file_stores(run: Run, place: Path) -> None:
    code, out, _ = run("fragile.onnx", "--precision", "int8", "--quiet", "--top", "2", "--csv", "layers.csv")
    assert code == 0
    assert out.split("\n")[3].split()[-1] in FRAGILE
    assert len((place / "layers.csv").read_text("utf-8").splitlines()) == 10
    onnx.save(edits.quantise_as(onnx.load("fragile.onnx"), place), "fragile-int8.onnx")
    code, out, _ = run("fragile.onnx", "fragile-int8.onnx", "--precision", "int8", "--quiet", "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["other"]) == (0, "onnxspace/precision/1", "fragile-int8")
    assert {row["stored"] for row in found["layers"] if row["keep"]} == {"int8"}
    assert sorted(row["name"] for row in found["layers"] if row["keep"]) == sorted(found["keep"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plain.onnx",), "Give two models to compare"),
        (("plain.onnx", "plain.onnx", "--keep-within", "0.1"), "need --precision"),
        (("plain.onnx", "--precision", "int8", "--format", "markdown"), "Leave out --format markdown"),
        (("plain.onnx", "--precision", "int8", "-o", "page.html"), "A page is on two models"),
        (("plain.onnx", "--precision", "int8", "--csv", "plain.onnx"), "Name a file that ends in .csv"),
        (("plain.onnx", "--precision", "int8", "--images", "2"), "on 3 to 64 images, not 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: tuple[str, ...], words: str, run: Run, place: Path) -> None:
    code, out, err = run(*arguments, "--quiet")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())


def test_what_has_no_layers_or_an_old_operator_set_is_refused_in_words(place: Path) -> None:
    with pytest.raises(ConfigError, match="Give int8 or half"):
        ox.sweep_precision("plain.onnx", "int4")  # type: ignore[arg-type]
    old = pairs.fold(pairs.base())
    del old.opset_import[:]
    old.opset_import.append(onnx.helper.make_opsetid("", 9))
    onnx.save(old, "old.onnx")
    with pytest.raises(ModelError, match="operator set below 10"):
        ox.sweep_precision("old.onnx")


def test_outputs_that_measure_no_rounding_are_refused_in_words(place: Path) -> None:
    whole = pairs.fold(pairs.base())
    end = whole.graph.node[-1]
    end.output[0] = "numbers"
    whole.graph.node.append(onnx.helper.make_node("ArgMax", ["numbers"], ["logits"], name="largest", axis=1))
    whole.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.INT64, None))
    onnx.save(whole, "whole.onnx")
    onnx.save(edits.change_of(pairs.fold(pairs.base()), "/9/Gemm", lambda w: w * np.nan), "broken.onnx")
    with pytest.raises(ModelError, match=r"whole\.onnx has no output of floating-point numbers"):
        ox.sweep_precision("whole.onnx")
    with pytest.raises(ModelError, match=r"broken\.onnx has outputs that are not finite before anything is rounded"):
        ox.sweep_precision("broken.onnx")


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.update(all=-1),
        lambda answer: answer["layers"][0].update(name=3),
        lambda answer: answer["layers"][0].update(alone="much"),
        lambda answer: answer.pop("advised"),
    ],
)
def test_an_answer_that_no_worker_gives_is_refused(change: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tasks.TASKS["sweep"]

    def tamper(request: Any, advance: Any) -> Any:
        answer = json.loads(json.dumps(plain(request, advance)))
        change(answer)
        return answer

    monkeypatch.setattr(tasks, "TASKS", {"sweep": tamper})
    with pytest.raises(ModelError, match=r"plain\.onnx ended the process that read it"):
        ox.sweep_precision("plain.onnx", probes=ox.Probes.generate(3, 16))
