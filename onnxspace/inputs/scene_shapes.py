"""A generated scene and the outlines of its shapes: geometry, windows of pixels, and signed distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxspace.inputs.noise_fields import Array, axis, direction, ramp


@dataclass(frozen=True)
class Scene:
    """What all shapes of one image share; lengths are in pixels."""

    size: int
    palette: list[Array]  # linear RGB, each [3, 1, 1]
    noise: Array  # [size, size], all octaves, about zero mean and unit deviation
    grain: Array  # [size, size], one fine octave of noise, -1..1
    cells: Array  # [size, size], pebbles or leaves separated by dark gaps, -1..1
    light: tuple[float, float]  # unit vector towards the light, x and y
    relief: float  # strength of shading, 0..1
    pattern: float  # strength of texture, 0..1
    turn: float  # common orientation of the shapes, in turns
    spread: float  # how far orientations stray from it, in turns
    kinds: tuple[float, float, float]  # cumulative shares of ellipses, boxes, polygons


@dataclass(frozen=True)
class Shape:
    """The outline of one shape; lengths are in pixels."""

    kind: str
    half_length: float
    half_width: float
    axis: tuple[float, float]  # unit vector along the length, x and y
    corner: float  # radius of a box's corners
    draws: list[float]  # radius, centre x, centre y, then uniform numbers


def make_outline(scene: Scene, draws: list[float]) -> Shape:
    """Turn the draws of a shape into its geometry."""
    radius, pick = draws[0], draws[5]
    names = ("ellipse", "box", "polygon", "bar")
    kind = names[(pick >= scene.kinds[0]) + (pick >= scene.kinds[1]) + (pick >= scene.kinds[2])]
    half_length, half_width = radius, radius * (0.4 + 0.6 * draws[6])
    if kind == "bar":
        half_length, half_width = 1.6 * radius, max(0.6, radius * (0.04 + 0.1 * draws[6]))
    elif kind == "polygon":
        half_width = radius
    axis = direction(scene.turn + scene.spread * (draws[3] - 0.5))
    corner = half_width * (0.0 if draws[7] < 0.5 else 0.8 * draws[7])
    return Shape(kind, half_length, half_width, axis, corner, draws)


def find_window(shape: Shape, size: int, shift: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the box around the shape moved by `shift` (x, y), with a margin."""
    c, s = abs(shape.axis[0]), abs(shape.axis[1])
    reach_x = c * shape.half_length + s * shape.half_width + 1.0
    reach_y = s * shape.half_length + c * shape.half_width + 1.0
    x, y = shape.draws[1] + shift[0], shape.draws[2] + shift[1]
    rows = slice(max(0, int(y - reach_y)), max(0, min(size, int(y + reach_y) + 1)))
    columns = slice(max(0, int(x - reach_x)), max(0, min(size, int(x + reach_x) + 1)))
    return rows, columns


def signed_distance(shape: Shape, x: Array, y: Array) -> Array:
    """Approximate signed distance in pixels, negative inside; x [w], y [h] from the centre."""
    (c, s), a, b = shape.axis, shape.half_length, shape.half_width
    if shape.kind == "polygon":
        return _polygon(shape, x, y)
    u, v = ramp(x, y, c, s), ramp(x, y, -s, c)
    if shape.kind == "ellipse":  # to first order: value of the implicit function over its slope
        u, v = u * u * (1.0 / (a * a)), v * v * (1.0 / (b * b))
        slope = np.sqrt(u * (4.0 / (a * a)) + v * (4.0 / (b * b)) + 1e-9)
        return (u + v - 1.0) / slope
    u, v = np.abs(u) - (a - shape.corner), np.abs(v) - (b - shape.corner)
    inside = np.minimum(np.maximum(u, v), 0.0)
    u, v = np.maximum(u, 0.0), np.maximum(v, 0.0)
    return np.sqrt(u * u + v * v) + inside - shape.corner


def _polygon(shape: Shape, x: Array, y: Array) -> Array:
    """Signed distance of a disc cut by three to five half-planes, about a regular polygon."""
    distance = np.sqrt((x * x)[None, :] + (y * y)[:, None]) - shape.half_length
    sides = 3 + int(3.0 * shape.draws[21])
    for k in range(sides):
        jitter = shape.draws[23 + k]
        nx, ny = direction(shape.draws[22] + (k + 0.5 * jitter) / sides)
        offset = shape.half_length * (0.4 + 0.1 * sides * jitter)
        side = (nx * x - offset)[None, :] + (ny * y)[:, None]
        np.maximum(distance, side, out=distance)
    return distance


def make_grid(window: tuple[slice, slice], x: float, y: float) -> tuple[Array, Array]:
    """Pixel centres of the window's columns and rows, relative to the point (x, y)."""
    rows, columns = window
    across = axis(columns.stop - columns.start) + (columns.start + 0.5 - x)
    return across, axis(rows.stop - rows.start) + (rows.start + 0.5 - y)
