"""Attention of the ONNX standard and of ONNX Runtime, computed as softmax(QKᵀ)V without fused kernels, so that rules apply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Node, TorchOperator, converter

_MICROSOFT = "com.microsoft"
_RUNTIME = (0, 1)  # 0 for a model that does not import the domain, which ONNX Runtime allows


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Reshape [batch, length, heads·size] to [batch, heads, length, size]."""
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Reshape [batch, heads, length, size] to [batch, length, heads·size]."""
    return x.transpose(1, 2).flatten(2)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Repeat the heads of keys or values [batch, heads, length, size] for the query heads that share them."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def masked_softmax(scores: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax over keys of `scores + bias`; a row with a bias of −∞ throughout becomes zero, and so does its gradient."""
    if bias is None:
        return torch.softmax(scores, -1)
    empty = torch.isneginf(bias).all(-1, keepdim=True)
    barred = torch.isneginf(bias) & ~empty
    total = torch.where(empty | barred, torch.zeros_like(scores), scores) + torch.where(empty, torch.zeros_like(bias), bias)
    return torch.where(empty, torch.zeros_like(total), torch.softmax(total, -1))


@dataclass(frozen=True)
class Window:
    """The keys that a query may attend to: none after it if `causal`, at most `left` before it and `right` after it."""

    causal: bool = False
    left: int = -1
    right: int = -1

    def __bool__(self) -> bool:
        return self.causal or self.left >= 0 or self.right >= 0

    def bias(self, queries: int, keys: int, offset: int | Tensor, like: Tensor) -> Tensor:
        """0 for visible keys, −∞ for others; `offset` is the number of keys before the first query, one or per batch entry."""
        start = offset.reshape(-1, 1, 1, 1) if isinstance(offset, Tensor) else offset
        ahead = torch.arange(keys, device=like.device) - torch.arange(queries, device=like.device)[:, None] - start
        seen = torch.ones_like(ahead, dtype=torch.bool)
        if self.causal:
            seen = seen & (ahead <= 0)
        if self.left >= 0:
            seen = seen & (ahead >= -self.left)
        if self.right >= 0:
            seen = seen & (ahead <= self.right)
        return to_additive_mask(seen, like)


def to_additive_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Convert a mask to values that are added to scores: of booleans, 0 for true and −∞ for false."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(mask, zero, zero - math.inf)


def pad_mask(mask: Tensor, keys: int) -> Tensor:
    """Extend a mask that ends before the last of `keys` keys, so that those after it are hidden."""
    missing = keys - mask.shape[-1]
    if missing <= 0:
        return mask
    rest = torch.zeros_like(mask[..., :1]).expand(*mask.shape[:-1], missing)
    return torch.cat([mask, rest if mask.dtype == torch.bool else rest - math.inf], -1)


class AttentionFactors(NamedTuple):
    """The factors of `softmax(queries · keys + bias) · values`; the heads of the result are joined if they came `packed`."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    bias: Tensor | int
    packed: bool


class MaskedSoftmax(nn.Module):
    """Softmax over keys of scores that may be −∞; a row of −∞ throughout becomes zero, and so does its gradient."""

    def forward(self, scores: Tensor) -> Tensor:
        empty = torch.isneginf(scores).all(-1, keepdim=True)
        kept = torch.softmax(torch.where(empty, torch.zeros_like(scores), scores), -1)
        return torch.where(empty, torch.zeros_like(kept), kept)


class AttentionInputs(nn.Module):
    """The factors of an attention operator, from the operator's inputs."""

    def __init__(self, attention: Attention | PackedAttention | MultiHeadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, *inputs: Tensor | None, **named: Tensor | None) -> AttentionFactors:
        factors: AttentionFactors = self.attention.factors(*inputs, **named)  # type: ignore[arg-type]
        return factors


class JoinHeads(nn.Module):
    """Joins heads if they came packed."""

    def forward(self, x: Tensor, packed: bool) -> Tensor:
        return join_heads(x) if packed else x


