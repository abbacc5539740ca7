"""Generated images with the statistics of natural images: the default probe set.

Each image is a dead-leaves scene (Lee, Mumford & Huang 2001): opaque textured shapes whose radii
follow r^-3, so that every scale covers as much area, lit from one side, in a palette where
luminance outweighs chroma. Shapes and textures together give an amplitude spectrum near 1/f
(Field 1987) and heavy-tailed differences between neighbouring pixels.

The bytes are the same on every platform and NumPy version: random numbers come from an integer
hash, and all arithmetic is element-wise float64 that IEEE 754 rounds correctly. Hence no library
distributions, no transcendental functions, no floating-point reductions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.noise_fields import Array, axis, cells, clip, direction, key_of, noise, octave, ramp, triangle, uniform

_PLAIN = 4.0  # pixels of radius below which neither texture nor shading would be visible
_DRAWS = 32  # uniform numbers set aside for each shape


@dataclass(frozen=True)
class _Scene:
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
class _Shape:
    """The outline of one shape; lengths are in pixels."""

    kind: str
    half_length: float
    half_width: float
    axis: tuple[float, float]  # unit vector along the length, x and y
    corner: float  # radius of a box's corners
    draws: list[float]  # radius, centre x, centre y, then uniform numbers


def render(seed: int, index: int, size: int = 224) -> NDArray[np.uint8]:
    """Draw image `index` of the series `seed`; it depends on the three arguments alone.

    `size` is the side in pixels, 16..1024. Returns RGB as uint8 [size, size, 3] in 0..255, with
    display (square-root) encoding.
    """
    if not 16 <= size <= 1024:
        raise ValueError(f"The image size must lie between 16 and 1024 pixels, but it is {size}.")
    seed, index, size = int(seed), int(index), int(size)  # NumPy integers would overflow
    key = key_of(seed, index, size)
    mood = uniform(key_of(key, 0), 48).tolist()
    scene = _scene(key, size, mood)
    canvas = _background(scene, mood)
    for draws in _shapes(key, size, mood):
        _paint(canvas, scene, draws)
    return _develop(canvas, scene, key, mood)


def _scene(key: int, size: int, mood: list[float]) -> _Scene:
    """Choose the palette, light, textures and shapes of one image."""
    shares = [0.15 + mood[k] * mood[k] for k in range(4)]
    total = shares[0] + shares[1] + shares[2] + 0.4 * shares[3]
    ellipses, boxes = shares[0] / total, (shares[0] + shares[1]) / total
    return _Scene(
        size=size,
        palette=_palette(key, mood),
        noise=noise(key_of(key, 1), size, 0.8 + 0.5 * mood[4]),
        grain=octave(key_of(key, 2), size, size * (0.15 + 0.25 * mood[5])),
        cells=cells(key_of(key, 6), size, size * (0.08 + 0.25 * mood[23])),
        light=direction(0.55 + 0.4 * mood[6]),
        relief=0.3 + 0.7 * mood[7],
        pattern=0.55 + 0.6 * mood[8],
        turn=mood[9],
        spread=1.0 if mood[10] < 0.5 else 0.08,
        kinds=(ellipses, boxes, (total - 0.4 * shares[3]) / total),
    )


def _palette(key: int, mood: list[float]) -> list[Array]:
    """Eight linear RGB colours about one tint: luminance varies most, then blue-yellow."""
    draws = uniform(key_of(key, 3), 32).tolist()
    level = 0.25 * _ratio(0.9 * mood[11] - 0.45)
    warm, green, vivid = 0.7 * (mood[12] - 0.5), 0.6 * (mood[13] - 0.4), 0.2 + mood[14]
    colours = []
    for a, b, c, d in zip(draws[0::4], draws[1::4], draws[2::4], draws[3::4], strict=True):
        light = level * _ratio(0.3 * (a + b - 1.0) + 0.32 * (2.0 * a - 1.0) + (0.33 if a > 0.5 else -0.33))
        yellow = warm + vivid * (c - 0.5)
        leaf = green + 0.5 * vivid * (d - 0.5)
        colours.append(_colour(light, yellow, leaf))
    return colours


def _ratio(t: float) -> float:
    """A positive factor that grows with t in (-1, 1): symmetric in logarithm, 1 at zero."""
    return (1.0 + t) / (1.0 - t)


def _colour(light: float, yellow: float, leaf: float) -> Array:
    """Linear RGB of a luminance and two opponent chroma coordinates."""
    red = _ratio(0.45 * yellow - 0.25 * leaf)
    green = _ratio(0.1 * yellow + 0.2 * leaf)
    blue = _ratio(-0.6 * yellow - 0.1 * leaf)
    scale = light / (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return np.array([red * scale, green * scale, blue * scale])[:, None, None]


def _background(scene: _Scene, mood: list[float]) -> Array:
    """Textured ground between two colours, in some images with a horizon; linear [3, S, S]."""
    first, second = scene.palette[:2]
    rise = (axis(scene.size) / scene.size - 0.2 - 0.6 * mood[15])[:, None]
    slope = 1.5 if mood[16] < 0.6 else 25.0
    mix = clip(rise * slope + (0.03 + 0.2 * mood[24]) * scene.noise + 0.5)
    ground = scene.cells[::-1] if mood[25] < 0.3 else 0.6 * scene.noise.T
    shade = np.maximum(1.0 + (0.05 + 0.5 * mood[26] * mood[26]) * ground, 0.1)
    canvas: Array = (first + (second - first) * mix) * shade
    return canvas


def _shapes(key: int, size: int, mood: list[float]) -> list[list[float]]:
    """Uniform draws of each shape, the first three replaced by radius and centre in pixels."""
    small = 0.012 / (1.0 - 0.85 * mood[17])
    large = 0.2 + 0.25 * mood[18] + 2.0 * small
    ratio = (small / large) * (small / large)
    cover = 1.6 + 1.2 * mood[19]
    count = min(220, int(cover * 0.09 / (small * small)) + 6)
    table = uniform(key_of(key, 4), count * _DRAWS).reshape(count, _DRAWS)
    # Inverse of the cumulative distribution of r^-3 between the two radii.
    table[:, 0] = np.maximum(small * size / np.sqrt(1.0 - table[:, 0] * (1.0 - ratio)), 1.0)
    table[:, 1:3] = (table[:, 1:3] * 1.1 - 0.05) * size
    if mood[20] < 0.4:  # a receding ground: what lies lower is nearer, hence larger
        table[:, 0] *= 0.5 + table[:, 2] / size
    rows: list[list[float]] = table.tolist()
    return rows


def _outline(scene: _Scene, draws: list[float]) -> _Shape:
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
    return _Shape(kind, half_length, half_width, axis, corner, draws)


def _window(shape: _Shape, size: int, shift: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the box around the shape moved by `shift` (x, y), with a margin."""
    c, s = abs(shape.axis[0]), abs(shape.axis[1])
    reach_x = c * shape.half_length + s * shape.half_width + 1.0
    reach_y = s * shape.half_length + c * shape.half_width + 1.0
    x, y = shape.draws[1] + shift[0], shape.draws[2] + shift[1]
    rows = slice(max(0, int(y - reach_y)), max(0, min(size, int(y + reach_y) + 1)))
    columns = slice(max(0, int(x - reach_x)), max(0, min(size, int(x + reach_x) + 1)))
    return rows, columns


