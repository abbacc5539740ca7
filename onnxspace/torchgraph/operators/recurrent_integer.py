"""DynamicQuantizeLSTM of ONNX Runtime: 8-bit weights, and inputs and states that are quantised to their own range at each step."""

from __future__ import annotations

from torch import Tensor, nn

from onnxspace.torchgraph.operators.integer import DynamicQuantize
from onnxspace.torchgraph.operators.recurrent import LSTMCell, RecurrentNetwork, read_activations
from onnxspace.torchgraph.registry import Node, TorchOperator, converter


class DynamicCell(LSTMCell):
    """One step of an LSTM with rounded inputs and states; the gradient is straight through."""

    def prepare(self, x: Tensor) -> Tensor:
        """The values that the tensor has after quantisation to its own range."""
        values, scale, zero = DynamicQuantize()(x)
        rounded: Tensor = (values - zero.to(values.dtype)) * scale
        return rounded


def dequantise_rows(weight: Tensor, scale: Tensor | None, zero: Tensor | None) -> Tensor:
    """Weights [directions, inputs, units] as floating point, in the order [directions, units, inputs] of LSTM.

    Scales and zero points are one number per direction, or one per unit.
    """
    if scale is None or zero is None:
        raise ValueError("a scale or zero point is missing")
    shape = (weight.shape[0], 1, -1)
    return ((weight.float() - zero.float().reshape(shape)) * scale.reshape(shape)).transpose(1, 2)


class DynamicLSTM(nn.Module):
    """An LSTM whose weights are stored as integers."""

    def __init__(self, inner: RecurrentNetwork) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
        hidden: Tensor | None = None, cell: Tensor | None = None, peepholes: Tensor | None = None,
        w_scale: Tensor | None = None, w_zero: Tensor | None = None, r_scale: Tensor | None = None, r_zero: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        weights = dequantise_rows(w, w_scale, w_zero), dequantise_rows(r, r_scale, r_zero)
        result: Tensor | tuple[Tensor, ...] = self.inner(x, *weights, b, lengths, hidden, cell, peepholes)
        return result


@converter("DynamicQuantizeLSTM", 0, 1, domain="com.microsoft")
def dynamic_quantize_lstm(node: Node) -> TorchOperator:
    """DynamicQuantizeLSTM."""
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    return DynamicLSTM(RecurrentNetwork(DynamicCell(node), read_activations(node, directions), node))
