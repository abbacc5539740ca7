"""A room: its size, materials, solids, lamp and camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.minitaskonomy.rooms.furniture import Colour, Shape

TEXTURES = ("plain", "stripes", "checks", "waves", "planks")
FACES = ("wall", "wall", "wall", "wall", "floor", "ceiling")  # of the room: -x, +x, -y, +y, -z, +z


@dataclass(frozen=True)
class Material:
    """Two colours, 0 to 1, and the pattern that mixes them; `glow` is light of its own."""

    first: Colour
    second: Colour
    texture: int = 0
    period: float = 0.3
    turn: float = 0.0
    glow: float = 0.0

    def row(self) -> list[float]:
        """Ten numbers, as the ray caster takes them."""
        return [*self.first, *self.second, self.texture, self.period, self.turn, self.glow]


@dataclass(frozen=True)
class PlacedSolid:
    """A solid in the room: where it stands, how it is turned, what it belongs to."""

    shape: Shape
    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float
    semantic: int
    material: int


@dataclass
class Room:
    """One scene. Metres; z is up; the room spans (0, 0, 0) to `size`."""

    kind: int
    size: tuple[float, float, float]
    materials: list[Material]
    solids: list[PlacedSolid] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, radius of furniture
    lamp: tuple[float, float, float] = (0.0, 0.0, 0.0)
    eye: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    zoom: float = 1.2  # focal length over half the width of the image

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc of floor is not taken yet."""
        return all(np.hypot(x - a, y - b) > 0.85 * (radius + r) for a, b, r in self.taken)


def draw_colour(rng: np.random.Generator, tint: Colour) -> Colour:
    """A colour between the usual one and any other, now lighter and now darker."""
    drawn = np.array(tint) + rng.uniform(0, 0.6) * (rng.random(3) - tint)
    red, green, blue = np.clip(drawn * rng.uniform(0.75, 1.2), 0.03, 0.97).tolist()
    return red, green, blue


def draw_material(rng: np.random.Generator, tint: Colour | None = None, patterned: float = 0.4) -> Material:
    """A plain or patterned material near a usual colour, or of any; the two colours of a pattern are near each other."""
    red, green, blue = rng.uniform(0.1, 0.95, 3).tolist()
    first = draw_colour(rng, tint or (red, green, blue))
    red, green, blue = np.clip(np.array(first) + rng.normal(0, 0.1) + rng.normal(0, 0.1, 3), 0, 1).tolist()
    texture = int(rng.integers(1, len(TEXTURES))) if rng.random() < patterned else 0
    return Material(first, (red, green, blue), texture, rng.uniform(0.12, 0.5), rng.choice([0, np.pi / 2]))
