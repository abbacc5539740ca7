"""Attention and MultiHeadAttention of ONNX Runtime, computed without fused kernels, so that rules apply."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.attention import Attention
from onnxspace.torchgraph.operators.attention_heads import AttentionFactors, Window, join_heads, split_heads
from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


class AttentionInputs(nn.Module):
    """The factors of an attention operator, from the operator's inputs."""

    def __init__(self, attention: Attention | PackedAttention | MultiHeadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, *inputs: Tensor | None, **named: Tensor | None) -> AttentionFactors:
        factors: AttentionFactors = self.attention.factors(*inputs, **named)  # type: ignore[arg-type]
        return factors


class FusedAttention(nn.Module):
    """Base of the two fused attention operators of ONNX Runtime: scores and masks."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.heads, self.outputs = node.get("num_heads"), node.outputs
        self.scale, self.low = node.get("scale", 0.0), node.get("mask_filter_value", -10000.0)
        self.causal = bool(node.get("unidirectional", 0))

    def make_factors(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, past: int
    ) -> AttentionFactors:
        """The factors of attention; `past` is the number of keys from earlier calls."""
        added: list[Tensor] = [] if mask is None else [self._to_score_mask(mask, k)]
        if self.causal:
            added.append(Window(causal=True).bias(q.shape[2], k.shape[2], past, q))
        added += [] if bias is None else [bias]
        scale = self.scale or 1 / math.sqrt(q.shape[-1])
        return AttentionFactors(q * scale, k.mT, v, sum(added[1:], added[0]) if added else 0, packed=True)

    def attend(self, factors: AttentionFactors) -> tuple[Tensor, Tensor]:
        """The result with joined heads, and the masked scores."""
        scores = factors.queries @ factors.keys + factors.bias
        return join_heads(torch.softmax(scores, -1) @ factors.values), scores

    def _to_score_mask(self, mask: Tensor, keys: Tensor) -> Tensor:
        """Convert a mask of lengths, of keys, or of queries by keys, to values that are added to scores."""
        if mask.dim() == 1:
            if mask.shape[0] != keys.shape[0]:
                raise NotImplementedError("masks of starts and ends")
            mask = (torch.arange(keys.shape[2], device=mask.device) < mask[:, None]).to(mask.dtype)
        mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
        return torch.where(mask > 0, 0.0, self.low).to(keys.dtype)


class PackedAttention(FusedAttention):
    """Attention including its projection: one matrix maps a tensor to queries, keys and values."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.sizes = node.get("qkv_hidden_sizes")

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, mask: Tensor | None = None,
        past: Tensor | None = None, added: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        result = self.factors(x @ weight if bias is None else x @ weight + bias, mask, past, added)
        y, _ = self.attend(result)
        return y if self.outputs == 1 else (y, torch.stack([result.keys.mT, result.values]))

    def factors(
        self, projected: Tensor, mask: Tensor | None = None, past: Tensor | None = None, added: Tensor | None = None
    ) -> AttentionFactors:
        """The factors of attention, from the projected tensor."""
        sizes = list(self.sizes) if self.sizes else [projected.shape[-1] // 3] * 3
        q, k, v = (split_heads(part, self.heads) for part in torch.split(projected, sizes, -1))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        return self.make_factors(q, k, v, mask, added, 0 if past is None else past.shape[3])


@converter("Attention", *_RUNTIME, domain=_MICROSOFT)
def packed_attention(node: Node) -> TorchOperator:
    """Attention of ONNX Runtime, without rotary embedding or shared buffers."""
    if any(node.get(name, 0) for name in ("do_rotary", "past_present_share_buffer")) or node.has(6):
        raise NotImplementedError("rotation or shared buffers inside Attention")
    return PackedAttention(node)


def unpack_heads(q: Tensor, k: Tensor | None, v: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Separate queries, keys and values packed in `q` [batch, length, heads, 3, size], or the latter two in `k` [… 2, size]."""
    if k is None:
        q, k, v = q.movedim(2, 1).unbind(3)
    elif v is None:
        k, v = k.movedim(2, 1).unbind(3)
    return q, k, v


class MultiHeadAttention(FusedAttention):
    """Attention over projected queries, keys and values, to which it adds their biases."""

    def forward(
        self, q: Tensor, k: Tensor | None = None, v: Tensor | None = None, bias: Tensor | None = None,
        mask: Tensor | None = None, added: Tensor | None = None,
        past_key: Tensor | None = None, past_value: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        result = self.factors(q, k, v, bias, mask, added, past_key, past_value)
        y, scores = self.attend(result)
        return y if self.outputs == 1 else (y, result.keys.mT, result.values, scores)

    def factors(
        self, q: Tensor, k: Tensor | None = None, v: Tensor | None = None, bias: Tensor | None = None,
        mask: Tensor | None = None, added: Tensor | None = None,
        past_key: Tensor | None = None, past_value: Tensor | None = None,
    ) -> AttentionFactors:  # fmt: skip
        """The factors of attention, with biases added, after keys and values of earlier calls."""
        q, k, v = unpack_heads(q, k, v)
        if bias is not None:
            sizes = [q.shape[-1], q.shape[-1], bias.shape[0] - 2 * q.shape[-1]]
            first, second, third = torch.split(bias, sizes)
            q, k, v = q + first, k + second if k.dim() == 3 else k, v + third if v.dim() == 3 else v
        q, k, v = (split_heads(x, self.heads) if x.dim() == 3 else x for x in (q, k, v))
        k = k if past_key is None else torch.cat([past_key, k], 2)
        v = v if past_value is None else torch.cat([past_value, v], 2)
        return self.make_factors(q, k, v, mask, added, 0 if past_key is None else past_key.shape[2])


@converter("MultiHeadAttention", *_RUNTIME, domain=_MICROSOFT)
def multi_head_attention(node: Node) -> TorchOperator:
    """MultiHeadAttention of ONNX Runtime, without shared buffers and beam search."""
    if node.has(3) and not node.has(2):
        raise NotImplementedError("a bias of packed keys and values")
    if any(node.has(index) for index in (8, 9)) or any(node.proto.output[3:]):
        raise NotImplementedError("shared buffers, beams or scores of MultiHeadAttention")
    return MultiHeadAttention(node)
