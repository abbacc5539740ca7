"""Painting of the shapes of a generated scene: shadows, light, colours and textures."""

from __future__ import annotations

import numpy as np

from onnxspace.inputs.noise_fields import Array, clip, direction, ramp, triangle
from onnxspace.inputs.scene_shapes import Scene, Shape, find_window, make_grid, make_outline, signed_distance

_PLAIN = 4.0  # pixels of radius below which neither texture nor shading would be visible


def ratio_of(t: float) -> float:
    """A positive factor that grows with t in (-1, 1): symmetric in logarithm, 1 at zero."""
    return (1.0 + t) / (1.0 - t)


def paint_shape(canvas: Array, scene: Scene, draws: list[float]) -> None:
    """Draw one shape, and its shadow if it is large, over the linear canvas [3, S, S]."""
    shape = make_outline(scene, draws)
    if draws[0] > 0.05 * scene.size and draws[4] < 0.7:
        _paint_shadow(canvas, scene, shape)
    window = find_window(shape, scene.size, (0.0, 0.0))
    x, y = make_grid(window, draws[1], draws[2])
    if not x.size or not y.size:
        return
    distance = signed_distance(shape, x, y)
    cover = clip(0.5 - distance)
    below = canvas[:, window[0], window[1]]
    colour = _color_surface(scene, shape, window, x, y)
    if draws[0] > _PLAIN:
        colour = colour * _shade(scene, shape, x, y, distance)
    colour = colour - below
    colour *= cover
    below += colour


def _paint_shadow(canvas: Array, scene: Scene, shape: Shape) -> None:
    """Darken what lies on the far side of the shape; penumbra as wide as the shadow is long."""
    length = 0.25 * shape.half_width * shape.draws[4] + 0.008 * scene.size
    shift = (-scene.light[0] * length, -scene.light[1] * length)
    window = find_window(shape, scene.size, shift)
    x, y = make_grid(window, shape.draws[1] + shift[0], shape.draws[2] + shift[1])
    if x.size and y.size:
        dark = clip(-signed_distance(shape, x, y) / length)
        canvas[:, window[0], window[1]] *= 1.0 - (0.25 + 0.5 * scene.relief) * dark


def _shade(scene: Scene, shape: Shape, x: Array, y: Array, distance: Array) -> Array:
    """Light on the shape [h, w]: brighter towards the light, darker to the edge if it is curved."""
    tilt = 0.6 * scene.relief * shape.draws[17] / shape.half_length
    shade = 1.0 + ramp(x, y, tilt * scene.light[0], tilt * scene.light[1])
    curve = scene.relief * shape.draws[16]
    if curve > 0.2:
        depth = clip(distance * (-1.0 / shape.half_width))
        shade *= 1.0 - curve + curve * np.sqrt(depth * (2.0 - depth))
    return np.maximum(shade, 0.03)


def _color_surface(scene: Scene, shape: Shape, window: tuple[slice, slice], x: Array, y: Array) -> Array:
    """Linear colour of the shape: [3, 1, 1] if it is plain, else [3, h, w]."""
    draws, palette = shape.draws, scene.palette
    first = palette[int(draws[13] * len(palette))] * ratio_of(0.6 * draws[14] - 0.3)
    choice = draws[8] / scene.pattern
    if choice > 1.1 or draws[0] <= _PLAIN:
        return first
    noise = _cut_patch(scene.noise, window, draws)
    if choice < 0.3:
        return first * np.maximum(1.0 + (0.05 + 0.4 * draws[11] * draws[11]) * noise, 0.1)
    if choice < 0.55:
        return first * (1.0 + (0.15 + 0.7 * draws[11] * draws[11]) * _cut_patch(scene.cells, window, draws))
    second = first * ratio_of(0.7 * draws[11] - 0.35)
    if draws[12] < 0.3:
        second = palette[int(draws[15] * len(palette))]
    if choice < 0.7:
        return first + (second - first) * clip(_cut_patch(scene.grain, window, draws) * 4.0 - 1.0)
    return first + (second - first) * _weave(shape, x, y, noise, checks=choice > 0.85)


def _cut_patch(field: Array, window: tuple[slice, slice], draws: list[float]) -> Array:
    """A piece of a shared field as large as the window, moved and mirrored at random."""
    field = field.T if draws[20] < 0.5 else field[::-1]
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    top = int(draws[18] * (len(field) - height + 1))
    left = int(draws[19] * (len(field) - width + 1))
    return field[top : top + height, left : left + width]


def _weave(shape: Shape, x: Array, y: Array, noise: Array, checks: bool) -> Array:
    """Stripes or checks in 0..1 with edges of about a pixel, bent slightly by the noise."""
    draws = shape.draws
    period = max(3.0, shape.half_length * (0.08 + 0.5 * draws[9] * draws[9]))
    nx, ny = direction(draws[10])
    bend = 0.2 * draws[7]
    wave = triangle(ramp(x, y, nx / period, ny / period) + bend * noise)
    if checks:
        wave = wave * triangle(ramp(x, y, -ny / period, nx / period))
    return clip(0.5 + wave * min(0.25 * period, 0.5 + 3.0 * draws[11]))
