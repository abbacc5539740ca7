"""Attention of the ONNX standard, computed as softmax(QKᵀ)V without fused kernels, so that rules apply."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from onnxspace.torchgraph.operators.attention_heads import (
    AttentionFactors,
    Window,
    join_heads,
    masked_softmax,
    pad_mask,
    repeat_heads,
    split_heads,
    to_additive_mask,
)
from onnxspace.torchgraph.registry import Node, TorchOperator, converter


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