def _distance(shape: _Shape, x: Array, y: Array) -> Array:
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


def _polygon(shape: _Shape, x: Array, y: Array) -> Array:
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


def _grid(window: tuple[slice, slice], x: float, y: float) -> tuple[Array, Array]:
    """Pixel centres of the window's columns and rows, relative to the point (x, y)."""
    rows, columns = window
    across = axis(columns.stop - columns.start) + (columns.start + 0.5 - x)
    return across, axis(rows.stop - rows.start) + (rows.start + 0.5 - y)


def _paint(canvas: Array, scene: _Scene, draws: list[float]) -> None:
    """Draw one shape, and its shadow if it is large, over the linear canvas [3, S, S]."""
    shape = _outline(scene, draws)
    if draws[0] > 0.05 * scene.size and draws[4] < 0.7:
        _shadow(canvas, scene, shape)
    window = _window(shape, scene.size, (0.0, 0.0))
    x, y = _grid(window, draws[1], draws[2])
    if not x.size or not y.size:
        return
    distance = _distance(shape, x, y)
    cover = clip(0.5 - distance)
    below = canvas[:, window[0], window[1]]
    colour = _surface(scene, shape, window, x, y)
    if draws[0] > _PLAIN:
        colour = colour * _shade(scene, shape, x, y, distance)
    colour = colour - below
    colour *= cover
    below += colour


