"""QAttention and GroupQueryAttention of ONNX Runtime; see ContribOperators.md."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.attention_heads import Window, join_heads, repeat_heads, split_heads
from onnxspace.torchgraph.operators.fused_attention import PackedAttention
from onnxspace.torchgraph.operators.rotary import rotate_pairs
from onnxspace.torchgraph.operators.runtime_integer import IntegerProduct
from onnxspace.torchgraph.registry import HostValue, Node, TorchOperator, converter, read_on_host, to_integers

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


class IntegerAttention(nn.Module):
    """Attention whose projection multiplies 8-bit integers."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.project, self.attention = IntegerProduct(), PackedAttention(node)

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor, x_scale: Tensor, scale: Tensor, mask: Tensor | None = None,
        x_zero: Tensor | None = None, zero: Tensor | None = None, past: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        factors = self.attention.factors(self.project(x, weight, x_scale, scale, x_zero, zero, bias), mask, past)
        y, _ = self.attention.attend(factors)
        return y if self.attention.outputs == 1 else (y, torch.stack([factors.keys.mT, factors.values]))


@converter("QAttention", *_RUNTIME, domain=_MICROSOFT)
def q_attention(node: Node) -> TorchOperator:
    """QAttention, without rotary embedding or shared buffers."""
    if any(node.get(name, 0) for name in ("do_rotary", "past_present_share_buffer")):
        raise NotImplementedError("rotation or shared buffers inside QAttention")
    return IntegerAttention(node)


class Rotation(NamedTuple):
    """How queries and keys are rotated: cosines and sines [positions, pairs], and whether pairs are interleaved."""

    cos: Tensor
    sin: Tensor
    interleaved: bool

    def apply(self, x: Tensor, start: int) -> Tensor:
        """Rotate `x` [batch, heads, length, size], whose first element has the position `start`."""
        places = slice(start, start + x.shape[2])
        return rotate_pairs(x, self.cos[None, places], self.sin[None, places], self.interleaved)


class GroupedAttention(nn.Module):
    """Causal attention whose keys and values are shared by groups of query heads, after those of earlier calls."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.heads, self.key_heads, self.outputs = int(node.get("num_heads")), int(node.get("kv_num_heads")), node.outputs
        self.scale, self.softcap = node.get("scale", 0.0), node.get("softcap", 0.0)
        self.rotates, self.interleaved = bool(node.get("do_rotary", 0)), bool(node.get("rotary_interleaved", 0))
        left = int(node.get("local_window_size", -1))
        self.window = Window(causal=True, left=left - 1 if left > 0 else -1)

    def forward(
        self, q: Tensor, k: Tensor | None = None, v: Tensor | None = None, past_key: Tensor | None = None,
        past_value: Tensor | None = None, lengths: HostValue | None = None, total: HostValue | None = None,
        cos: Tensor | None = None, sin: Tensor | None = None, _positions: Tensor | None = None, bias: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        q, k, v = self._split(q, k, v)
        past = 0 if total is None else to_integers(total)[0] - q.shape[2]
        if lengths is not None and any(n != past + q.shape[2] - 1 for n in to_integers(lengths)):
            raise NotImplementedError("sequences of different lengths in GroupQueryAttention")
        if self.rotates and cos is not None and sin is not None:
            turn = Rotation(cos, sin, self.interleaved)
            q, k = turn.apply(q, past), turn.apply(k, past)
        k = k if past_key is None else torch.cat([past_key[:, :, :past], k], 2)
        v = v if past_value is None else torch.cat([past_value[:, :, :past], v], 2)
        result = join_heads(self._attend(q, k, v, bias, past))
        return result if self.outputs == 1 else (result, k, v)

    def _split(self, q: Tensor, k: Tensor | None, v: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head; all may be packed in the first tensor."""
        if k is None or v is None:
            size = q.shape[2] // (self.heads + 2 * self.key_heads)
            q, k, v = torch.split(q, [size * self.heads, size * self.key_heads, size * self.key_heads], 2)
        return split_heads(q, self.heads), split_heads(k, self.key_heads), split_heads(v, self.key_heads)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, past: int) -> Tensor:
        scale = self.scale or 1 / math.sqrt(q.shape[-1])
        scores = (q * scale) @ repeat_heads(k, self.heads).mT
        scores = self.softcap * torch.tanh(scores / self.softcap) if self.softcap else scores
        scores = scores + self.window.bias(q.shape[2], k.shape[2], past, q)
        scores = scores if bias is None else scores + bias
        return torch.softmax(scores, -1) @ repeat_heads(v, self.heads)


_REFUSED = ("smooth_softmax", "kv_cache_bit_width", "qk_output", "sliding_window_cache")


@converter("GroupQueryAttention", *_RUNTIME, domain=_MICROSOFT)
def group_query_attention(node: Node) -> TorchOperator:
    """GroupQueryAttention of sequences of one length, causal, with rotation, windows, soft cap and a bias of the scores."""
    odd = [name for name in _REFUSED if node.get(name, 0)] + [
        f"input {index}" for index in (9, *range(11, 16)) if node.has(index)
    ]
    if odd or not node.get("causal", 1):
        raise NotImplementedError(f"{odd[0] if odd else 'no causal mask'} of GroupQueryAttention")
    return read_on_host(GroupedAttention(node), 5, 6)
