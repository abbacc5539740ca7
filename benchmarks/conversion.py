"""What conversion costs: time, and memory beyond the opened model, for ResNet-50 and beyond 2 GiB of weights.

`python benchmarks/conversion.py` prints seconds, and the peak of resident memory as a multiple of the weights. The
architecture is the one that the `onnx` package ships for its own tests; weights are random. Each measurement has a
process of its own. Needs `pip install psutil`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def resnet50(path: Path) -> None:
    """ResNet-50 with random stored weights (102 MB)."""
    model = onnx.load(LIGHT / "light_resnet50.onnx")
    rng = np.random.default_rng(0)
    made = [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in made:
        shape = tuple(int(n) for n in shapes[node.input[0]])
        fan = max(1, int(np.prod(shape[1:])))
        value = rng.normal(0, (2 / fan) ** 0.5, shape) if len(shape) > 1 else 1 + rng.uniform(0, 0.1, shape)
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), node.output[0]))
        model.graph.node.remove(node)
    onnx.save(model, path)


def large(path: Path, layers: int = 10) -> None:
    """A plain network with 2.7 GB of float32 weights in one external file."""
    side, name = 8192, path.with_suffix(".data").name
    rng = np.random.default_rng(0)
    block = rng.normal(0, side**-0.5, (side, side)).astype(np.float32)
    with path.with_suffix(".data").open("wb") as file:
        for _ in range(layers):
            file.write(block.tobytes())
    nodes = [helper.make_node("Flatten", ["image"], ["t0"]), helper.make_node("MatMul", ["t0", "into"], ["h0"])]
    stored = [numpy_helper.from_array(rng.normal(0, 0.1, (192, side)).astype(np.float32), "into")]
    for k in range(layers):
        weight = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[side, side], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", name), ("offset", str(k * block.nbytes)), ("length", str(block.nbytes))):
            weight.external_data.add(key=key, value=value)
        stored.append(weight)
        nodes += [helper.make_node("MatMul", [f"h{k}", f"w{k}"], [f"m{k}"]), helper.make_node("Relu", [f"m{k}"], [f"h{k + 1}"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])
    output = helper.make_tensor_value_info(f"h{layers}", TensorProto.FLOAT, ["N", side])
    graph = helper.make_graph(nodes, "large", [image], [output], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@contextmanager
def peak() -> Iterator[list[float]]:
    """Largest resident memory above that at the start, in bytes, sampled every millisecond."""
    process, found, running = psutil.Process(), [0.0], True
    start = process.memory_info().rss

    def watch() -> None:
        while running:
            found[0] = max(found[0], process.memory_info().rss - start)
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        running = False
        thread.join()


def measure(path: str) -> None:
    """Print one line: opening and converting, seconds and memory over the weights."""
    import onnxspace
    from onnxspace.inputs.probes import Probes
    from onnxspace.torchgraph.encoder_graph import to_torch

    to_torch(LIGHT / "light_squeezenet.onnx")  # imports and first-call costs stay out of the numbers
    images = Probes.generate(2).images
    with peak() as opened:
        start = time.perf_counter()
        model = onnxspace.open_model(path)
        opening = time.perf_counter() - start
    weights = sum(values.nbytes for values in model.network.weights.values())
    for name, run in (
        ("to_torch", lambda: to_torch(model)),
        ("convert", lambda: onnxspace.torchgraph.encoder_graph.convert(model, images)),
    ):
        with peak() as added:
            start = time.perf_counter()
            kept = run()
            seconds = time.perf_counter() - start
        print(
            f"{Path(path).stem}: weights {weights / 1e6:.0f} MB; opening {opening:.2f} s, {opened[0] / weights:.2f} × the weights; "
            f"{name} {seconds:.2f} s, {added[0] / weights:.2f} × the weights",
            flush=True,
        )
        del kept


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            for make in (resnet50, large):
                path = Path(folder) / f"{make.__name__}.onnx"
                make(path)
                subprocess.run([sys.executable, __file__, str(path)], check=True)
