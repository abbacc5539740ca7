"""The table of rules: its names, how it is extended, what is left without a rule, and what stays untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxspace as ox
from onnxspace.attribution.lrp import EPSILON, RULE_SETS, RULES, RuleSet, apply_rules, find_rule_set
from onnxspace.attribution.lrp.rules import Site
from onnxspace.errors import ConfigError
from onnxspace.inputs.config import load_config
from onnxspace.inputs.rule_names import NAMES, PARAMETERS, SETS
from tests.helpers.nets import Net, classifier


def gradient(graph: torch.fx.GraphModule, x: torch.Tensor) -> torch.Tensor:
    data = x.clone().requires_grad_(True)
    return torch.autograd.grad(graph(data).sum(), data)[0]


def activated(operator: str, domain: str = "", inputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    net = Net(("N", 3))
    extra = [net.weight(np.array([0.3, -0.2, 0.5]))] if inputs > 1 else []
    name = net.add(operator, "image", *extra, **attributes)
    net.nodes[-1].domain = domain
    model = net.model([name], opset=20)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


X = torch.tensor([[0.7, -1.2, 0.0]], dtype=torch.float64)


def test_names_are_those_of_the_torch_free_module() -> None:
    assert tuple(RULE_SETS) == SETS
    assert set(RULES) >= set(NAMES)
    assert set(PARAMETERS) < set(RuleSet.__dataclass_fields__)
    assert all(rule in NAMES for rules in RULE_SETS.values() for rule in rules.rules.values())


BIASED = [("BiasGelu", 2), ("FastGelu", 2), ("FastGelu", 1)]


@pytest.mark.parametrize(("operator", "inputs"), [("Gelu", 1), ("QuickGelu", 1), *BIASED])
def test_ratio_of_onnx_runtimes_activations(operator: str, inputs: int) -> None:
    graph = ox.to_torch(activated(operator, "com.microsoft", inputs)).double()
    z = X + (torch.tensor([0.3, -0.2, 0.5]).double() if inputs > 1 else 0)
    expected = graph(X) / (z + torch.where(z >= 0, EPSILON, -EPSILON))
    torch.testing.assert_close(gradient(apply_rules(graph, "elrp").graph, X), expected)


@pytest.mark.parametrize("high", [None, 6.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ratio_of_rectifiers(high: float | None, dtype: torch.dtype) -> None:
    net = Net(("N", 5))
    bounds = [net.weight(np.float32(0))] + ([net.weight(np.float32(high))] if high else [])
    graph = ox.to_torch(net.model([net.add("Clip", "image", *bounds)])).to(dtype)
    z = torch.tensor([[3.0, 9.0, 0.5e-4, 0.0, -1e-4]], dtype=dtype)
    found = gradient(apply_rules(graph, "elrp").graph, z)
    torch.testing.assert_close(found, z.clamp(0, high) / (z + torch.tensor([1, 1, 1, 1, -1]) * EPSILON), rtol=1e-6, atol=0)
    assert (found[0, 3:] == 0).all()


@pytest.mark.parametrize("operator", ["Sigmoid", "Softplus"])
def test_offset_form_is_finite_at_zero_and_a_line_away(operator: str) -> None:
    graph = ox.to_torch(activated(operator)).double()
    plain = gradient(apply_rules(graph, "elrp").graph, X)
    torch.testing.assert_close(plain, graph(X) / (X + torch.where(X >= 0, EPSILON, -EPSILON)))
    assert plain[0, 2] > 1e3
    offset = gradient(apply_rules(graph, RULE_SETS["elrp"].with_(**{operator: "ratio-offset"})).graph, X)
    torch.testing.assert_close(offset, (graph(X) - graph(0 * X)) / (X + torch.where(X >= 0, EPSILON, -EPSILON)))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("added", [False, True])
def test_a_fused_convolution_is_its_parts(name: str, added: bool) -> None:
    rng = np.random.default_rng(0)
    first, second, bias = rng.standard_normal((4, 2, 3, 3)), rng.standard_normal((3, 4, 3, 3)), rng.standard_normal(4)

    def network(fused: bool) -> onnx.ModelProto:
        net = Net(("N", 2, 8, 8))
        w, b = net.weight(first), net.weight(bias)
        rest = [net.conv("image", 2, 4, 3)] if added else []
        if fused:
            x = net.add("FusedConv", "image", w, b, *rest, activation="Relu")
            net.nodes[-1].domain = "com.microsoft"
        else:
            x = net.add("Conv", "image", w, b)
            x = net.add("Relu", net.add("Add", x, *rest) if added else x)
        model = net.model([net.add("Conv", x, net.weight(second))])
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model

    x = torch.from_numpy(rng.standard_normal((2, 2, 8, 8)))
    bounds = (torch.full((1, 2, 1, 1), -3.0), torch.full((1, 2, 1, 1), 3.0))
    maps = [gradient(apply_rules(ox.to_torch(network(fused)).double(), name, bounds).graph, x) for fused in (True, False)]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-6, atol=1e-9)


def test_operators_without_a_rule_are_counted() -> None:
    net = Net()
    x = net.add("Sin", net.conv("image", 3, 4))
    x = net.add("Exp", net.add("Sin", net.add("Reshape", x, net.weight(np.array([0, 4, 196])))))
    scores = net.add("MatMul", x, net.add("Transpose", x, perm=[0, 2, 1]))
    model = net.model([net.add("Relu", net.add("Softmax", scores))])
    graph = ox.to_torch(model)
    assert apply_rules(graph, "elrp").fallback == {"Sin": 2, "Exp": 1}
    assert apply_rules(graph, "lrp-epsilon").fallback == {"Sin": 2, "Exp": 1, "MatMul": 1, "Softmax": 1}
    assert apply_rules(graph, "attnlrp").fallback == {"Sin": 2, "Exp": 1}
    rules = RULE_SETS["elrp"].with_(Sin="ratio", Exp="gradient", Product="half", Softmax="gradient")
    assert apply_rules(graph, rules).fallback == {}
    assert apply_rules(ox.to_torch(classifier()), "lrp-gamma").fallback == {}


def test_the_graph_itself_stays_as_it_is_and_shares_its_weights() -> None:
    graph = ox.to_torch(classifier())
    x = torch.randn(2, 3, 16, 16)
    names, before = [name for name, _ in graph.named_children()], gradient(graph, x)
    for rules in RULE_SETS:
        bounds = (torch.full((1, 3, 1, 1), -3.0), torch.full((1, 3, 1, 1), 3.0))
        ruled = apply_rules(graph, rules, bounds).graph
        torch.testing.assert_close(ruled(x), graph(x))
        stored = {value.data_ptr() for value in graph.buffers()}
        bound = {value.data_ptr() for name, value in ruled.named_buffers() if "Bound" in name}
        assert {value.data_ptr() for value in ruled.buffers()} - bound <= stored
    assert [name for name, _ in graph.named_children()] == names
    torch.testing.assert_close(gradient(graph, x), before)


def test_a_rule_of_ones_own() -> None:
    def doubled(site: Site) -> torch.nn.Module:
        return torch.nn.Sequential(site.module, torch.nn.Hardtanh(-1e9, 1e9), Twice())

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x - x.detach()

    graph = ox.to_torch(activated("Sin")).double()
    RULES["double"] = doubled
    try:
        found = gradient(apply_rules(graph, RULE_SETS["elrp"].with_(Sin="double")).graph, X)
    finally:
        del RULES["double"]
    torch.testing.assert_close(found, 2 * torch.cos(X))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"Sin": "raito"}, "Sin = 'raito' is not a rule. Use one of: gradient, ratio"),
        ({"Conv": "flat"}, "this rule is only for the image. Use it as Input"),
        ({"Conv": 0.5}, "Operators take the name of a rule, parameters a number"),
        ({"gamma": "ratio"}, "Operators take the name of a rule, parameters a number"),
        ({"alpha": 3}, "alpha − beta is 2 but must be 1. Give both"),
    ],
)
def test_impossible_rules_are_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_rules(ox.to_torch(classifier()), find_rule_set("lrp-alpha-beta", entries))
    with pytest.raises(ConfigError, match=r"there is no rule set 'lrp'; did you mean (lrp-\w+|elrp)"):
        find_rule_set("lrp")


def test_rules_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "onnxspace.toml"
    path.write_text('[rules.elrp]\nSwish = "gradient"\nSin = "ratio"\n[rules.lrp-gamma]\ngamma = 0.5\n', "utf-8")
    config = load_config(path)
    made = find_rule_set("elrp", config.rules.get("elrp"))
    assert made.rules == {**RULE_SETS["elrp"].rules, "Swish": "gradient", "Sin": "ratio"}
    assert find_rule_set("lrp-gamma", config.rules["lrp-gamma"]).gamma == 0.5
    assert find_rule_set("attnlrp", config.rules.get("attnlrp")) == RULE_SETS["attnlrp"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules = 3", r"\[rules\] must hold one table per rule set"),
        ("[rules]\nelrp = 3", r"\[rules\] must hold one table per rule set"),
        ('[rules.lrp]\nRelu = "ratio"', r"\[rules\]: there is no rule set 'lrp'; did you mean "),
        ('[rules.elrp]\nRelu = "raito"', r"\[rules.elrp\]: Relu = 'raito' is not a rule. Use one of: gradient"),
        ("[rules.elrp]\nRelu = 1", r"\[rules.elrp\]: Relu = 1 is not a rule"),
        ('[rules.elrp]\nepsilon = "much"', r"\[rules.elrp\]: epsilon must be a number of at least 0"),
        ("[rules.elrp]\nepsilon = 0", r"\[rules.elrp\]: epsilon must be above 0"),
        ("[rules.lrp-gamma]\ngamma = nan", r"\[rules.lrp-gamma\]: gamma must be a number of at least 0"),
    ],
)
def test_a_file_with_impossible_rules_is_refused_by_name_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "onnxspace.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
