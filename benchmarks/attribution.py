"""What a map costs: ratios measured in turn, in one run, on one network, against named peers.

`python benchmarks/attribution.py` prints a table and writes it to docs/attribution-speed.md; `--only resnet50` and
`--rounds 3` make it shorter. Networks come from timm with random weights, exported at opset 17, and explain the sum of
their pooled features. Peers: captum, zennit, plain Torch, ONNX Runtime. Needs `pip install timm captum zennit`.
`--large` measures one large image instead, see `benchmarks/large.py`; `--width 4` does so with a quarter of the channels.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

NETWORKS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "resnet50": lambda net, x: net.forward_head(net.forward_features(x), pre_logits=True),
    "vit_base_patch16_224": lambda net, x: net.forward_head(net.forward_features(x), pre_logits=True),
    "mobilenetv3_large_100": lambda net, x: net.global_pool(net.forward_features(x)).flatten(1),
}
PAGE = Path(__file__).parents[1] / "docs/attribution-speed.md"
BATCH, MEMORY_BATCH = 8, 32
Run = Callable[[], Any]


class Features(torch.nn.Module):
    """A timm network up to its pooled features."""

    def __init__(self, name: str) -> None:
        import timm

        super().__init__()
        torch.manual_seed(0)
        self.net, self.features = timm.create_model(name, pretrained=False), NETWORKS[name]
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # as after training, not as initialised
                torch.nn.init.normal_(module.running_mean, 0, 0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(self.net, x)


def exported(name: str, folder: Path) -> tuple[Features, Path]:
    """The native network and its ONNX file."""
    net, path = Features(name).eval(), folder / f"{name}.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.zeros(1, 3, 224, 224),), path, opset_version=17, dynamo=False,
            input_names=["x"], output_names=["features"], dynamic_axes={"x": {0: "N"}},
        )  # fmt: skip
    return net, path


def ours(path: Path, method: str, device: str) -> tuple[Run, Run]:
    """One batch of maps, and the same graph's forward pass alone, images preprocessed already."""
    import onnxspace
    from onnxspace.attribution.devices import list_devices, resolve_compute
    from onnxspace.attribution.explainer import make_explainer
    from onnxspace.inputs.protocol import Setup
    from onnxspace.model.encoder import Encoder
    from onnxspace.torchgraph.encoder_graph import convert

    model = onnxspace.open_model(path)
    probes = onnxspace.Probes.generate(BATCH)
    converted = convert(model, probes.images[:2], Encoder(("features",), ""))
    engine = make_explainer(model, converted, Setup(probes, method), list_devices(resolve_compute(device))[0])
    batch = engine.prepare_batch(probes.images)
    return lambda: engine.compute_maps(batch), lambda: engine.network.forward(batch.values)


def peers(net: Features, path: Path, x: torch.Tensor) -> dict[str, Run]:
    import captum.attr
    import zennit.attribution
    import zennit.composites
    import zennit.rules
    import zennit.types

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    composite = zennit.composites.LayerMapComposite(
        [*zennit.composites.layer_map_base(), (zennit.types.Linear, zennit.rules.Epsilon(1e-6))]
    )

    def epsilon() -> Any:
        with zennit.attribution.Gradient(net, composite, attr_output=torch.ones_like) as attributor:
            return attributor(x)

    def gradient() -> Any:
        return captum.attr.InputXGradient(lambda image: net(image).sum(dim=1)).attribute(x.detach().requires_grad_(True))

    def plain() -> Any:
        with torch.no_grad():
            return net(x)

    return {
        "torch forward": plain,
        "ONNX Runtime forward": lambda: session.run(None, {"x": x.cpu().numpy()}),
        "captum InputXGradient": gradient,
        "zennit Epsilon": epsilon,
    }


def captum_lrp(net: Features, x: torch.Tensor) -> Run:
    import captum.attr
    from captum.attr._utils.lrp_rules import IdentityRule

    for module in net.modules():
        if isinstance(module, (torch.nn.Identity, torch.nn.Flatten)):  # which it knows no rule for
            module.rule = IdentityRule()

    def run() -> Any:
        return captum.attr.LRP(net).attribute(x.detach().requires_grad_(True), target=0)

    return run


