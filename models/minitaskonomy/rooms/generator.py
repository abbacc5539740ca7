"""Rooms drawn from a seed: furniture in its usual places, openings and pictures on the walls, and a camera."""

from __future__ import annotations

import numpy as np

from models.minitaskonomy.rooms.furniture import DARK_WOOD, PIECES, WHITE
from models.minitaskonomy.rooms.scene import Material, PlacedSolid, Room, draw_colour, draw_material
from models.minitaskonomy.tasks import SCENES, SEMANTICS

WALL, FLOOR, RUG = (0.84, 0.76, 0.6), (0.6, 0.45, 0.32), (0.6, 0.2, 0.22)
BACKS = {"sofa": 0.5, "bed": 1.1, "shelf": 0.22}  # from the middle of a piece to the wall behind it
CONTENTS = {
    "living room": ("sofa", "table", "lamp", "plant", "sofa?", "shelf?", "plant?"),
    "bedroom": ("bed", "shelf", "lamp", "chair?", "plant?", "bed?"),
    "office": ("table+2", "shelf", "table+1?", "shelf?", "plant?"),
    "dining room": ("table+4", "lamp?", "plant?", "table+4?"),
    "corridor": ("plant", "plant?", "lamp?", "shelf?", "chair?"),
    "library": ("shelf", "shelf", "shelf", "shelf?", "shelf?", "shelf?", "chair?", "lamp?", "table?"),
}


def add_piece(room: Room, name: str, x: float, y: float, yaw: float, rng: np.random.Generator) -> None:
    """Add one piece of furniture, with materials of its own."""
    parts, first, (c, s) = PIECES[name].make(rng), len(room.materials), (np.cos(yaw), np.sin(yaw))
    room.materials += [draw_material(rng, tint, 0.25) for tint in PIECES[name].tints]
    for part in parts:
        a, b, z = part.centre
        centre = (x + c * a - s * b, y + s * a + c * b, z)
        room.solids.append(PlacedSolid(part.shape, centre, part.half, yaw, SEMANTICS.index(name), first + part.material))


def choose_by_wall(room: Room, name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """A place with the back to a wall: x, y, yaw."""
    wall, (wide, deep, _) = int(rng.integers(4)), room.size
    back = BACKS.get(name, 0.3) + rng.uniform(0, 0.1)
    radius = PIECES[name].radius
    along = rng.uniform(min(radius, 0.4 * wide), max(wide - radius, 0.6 * wide))
    across = rng.uniform(min(radius, 0.4 * deep), max(deep - radius, 0.6 * deep))
    return ((along, back, 0.0), (wide - back, across, np.pi / 2), (along, deep - back, np.pi), (back, across, -np.pi / 2))[wall]


def choose_freely(room: Room, rng: np.random.Generator, margin: float) -> tuple[float, float, float]:
    """A place anywhere on the floor: x, y, yaw."""
    x, y = (rng.uniform(near := min(margin, 0.45 * length), length - near) for length in room.size[:2])
    return x, y, rng.uniform(0, 2 * np.pi)


def furnish(room: Room, wish: str, rng: np.random.Generator) -> None:
    """Find a place for one entry of CONTENTS: `?` makes it optional, `+n` adds n chairs."""
    name, _, chairs = wish.rstrip("?").partition("+")
    if wish.endswith("?") and rng.random() < 0.5:
        return
    piece = PIECES[name]
    for _ in range(25):
        x, y, yaw = choose_by_wall(room, name, rng) if piece.against_wall else choose_freely(room, rng, 0.9)
        if room.free(x, y, piece.radius):
            add_piece(room, name, x, y, yaw, rng)
            room.taken.append((x, y, piece.radius + 0.25 * bool(chairs)))
            place_chairs(room, (x, y, yaw), int(chairs or 0), rng)
            return


def place_chairs(room: Room, table: tuple[float, float, float], count: int, rng: np.random.Generator) -> None:
    """Chairs around a table, facing it."""
    x, y, yaw = table
    for turn in rng.permutation(4)[:count] * np.pi / 2 + yaw:
        off = 0.75 if np.isclose(np.sin(turn - yaw), 0, atol=0.1) else 0.95
        add_piece(room, "chair", x - off * np.sin(turn), y + off * np.cos(turn), turn + np.pi + rng.normal(0, 0.15), rng)


def hang_panel(room: Room, name: str, glow: float, size: tuple[float, float], height: float, rng: np.random.Generator) -> None:
    """A flat box on a wall: a window, a door or a picture of half size `size`."""
    wall, thick, (wide, deep, _) = int(rng.integers(4)), rng.uniform(0.015, 0.05), room.size
    length = deep if wall % 2 else wide
    along = rng.uniform(near := min(size[0] + 0.1, length / 2), length - near)
    at = ((along, 0.0), (wide, along), (along, deep), (0.0, along))[wall]
    look = draw_material(rng, DARK_WOOD if name == "opening" else None, 0.3 if name == "opening" else 0.9)
    sky = Material((0.75, 0.85, 1.0), (0.95, 0.97, 1.0), 3, 1.0, 0.0, glow)
    room.materials.append(sky if glow else look)
    half, yaw = (size[0], thick, size[1]), wall % 2 * np.pi / 2
    room.solids.append(PlacedSolid("box", (*at, height), half, yaw, SEMANTICS.index(name), len(room.materials) - 1))


def decorate(room: Room, rng: np.random.Generator) -> None:
    """Openings and pictures on the walls, a rug on the floor."""
    for _ in range(int(rng.integers(0, 3))):
        hang_panel(room, "opening", 0.8, (rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.6)), 1.5, rng)
    if rng.random() < 0.7:
        hang_panel(room, "opening", 0.0, (rng.uniform(0.4, 0.5), 1.02), 1.02, rng)
    for _ in range(int(rng.integers(0, 4))):
        hang_panel(room, "picture", 0.0, (rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.4)), rng.uniform(1.4, 1.8), rng)
    if rng.random() < 0.5:
        x, y, yaw = choose_freely(room, rng, 1.0)
        room.materials.append(draw_material(rng, RUG, 0.8))
        half = (rng.uniform(0.6, 1.3), rng.uniform(0.5, 1.0), 0.01)
        room.solids.append(PlacedSolid("box", (x, y, 0.01), half, yaw, SEMANTICS.index("rug"), len(room.materials) - 1))


