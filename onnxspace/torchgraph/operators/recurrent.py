"""RNN, GRU and LSTM, computed step by step, with any activations, directions, lengths, peepholes and clipping."""

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
#: Activations with an alpha, and its default.
_WITH_ALPHA: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "leakyrelu": (lambda x, alpha: torch.where(x >= 0, x, alpha * x), 0.01),
    "thresholdedrelu": (lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), 1.0),
    "elu": (lambda x, alpha: F.elu(x, alpha), 1.0),
}
#: Activations with an alpha and a beta, and their defaults; None where there is none.
_WITH_BOTH: dict[str, tuple[Callable[[Tensor, float, float], Tensor], float | None, float | None]] = {
    "affine": (lambda x, alpha, beta: alpha * x + beta, None, None),
    "scaledtanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), None, None),
    "hardsigmoid": (lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1), 0.2, 0.5),
}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_DEFAULTS["DynamicQuantizeLSTM"] = _DEFAULTS["LSTM"]


def _next_number(values: Iterator[float], default: float | None) -> float:
    value = next(values, default)
    if value is None:
        raise NotImplementedError("an activation without its alpha or beta")
    return float(value)


def _make_activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    """The activation `name`; its alpha and beta, if it has them, are taken from the iterators."""
    key = name.lower()
    if key in _PLAIN:
        return _PLAIN[key]
    if key in _WITH_ALPHA:
        single, default = _WITH_ALPHA[key]
        alpha = _next_number(alphas, default)
        return lambda x: single(x, alpha)
    if key in _WITH_BOTH:
        double, *defaults = _WITH_BOTH[key]
        first, second = _next_number(alphas, defaults[0]), _next_number(betas, defaults[1])
        return lambda x: double(x, first, second)
    raise NotImplementedError(f"activation {name!r}")


def read_activations(node: Node, directions: int) -> list[list[Function]]:
    """Read the activations of each direction from a node's attributes. Raises NotImplementedError for unknown ones."""
    default = _DEFAULTS[node.operator]
    count = len(default)
    names = list(node.get("activations") or default * directions)
    if len(names) < count * directions:
        raise NotImplementedError(f"{len(names)} activations for {directions} directions")
    alphas, betas = iter(node.get("activation_alpha", [])), iter(node.get("activation_beta", []))
    result = [_make_activation(name, alphas, betas) for name in names[: count * directions]]
    return [result[start : start + count] for start in range(0, len(result), count)]


@dataclass(frozen=True)
class Weights:
    """Recurrent weights, biases and peepholes of one direction."""

    recurrence: Tensor
    input_bias: Tensor | None
    state_bias: Tensor | None
    peepholes: Tensor | None


State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Weights, list[Function]], State]


class Cell:
    """One step of a plain RNN: maps the projected input and the state to the next state, whose first part is the output."""

    gates = 1

    def __init__(self, node: Node) -> None:
        self.clip = node.get("clip")
        self.coupled = bool(node.get("input_forget", 0))
        self.linear_first = bool(node.get("linear_before_reset", 0))

    def clamp(self, x: Tensor) -> Tensor:
        """Limit values to the attribute `clip`, if the node has it."""
        return x if not self.clip else torch.clamp(x, -self.clip, self.clip)

    def prepare(self, x: Tensor) -> Tensor:
        """What an input or a state is multiplied as: itself."""
        return x

    def step(self, x: Tensor, state: State, weights: Weights, functions: list[Function]) -> State:
        """`f(X·Wᵀ + H·Rᵀ + biases)`."""
        return (functions[0](self.clamp(x + F.linear(state[0], weights.recurrence, weights.state_bias))),)


class GRUCell(Cell):
    """One step of a GRU; the reset gate is applied before or after the linear map of the state."""

    gates = 3

    def step(self, x: Tensor, state: State, weights: Weights, functions: list[Function]) -> State:
        f, g = functions
        h, size = state[0], state[0].shape[-1]
        of_gates, of_state = torch.split(weights.recurrence, [2 * size, size])
        bias = (None, None) if weights.state_bias is None else torch.split(weights.state_bias, [2 * size, size])
        z, r = self._compute_gates(x[..., : 2 * size] + F.linear(h, of_gates, bias[0]), f)
        part = r * F.linear(h, of_state, bias[1]) if self.linear_first else F.linear(r * h, of_state, bias[1])
        new = g(self.clamp(x[..., 2 * size :] + part))
        return ((1 - z) * new + z * h,)

    def _compute_gates(self, total: Tensor, f: Function) -> tuple[Tensor, Tensor]:
        z, r = f(self.clamp(total)).chunk(2, -1)
        return z, r


class LSTMCell(Cell):
    """One step of an LSTM, with optional peepholes."""

    gates = 4

    def step(self, x: Tensor, state: State, weights: Weights, functions: list[Function]) -> State:
        f, g, h = functions
        hidden, cell = state
        i, o, forget, c = (x + F.linear(self.prepare(hidden), weights.recurrence, weights.state_bias)).chunk(4, -1)
        if weights.peepholes is not None:
            to_input, to_output, to_forget = weights.peepholes.chunk(3)
            i, forget = i + to_input * cell, forget + to_forget * cell
        entering = f(self.clamp(i))
        kept = 1 - entering if self.coupled else f(self.clamp(forget))
        cell = kept * cell + entering * g(self.clamp(c))
        o = o if weights.peepholes is None else o + to_output * cell
        return f(self.clamp(o)) * h(cell), cell


class RecurrentNetwork(nn.Module):
    """Runs a cell along sequences, forward, backward or both, up to the length of each sequence."""

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
        given = [self._initial_state(value, x, r) for value in (hidden, cell)[: self.states]]
        runs = []
        for index, backward in enumerate(self.backward):
            bias = (None, None) if b is None else b[index].chunk(2)
            weights = Weights(r[index], bias[0], bias[1], None if peepholes is None else peepholes[index])
            state = tuple(value[index] for value in given)
            runs.append(self._run(_reverse(x, lengths) if backward else x, w[index], weights, lengths, state, index))
        rows = [_reverse(run[0], lengths) if self.backward[index] else run[0] for index, run in enumerate(runs)]
        last = [torch.stack(values) for values in zip(*(run[1] for run in runs), strict=True)]
        return self._arrange(torch.stack(rows, 1), last)

    def _initial_state(self, value: Tensor | None, x: Tensor, r: Tensor) -> Tensor:
        """The initial state, with directions first; zero where none is given."""
        if value is None:
            return x.new_zeros(len(self.backward), x.shape[1], r.shape[-1])
        return value.transpose(0, 1) if self.batch_first else value

    def _run(
        self, x: Tensor, w: Tensor, weights: Weights, lengths: Tensor | None, state: State, index: int
    ) -> tuple[Tensor, State]:
        """Outputs of one direction, zero after a sequence's end, and the state at its end."""
        result = F.linear(self.cell.prepare(x), w, weights.input_bias)
        rows = []
        for t in range(x.shape[0]):
            new = self.cell.step(result[t], state, weights, self.functions[index])
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

    def _arrange(self, rows: Tensor, last: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
        if self.batch_first:
            rows, last = rows.permute(2, 0, 1, 3), [value.transpose(0, 1) for value in last]
        return rows if self.outputs == 1 else (rows, *last)


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse sequences [length, batch, size]; steps after a sequence's end stay in place."""
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
    return RecurrentNetwork(_CELLS[node.operator](node), read_activations(node, directions), node)
