"""Heads, masks and the masked softmax, which all attention operators share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


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


class JoinHeads(nn.Module):
    """Joins heads if they came packed."""

    def forward(self, x: Tensor, packed: bool) -> Tensor:
        return join_heads(x) if packed else x