def measure(name: str, rounds: int, device: str, folder: Path) -> dict[str, list[float]]:
    """Seconds of every contestant, one after another, `rounds` times; one that fails is left out with its reason."""
    net, path = exported(name, folder)
    x = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    saliency, forward = ours(path, "saliency", device)
    runs = {"onnxspace forward": forward, "onnxspace saliency": saliency, "onnxspace elrp": ours(path, "elrp", device)[0]}
    runs |= peers(net, path, x) | {"captum LRP": captum_lrp(net, x)}
    times: dict[str, list[float]] = {label: [] for label in runs}
    for turn in range(rounds + 1):
        for label in list(times):
            try:
                seconds = timed(runs[label])
            except Exception as error:
                print(f"{name}: {label} fails ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
                del times[label]
                continue
            if turn:  # the first warms up
                times[label].append(seconds)
    return times


def timed(run: Run) -> float:
    """Seconds of the second of two runs: the first pays for memory that the contestant before it gave back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """The median over rounds of one contestant's time over another's."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


BARS = [
    ("elrp / saliency", "onnxspace elrp", "onnxspace saliency", "≤ 1.1"),
    ("saliency / own forward", "onnxspace saliency", "onnxspace forward", "≤ 2.3"),
    ("elrp / own forward", "onnxspace elrp", "onnxspace forward", "≤ 2.3"),
    ("saliency / ONNX Runtime forward", "onnxspace saliency", "ONNX Runtime forward", "≤ 3.2"),
    ("elrp / ONNX Runtime forward", "onnxspace elrp", "ONNX Runtime forward", "≤ 3.2"),
    ("own forward / torch forward", "onnxspace forward", "torch forward", ""),
    ("zennit Epsilon / elrp", "zennit Epsilon", "onnxspace elrp", "≥ 3.5"),
    ("captum InputXGradient / saliency", "captum InputXGradient", "onnxspace saliency", "≥ 1.5"),
    ("captum LRP / elrp", "captum LRP", "onnxspace elrp", ""),
]


def memory(name: str, who: str, path: Path) -> float:
    """Peak resident memory in bytes above that before the pass, at a batch of 32, in a process of its own."""
    code = [sys.executable, __file__, "--memory", who, "--only", name, "--file", str(path)]
    return float(subprocess.run(code, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory_of(name: str, who: str, path: Path) -> float:
    from conversion import peak

    global BATCH
    BATCH = MEMORY_BATCH
    if who == "captum":
        net = Features(name).eval()
        run = peers(net, path, torch.randn(BATCH, 3, 224, 224))["captum InputXGradient"]
    else:
        run = ours(path, "elrp", "cpu")[0]
    with peak() as found:
        run()
    return found[0]


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}"


def page(rows: list[tuple[str, ...]], names: list[str], rounds: int) -> str:
    head = ["ratio", *names, "goal"]
    lines = [f"| {' | '.join(row)} |" for row in [tuple(head), ("---",) * len(head), *rows]]
    return "\n".join([
        "# What a map costs", "",
        f"Medians of {rounds} rounds, measured in turn in one run at batch {BATCH}, images of 224×224 ({machine()}). Written by",
        "`python benchmarks/attribution.py`, which says what is compared with what.", "", *lines, "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", choices=("ours", "captum"))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--width", type=int, default=1, help="with --large: divides the numbers of channels")
    chosen = parser.parse_args()
    if chosen.large:
        from large import show_large

        with tempfile.TemporaryDirectory() as folder:
            show_large(Path(folder), chosen.rounds, chosen.width)
        return
    if chosen.memory:
        print(memory_of(chosen.only, chosen.memory, chosen.file))
        return
    names = [chosen.only] if chosen.only else list(NETWORKS)
    with tempfile.TemporaryDirectory() as folder:
        times = {name: measure(name, chosen.rounds, chosen.device, Path(folder)) for name in names}
        peaks = [memory(n, "ours", Path(folder) / f"{n}.onnx") / memory(n, "captum", Path(folder) / f"{n}.onnx") for n in names]
    rows: list[tuple[str, ...]] = []
    for label, one, other, goal in BARS:
        cells = [f"{ratio(times[n], one, other):.2f}" if {one, other} <= times[n].keys() else "fails" for n in names]
        rows.append((label, *cells, goal))
    rows.append(("memory at batch 32: elrp / captum InputXGradient", *(f"{value:.2f}" for value in peaks), "≤ 1"))
    text = page(rows, names, chosen.rounds)
    print(text)
    for name in names:
        print(name, {label: f"{np.median(values):.3f} s" for label, values in times[name].items()})
    if not chosen.only:
        PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
