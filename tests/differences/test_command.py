"""The command: exit codes, forms of output, options, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.cli.commands.diff import SORTS, STATUSES
from onnxspace.differences import result, run, table
from onnxspace.differences.child import segments
from onnxspace.errors import ModelError
from onnxspace.model import runtime
from tests.helpers import diff_edits as edits
from tests.helpers import diff_pairs as pairs
from tests.helpers.commands import Run
from tests.helpers.hostile import add_endless_loop
from tests.helpers.nets import Net

COMMAND = "diff"
QUICK = ("--images", "1", "--quiet")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(pairs.base(), "old.onnx")
    onnx.save(pairs.rename(pairs.base()), "same.onnx")
    onnx.save(pairs.train(pairs.base()), "new.onnx")
    return tmp_path


def test_exit_codes_are_those_of_diff(run: Run) -> None:
    assert run("old.onnx", "same.onnx", *QUICK)[0] == 0
    assert run("old.onnx", "new.onnx", *QUICK)[0] == 1
    assert run("old.onnx", "nowhere/none.onnx", *QUICK) == (
        2,
        "",
        "onnxspace: nowhere/none.onnx: no such file. Check the path.\n",
    )


def test_text_fits_eighty_columns_and_names_what_departs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("old.onnx", "new.onnx", *QUICK)
    assert max(map(len, out.splitlines())) <= 80
    assert "they first depart at /5/conv2/Conv (Conv)" in " ".join(out.split())
    assert out.count("\n  DEPARTS") == 1


def test_equal_files_are_the_same_though_their_values_are_not_finite(run: Run, place: Path) -> None:
    onnx.save(edits.change_of(pairs.base(), "/9/Gemm", lambda w: w * np.nan), "broken.onnx")
    code, out, _ = run("broken.onnx", "broken.onnx", *QUICK)
    assert (code, "departs" in out) == (0, False)


def test_layers_that_were_changed_have_counterparts(run: Run, place: Path) -> None:
    onnx.save(edits.train_all(pairs.base()), "all.onnx")
    assert "little in common" not in run("old.onnx", "all.onnx", *QUICK, "--top", "0")[1]
    for name, factor in (("one.onnx", 1), ("zero.onnx", 0)):
        onnx.save(_make_layer(factor), name)
    out = run("one.onnx", "zero.onnx", *QUICK)[1]
    assert "Weights were pruned in the only layer" in out
    assert "little in common" not in out


def _make_layer(factor: float) -> onnx.ModelProto:
    """A network of one convolution."""
    weights = factor * np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    values = [onnx.helper.make_tensor_value_info("image", 1, [1, 3, 8, 8]), onnx.helper.make_tensor_value_info("y", 1, None)]
    node = onnx.helper.make_node("Conv", ["image", "w"], ["y"], name="conv")
    stored = [onnx.numpy_helper.from_array(weights.astype(np.float32), "w")]
    graph = onnx.helper.make_graph([node], "layer", values[:1], values[1:], stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def test_a_table_does_not_replace_a_model(run: Run, place: Path) -> None:
    before = (place / "new.onnx").read_bytes()
    code, out, error = run("old.onnx", "new.onnx", *QUICK, "--csv", "new.onnx")
    assert (code, out) == (2, "")
    assert error == "onnxspace: new.onnx is not a name for a CSV file. Name a file that ends in .csv as --csv.\n"
    (place / "new.csv").symlink_to("new.onnx")
    assert "new.csv is one of the files that are read" in run("old.onnx", "new.onnx", *QUICK, "--csv", "new.csv")[2]
    assert (place / "new.onnx").read_bytes() == before


def test_the_page_is_written_and_named(run: Run, place: Path) -> None:
    code, out, error = run("old.onnx", "new.onnx", "--images", "1", "--no-maps", "-o", "diff.html", "--top", "0")
    assert (code, error.splitlines()[-1]) == (1, "Wrote diff.html")
    assert "Wrote" not in out
    assert "data:image/webp" in (place / "diff.html").read_text("utf-8")
    assert run("old.onnx", "new.onnx", *QUICK, "--no-maps", "-o", "old.onnx")[0] == 2


def test_the_table_is_sorted_filtered_and_cut(run: Run) -> None:
    _, out, _ = run("old.onnx", "new.onnx", *QUICK, "--sort", "error", "--match", "relu", "--top", "2")
    rows = [line for line in out.splitlines() if " Relu " in line]
    assert len(rows) == 2
    errors = [float(row.split()[2]) for row in rows]
    assert errors == sorted(errors, reverse=True)
    _, out, _ = run("old.onnx", "new.onnx", *QUICK, "--status", "departs", "--format", "json")
    assert [row["status"] for row in json.loads(out)["layers"]].count("departs") == 1


def test_csv_has_all_rows_and_columns(run: Run, place: Path) -> None:
    run("old.onnx", "new.onnx", *QUICK, "--sort", "place", "--top", "1", "--csv", "table.csv")
    with (place / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == result.COLUMNS
    assert {row["status"] for row in rows} == {"equal", "departs", "downstream"}
    assert rows[0]["old_shape"] == "1×12×16×16"
    low, high = json.loads(rows[0]["old_range"])
    assert low < high


def test_markdown_escapes_names(run: Run) -> None:
    made = pairs.train(pairs.base())
    pairs.find(made, "/5/conv2/Conv").name = "<img src=x>|@all"
    onnx.save(made, "new.onnx")
    _, out, _ = run("old.onnx", "new.onnx", *QUICK, "--format", "markdown")
    assert out.startswith("## old → new: the networks differ\n")
    assert "&lt;img src=x&gt;\\|&#64;all" in out
    assert "<img" not in out


def test_a_session_prints_a_few_lines(place: Path) -> None:
    lines = repr(ox.diff("old.onnx", "new.onnx")).splitlines()
    assert lines[0] == "Changes from old to new: differ"
    assert len(lines) <= 12


def test_choices_of_the_command_are_those_of_the_package() -> None:
    assert tuple(table.SORTS) == SORTS
    assert tuple(result.STATUSES) == STATUSES


def test_too_many_images_and_fingerprints_are_refused(run: Run, place: Path) -> None:
    with pytest.raises(ox.OnnxspaceError, match="at most 64 images"):
        ox.diff("old.onnx", "new.onnx", ox.Probes.generate(65, 16))
    (place / "old.fp").write_bytes(b"")
    assert run("old.fp", "new.onnx", *QUICK)[0] == 2


def test_a_model_without_an_image_gets_random_values(run: Run) -> None:
    from onnx import TensorProto, helper, numpy_helper

    rng = pairs.np.random.default_rng(0)
    for name, factor in (("a", 1.0), ("b", 1.1)):
        weight = numpy_helper.from_array((rng.standard_normal((7, 5)) * factor).astype("float32"), "w")
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], "layer"), helper.make_node("Tanh", ["y"], ["z"], "end")], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7])],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 5])], [weight],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), f"{name}.onnx")
    code, out, _ = run("a.onnx", "b.onnx", *QUICK, "--json")
    found = json.loads(out)
    assert (code, found["probe"]["name"]) == (1, "random")
    assert found["first"]["new"][0]["name"] == "layer"


def test_inputs_of_other_sizes_are_named(run: Run) -> None:
    from onnx import TensorProto, helper

    for name, sizes in (("a", [1, 7]), ("b", [1, 3, 32, 32])):
        graph = helper.make_graph(
            [helper.make_node("Tanh", ["x"], ["z"], "end")], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, sizes)],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), f"{name}.onnx")
    for old, new, first, second in (("a", "b", "[1, 7]", "[1, 3, 32, 32]"), ("b", "a", "[1, 3, 32, 32]", "[1, 7]")):
        code, _, error = run(f"{old}.onnx", f"{new}.onnx", *QUICK)
        assert (code, error) == (
            2, f"onnxspace: The input x of {new}.onnx is {second}, but that of {old}.onnx is {first}. Give models with the same inputs.\n",
        )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.update(precision="none"),
        lambda answer: answer["groups"][0].update(status="fine"),
        lambda answer: answer["groups"][0].update(weights={"kind": ["a", ["b"]]}),
        lambda answer: answer["layers"][0].update(cosine=float("inf")),
        lambda answer: answer["layers"][0].update(old_shape=[-1]),
        lambda answer: answer["old"].update(sha256="no"),
        lambda answer: answer.pop("outputs"),
        lambda answer: answer["details"]["places"].pop(),
        lambda answer: answer["details"]["new"][0].update(reads=[10**6]),
        lambda answer: answer["details"].update(image_errors=[-1.0]),
    ],
)
def test_an_answer_that_no_worker_gives_is_refused(change: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker may have been taken over by the model that it read."""
    from onnxspace.differences.child import tasks

    plain = tasks.TASKS["diff"]

    def tamper(request: Any, advance: Any) -> Any:
        answer = json.loads(json.dumps(plain(request, advance)))
        change(answer)
        return answer

    monkeypatch.setattr(tasks, "TASKS", {"diff": tamper})
    with pytest.raises(ModelError, match=r"old\.onnx ended the process that read it"):
        ox.diff("old.onnx", "new.onnx", ox.Probes.generate(1, 16))


