"""Rules of linear operators, `z_j = Σ_i a_i w_ij + b_j`, as modified gradients.

A rule shares out relevance, `R_i = Σ_j q_ij R_j`. With `R_j = z_j s_j`, where s is the gradient that arrives, and
`R_i = a_i s_i`, it becomes a gradient of some function that is linear in a: the forward value stays z, and s_j is multiplied
by a factor on its way back. Only products with |w|, w⁺ or w⁻ are needed, one more than the product_without_gradient layer has.

Sources: Bach et al., PLoS ONE 10(7), 2015 (ε: eq. 58; αβ: eq. 60); Montavon et al., "Explaining nonlinear classification
decisions with deep Taylor decomposition", Pattern Recognition 65, 2017 (w², z⁺, z^B); Montavon et al., "Layer-wise relevance
propagation: an overview", 2019 (γ, and the composite); for data of both signs, Andéol et al., "Learning domain invariant
representations by joint Wasserstein distance minimization", 2021 (γ).
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from onnxspace.attribution.lrp.autograd import redirect_gradient, stabilise, substitute_value


class LinearOperator(nn.Module):
    """A linear operator called with (data, weight, bias), or (weight, data, bias) where `data` is 1."""

    def __init__(self, function: nn.Module, epsilon: float, data: int = 0) -> None:
        super().__init__()
        self.function, self.epsilon, self.data = function, epsilon, data

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The operator itself."""
        pair = (x, weight) if self.data == 0 else (weight, x)
        made: Tensor = self.function(*pair) if bias is None else self.function(*pair, bias)
        return made

    def product_without_gradient(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The operator's value, out of the gradient's way."""
        with torch.no_grad():
            return self.product(x, weight, bias)


class LinearRule(LinearOperator):
    """A linear operator and its rule."""

    def forward(self, first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
        x, weight = (first, second) if self.data == 0 else (second, first)
        return self.apply_rule(x, weight, bias) if x.requires_grad else self.product(x, weight, bias)

    @abstractmethod
    def apply_rule(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The operator's value with the rule's gradient."""


class Epsilon(LinearRule):
    """`R_i = Σ_j a_i w_ij / (z_j + ε·sgn z_j) · R_j`, the bias inside z_j and so taking its stable_ratio (Bach eq. 58)."""

    def apply_rule(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z = self.product(x, weight, bias)
        with torch.no_grad():
            size = z.abs()
            factor = size / (size + self.epsilon)  # z / (z + ε·sgn z)
        return redirect_gradient(z, (z, factor))


class SignRule(LinearRule):
    """A rule that treats contributions by their sign.

    Their positive part is `p_j = Σ_i (a_i w_ij)⁺ + b_j⁺`, the negative one `n_j = z_j − p_j`. Where the data can't be negative,
    p is the operator with w⁺ and b⁺. Else `p = (m + z)/2` with `m_j = Σ_i |a_i w_ij| + |b_j|`, the operator of |a|, |w| and |b|,
    whose gradient has w⁺ where a is positive and w⁻ where it is negative, as it must.
    """

    def __init__(self, function: nn.Module, epsilon: float, data: int = 0, nonnegative: bool = False) -> None:
        super().__init__(function, epsilon, data)
        self.nonnegative = nonnegative

    def magnitude(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """m, the sum of the absolute values of all contributions."""
        return self.product(x if self.nonnegative else x.abs(), weight.abs(), None if bias is None else bias.abs())

    def stable_ratio(self, z: Tensor, part: Tensor, whole: Tensor) -> Tensor:
        """`z / part`, zero where the part is so small beside the whole that it is a rounding."""
        least = whole * (64 * torch.finfo(z.dtype).eps)
        shares = stabilise(part, self.epsilon)
        torch.div(z, shares, out=shares)
        return shares.masked_fill_(part.abs() <= least, 0)


class ZPlus(SignRule):
    """`R_i = Σ_j (a_i w_ij)⁺ / p_j · R_j`: positive contributions alone, positive biases among them (Montavon 2017).

    The paper has data ≥ 0 and biases ≤ 0; in general this is αβ with α = 1, β = 0.
    """

    def apply_rule(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.nonnegative:
            p = self.product(x, weight.clamp(min=0), None if bias is None else bias.clamp(min=0))
            z = self.product_without_gradient(x, weight, bias)
            factor = p.detach() + self.epsilon
            return redirect_gradient(z, (p, torch.div(z, factor, out=factor)))
        z, m = self.product(x, weight, bias), self.magnitude(x, weight, bias)
        with torch.no_grad():
            factor = self.stable_ratio(z, (m + z) / 2, m) / 2
        return redirect_gradient(z, (z, factor), (m, factor))


class AlphaBeta(SignRule):
    """`R_i = Σ_j (α (a_i w_ij)⁺ / p_j − β (a_i w_ij)⁻ / n_j) · R_j` with α − β = 1, biases by their sign (Bach eq. 60)."""

    def __init__(self, function: nn.Module, epsilon: float, data: int, nonnegative: bool, alpha: float, beta: float) -> None:
        super().__init__(function, epsilon, data, nonnegative)
        self.alpha, self.beta = alpha, beta

    def apply_rule(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.nonnegative:
            return self._apply_by_parts(x, weight, bias)
        z, m = self.product(x, weight, bias), self.magnitude(x, weight, bias)
        with torch.no_grad():
            above = self.alpha / 2 * self.stable_ratio(z, (m + z) / 2, m)
            below = self.beta / 2 * self.stable_ratio(z, (z - m) / 2, m)
        return redirect_gradient(z, (z, above - below), (m, above + below))

    def _apply_by_parts(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Both parts as operators of their own: their sum is z, which is not computed again."""
        p = self.product(x, weight.clamp(min=0), None if bias is None else bias.clamp(min=0))
        n = self.product(x, weight.clamp(max=0), None if bias is None else bias.clamp(max=0))
        with torch.no_grad():
            z = p + n
            above, below = p + self.epsilon, self.epsilon - n
            torch.div(z, above, out=above).mul_(self.alpha)
            torch.div(z, below, out=below).mul_(self.beta)
        return redirect_gradient(z, (p, above), (n, below))


class Gamma(SignRule):
    """`R_i = Σ_j (a_i w_ij + γ (a_i w_ij)⁺) / (z_j + γ p_j) · R_j` where z_j > 0 (Montavon 2019, biases being weights of
    a unit that is 1); where z_j < 0, with negative parts in place of positive ones (Andéol et al. 2021).

    `rectified` says that a ReLU follows, so that no relevance arrives where z_j ≤ 0.
    """

    def __init__(
        self, function: nn.Module, epsilon: float, data: int, nonnegative: bool, rectified: bool, gamma: float
    ) -> None:
        super().__init__(function, epsilon, data, nonnegative)
        self.rectified, self.gamma = rectified, gamma

    def apply_rule(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.nonnegative and self.rectified:
            y = self.product(x, self._favour_positive(weight), None if bias is None else self._favour_positive(bias))
            z = self.product_without_gradient(x, weight, bias)
            factor = y.detach().abs().add_(self.epsilon)  # y is positive wherever z is
            return redirect_gradient(z, (y, torch.div(z.clamp(min=0), factor, out=factor)))
        z, m = self.product(x, weight, bias), self.magnitude(x, weight, bias)
        with torch.no_grad():
            half = self.gamma / 2
            favoured = m.mul(half).add_(self.epsilon).copysign_(z).add_(z, alpha=1 + half)  # has the sign of z
            factor = torch.div(z, favoured, out=favoured)
        return redirect_gradient(z, (z, factor * (1 + half)), (m, (factor * half).copysign_(z)))

    def _favour_positive(self, values: Tensor) -> Tensor:
        return torch.add(values, values.clamp(min=0), alpha=self.gamma)


class Flat(LinearRule):
    """`R_i = Σ_j 1 / n_j · R_j`, n_j the number of inputs that j sees (Lapuschkin et al. 2019). What arrives at the data is R."""

    def apply_rule(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z = self.product_without_gradient(x, weight, bias)
        y = self.product(substitute_value(x, torch.ones_like(x)), self.weights(weight))
        return redirect_gradient(z, (y, z / stabilise(y.detach(), self.epsilon)))

    def weights(self, weight: Tensor) -> Tensor:
        return torch.ones_like(weight)


class WSquare(Flat):
    """`R_i = Σ_j w_ij² / Σ_i w_ij² · R_j` (Montavon 2017). What arrives at the data is R."""

    def weights(self, weight: Tensor) -> Tensor:
        return weight * weight


class Box(LinearOperator):
    """z^B of inputs between `low` and `high`, called with these two first; biases have no part in it.

    `R_i = Σ_j (a_i w_ij − l_i w_ij⁺ − h_i w_ij⁻) / Σ_i(the same) · R_j` (Montavon 2017). What arrives at the data is R.
    """

    def forward(self, low: Tensor, high: Tensor, first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
        x, weight = (first, second) if self.data == 0 else (second, first)
        z = self.product_without_gradient(x, weight, bias)
        y = self.product(substitute_value(x, x), weight)
        y = y - self.product(substitute_value(x, torch.minimum(low, high)), weight.clamp(min=0))
        y = y - self.product(substitute_value(x, torch.maximum(low, high)), weight.clamp(max=0))
        return redirect_gradient(z, (y, z / stabilise(y.detach(), self.epsilon)))
