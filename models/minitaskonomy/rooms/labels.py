"""From a room's buffers to the labels of the twenty tasks, before they are standardised.

Buffers are those of `raycast.render`: image, depth, distance, normals, surface, semantic, each [rooms, height, width(, 3)].
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from models.minitaskonomy.rooms.filters import blur, compute_brightness, compute_cornerness, compute_slopes, shift
from models.minitaskonomy.rooms.raycast import compute_camera
from models.minitaskonomy.rooms.scene import Room
from models.minitaskonomy.tasks import OBJECTS, OFFSETS, SEMANTICS

SAME_COLOUR = 0.06  # neighbours that differ by less, in every channel, are one patch
STEP, SHARE = 0.08, 0.04  # metres, and part of the distance, by which a surface must fall back behind an edge


def find_separate(depth: Tensor, normals: Tensor, rays: Tensor, down: int, right: int) -> Tensor:
    """Whether a pixel and its neighbour are on different surfaces: neither's tangent plane explains the other's depth."""
    plane = depth * (rays * normals).sum(-1)
    far, way, slant = (shift(v, down, right) for v in (depth, rays, normals))
    there = plane / (way * normals).sum(-1)
    here = shift(plane, down, right) / (rays * slant).sum(-1)
    limit = STEP + SHARE * depth
    return ~((there - far).abs() < limit) & ~((here - depth).abs() < limit)


def find_occlusion_edges(depth: Tensor, normals: Tensor, rays: Tensor) -> Tensor:
    """Pixels behind whose edge something farther is seen, bool[n, height, width]."""
    edge = torch.zeros_like(depth, dtype=torch.bool)
    for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        behind = shift(depth, down, right) - depth > STEP + SHARE * depth
        edge |= behind & find_separate(depth, normals, rays, down, right)
    return edge


def compute_tangents(normals: Tensor) -> tuple[Tensor, Tensor]:
    """Two directions at right angles to each normal and to each other."""
    helper = torch.where((normals[..., :1].abs() < 0.7), torch.eye(3)[0].to(normals), torch.eye(3)[1].to(normals))
    first = functional.normalize(torch.linalg.cross(normals, helper), dim=-1)
    return first, torch.linalg.cross(normals, first)


def compute_curvature(depth: Tensor, normals: Tensor, rays: Tensor) -> Tensor:
    """Principal curvatures, the larger first, 1/metre, [n, height, width, 2]; positive where the surface bulges.

    Eigenvalues of the symmetric shape operator that best explains, by least squares, how the normal turns on the way to the
    eight neighbours on the same surface: a crease is as sharp as a pixel is wide.
    """
    place, (first, second) = depth[..., None] * rays, compute_tangents(normals)
    left, right_side = (torch.zeros(*depth.shape, *shape, device=depth.device) for shape in ((3, 3), (3,)))
    for down, right in ((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y):
        step, turn = (shift(v, down, right) - v for v in (place, normals))
        a, b, c, d = ((way * axis).sum(-1) for way in (step, turn) for axis in (first, second))
        weight = (~find_separate(depth, normals, rays, down, right)).float() / (a * a + b * b).clamp_min(1e-8)
        zero = torch.zeros_like(a)
        rows = ((a * a, a * b, zero), (a * b, a * a + b * b, a * b), (zero, a * b, b * b))
        left += torch.stack([torch.stack(row, -1) for row in rows], -2) * weight[..., None, None]
        right_side += torch.stack((a * c, b * c + a * d, b * d), -1) * weight[..., None]
    found = torch.linalg.solve(left + 1e-4 * torch.eye(3, device=depth.device), right_side[..., None])[..., 0]
    mean, root = (found[..., 0] + found[..., 2]) / 2, torch.hypot((found[..., 0] - found[..., 2]) / 2, found[..., 1])
    return torch.stack((mean + root, mean - root), -1)


def find_patches(image: Tensor) -> Tensor:
    """Number of the connected patch of like colour of every pixel, int64[n, height, width]."""
    shape = image.shape[:3]
    number = np.arange(int(np.prod(shape))).reshape(shape)
    value = image.cpu().numpy()
    pairs = []
    for axis in (1, 2):
        near = np.abs(np.diff(value, axis=axis)).max(-1) < SAME_COLOUR
        first, second = (np.take(number, range(*ends), axis) for ends in ((0, shape[axis] - 1), (1, shape[axis])))
        pairs.append(np.stack((first[near], second[near])))
    rows, columns = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), (number.size,) * 2)
    return torch.from_numpy(connected_components(graph, directed=False)[1].reshape(shape).astype(np.int64)).to(image.device)


def compare_offsets(parts: Tensor) -> Tensor:
    """Whether each pixel and the one some way off have the same number, [n, offsets, height, width]."""
    return torch.stack([parts == shift(parts, *offset) for offset in OFFSETS], 1)


def orient(room: Room) -> tuple[np.ndarray, float]:
    """The room's axes front, right and up (rows, in the room's frame), front being the wall nearest to the view, and the turn from it."""
    quarter = round(room.yaw / (np.pi / 2)) * np.pi / 2
    front = np.round([np.cos(quarter), np.sin(quarter), 0])
    right = np.array([front[1], -front[0], 0.0])
    return np.stack((front, right, [0.0, 0.0, 1.0])), room.yaw - quarter


def compute_layout(room: Room) -> np.ndarray:
    """Log distances to the sides front, back, right, left, ceiling, floor; turn from the front, and tilt (radians): [8]."""
    axes, turn = orient(room)
    eye, size = np.array(room.eye), np.array(room.size)
    ahead = [axis @ (size * (axis > 0) - eye) for axis in axes]
    behind = [-axis @ (size * (axis < 0) - eye) for axis in axes]
    walls = np.log(np.array([one for pair in zip(ahead, behind, strict=True) for one in pair]))
    return np.append(walls, [turn, room.pitch]).astype(np.float32)


def compute_vanishing(rooms: list[Room]) -> np.ndarray:
    """Directions of front, right and up in the camera's frame, [n, 9]: their vanishing points, as in Taskonomy on a sphere."""
    turns = compute_camera(rooms, "cpu", 1)[0].numpy()
    return np.stack([(turn @ orient(room)[0].T).T.ravel() for turn, room in zip(turns, rooms, strict=True)]).astype(np.float32)