def _shadow(canvas: Array, scene: _Scene, shape: _Shape) -> None:
    """Darken what lies on the far side of the shape; penumbra as wide as the shadow is long."""
    length = 0.25 * shape.half_width * shape.draws[4] + 0.008 * scene.size
    shift = (-scene.light[0] * length, -scene.light[1] * length)
    window = _window(shape, scene.size, shift)
    x, y = _grid(window, shape.draws[1] + shift[0], shape.draws[2] + shift[1])
    if x.size and y.size:
        dark = clip(-_distance(shape, x, y) / length)
        canvas[:, window[0], window[1]] *= 1.0 - (0.25 + 0.5 * scene.relief) * dark


def _shade(scene: _Scene, shape: _Shape, x: Array, y: Array, distance: Array) -> Array:
    """Light on the shape [h, w]: brighter towards the light, darker to the edge if it is curved."""
    tilt = 0.6 * scene.relief * shape.draws[17] / shape.half_length
    shade = 1.0 + ramp(x, y, tilt * scene.light[0], tilt * scene.light[1])
    curve = scene.relief * shape.draws[16]
    if curve > 0.2:
        depth = clip(distance * (-1.0 / shape.half_width))
        shade *= 1.0 - curve + curve * np.sqrt(depth * (2.0 - depth))
    return np.maximum(shade, 0.03)


def _surface(scene: _Scene, shape: _Shape, window: tuple[slice, slice], x: Array, y: Array) -> Array:
    """Linear colour of the shape: [3, 1, 1] if it is plain, else [3, h, w]."""
    draws, palette = shape.draws, scene.palette
    first = palette[int(draws[13] * len(palette))] * _ratio(0.6 * draws[14] - 0.3)
    choice = draws[8] / scene.pattern
    if choice > 1.1 or draws[0] <= _PLAIN:
        return first
    noise = _patch(scene.noise, window, draws)
    if choice < 0.3:
        return first * np.maximum(1.0 + (0.05 + 0.4 * draws[11] * draws[11]) * noise, 0.1)
    if choice < 0.55:
        return first * (1.0 + (0.15 + 0.7 * draws[11] * draws[11]) * _patch(scene.cells, window, draws))
    second = first * _ratio(0.7 * draws[11] - 0.35)
    if draws[12] < 0.3:
        second = palette[int(draws[15] * len(palette))]
    if choice < 0.7:
        return first + (second - first) * clip(_patch(scene.grain, window, draws) * 4.0 - 1.0)
    return first + (second - first) * _weave(shape, x, y, noise, checks=choice > 0.85)


def _patch(field: Array, window: tuple[slice, slice], draws: list[float]) -> Array:
    """A piece of a shared field as large as the window, moved and mirrored at random."""
    field = field.T if draws[20] < 0.5 else field[::-1]
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    top = int(draws[18] * (len(field) - height + 1))
    left = int(draws[19] * (len(field) - width + 1))
    return field[top : top + height, left : left + width]


def _weave(shape: _Shape, x: Array, y: Array, noise: Array, checks: bool) -> Array:
    """Stripes or checks in 0..1 with edges of about a pixel, bent slightly by the noise."""
    draws = shape.draws
    period = max(3.0, shape.half_length * (0.08 + 0.5 * draws[9] * draws[9]))
    nx, ny = direction(draws[10])
    bend = 0.2 * draws[7]
    wave = triangle(ramp(x, y, nx / period, ny / period) + bend * noise)
    if checks:
        wave = wave * triangle(ramp(x, y, -ny / period, nx / period))
    return clip(0.5 + wave * min(0.25 * period, 0.5 + 3.0 * draws[11]))


def _develop(canvas: Array, scene: _Scene, key: int, mood: list[float]) -> NDArray[np.uint8]:
    """Light the whole scene, compress highlights, encode, add sensor grain: uint8 [S, S, 3]."""
    size = scene.size
    x = axis(size) / size - 0.5
    tilt = 1.2 * mood[21]
    canvas *= 1.0 + ramp(x, x, tilt * scene.light[0], tilt * scene.light[1])
    display = np.sqrt(canvas * 1.15 / (canvas + 1.0)) * 255.0
    grain = uniform(key_of(key, 5), size * size).reshape(size, size)
    display += (1.0 + 5.0 * mood[22]) * (grain - 0.5) + 0.5
    # Truncation of non-negative numbers; with the half added above it rounds.
    pixels = np.minimum(np.maximum(display, 0.0), 255.0).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
