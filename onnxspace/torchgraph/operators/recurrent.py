"""RNN, GRU and LSTM, step by step: any activations, directions, lengths, peepholes and clipping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Node, TorchOperator, converter

Function = Callable[[Tensor], Tensor]

_PLAIN: dict[str, Function] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": F.softsign,
    "softplus": F.softplus,
}
#: Activations with an alpha, and its default; None where there is none.
_WITH_ALPHA: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "leakyrelu": (lambda x, alpha: torch.where(x >= 0, x, alpha * x), 0.01),
    "thresholdedrelu": (lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), 1.0),
    "elu": (lambda x, alpha: F.elu(x, alpha), 1.0),
}
_WITH_BOTH: dict[str, tuple[Callable[[Tensor, float, float], Tensor], float | None, float | None]] = {
    "affine": (lambda x, alpha, beta: alpha * x + beta, None, None),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), None, None),
    "hardsigmoid": (lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1), 0.2, 0.5),
}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _number(values: Iterator[float], default: float | None) -> float:
    value = next(values, default)
    if value is None:
        raise NotImplementedError("an activation without its alpha or beta")
    return float(value)


def _function(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    """An activation by its name, which takes its alpha and beta, if it has them, from those that are left."""
    key = name.lower()
    if key in _PLAIN:
        return _PLAIN[key]
    if key in _WITH_ALPHA:
        single, default = _WITH_ALPHA[key]
        alpha = _number(alphas, default)
        return lambda x: single(x, alpha)
    if key in _WITH_BOTH:
        double, *defaults = _WITH_BOTH[key]
        first, second = _number(alphas, defaults[0]), _number(betas, defaults[1])
        return lambda x: double(x, first, second)
    raise NotImplementedError(f"activation {name!r}")


def activations(node: Node, directions: int) -> list[list[Function]]:
    """The activations of each direction."""
    default = _DEFAULTS[node.operator]
    count = len(default)
    names = list(node.get("activations") or default * directions)
    if len(names) < count * directions:
        raise NotImplementedError(f"{len(names)} activations for {directions} directions")
    alphas, betas = iter(node.get("activation_alpha", [])), iter(node.get("activation_beta", []))
    made = [_function(name, alphas, betas) for name in names[: count * directions]]
    return [made[start : start + count] for start in range(0, len(made), count)]


@dataclass(frozen=True)
class Weights:
    """One direction's recurrence, biases and peepholes."""

    recurrence: Tensor
    input_bias: Tensor | None
    state_bias: Tensor | None
    peepholes: Tensor | None


State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Weights, list[Function]], State]


class Cell:
    """One step of a network: from what the input contributes and the state, the next state; its first part comes out."""

    gates = 1

    def __init__(self, node: Node) -> None:
        self.clip = node.get("clip")
        self.coupled = bool(node.get("input_forget", 0))
        self.linear_first = bool(node.get("linear_before_reset", 0))

    def clipped(self, x: Tensor) -> Tensor:
        return x if not self.clip else torch.clamp(x, -self.clip, self.clip)

    def step(self, x: Tensor, state: State, weights: Weights, functions: list[Function]) -> State:
        """`f(X·Wᵀ + H·Rᵀ + biases)`."""
        return (functions[0](self.clipped(x + F.linear(state[0], weights.recurrence, weights.state_bias))),)


class GRUCell(Cell):
    """Update and reset gates; the reset before or after the linear map of the state."""

    gates = 3

    def step(self, x: Tensor, state: State, weights: Weights, functions: list[Function]) -> State:
        f, g = functions
        h, size = state[0], state[0].shape[-1]
        of_gates, of_state = torch.split(weights.recurrence, [2 * size, size])
        bias = (None, None) if weights.state_bias is None else torch.split(weights.state_bias, [2 * size, size])
        z, r = self._both(x[..., : 2 * size] + F.linear(h, of_gates, bias[0]), f)
        part = r * F.linear(h, of_state, bias[1]) if self.linear_first else F.linear(r * h, of_state, bias[1])
        new = g(self.clipped(x[..., 2 * size :] + part))
        return ((1 - z) * new + z * h,)

    def _both(self, total: Tensor, f: Function) -> tuple[Tensor, Tensor]:
        z, r = f(self.clipped(total)).chunk(2, -1)
        return z, r