def measure_coverage(semantic: Tensor) -> Tensor:
    """Share of the image that each kind of furniture covers, [n, objects]."""
    return torch.stack([(semantic == SEMANTICS.index(name)).float().mean((1, 2)) for name in OBJECTS], 1)


def compute_labels(rooms: list[Room], found: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Every label of a batch of rendered rooms but those that are the image: name to array, images first, channels second."""
    image, depth, normals, semantic = (found[name] for name in ("image", "depth", "normals", "semantic"))
    rays = compute_camera(rooms, str(depth.device), depth.shape[1])[1].reshape(*depth.shape, 3)
    bright, facing = compute_brightness(image), -(normals * rays).sum(-1) / rays.norm(dim=-1)
    bends = compute_curvature(depth, normals, rays)
    dense = {
        "edges2d": blur(torch.hypot(*compute_slopes(bright)), 0.7),
        "keypoints2d": compute_cornerness(bright),
        "edges3d": blur(find_occlusion_edges(depth, normals, rays).float()[:, None], 1.0),
        "keypoints3d": compute_cornerness(normals.movedim(-1, 1)),
        "depth": depth.log()[:, None],
        "distance": found["distance"].log()[:, None],
        "normals": normals.movedim(-1, 1),
        "curvature": (bends.sign() * bends.abs().log1p()).movedim(-1, 1),
        "reshading": (facing / (1 + (found["distance"] / 3) ** 2))[:, None],
    }
    kept = {name: value.half().cpu().numpy() for name, value in dense.items()}
    segments = {"segment2d": compare_offsets(find_patches(image)), "segment25d": compare_offsets(found["surface"])}
    return kept | {name: value.cpu().numpy() for name, value in segments.items()} | {
        "semantic": semantic.to(torch.uint8).cpu().numpy(),
        "layout": np.stack([compute_layout(room) for room in rooms]),
        "vanishing": compute_vanishing(rooms),
        "object": measure_coverage(semantic).argmax(1).to(torch.uint8).cpu().numpy(),
        "scene": np.array([room.kind for room in rooms], np.uint8),
    }  # fmt: skip