def test_models_are_read_in_a_process_with_limits(sandboxed: None, place: Path) -> None:
    found = ox.diff("old.onnx", "new.onnx", ox.Probes.generate(1, 16), limits="memory=4G,wall=200")
    assert found.verdict == "differ"
    assert run.TASKS == "onnxspace.differences.child.tasks"


def test_outputs_that_are_not_finite_or_of_other_shapes_are_named(run: Run) -> None:
    made = pairs.base()
    made = onnx.ModelProto.FromString(made.SerializeToString())
    made.graph.node[-1].output[0] = "before"
    made.graph.node.append(onnx.helper.make_node("Log", ["before"], ["logits"], "log"))
    onnx.save(made, "log.onnx")
    _, out, _ = run("old.onnx", "log.onnx", *QUICK, "--top", "0")
    assert "of the values of the output 'logits' are not finite in the new file" in " ".join(out.split())
    onnx.save(edits.resize_head(pairs.base(), 12, kept=True), "more.onnx")
    _, out, _ = run("old.onnx", "more.onnx", *QUICK, "--top", "0")
    text = " ".join(out.split())
    assert "the output 'logits' is 1×12, and was 1×10" in text
    assert "(10 → 12 outputs: all old ones are kept, 2 added)" in text


def test_a_loop_that_never_ends_is_stopped_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    pooled = net.add("GlobalAveragePool", net.conv(net.add("Mul", x, add_endless_loop(net, net.weight(np.ones(1)))), 4, 3))
    onnx.save(net.model([net.dense(net.add("Flatten", pooled), 3, 2)]), "loop.onnx")
    monkeypatch.setattr(segments, "MOST_SECONDS", 1.0)
    monkeypatch.setattr(runtime, "SIZING_SECONDS", 1.0)
    code, _, error = run("loop.onnx", "loop.onnx", *QUICK)
    assert code == 2
    assert "(Loop), which may never end. Leave it out, or export it again." in error


def test_the_cause_of_a_file_that_cannot_be_run_is_stated(run: Run) -> None:
    made = onnx.ModelProto.FromString(pairs.base().SerializeToString())
    made.ir_version = onnx.IR_VERSION
    pairs.find(made, "/5/conv2/Conv").attribute.append(onnx.helper.make_attribute("nonsense", 1))
    onnx.save(made, "odd.onnx")
    code, _, error = run("odd.onnx", "odd.onnx", *QUICK)
    assert code == 2
    assert "onnxruntime_src" not in error
    assert "nonsense" in error or "IR version" in error
