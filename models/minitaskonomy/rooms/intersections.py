"""Exact intersections of rays with boxes, ellipsoids and upright cylinders, for many rooms at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.minitaskonomy.rooms.scene import FACES, PlacedSolid, Room
from models.minitaskonomy.tasks import SEMANTICS

SHAPES = ("box", "ellipsoid", "cylinder")
_TINY = 1e-6


@dataclass(frozen=True)
class Solids:
    """Solids of one shape in a batch of rooms, padded with solids out of reach: float32[rooms, solids]."""

    centre: Tensor  # [rooms, solids, 3]
    half: Tensor  # [rooms, solids, 3]
    yaw: Tensor
    semantic: Tensor
    material: Tensor

    def find_near(self, start: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (room, ray, solid) of all rays that come near a solid: that meet the ball around it."""
        offset = self.centre - start[:, None]
        along, radius = step @ offset.mT, self.half.square().sum(-1)
        outside = offset.square().sum(-1) - radius
        near = along.clamp_min(0).square() >= outside[:, None] * step.square().sum(-1, keepdim=True)
        room, ray, solid = near.nonzero(as_tuple=True)
        return room, ray, solid

    def to_own_frame(self, vector: Tensor, room: Tensor, solid: Tensor) -> Tensor:
        """Vectors [n, 3] in the frames of solids, where they have half size 1."""
        c, s = self.yaw.cos()[room, solid], self.yaw.sin()[room, solid]
        x, y, z = vector.unbind(-1)
        return torch.stack((c * x + s * y, c * y - s * x, z), -1) / self.half[room, solid]

    def to_room_frame(self, normal: Tensor, which: Tensor) -> Tensor:
        """Normals [rooms, rays, 3] of the own frames of solids `which` [rooms, rays] in the room's frame."""
        rows = torch.arange(len(which), device=which.device)[:, None]
        c, s = self.yaw[rows, which].cos(), self.yaw[rows, which].sin()
        x, y, z = (normal / self.half[rows, which]).unbind(-1)
        return torch.nn.functional.normalize(torch.stack((c * x - s * y, s * x + c * y, z), -1), dim=-1)


@dataclass(frozen=True)
class Hits:
    """What each ray meets first, [rooms, rays]; `place` and `normal` have three components."""

    far: Tensor  # in units of the ray's length
    normal: Tensor  # in the room's frame
    local: Tensor  # the place in metres in the solid's frame: what a texture is drawn on
    axis: Tensor  # the solid's axis that the surface looks along: 0, 1, 2
    surface: Tensor  # a number for each smooth piece of surface of a room
    semantic: Tensor
    material: Tensor


def pack_solids(rooms: list[Room], shape: str, device: str) -> Solids:
    """The solids of one shape."""
    found = [[one for one in room.solids if one.shape == shape] for room in rooms]
    most = max(1, *map(len, found))
    nowhere = PlacedSolid("box", (1e3, 1e3, 1e3), (1e-3, 1e-3, 1e-3), 0.0, 0, 0)
    rows = [solids + [nowhere] * (most - len(solids)) for solids in found]
    table = np.array([[[*s.centre, *s.half, s.yaw, s.semantic, s.material] for s in row] for row in rows], np.float32)
    all_ = torch.from_numpy(table).to(device)
    return Solids(all_[..., :3], all_[..., 3:6], all_[..., 6], all_[..., 7].long(), all_[..., 8].long())