class LSTMCell(Cell):
    """Input, output and forget gates, with peepholes at the cell's content."""

    gates = 4

    def step(self, x: Tensor, state: State, weights: Weights, functions: list[Function]) -> State:
        f, g, h = functions
        hidden, cell = state
        i, o, forget, c = (x + F.linear(hidden, weights.recurrence, weights.state_bias)).chunk(4, -1)
        if weights.peepholes is not None:
            to_input, to_output, to_forget = weights.peepholes.chunk(3)
            i, forget = i + to_input * cell, forget + to_forget * cell
        entering = f(self.clipped(i))
        kept = 1 - entering if self.coupled else f(self.clipped(forget))
        cell = kept * cell + entering * g(self.clipped(c))
        o = o if weights.peepholes is None else o + to_output * cell
        return f(self.clipped(o)) * h(cell), cell


class Recurrent(nn.Module):
    """A cell run along sequences, forward, backward or both, to each sequence's own length."""

    def __init__(self, cell: Cell, functions: list[list[Function]], node: Node) -> None:
        super().__init__()
        self.cell, self.functions, self.outputs = cell, functions, node.outputs
        direction = node.get("direction", "forward")
        self.backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
        self.batch_first = bool(node.get("layout", 0))
        self.states = 2 if isinstance(cell, LSTMCell) else 1

    def forward(
        self, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
        hidden: Tensor | None = None, cell: Tensor | None = None, peepholes: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:  # fmt: skip
        x = x.transpose(0, 1) if self.batch_first else x
        given = [self._initial(value, x, r) for value in (hidden, cell)[: self.states]]
        runs = []
        for index, backward in enumerate(self.backward):
            bias = (None, None) if b is None else b[index].chunk(2)
            weights = Weights(r[index], bias[0], bias[1], None if peepholes is None else peepholes[index])
            state = tuple(value[index] for value in given)
            runs.append(self._run(_turned(x, lengths) if backward else x, w[index], weights, lengths, state, index))
        rows = [_turned(run[0], lengths) if self.backward[index] else run[0] for index, run in enumerate(runs)]
        last = [torch.stack(values) for values in zip(*(run[1] for run in runs), strict=True)]
        return self._arranged(torch.stack(rows, 1), last)

    def _initial(self, value: Tensor | None, x: Tensor, r: Tensor) -> Tensor:
        """The given state, directions first; zero where there is none."""
        if value is None:
            return x.new_zeros(len(self.backward), x.shape[1], r.shape[-1])
        return value.transpose(0, 1) if self.batch_first else value

    def _run(
        self, x: Tensor, w: Tensor, weights: Weights, lengths: Tensor | None, state: State, index: int
    ) -> tuple[Tensor, State]:
        """Outputs of one direction, zero behind a sequence's end, and the state that its end left."""
        made = F.linear(x, w, weights.input_bias)
        rows = []
        for t in range(x.shape[0]):
            new = self.cell.step(made[t], state, weights, self.functions[index])
            if lengths is None:
                rows.append(new[0])
                state = new
                continue
            inside = (t < lengths)[:, None]
            rows.append(torch.where(inside, new[0], torch.zeros_like(new[0])))
            state = tuple(torch.where(inside, after, before) for after, before in zip(new, state, strict=True))
        if lengths is not None:  # ONNX Runtime leaves zero, not the initial state, where a sequence is empty
            state = tuple(torch.where((lengths > 0)[:, None], value, torch.zeros_like(value)) for value in state)
        return torch.stack(rows), state

    def _arranged(self, rows: Tensor, last: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
        if self.batch_first:
            rows, last = rows.permute(2, 0, 1, 3), [value.transpose(0, 1) for value in last]
        return rows if self.outputs == 1 else (rows, *last)


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Sequences of (length, batch, size) back to front, what lies behind their ends left in place."""
    if lengths is None:
        return x.flip(0)
    step = torch.arange(x.shape[0], device=x.device)[:, None]
    source = torch.where(step < lengths, lengths - 1 - step, step)
    return x.gather(0, source[..., None].expand_as(x).long())


_CELLS: dict[str, type[Cell]] = {"RNN": Cell, "GRU": GRUCell, "LSTM": LSTMCell}


@converter("RNN", 1, 7, 14, 22)
@converter("GRU", 1, 3, 7, 14, 22)
@converter("LSTM", 1, 7, 14, 22)
def recurrent(node: Node) -> TorchOperator:
    """RNN, GRU or LSTM."""
    directions = 2 if node.get("direction", "forward") == "bidirectional" else 1
    return Recurrent(_CELLS[node.operator](node), activations(node, directions), node)
