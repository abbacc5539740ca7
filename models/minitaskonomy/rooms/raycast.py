"""Ray casting of many rooms at once, in Torch: textures, light, and the buffers that labels are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.minitaskonomy.rooms.intersections import SHAPES, Hits, Solids, cast, find_blocked, pack_solids
from models.minitaskonomy.rooms.scene import Room
from models.minitaskonomy.tasks import SIZE

AMBIENT, LAMP = 0.42, 2.6


def paint(hits: Hits, table: Tensor) -> tuple[Tensor, Tensor]:
    """Colour [rooms, rays, 3] and glow [rooms, rays] of the surfaces, from material rows [rooms, materials, 10]."""
    rows = torch.arange(len(table), device=table.device)[:, None]
    row = table[rows, hits.material]
    across = torch.where(hits.axis == 0, hits.local[..., 1], hits.local[..., 0])
    up = torch.where(hits.axis == 2, hits.local[..., 1], hits.local[..., 2])
    c, s = row[..., 8].cos(), row[..., 8].sin()
    u, v = (c * across + s * up) / row[..., 7], (c * up - s * across) / row[..., 7]
    turn = 2 * np.pi
    stripes, checks = torch.sin(turn * u), torch.sin(np.pi * u) * torch.sin(np.pi * v)
    waves = torch.sin(turn * (0.6 * u + 0.35 * torch.sin(4.1 * v)) + 1.7 * torch.sin(2.3 * v + 1.1 * u))
    planks = torch.sin(7.3 * torch.floor(2 * u) + 3.1 * torch.floor(0.5 * v + 0.37 * torch.floor(2 * u))) * 0.8
    kinds = torch.stack((torch.zeros_like(u), (6 * stripes).tanh(), (8 * checks).tanh(), waves, planks))
    mix = 0.5 + 0.5 * kinds.gather(0, row[..., 6].long()[None])[0]
    return row[..., :3] + (row[..., 3:6] - row[..., :3]) * mix[..., None], row[..., 9]


def compute_camera(rooms: list[Room], device: str, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Rotation [rooms, 3, 3], whose rows are right, down and forward, and rays [rooms, size², 3] in the camera's frame."""
    turns = np.array([(r.yaw, r.pitch, r.roll) for r in rooms])
    (cy, cp, cr), (sy, sp, sr) = np.cos(turns).T, np.sin(turns).T
    zero = np.zeros_like(cy)
    forward, right = np.stack((cy * cp, sy * cp, sp), 1), np.stack((sy, -cy, zero), 1)
    down = np.cross(forward, right)
    axes = np.stack((cr[:, None] * right + sr[:, None] * down, cr[:, None] * down - sr[:, None] * right, forward), 1)
    grid = (np.arange(size) + 0.5) / size * 2 - 1
    zoom = np.array([r.zoom for r in rooms])[:, None, None]
    rays = np.stack(np.broadcast_arrays(grid[None, None] / zoom, grid[None, :, None] / zoom, np.ones(1)), -1)
    flat = rays.reshape(len(rooms), -1, 3)
    return torch.from_numpy(axes.astype(np.float32)).to(device), torch.from_numpy(flat.astype(np.float32)).to(device)


def render(rooms: list[Room], device: str = "cpu", size: int = SIZE) -> dict[str, Tensor]:
    """Buffers of a batch of rooms, each [rooms, size, size(, 3)].

    `image` 0 to 1 (gamma 2.2), `depth` along the optical axis and `distance` from the eye in metres, `normals` in the
    camera's frame (right, down, forward), `surface`, `semantic`.
    """
    solids = [pack_solids(rooms, shape, device) for shape in SHAPES]
    known = torch.tensor([(r.eye, r.size, r.lamp) for r in rooms], dtype=torch.float32, device=device)
    start, extent, lamp = known.unbind(1)
    axes, rays = compute_camera(rooms, device, size)
    step = rays @ axes
    hits = cast(solids, extent, start, step)
    most = max(len(room.materials) for room in rooms)
    rows = [[m.row() for m in room.materials] + [[0.0] * 10] * (most - len(room.materials)) for room in rooms]
    table = torch.tensor(rows, dtype=torch.float32, device=device)
    colours, glow = paint(hits, table)
    light = illuminate(solids, lamp, start[:, None] + step * hits.far[..., None], hits.normal)
    radiance = colours * torch.maximum(light, glow)[..., None]
    shape = (len(rooms), size, size)
    return {
        "image": radiance.clamp(0, 1).pow(1 / 2.2).reshape(*shape, 3),
        "depth": hits.far.reshape(shape),
        "distance": (hits.far * rays.norm(dim=-1)).reshape(shape),
        "normals": (hits.normal @ axes.mT).reshape(*shape, 3),
        "surface": hits.surface.reshape(shape),
        "semantic": hits.semantic.reshape(shape),
    }


def illuminate(solids: list[Solids], lamp: Tensor, place: Tensor, normal: Tensor) -> Tensor:
    """Light that surfaces receive, [rooms, rays]: everywhere a little, and from the lamp where it is seen."""
    way = place - lamp[:, None]
    square = (way * way).sum(-1)
    facing = -(way * normal).sum(-1) / square.sqrt()
    sun = torch.where(find_blocked(solids, lamp, way), 0.0, facing.clamp_min(0))
    return AMBIENT * (0.75 + 0.25 * facing) + LAMP * sun / (2.2 + square)