class Attention(nn.Module):
    """Scaled dot-product attention of the ONNX standard, opset 23 to 25."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.heads, self.key_heads = node.get("q_num_heads"), node.get("kv_num_heads")
        self.scale, self.softcap, self.mode = node.get("scale"), node.get("softcap", 0.0), node.get("qk_matmul_output_mode", 0)
        self.window = Window(
            bool(node.get("is_causal", 0)), node.get("left_window_size", -1), node.get("right_window_size", -1)
        )
        self.outputs = node.outputs

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
        past_key: Tensor | None = None, past_value: Tensor | None = None, lengths: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        queries, keys, values, bias, packed = self.prepare(q, k, v, mask, past_key, past_value, lengths)
        raw = queries @ repeat_heads(keys, queries.shape[1]).mT
        capped = self.cap_scores(raw) if self.softcap else raw
        probabilities = masked_softmax(capped, bias)
        result = probabilities @ repeat_heads(values, queries.shape[1])
        result = join_heads(result) if packed else result
        if self.outputs == 1:
            return result
        total = capped if bias is None else capped + bias
        return result, keys, values, (raw, capped, total, probabilities)[self.mode]

    def prepare(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
        past_key: Tensor | None = None, past_value: Tensor | None = None, lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, bool]:  # fmt: skip
        """Scaled queries, keys and values by head, the bias of the scores, and whether the heads came packed."""
        packed = q.dim() == 3
        if packed:
            q, k, v = split_heads(q, self.heads), split_heads(k, self.key_heads), split_heads(v, self.key_heads)
        k = k if past_key is None else torch.cat([past_key, k], 2)
        v = v if past_value is None else torch.cat([past_value, v], 2)
        past = 0 if past_key is None else past_key.shape[2]
        scale = 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        return q * scale, k, v, self._bias(q, k, mask, lengths, past), packed

    def cap_scores(self, scores: Tensor) -> Tensor:
        """Scores limited by the soft cap."""
        kept: Tensor = self.softcap * torch.tanh(scores / self.softcap)
        return kept

    def factors(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None,
        past_key: Tensor | None = None, past_value: Tensor | None = None, lengths: Tensor | None = None,
    ) -> AttentionFactors:  # fmt: skip
        """The factors of attention, with the heads of keys and values repeated for the queries'."""
        q, k, v, bias, packed = self.prepare(q, k, v, mask, past_key, past_value, lengths)
        return AttentionFactors(
            q, repeat_heads(k, q.shape[1]).mT, repeat_heads(v, q.shape[1]), 0 if bias is None else bias, packed
        )

    def _bias(self, q: Tensor, k: Tensor, mask: Tensor | None, lengths: Tensor | None, past: int) -> Tensor | None:
        """The sum of all that is added to scores before the softmax; None where there is nothing."""
        queries, keys = q.shape[2], k.shape[2]
        parts = [] if mask is None else [to_additive_mask(pad_mask(mask, keys), q)]
        if self.window:
            offset = past if lengths is None else lengths - queries
            parts.append(self.window.bias(queries, keys, offset, q))
        if lengths is not None:
            seen = torch.arange(keys, device=q.device) < lengths.reshape(-1, 1, 1, 1)
            parts.append(to_additive_mask(seen, q))
        return sum(parts[1:], parts[0]) if parts else None


@converter("Attention", 23, 24, 25)
def attention(node: Node) -> TorchOperator:
    """Attention: grouped heads, masks, windows, soft cap, caches, and the attention weights as an output."""
    return Attention(node)


class FlexAttention(nn.Module):
    """Scaled dot-product attention with subgraphs that modify its scores or its probabilities."""

    def __init__(self, scale: float | None, scores: nn.Module | None, probabilities: nn.Module | None) -> None:
        super().__init__()
        self.scale, self.scores, self.probabilities = scale, scores, probabilities

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *outside: Tensor) -> Tensor:
        scale = 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        result = q @ repeat_heads(k, q.shape[1]).mT * scale
        result = torch.softmax(result if self.scores is None else self.scores(result, *outside), -1)
        result = result if self.probabilities is None else self.probabilities(result, *outside)
        return result @ repeat_heads(v, q.shape[1])


@converter("FlexAttention", 1, domain="ai.onnx.preview")
def flex_attention(node: Node) -> TorchOperator:
    """FlexAttention."""
    bodies = [node.body(name) if node.get(name) is not None else None for name in ("score_mod", "prob_mod")]
    return FlexAttention(node.get("scale"), *bodies)


