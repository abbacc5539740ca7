"""Furniture as lists of solids: boxes, ellipsoids and upright cylinders in metres, standing on the floor at the origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Shape = Literal["box", "ellipsoid", "cylinder"]
Colour = tuple[float, float, float]
WOOD, DARK_WOOD, WHITE, BRASS, CLAY = (
    (0.62, 0.42, 0.22),
    (0.4, 0.25, 0.15),
    (0.92, 0.9, 0.86),
    (0.6, 0.5, 0.3),
    (0.7, 0.33, 0.2),
)


class Solid(NamedTuple):
    """A solid by its centre and half sizes; `material` numbers the materials of one piece of furniture."""

    shape: Shape
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    material: int = 0


@dataclass(frozen=True)
class Piece:
    """A kind of furniture: its solids, how much floor it takes, whether its back is to a wall, its materials' usual colours."""

    make: Callable[[np.random.Generator], list[Solid]]
    radius: float
    against_wall: bool
    tints: tuple[Colour, ...]


def _build_legs(half_x: float, half_y: float, height: float, thick: float) -> list[Solid]:
    x, y = half_x - thick, half_y - thick
    corners = ((-x, -y), (-x, y), (x, -y), (x, y))
    return [Solid("box", (a, b, height / 2), (thick, thick, height / 2), 1) for a, b in corners]


def build_table(rng: np.random.Generator) -> list[Solid]:
    """A top, square or round, on four legs or on one."""
    x, y, z = rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.6), rng.uniform(0.6, 0.8)
    if rng.random() < 0.3:
        foot = [Solid("cylinder", (0, 0, z / 2), (0.07, 0.07, z / 2), 1), Solid("cylinder", (0, 0, 0.03), (0.3, 0.3, 0.03), 1)]
        return [Solid("cylinder", (0, 0, z), (x * 0.8, x * 0.8, 0.03)), *foot]
    return [Solid("box", (0, 0, z), (x, y, 0.035)), *_build_legs(x, y, z, 0.035)]


def build_chair(rng: np.random.Generator) -> list[Solid]:
    """A seat, a back and four legs; the back is at -y."""
    half, seat, top = rng.uniform(0.2, 0.26), rng.uniform(0.4, 0.5), rng.uniform(0.85, 1.1)
    back = Solid("box", (0, -half + 0.03, (seat + top) / 2), (half, 0.03, (top - seat) / 2))
    return [Solid("box", (0, 0, seat), (half, half, 0.03)), back, *_build_legs(half, half, seat, 0.025)]


def build_sofa(rng: np.random.Generator) -> list[Solid]:
    """A seat, a back, two arms and two cushions."""
    x, deep, seat = rng.uniform(0.75, 1.1), rng.uniform(0.38, 0.48), rng.uniform(0.38, 0.45)
    high, arm = rng.uniform(0.75, 0.95), 0.11
    arms = [Solid("box", (s * (x - arm), 0, 0.3), (arm, deep, 0.3)) for s in (-1, 1)]
    cushions = [Solid("ellipsoid", (s * x * 0.45, -deep + 0.3, seat + 0.17), (0.2, 0.1, 0.17), 1) for s in (-1, 1)]
    back = Solid("box", (0, -deep + 0.1, high / 2), (x, 0.1, high / 2))
    return [Solid("box", (0, 0, seat / 2), (x - 2 * arm, deep, seat / 2)), back, *arms, *cushions]


def build_bed(rng: np.random.Generator) -> list[Solid]:
    """A frame, a mattress, a headboard and pillows."""
    x, y, z = rng.uniform(0.5, 0.85), rng.uniform(0.95, 1.05), rng.uniform(0.4, 0.55)
    head = Solid("box", (0, -y, rng.uniform(0.4, 0.55)), (x, 0.04, rng.uniform(0.4, 0.55)), 1)
    places = (-0.5, 0.5) if x > 0.65 else (0.0,)
    pillows = [Solid("ellipsoid", (s * x, -y + 0.3, z + 0.06), (0.26, 0.17, 0.09), 2) for s in places]
    return [
        Solid("box", (0, 0, z / 4), (x, y, z / 4), 1),
        Solid("box", (0, 0, 0.75 * z), (x - 0.02, y - 0.02, z / 4)),
        head,
        *pillows,
    ]


def build_shelf(rng: np.random.Generator) -> list[Solid]:
    """Sides, a back and boards, with books on some of them."""
    x, y, z = rng.uniform(0.35, 0.7), rng.uniform(0.14, 0.2), rng.uniform(0.8, 2.1)
    boards = np.linspace(0.05, z, max(3, round(z / 0.4)))
    parts = [Solid("box", (s * x, 0, z / 2), (0.02, y, z / 2)) for s in (-1, 1)]
    parts += [Solid("box", (0, -y + 0.01, z / 2), (x, 0.01, z / 2)), *(Solid("box", (0, 0, h), (x, y, 0.02)) for h in boards)]
    for low in boards[:-1]:
        if rng.random() < 0.8:
            wide, high = rng.uniform(0.3, 0.9) * x, rng.uniform(0.1, 0.14)
            parts.append(
                Solid(
                    "box",
                    (rng.uniform(-1, 1) * (x - wide - 0.02), 0.02, low + high),
                    (wide, y * 0.7, high),
                    1 + int(rng.integers(2)),
                )
            )
    return parts


def build_lamp(rng: np.random.Generator) -> list[Solid]:
    """A foot, a pole and a shade."""
    z, shade = rng.uniform(1.2, 1.7), rng.uniform(0.14, 0.22)
    parts = [Solid("cylinder", (0, 0, 0.02), (0.15, 0.15, 0.02), 1), Solid("cylinder", (0, 0, z / 2), (0.02, 0.02, z / 2), 1)]
    round_ = rng.random() < 0.5
    return [*parts, Solid("ellipsoid" if round_ else "cylinder", (0, 0, z), (shade, shade, shade if round_ else 0.8 * shade))]


def build_plant(rng: np.random.Generator) -> list[Solid]:
    """A pot with a few round tufts above."""
    pot, high = rng.uniform(0.12, 0.2), rng.uniform(0.2, 0.4)
    parts = [Solid("cylinder", (0, 0, high / 2), (pot, pot, high / 2), 1)]
    for _ in range(int(rng.integers(3, 6))):
        size, turn, off = rng.uniform(0.12, 0.25), rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.18)
        centre = (off * np.cos(turn), off * np.sin(turn), high + rng.uniform(0.1, 0.7))
        parts.append(Solid("ellipsoid", centre, (size, size, size * rng.uniform(0.7, 1.2))))
    return parts


PIECES = {
    "table": Piece(build_table, 0.75, False, (WOOD, DARK_WOOD)),
    "chair": Piece(build_chair, 0.3, False, ((0.7, 0.3, 0.25), DARK_WOOD)),
    "sofa": Piece(build_sofa, 0.85, True, ((0.25, 0.35, 0.6), (0.85, 0.6, 0.25))),
    "bed": Piece(build_bed, 1.05, True, ((0.6, 0.7, 0.85), WOOD, WHITE)),
    "shelf": Piece(build_shelf, 0.5, True, (WOOD, (0.6, 0.15, 0.15), (0.15, 0.3, 0.5))),
    "lamp": Piece(build_lamp, 0.2, True, ((0.95, 0.85, 0.55), BRASS)),
    "plant": Piece(build_plant, 0.3, True, ((0.2, 0.5, 0.15), CLAY)),
}