def place_camera(room: Room, rng: np.random.Generator) -> None:
    """Put the camera where it has air around it, and turn it to a piece of furniture."""
    wide, deep, high = room.size
    for _ in range(60):
        x, y, _ = choose_freely(room, rng, 0.3)
        if all(np.hypot(x - a, y - b) > r + 0.35 for a, b, r in room.taken):
            break
    room.eye = (x, y, rng.uniform(1.0, min(1.9, high - 0.5)))
    a, b, _ = room.taken[int(rng.integers(len(room.taken)))] if room.taken else (wide / 2, deep / 2, 0)
    far = max(np.hypot(a - x, b - y), 0.8)
    room.yaw = float(np.arctan2(b - y, a - x) + rng.normal(0, 0.2))
    room.pitch = float(np.clip(np.arctan2(0.7 - room.eye[2], far) + rng.normal(0, 0.1), -0.7, 0.3))
    room.roll, room.zoom = float(rng.normal(0, 0.05)), rng.uniform(1.0, 1.4)


def draw(rng: np.random.Generator) -> Room:
    """One room with everything in it."""
    kind = int(rng.integers(len(SCENES)))
    wide, deep = (rng.uniform(1.8, 2.6), rng.uniform(5, 9)) if SCENES[kind] == "corridor" else rng.uniform(3.2, 7, 2)
    if rng.random() < 0.5:
        wide, deep = deep, wide
    walls = draw_material(rng, WALL, 0.3)
    faces = [walls if rng.random() < 0.8 else draw_material(rng, WALL, 0.3) for _ in range(4)]
    ceiling = Material(top := draw_colour(rng, WHITE), top)
    room = Room(kind, (wide, deep, rng.uniform(2.3, 3.3)), [*faces, draw_material(rng, FLOOR, 0.7), ceiling])
    for wish in CONTENTS[SCENES[kind]]:
        furnish(room, wish, rng)
    decorate(room, rng)
    place_camera(room, rng)
    room.lamp = (*(rng.uniform(0.25, 0.75, 2) * (wide, deep)), room.size[2] - 0.3)
    return room