class LinearAttention(nn.Module):
    """Linear attention as a recurrence: a state per head that decays, is updated by keys and values, and is read by queries."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.heads, self.key_heads = node.get("q_num_heads"), node.get("kv_num_heads")
        self.scale, self.outputs = node.get("scale", 0.0), node.outputs
        self.corrects = node.get("update_rule", "gated_delta") in ("delta", "gated_delta")

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor,
        past: Tensor | None = None, decay: Tensor | None = None, beta: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
        q, k, v = split_heads(q, self.heads), split_heads(k, self.key_heads), split_heads(v, self.key_heads)
        scale = self.scale or 1 / math.sqrt(q.shape[-1])
        state = q.new_zeros(k.shape[0], k.shape[1], k.shape[3], v.shape[3]) if past is None else past
        kept = None if decay is None else torch.exp(split_heads(decay, self.key_heads))
        rate = None if beta is None else beta.transpose(1, 2).unsqueeze(-1)
        rows = []
        for t in range(q.shape[2]):
            state = state if kept is None else state * kept[:, :, t, :, None]
            key, value = k[:, :, t, :, None], v[:, :, t, None, :]
            if self.corrects:
                value = value - key.mT @ state
            state = state + key * (value if rate is None else value * rate[:, :, t, :, None])
            rows.append(scale * (q[:, :, t, None, :] @ repeat_heads(state, self.heads)))
        result = join_heads(torch.cat(rows, 2))
        return result if self.outputs == 1 else (result, state)


@converter("LinearAttention", 27)
def linear_attention(node: Node) -> TorchOperator:
    """LinearAttention with each of the four update rules."""
    return LinearAttention(node)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate pairs of the first features of `x` [batch, heads, length, size]; `cos` and `sin` are [batch, length, pairs]."""
    size = 2 * cos.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    half = size // 2
    pairs = turned.reshape(*x.shape[:-1], half, 2) if interleaved else turned.reshape(*x.shape[:-1], 2, half).mT
    a, b = pairs.unbind(-1)
    c, s = cos.unsqueeze(1), sin.unsqueeze(1)
    both = torch.stack([c * a - s * b, s * a + c * b], -1)
    return torch.cat([(both if interleaved else both.mT).flatten(-2), rest], -1)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding, with heads packed or not, and pairs interleaved or not."""

    def __init__(self, heads: int, interleaved: bool, size: int) -> None:
        super().__init__()
        self.heads, self.interleaved, self.size = heads, interleaved, size

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        result = split_heads(x, self.heads or x.shape[2] // (self.size or 2 * cos.shape[-1])) if x.dim() == 3 else x
        if positions is not None:
            places = positions.long()
            if places.numel() == 1 and result.shape[2] > 1:  # the position of the first token
                places = places.reshape(1, 1) + torch.arange(result.shape[2], device=x.device)
            cos, sin = cos[places], sin[places]
        result = rotate_pairs(result, cos, sin, self.interleaved)
        return join_heads(result) if x.dim() == 3 else result


def _make_rotary(node: Node) -> RotaryEmbedding:
    return RotaryEmbedding(node.get("num_heads", 0), bool(node.get("interleaved", 0)), node.get("rotary_embedding_dim", 0))


@converter("RotaryEmbedding", 23)
def rotary_embedding(node: Node) -> TorchOperator:
    """RotaryEmbedding of the ONNX standard."""
    return _make_rotary(node)


@converter("RotaryEmbedding", *_RUNTIME, domain=_MICROSOFT)
def rotary_embedding_of_runtime(node: Node) -> TorchOperator:
    """RotaryEmbedding of ONNX Runtime, whose second input is the positions."""
    if node.get("is_packed_batching", 0) or node.get("scale", 1.0) != 1.0:  # its kernel for CPUs ignores the scale
        raise NotImplementedError("packed batches or a scale")
    return PositionsSecond(_make_rotary(node))


class PositionsSecond(nn.Module):
    """A rotary embedding whose second input is the positions."""

    def __init__(self, inner: RotaryEmbedding) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        result: Tensor = self.inner(x, cos, sin, positions)
        return result


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
