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

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.noise_fields import Array, axis, cells, clip, direction, key_of, noise, octave, ramp, uniform
from onnxspace.inputs.scene_shapes import Scene
from onnxspace.inputs.scene_surfaces import paint_shape, ratio_of

_DRAWS = 32  # uniform numbers set aside for each shape


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
    scene = _choose_scene(key, size, mood)
    canvas = _paint_background(scene, mood)
    for draws in _draw_shapes(key, size, mood):
        paint_shape(canvas, scene, draws)
    return _develop(canvas, scene, key, mood)


def _choose_scene(key: int, size: int, mood: list[float]) -> Scene:
    """Choose the palette, light, textures and shapes of one image."""
    shares = [0.15 + mood[k] * mood[k] for k in range(4)]
    total = shares[0] + shares[1] + shares[2] + 0.4 * shares[3]
    ellipses, boxes = shares[0] / total, (shares[0] + shares[1]) / total
    return Scene(
        size=size,
        palette=_choose_palette(key, mood),
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


def _choose_palette(key: int, mood: list[float]) -> list[Array]:
    """Eight linear RGB colours about one tint: luminance varies most, then blue-yellow."""
    draws = uniform(key_of(key, 3), 32).tolist()
    level = 0.25 * ratio_of(0.9 * mood[11] - 0.45)
    warm, green, vivid = 0.7 * (mood[12] - 0.5), 0.6 * (mood[13] - 0.4), 0.2 + mood[14]
    colours = []
    for a, b, c, d in zip(draws[0::4], draws[1::4], draws[2::4], draws[3::4], strict=True):
        light = level * ratio_of(0.3 * (a + b - 1.0) + 0.32 * (2.0 * a - 1.0) + (0.33 if a > 0.5 else -0.33))
        yellow = warm + vivid * (c - 0.5)
        leaf = green + 0.5 * vivid * (d - 0.5)
        colours.append(_colour(light, yellow, leaf))
    return colours


def _colour(light: float, yellow: float, leaf: float) -> Array:
    """Linear RGB of a luminance and two opponent chroma coordinates."""
    red = ratio_of(0.45 * yellow - 0.25 * leaf)
    green = ratio_of(0.1 * yellow + 0.2 * leaf)
    blue = ratio_of(-0.6 * yellow - 0.1 * leaf)
    scale = light / (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return np.array([red * scale, green * scale, blue * scale])[:, None, None]


def _paint_background(scene: Scene, mood: list[float]) -> Array:
    """Textured ground between two colours, in some images with a horizon; linear [3, S, S]."""
    first, second = scene.palette[:2]
    rise = (axis(scene.size) / scene.size - 0.2 - 0.6 * mood[15])[:, None]
    slope = 1.5 if mood[16] < 0.6 else 25.0
    mix = clip(rise * slope + (0.03 + 0.2 * mood[24]) * scene.noise + 0.5)
    ground = scene.cells[::-1] if mood[25] < 0.3 else 0.6 * scene.noise.T
    shade = np.maximum(1.0 + (0.05 + 0.5 * mood[26] * mood[26]) * ground, 0.1)
    canvas: Array = (first + (second - first) * mix) * shade
    return canvas


def _draw_shapes(key: int, size: int, mood: list[float]) -> list[list[float]]:
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


def _develop(canvas: Array, scene: Scene, key: int, mood: list[float]) -> NDArray[np.uint8]:
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
