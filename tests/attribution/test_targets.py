"""Maps of a class, values, regions and boxes against Torch's own autograd on the same network, and LRP of a class against the equations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import onnxspace as ox
from onnxspace.attribution.explainer import make_explainer
from onnxspace.attribution.subject import find_subject
from onnxspace.errors import AttributionError, ConfigError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.methods import Method
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target, make_targets
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.helpers.asknets import NETWORKS, RANGE, SIDE, Segmenter, enlarge, export, make_network
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes
from tests.oracles.lrp import Layer, Rules, backward, merged

Number = Callable[[Tensor], Tensor]


def differentiate(net: nn.Module, model: Model, images: ox.Probes, number: Number) -> NDArray[np.float64]:
    """x · dS/dx by autograd in float64, the mean over channels; S is `number` of the outputs, summed over images."""
    x = torch.from_numpy(model.preprocess(images.images)).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(number(net.double().eval()(x)).sum(), x)
    return (gradient * x).mean(dim=1).detach().numpy()  # type: ignore[no-any-return]


def ask(**given: Any) -> Target:
    (target,) = make_targets(**given)
    return target


def equal(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert worst_cosine(found, expected) >= 0.9999
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())


def captions(model: Model, images: ox.Probes, target: Target, method: Method = "saliency") -> tuple[str, ...]:
    setup = Setup(images, method, None, target)
    subject = find_subject(model, setup)
    made = make_explainer(
        model, convert(model, images.images[:2], subject.encoder), setup, torch.device("cpu"), subject=subject
    )
    return made.to_probe_pixels(made.compute_maps(made.prepare_batch(images.images))).captions


@pytest.mark.parametrize("name", list(NETWORKS))
def test_class_maps_equal_autograd_on_the_native_network(tmp_path: Path, name: str) -> None:
    net, images = make_network(name), probes(3, SIDE)
    model = export(net, tmp_path / "net.onnx", ["a", "b", "c", "d", "e"])
    for word, number in (("a", 0), ("d", 3)):
        expected = differentiate(net, model, images, lambda y, k=number: y[:, k])  # type: ignore[misc]
        equal(ox.attribute(model, images, "gradient-x-input", target=word), expected)
    others = differentiate(net, model, images, lambda y: y[:, 3] - (y.sum(dim=1) - y[:, 3]) / 4)
    equal(ox.attribute(model, images, "gradient-x-input", target=ask(classes=["d"], contrast=True)), others)


def test_a_class_is_explained_before_the_softmax(tmp_path: Path) -> None:
    net, images = make_network("convolutions"), probes(3, SIDE)
    plain = export(net, tmp_path / "plain.onnx")
    expected = ox.attribute(plain, images, target=2)
    for ending in (nn.Softmax(dim=-1), nn.LogSoftmax(dim=-1), nn.Sigmoid()):
        model = export(nn.Sequential(make_network("convolutions"), ending), tmp_path / "net.onnx")
        np.testing.assert_allclose(ox.attribute(model, images, target=2), expected, rtol=1e-4, atol=1e-6)
        subject = find_subject(model, Setup(images, target=Target(word="2")))
        kind = type(ending).__name__
        assert subject.remarks == (f"class 2 is explained before the {kind} that logits ends with",)
        np.testing.assert_allclose(
            ox.attribute(model, images, target=ask(values=["logits[0,2]"])), expected, rtol=1e-4, atol=1e-6
        )


def test_captions_name_class_and_probability(tmp_path: Path) -> None:
    net, images, names = make_network("residual"), probes(3, SIDE), ["a", "b", "c", "d", "e"]
    model = export(net, tmp_path / "net.onnx", names)
    ending = export(nn.Sequential(net, nn.Softmax(dim=-1)), tmp_path / "probabilities.onnx", names)
    with torch.no_grad():
        found = net(torch.from_numpy(model.preprocess(images.images))).double().softmax(dim=1).numpy()
    for rank in (1, 2):
        numbers = np.argsort(-found, axis=1)[:, rank - 1]
        expected = tuple(f"{names[k]}, {100 * found[row, k]:.1f} %" for row, k in enumerate(numbers))
        assert captions(model, images, Target(rank=rank)) == captions(ending, images, Target(rank=rank)) == expected
    assert captions(model, images, Target(word="b")) == tuple(f"b, {100 * row[1]:.1f} %" for row in found)


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad"])
def test_the_class_by_rank_is_that_of_the_image_at_every_point(tmp_path: Path, method: Method) -> None:
    net, images = make_network("flattened"), probes(3, SIDE)
    model, options = export(net, tmp_path / "net.onnx"), ox.Options(**{"steps" if method.startswith("int") else "samples": 6})
    with torch.no_grad():
        numbers = net(torch.from_numpy(model.preprocess(images.images))).argmax(dim=1).tolist()
    found = ox.attribute(model, images, method, options=options, target=Target(rank=1))
    for k, number in enumerate(numbers):
        one = ox.Probes("one", images.images[k : k + 1])
        alone = ox.attribute(model, one, method, options=options, target=number)
        np.testing.assert_allclose(found[k : k + 1], alone, rtol=1e-4, atol=1e-4 * np.abs(alone).max())


def test_maps_of_a_class_depend_on_neither_batch_nor_order(tmp_path: Path) -> None:
    model, images = export(make_network("transformer"), tmp_path / "net.onnx"), probes(5, SIDE)
    for method in ("gradient-x-input", "grad-cam", "attnlrp"):
        one, many = (ox.attribute(model, images, method, target=Target(rank=2), batch_size=size) for size in (1, 5))  # type: ignore[arg-type]
        np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-4 * np.abs(many).max())


def build(seed: int = 4) -> tuple[Any, list[Layer]]:
    """Convolution, ReLU, max-pooling, ReLU dense layers to three classes, as ONNX and as the oracle's layers."""
    rng = np.random.default_rng(seed)
    w, b = rng.standard_normal((4, 3, 3, 3)) * 0.4, rng.standard_normal(4) * 0.3
    v, c = rng.standard_normal((6, 4 * 9)) * 0.4, rng.standard_normal(6) * 0.3
    u, d = rng.standard_normal((3, 6)) * 0.6, rng.standard_normal(3) * 0.3
    net = Net(("N", 3, 8, 8))
    x = net.add("Relu", net.add("Conv", "image", net.weight(w), net.weight(b)))
    x = net.add("Flatten", net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    x = net.add("Relu", net.add("Gemm", x, net.weight(v), net.weight(c), transB=1))
    layers: list[Layer] = [
        ("conv", w, b, 0), ("act", "Relu"), ("maxpool", 2), ("dense", v, c), ("act", "Relu"), ("dense", u, d)
    ]  # fmt: skip
    return net.model([net.add("Gemm", x, net.weight(u), net.weight(d), transB=1)]), layers


@pytest.mark.parametrize(
    ("method", "rules"),
    [
        ("lrp-epsilon", Rules("epsilon", "epsilon")),
        ("lrp-gamma", Rules("gamma", "gamma")),
        ("lrp-zplus", Rules("zplus", "zplus")),
        ("lrp-composite", Rules("gamma", "epsilon", "box", low=-2.0, high=255 / 64 - 2)),
    ],
)
def test_relevance_begins_at_the_classs_value(tmp_path: Path, method: Method, rules: Rules) -> None:
    proto, layers = build()
    model, images = open_model(save(proto, tmp_path / "net.onnx"), None, RANGE), probes(2, 8)
    contrast = ask(classes=["1"], contrast=True)
    for target, weights in ((Target(word="1"), np.array([0, 1, 0])), (contrast, np.array([-0.5, 1, -0.5]))):
        found = ox.attribute(model, images, method, target=target)
        expected = [
            backward(merged(layers), image.astype(np.float64), lambda z, w=weights: z * w, rules, True).mean(axis=0)  # type: ignore[misc]
            for image in model.preprocess(images.images)
        ]
        equal(found, np.array(expected))


def test_values_of_any_output_are_explained(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.box = Segmenter(), nn.Conv2d(3, 4, 8, stride=8)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.trunk(x), self.box(x).flatten(2).transpose(1, 2)

    net, images = enlarge(Two()), probes(2, SIDE)
    model = export(net, tmp_path / "net.onnx", outputs=("dense", "boxes"))
    for text, number in (
        ("boxes[0,:,3]", lambda y: y[1][:, :, 3]),
        ("boxes[0,-1]", lambda y: y[1][:, -1]),
        ("boxes", lambda y: y[1]),
        ("dense[:,2,...,4:9:2]", lambda y: y[0][:, 2, ..., 4:9:2]),
    ):
        equal(
            ox.attribute(model, images, "gradient-x-input", target=ask(values=[text])),
            differentiate(net, model, images, number),
        )
    assert captions(model, images, ask(values=["boxes[0,:,3]"]))[0].startswith("sum of 16 values, ")
    for text, words in (
        ("boxes[1,0,0]", r"boxes is \[1, 16, 4\] for one image, and \[1,0,0\] is outside of it"),
        ("boxes[0,0,0,0]", "is outside of it"),
        ("boxes[0,5:5]", "selects nothing"),
        ("boxs[0]", "has no output 'boxs'; did you mean boxes"),
    ):
        with pytest.raises(ConfigError, match=words):
            ox.attribute(model, images, target=ask(values=[text]))


def test_a_region_of_a_dense_output_explains_the_class_that_wins_there(tmp_path: Path) -> None:
    net, images = enlarge(Segmenter()), probes(2, SIDE)
    model = export(net, tmp_path / "net.onnx", ["sky", "sea", "sand", "tree", "boat"])
    region = ask(region="4,8,12,16")
    with torch.no_grad():
        part = net(torch.from_numpy(model.preprocess(images.images)))[:, :, 8:24, 4:16]
    won = torch.nn.functional.one_hot(part.argmax(dim=1).flatten(1), 5).sum(dim=1)
    numbers = won.argmax(dim=1)
    expected = differentiate(
        net, model, images, lambda y: torch.stack([y[k, n, 8:24, 4:16].sum() for k, n in enumerate(numbers.tolist())])
    )
    equal(ox.attribute(model, images, "gradient-x-input", target=region), expected)
    assert captions(model, images, region) == tuple(
        f"{('sky', 'sea', 'sand', 'tree', 'boat')[n]}, wins in {100 * won[k, n] / 192:.0f} % of it"
        for k, n in enumerate(numbers)
    )
    named = differentiate(net, model, images, lambda y: y[:, 3, 8:24, 4:16])
    equal(ox.attribute(model, images, "gradient-x-input", target=ask(classes=["tree"], region="4,8,12,16")), named)
    whole = differentiate(net, model, images, lambda y: y[:, 3])
    equal(ox.attribute(model, images, "gradient-x-input", target="tree"), whole)
    with pytest.raises(ConfigError, match="is not inside the square of 32 × 32 pixels"):
        ox.attribute(model, images, target=ask(region="20,20,20,5"))


def test_a_region_is_where_the_network_sees_it(tmp_path: Path) -> None:
    """A network of another aspect ratio, whose input is the centre of the image."""
    net, images = enlarge(Segmenter()), probes(2, SIDE)
    export(net, tmp_path / "net.onnx")
    options = ModelOptions(scale=1 / 64, mean=(2.0,), std=(1.0,), size=(16, 32), resize="crop")
    path = save(_fixed(net, tmp_path), tmp_path / "wide.onnx")
    model = open_model(path, None, options)
    expected = differentiate(net, model, images, lambda y: y[:, 1, 2:6, 4:12])
    found = ox.attribute(model, images, "gradient-x-input", target=ask(classes=["1"], region="4,10,8,4"))
    assert not found[:, :8].any()
    equal(found[:, 8:24], expected)
    with pytest.raises(ConfigError, match="does not see the region 0,0,4,4"):
        ox.attribute(model, images, target=ask(region="0,0,4,4"))


def _fixed(net: nn.Module, folder: Path) -> Any:
    import onnx

    torch.onnx.export(
        net, (torch.zeros(2, 3, 16, 32),), str(folder / "wide.onnx"), dynamo=False, opset_version=17, input_names=["image"],
        output_names=["logits"], dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    return onnx.load(str(folder / "wide.onnx"))


def test_the_numbers_before_a_decision_are_explained(tmp_path: Path) -> None:
    """A network that puts out the number of its class alone."""
    net, images = make_network("residual"), probes(2, SIDE)
    plain = export(net, tmp_path / "plain.onnx")

    class Decided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.net(x).argmax(dim=1)
            return made

    model = export(Decided(), tmp_path / "decided.onnx", outputs=("number",))
    expected = ox.attribute(plain, images, "gradient-x-input", target=2)
    np.testing.assert_allclose(ox.attribute(model, images, "gradient-x-input", target=2), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ModelError, match=r"its output 'number' holds no numbers .* there are (\S+)\.") as caught:
        ox.attribute(model, images, target=ask(values=["number"]))
    inner = str(caught.value).split("there are ")[1].rstrip(".")
    found = ox.attribute(model, images, "gradient-x-input", target=ask(values=[f"{inner}[0,2]"]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


class Detector(nn.Module):
    """Boxes on a grid of 4 × 4, moved by what is seen, and scores of two classes; `form` says how they are put out."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.features, self.scores = form, nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(3, 2, 8, stride=8)
        steps = torch.arange(4) * 8.0
        corners = torch.stack([steps.repeat(4), steps.repeat_interleave(4)], dim=1)
        self.register_buffer("corners", torch.cat([corners, corners + 8], dim=1))

    def forward(self, x: Tensor) -> Any:
        moved = self.features(x).flatten(2).transpose(1, 2)
        boxes: Any = self.corners + 0.2 * moved.tanh()
        scores = self.scores(x).flatten(2).transpose(1, 2)
        centres = torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)
        if self.form == "corners":
            return boxes, scores
        if self.form == "shares":
            return centres / SIDE, scores
        sure = scores.sigmoid()
        if self.form == "first":
            return torch.cat([centres, sure], dim=-1).transpose(1, 2)
        return torch.cat([centres, moved[..., :1].sigmoid(), sure], dim=-1)


NUMBERS: dict[str, tuple[tuple[str, ...], Number]] = {
    "corners": (("boxes", "scores"), lambda y: y[1][:, 6]),
    "shares": (("pred_boxes", "logits"), lambda y: y[1][:, 6]),
    "first": (("output0",), lambda y: y[:, 4:, 6]),
    "objectness": (("output0",), lambda y: y[:, 6, 5:] * y[:, 6, 4:5]),
}


@pytest.mark.parametrize("form", list(NUMBERS))
def test_the_box_nearest_by_overlap_is_explained(tmp_path: Path, form: str) -> None:
    import onnx

    torch.manual_seed(0)
    net, images = Detector(form).eval(), probes(2, SIDE)
    outputs, scores = NUMBERS[form]
    export(net, tmp_path / "net.onnx", outputs=outputs)
    proto = onnx.load(str(tmp_path / "net.onnx"))
    onnx.helper.set_model_props(proto, {"names": "{0: 'cat', 1: 'dog'}", "stride": "8"})
    onnx.save(proto, str(tmp_path / "net.onnx"))
    model = open_model(tmp_path / "net.onnx", None, RANGE)
    expected = differentiate(net, model, images, lambda y: scores(y)[:, 1])
    equal(ox.attribute(model, images, "gradient-x-input", target=ask(classes=["dog"], box="16.5,9,7,6")), expected)
    best = differentiate(net, model, images, lambda y: scores(y).max(dim=1).values)
    equal(ox.attribute(model, images, "gradient-x-input", target=ask(box="16.5,9,7,6")), best)
    assert all("score" in text and "overlap 0." in text for text in captions(model, images, ask(box="16.5,9,7,6")))


def test_boxes_of_unknown_form_are_not_guessed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = export(Detector("corners").eval(), tmp_path / "net.onnx", outputs=("where", "scores"))
    with pytest.raises(ModelError, match="has no boxes in a form that is understood"):
        ox.attribute(model, probes(1, SIDE), target=ask(box="1,2,3,4"))
    sparse = export(_Sparse(), tmp_path / "sparse.onnx", outputs=("boxes", "scores"))
    with pytest.raises(AttributionError, match="finds no box that overlaps with 28,28,2,2"):
        ox.attribute(sparse, probes(1, SIDE), target=ask(box="28,28,2,2"))


class _Sparse(nn.Module):
    """One box, in a corner."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        score = self.head(x.mean(dim=(2, 3)))
        return torch.tensor([0.0, 0.0, 8.0, 8.0]) + 0.01 * score[:, :, None].tanh(), score


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classes": ["9"]}, "has no class '9' among its 5"),
        ({"classes": ["0"], "values": ["none"]}, "has no output 'none'"),
        ({"top": 6}, "has 5 class.es. in logits, fewer than --top 6"),
        ({"region": "1,1,4,4"}, "has no output with a value per pixel"),
        ({"box": "1,1,4,4", "values": ["logits"]}, "finds the outputs of a detector by itself"),
        ({"box": "1,1,4,4"}, "has no boxes in a form that is understood"),
    ],
)
def test_what_a_classifier_lacks_is_said_in_a_sentence(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    model = export(make_network("residual"), tmp_path / "net.onnx")
    with pytest.raises((ConfigError, ModelError), match=words):
        ox.attribute(model, probes(2, SIDE), target=make_targets(**given)[-1])


def test_one_of_several_classifiers_is_to_be_named(tmp_path: Path) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.second = make_network("convolutions"), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            found = self.trunk(x)
            return found, self.second(found)

    net, images = Heads().eval(), probes(2, SIDE)
    model = export(net, tmp_path / "net.onnx", outputs=("kinds", "sizes"))
    called = export(net, tmp_path / "called.onnx", ["s", "m", "l"], outputs=("kinds", "sizes"))
    with pytest.raises(
        ConfigError, match=r"several outputs with classes: kinds \[1, 5\], sizes \[1, 3\]. Name one by --value kinds"
    ):
        ox.attribute(model, images, target=0)
    named = ox.attribute(model, images, "gradient-x-input", target=ask(classes=["2"], values=["sizes"]))
    equal(named, differentiate(net, model, images, lambda y: y[1][:, 2]))
    equal(ox.attribute(called, images, "gradient-x-input", target="l"), named)