def _cross_slab(start: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave |x| <= 1."""
    step = torch.where(step.abs() < _TINY, torch.full_like(step, _TINY), step)
    one, two = (-1 - start) / step, (1 - start) / step
    return torch.minimum(one, two), torch.maximum(one, two)


def _cross_ball(start: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the unit ball of the given axes."""
    a = (step * step).sum(-1).clamp_min(_TINY**2)
    b, c = (start * step).sum(-1), (start * start).sum(-1) - 1
    root = (b * b - a * c).sqrt()  # NaN where the ray misses, and no comparison with NaN is true
    return (-b - root) / a, (-b + root) / a


def _cross_solid(shape: str, origin: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays [n, 3] enter and leave the unit solid; NaN or the wrong way round for a miss."""
    if shape == "ellipsoid":
        return _cross_ball(origin, step)
    sides = [_cross_slab(origin[..., n], step[..., n]) for n in ((0, 1, 2) if shape == "box" else (2,))]
    if shape == "cylinder":
        sides.append(_cross_ball(origin[..., :2], step[..., :2]))
    near, far = sides[0]
    for low, high in sides[1:]:
        near, far = torch.maximum(near, low), torch.minimum(far, high)
    return near, far


def find_crossings(shape: str, solids: Solids, start: Tensor, step: Tensor) -> Tensor:
    """Distance to each solid from `start` [rooms, 3], [rooms, rays, solids]; infinite for a miss."""
    room, ray, solid = solids.find_near(start, step)
    origin = solids.to_own_frame(start[room] - solids.centre[room, solid], room, solid)
    near, far = _cross_solid(shape, origin, solids.to_own_frame(step[room, ray], room, solid))
    found = torch.full((*step.shape[:2], solids.yaw.shape[1]), torch.inf, device=step.device)
    found[room, ray, solid] = torch.where((near < far) & (near > 1e-3), near, torch.inf)
    return found


def find_blocked(rooms: list[Solids], start: Tensor, step: Tensor) -> Tensor:
    """Whether something lies between `start` and `start + step`, bool[rooms, rays]."""
    nearest = [find_crossings(shape, solids, start, step).amin(-1) for shape, solids in zip(SHAPES, rooms, strict=True)]
    return torch.stack(nearest).amin(0) < 0.995


def find_walls(size: Tensor, start: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the room's own box from within, the axis and the number of the face."""
    middle = size / 2
    _, far = _cross_slab(((start - middle) / middle)[:, None], step / middle[:, None])
    reach, axis = far.min(-1)
    return reach, axis, 2 * axis + (step.gather(-1, axis[..., None])[..., 0] > 0)


def _find_face(shape: str, local: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal in the own frame, axis and number of the smooth piece, of points [..., 3] on a unit solid."""
    if shape == "ellipsoid":
        return local, local.abs().argmax(-1), torch.zeros_like(local[..., 0], dtype=torch.long)
    measure = local.abs()
    if shape == "cylinder":
        round_ = local[..., :2].norm(dim=-1) > measure[..., 2]
        cap = torch.stack((torch.zeros_like(local[..., 0]),) * 2 + (local[..., 2].sign(),), -1)
        side = torch.cat((local[..., :2], torch.zeros_like(local[..., :1])), -1)
        axis = torch.where(round_, measure[..., :2].argmax(-1), torch.full_like(round_, 2, dtype=torch.long))
        return torch.where(round_[..., None], side, cap), axis, torch.where(round_, 0, 1 + (local[..., 2] > 0).long())
    axis = measure.argmax(-1)
    sign = local.gather(-1, axis[..., None])
    return torch.nn.functional.one_hot(axis, 3) * sign.sign(), axis, 2 * axis + (sign[..., 0] > 0)


def _describe(shape: str, solids: Solids, which: Tensor, start: Tensor, step: Tensor, far: Tensor) -> tuple[Tensor, ...]:
    """Normal, local place, axis, smooth piece, semantic class and material where rays meet solids `which`."""
    rows = torch.arange(len(which), device=which.device)[:, None]
    place = start[:, None] + step * far[..., None] - solids.centre[rows, which]
    c, s, half = solids.yaw[rows, which].cos(), solids.yaw[rows, which].sin(), solids.half[rows, which]
    x, y, z = place.unbind(-1)
    local = torch.stack((c * x + s * y, c * y - s * x, z), -1)
    normal, axis, piece = _find_face(shape, local / half)
    return solids.to_room_frame(normal, which), local, axis, piece, solids.semantic[rows, which], solids.material[rows, which]


def cast(rooms: list[Solids], size: Tensor, start: Tensor, step: Tensor) -> Hits:
    """The first hit of rays from `start` [rooms, 3] along `step` [rooms, rays, 3]; the room's box is always hit."""
    far, axis, face = find_walls(size, start, step)
    normal = -torch.nn.functional.one_hot(axis, 3) * step.sign()
    local = start[:, None] + step * far[..., None]
    kinds = torch.tensor([SEMANTICS.index(name) for name in FACES], device=far.device)
    best = [far, normal, local, axis, face, kinds[face], face]
    offset = len(FACES)
    for shape, solids in zip(SHAPES, rooms, strict=True):
        distance, which = find_crossings(shape, solids, start, step).min(-1)
        nearer = distance < best[0]
        found = _describe(shape, solids, which, start, step, torch.where(nearer, distance, 1.0))
        surface = offset + 6 * which + found[3]
        new = [distance, found[0], found[1], found[2], surface, found[4], found[5]]
        best = [torch.where(nearer[..., None] if a.ndim == 3 else nearer, b, a) for a, b in zip(best, new, strict=True)]
        offset += 6 * solids.yaw.shape[1]
    return Hits(*best)
