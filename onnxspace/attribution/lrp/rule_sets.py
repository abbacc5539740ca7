"""The rule sets as data: tables from operator to rule.

Keys are ONNX operators and names for combinations of them: `Activation`, an element-wise nonlinearity of one tensor that is composed
of several operators; `Product` and `Quotient`, a product (Mul, MatMul, Gemm) or Div of two tensors that both depend on the image;
`Input`, the linear operators whose input is the image.

Sigmoid, HardSigmoid, Softplus and Exp are not zero at zero: `f(z)/z` grows without bound there, `(f(z) − f(0))/z`
(`ratio-offset`) does not. The default is the plain ratio, so that affinities are those of the published method; ε bounds the factor.
`RULE_SETS["elrp"].with_(Sigmoid="ratio-offset", Softplus="ratio-offset")` uses the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onnxspace.errors import ConfigError
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.inputs.rule_names import PARAMETERS

#: The stabiliser of the ratio (Ancona et al. 2018, as used in the NeurIPS 2019 paper on model spaces).
EPSILON = 1e-4
#: Element-wise nonlinearities of one variable.
ACTIVATIONS = (
    "Relu", "LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "Clip", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign",
    "HardSwish", "Gelu", "QuickGelu", "Mish", "Swish", "ThresholdedRelu", "Shrink", "Erf", "Activation",
)  # fmt: skip
CONVOLUTIONS = ("Conv", "ConvTranspose")
DENSE = ("Gemm", "MatMul", "FusedMatMul", "TransposeMatMul", "Einsum")
NORMALISATIONS = (
    "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization", "GroupNormalization", "InstanceNormalization", "LpNormalization",
    "MeanVarianceNormalization", "LRN",
)  # fmt: skip
#: Linear operators to which no rule of weights applies: reported only where the rule set has such rules.
OTHER_LINEAR = (
    "DeformConv", "QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "QLinearAdd", "QLinearConcat",
    "QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearReduceMean", "QLinearWhere", "MatMulNBits", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
)  # fmt: skip
ATTENTION = ("Attention", "MultiHeadAttention", "FlexAttention")
#: Operators whose gradient is correct under every rule: they are linear in what depends on the image, or select from it.
LINEAR: frozenset[str] = frozenset(
    {
        "Add", "Sub", "Sum", "Mean", "Neg", "Identity", "Dropout", "Cast", "CastLike", "BatchNormalization", "ImageScaler", "Affine",
        "Conv", "ConvTranspose", "Gemm", "MatMul", "FusedMatMul", "TransposeMatMul", "Einsum", "Mul", "Div", "AttentionInputs",
        "QuantizeLinear", "DequantizeLinear", "Binarize",
        "AveragePool", "GlobalAveragePool", "MaxPool", "GlobalMaxPool", "MaxUnpool", "Max", "Min", "Abs",
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "CumSum", "TopK", "Where",
        "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Split", "Slice", "Expand", "Tile", "Pad", "Crop",
        "CenterCropPad", "Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "Compress", "Trilu",
        "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "Col2Im", "ReverseSequence", "RotaryEmbedding", "DFT", "STFT",
    }
)  # fmt: skip


@dataclass(frozen=True)
class RuleSet:
    """The rule of each operator, and the parameters of rules; an operator without a rule keeps its gradient.

    `rules` maps operators to names of rules. `epsilon` stabilises denominators (above 0); `gamma` (at least 0) favours contributions
    of the output's sign; `alpha` and `beta` weight positive and negative contributions, with alpha − beta = 1.
    """

    name: str
    rules: Mapping[str, str] = field(default_factory=dict)
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    beta: float = 1.0

    def with_(self, **entries: str | float) -> RuleSet:
        """Return this set with other entries: `operator="rule"`, or a number for a parameter. Raises ConfigError for invalid ones.

        >>> RULE_SETS["elrp"].with_(Sigmoid="ratio-offset", epsilon=1e-3).epsilon
        0.001
        """
        numbers: dict[str, float] = {}
        rules = dict(self.rules)
        for key, value in entries.items():
            if (key in PARAMETERS) is isinstance(value, str):
                raise ConfigError(f"{self.name}: {key} = {value!r}. Operators take the name of a rule, parameters a number.")
            if isinstance(value, str):
                rules[key] = value
            else:
                numbers[key] = float(value)
        changed = replace(self, rules=rules, **numbers)  # type: ignore[arg-type]
        if abs(changed.alpha - changed.beta - 1) > 1e-9:
            raise ConfigError(f"{self.name}: alpha − beta is {changed.alpha - changed.beta:g} but must be 1. Give both.")
        return changed


def make_table(*rows: tuple[tuple[str, ...] | str, str]) -> dict[str, str]:
    """Return a dictionary from operator to rule of `rows` of (operator or operators, rule)."""
    return {name: rule for names, rule in rows for name in ((names,) if isinstance(names, str) else names)}


def _make_linear_set(name: str, rule: str) -> RuleSet:
    """One rule at all linear operators."""
    return RuleSet(name, make_table((CONVOLUTIONS + DENSE, rule), (ACTIVATIONS, "ratio")))


#: The paper changes the derivative of nonlinearities of one variable; all other known operators keep their gradient.
_ELRP = make_table(
    (ACTIVATIONS, "ratio"), ((*NORMALISATIONS, *OTHER_LINEAR, *ATTENTION, "Softmax", "Product", "Quotient"), "gradient")
)
#: ε at dense layers, γ at convolutions, z^B at the image (Montavon et al. 2019, section "Which LRP rule for which layer").
_COMPOSITE = make_table((CONVOLUTIONS, "gamma"), (DENSE, "epsilon"), (ACTIVATIONS, "ratio"), ("Input", "box"))
#: Achtibat et al., "AttnLRP: attention-aware layer-wise relevance propagation for transformers", ICML 2024. Its rule of the
#: softmax, `R_i = x_i (R_i − s_i Σ R)`, is the plain gradient times the input.
_ATTNLRP = make_table(
    (CONVOLUTIONS + DENSE, "epsilon"),
    (ACTIVATIONS, "ratio"),
    ("Softmax", "gradient"),
    (("Product", *ATTENTION), "half"),
    (("Quotient", *NORMALISATIONS), "detach"),
)
#: All rule sets by name.
RULE_SETS: dict[str, RuleSet] = {
    one.name: one
    for one in (
        RuleSet("elrp", _ELRP, EPSILON),
        _make_linear_set("lrp-epsilon", "epsilon"),
        _make_linear_set("lrp-gamma", "gamma"),
        _make_linear_set("lrp-zplus", "zplus"),
        _make_linear_set("lrp-alpha-beta", "alpha-beta"),
        RuleSet("lrp-composite", _COMPOSITE),
        RuleSet("attnlrp", _ATTNLRP),
    )
}


def find_rule_set(name: str, entries: Mapping[str, str | float] | None = None) -> RuleSet:
    """Return the rule set `name`, in which `entries`, as in `[rules.NAME]` of a configuration, replace its own.

    Raises ConfigError for an unknown name and for invalid entries.
    """
    if name not in RULE_SETS:
        raise ConfigError(f"[rules]: {describe_unknown('rule set', name, RULE_SETS)}")
    return RULE_SETS[name].with_(**(entries or {}))
