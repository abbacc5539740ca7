"""The rendered rooms: hits against points sampled along rays, labels against geometry done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.minitaskonomy.rooms import dataset, filters, generator, intersections, labels, raycast
from models.minitaskonomy.rooms.scene import Material, PlacedSolid, Room
from models.minitaskonomy.tasks import OBJECTS, OFFSETS, SCENES, SEMANTICS, SIZE

GREY = Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


SOLIDS = {
    "box": PlacedSolid("box", (3.0, 2.0, 1.2), (0.4, 0.6, 0.5), 0.4, SEMANTICS.index("bed"), 0),
    "ellipsoid": PlacedSolid("ellipsoid", (3.0, 2.0, 1.2), (0.7, 0.5, 0.6), 0.4, SEMANTICS.index("plant"), 0),
    "cylinder": PlacedSolid("cylinder", (3.0, 2.0, 1.2), (0.5, 0.5, 0.6), 0.0, SEMANTICS.index("lamp"), 0),
}


def room(*solids: PlacedSolid, **camera: float) -> Room:
    """A bare room, 5 × 4 × 3 metres, looked at along x from (0.5, 2, 1.2)."""
    made = Room(0, (5.0, 4.0, 3.0), [GREY] * 6, list(solids), lamp=(2.5, 2.0, 2.7), eye=(0.5, 2.0, 1.2))
    return replace(made, **camera)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn() -> list[Room]:
    return [generator.draw(np.random.default_rng([11, n])) for n in range(6)]


def inside(solid: PlacedSolid, points: np.ndarray) -> np.ndarray:
    """Membership of points float64[n, 3], by the definition of each shape."""
    c, s = np.cos(solid.yaw), np.sin(solid.yaw)
    away = points - np.array(solid.centre)
    local = np.stack((c * away[:, 0] + s * away[:, 1], c * away[:, 1] - s * away[:, 0], away[:, 2]), 1) / np.array(solid.half)
    if solid.shape == "box":
        return np.abs(local).max(1) < 1
    if solid.shape == "ellipsoid":
        return (local**2).sum(1) < 1
    return (np.hypot(local[:, 0], local[:, 1]) < 1) & (np.abs(local[:, 2]) < 1)


def test_nothing_solid_lies_before_the_hit_and_something_begins_at_it(drawn: list[Room]) -> None:
    depth = raycast.render(drawn)["depth"].double().numpy().reshape(len(drawn), -1)
    turns, rays = (value.double().numpy() for value in raycast.compute_camera(drawn, "cpu"))
    rng = np.random.default_rng(0)
    for n, one in enumerate(drawn):
        for ray in rng.choice(SIZE * SIZE, 40, replace=False):
            step = rays[n, ray] @ turns[n]
            before = np.array(one.eye) + np.linspace(0.001, 0.999, 800)[:, None] * depth[n, ray] * step
            assert not any(inside(solid, before).any() for solid in one.solids)
            assert ((before > 0) & (before < np.array(one.size))).all()
            behind = np.array(one.eye) + (depth[n, ray] + np.array([[2e-4], [2e-3]])) * step
            solid = any(inside(solid, behind).any() for solid in one.solids)
            assert solid or not ((behind > 0) & (behind < np.array(one.size))).all()


def test_normals_are_those_of_the_surface_that_the_depth_describes(drawn: list[Room]) -> None:
    found = raycast.render(drawn, size=192)
    rays = raycast.compute_camera(drawn, "cpu", 192)[1].reshape(len(drawn), 192, 192, 3)
    place = found["depth"][..., None] * rays
    across = torch.linalg.cross(place[:, :-1, 1:] - place[:, :-1, :-1], place[:, 1:, :-1] - place[:, :-1, :-1])
    slope = -torch.nn.functional.normalize(across, dim=-1)
    surface = found["surface"]
    same = (surface[:, :-1, 1:] == surface[:, :-1, :-1]) & (surface[:, 1:, :-1] == surface[:, :-1, :-1])
    cosine = (slope * found["normals"][:, :-1, :-1]).sum(-1)[same]
    assert cosine.quantile(0.02) > 0.99
    assert torch.allclose(found["normals"].norm(dim=-1), torch.ones(1), atol=1e-5)
    assert ((found["normals"] * rays).sum(-1) < 1e-4).all()


def test_distance_is_depth_along_the_slanted_ray(drawn: list[Room]) -> None:
    found = raycast.render(drawn)
    rays = raycast.compute_camera(drawn, "cpu")[1].reshape(len(drawn), SIZE, SIZE, 3)
    assert torch.allclose(found["distance"], found["depth"] * rays.norm(dim=-1))


@pytest.mark.parametrize("shape", SOLIDS)
def test_a_solid_in_front_of_a_wall_has_its_outline_as_occlusion_edge(shape: str) -> None:
    one = room(SOLIDS[shape])
    found, bare = raycast.render([one]), raycast.render([room()])
    rays = raycast.compute_camera([one], "cpu")[1].reshape(1, SIZE, SIZE, 3)
    edge = labels.find_occlusion_edges(found["depth"], found["normals"], rays)[0].numpy()
    solid = (found["semantic"] == SOLIDS[shape].semantic)[0].numpy()
    rim = solid & ~(np.roll(solid, 1, 0) & np.roll(solid, -1, 0) & np.roll(solid, 1, 1) & np.roll(solid, -1, 1))
    assert solid.sum() > 100
    assert (edge == rim).mean() > 0.995
    assert not labels.find_occlusion_edges(bare["depth"], bare["normals"], rays).any()


def test_curvatures_of_ball_column_and_wall() -> None:
    ball = PlacedSolid("ellipsoid", (2.5, 2.0, 1.2), (0.8, 0.8, 0.8), 0.0, 9, 0)
    column = PlacedSolid("cylinder", (2.5, 2.0, 1.5), (0.5, 0.5, 1.5), 0.0, 9, 0)
    middle = (slice(None), slice(88, 104), slice(88, 104))
    for solid, wanted in ((ball, (1 / 0.8, 1 / 0.8)), (column, (2.0, 0.0))):
        one = room(solid)
        found = raycast.render([one], size=192)
        rays = raycast.compute_camera([one], "cpu", 192)[1].reshape(1, 192, 192, 3)
        bends = labels.compute_curvature(found["depth"], found["normals"], rays)[middle].reshape(-1, 2).median(0).values
        assert bends.tolist() == pytest.approx(wanted, rel=0.03, abs=0.02)
    found = raycast.render([room(yaw=0.78)])
    bends = labels.compute_curvature(
        found["depth"], found["normals"], raycast.compute_camera([room()], "cpu")[1].reshape(1, SIZE, SIZE, 3)
    )
    flat = (found["surface"] == found["surface"][0, 32, 20])[0]
    assert bends[0][flat].abs().median() < 1e-3
    assert bends[0].amin() < -1
    assert bends[0].amax() < 0.3 * -bends[0].amin()


def test_layout_and_vanishing_points_place_the_walls(drawn: list[Room]) -> None:
    found = raycast.render(drawn)
    rays = raycast.compute_camera(drawn, "cpu")[1].reshape(len(drawn), SIZE, SIZE, 3)
    place = (found["depth"][..., None] * rays).double().numpy()
    axes = labels.compute_vanishing(drawn).reshape(len(drawn), 3, 3)
    assert np.allclose(axes @ axes.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    for n, one in enumerate(drawn):
        side = labels.compute_layout(one)
        along = np.concatenate([(place[n] @ axis)[None] * sign for axis in axes[n] for sign in (1, -1)])
        reach = np.exp(side[:6])
        assert (along <= reach[:, None, None] * 1.0001 + 1e-4).all()
        room_itself = found["surface"][n].numpy() < 6
        touched = np.isclose(along, reach[:, None, None], rtol=1e-3, atol=1e-3).any(0)
        assert touched[room_itself].all()
        assert abs(side[6]) <= np.pi / 4 + 1e-6
        assert axes[n][0][2] > 0.5


def test_corners_stand_out_from_edges_and_flat_parts() -> None:
    board = torch.zeros(1, 1, 64, 64)
    board[:, :, 32:, 32:] = 1
    found = filters.compute_cornerness(board)[0, 0]
    row, column = divmod(found.argmax().item(), 64)
    assert max(abs(row - 31.5), abs(column - 31.5)) <= 2
    assert found[32, 50:60].max() < 0.05 * found.max()
    assert found[5, 5] < 1e-6


def test_patches_join_like_neighbours_only() -> None:
    picture = torch.zeros(2, 8, 8, 3)
    picture[0, :, 4:] = 0.5
    picture[1, 3, 3] = 1
    parts = labels.find_patches(picture)
    assert len(parts[0].unique()) == 2
    assert len(parts[1].unique()) == 2
    assert not set(parts[0].unique().tolist()) & set(parts[1].unique().tolist())
    same = labels.compare_offsets(parts)
    assert same.shape == (2, len(OFFSETS), 8, 8)
    assert not same[0, 0, :, 1:4].any()
    assert same[0, 1].all()


def test_a_shadow_falls_behind_what_stands_before_the_lamp() -> None:
    shelf = PlacedSolid("box", (2.5, 2.0, 1.5), (0.5, 0.5, 0.05), 0.0, SEMANTICS.index("shelf"), 0)
    points = torch.tensor([[[2.5, 2.0, 0.0], [4.5, 2.0, 0.0], [2.5, 2.0, 1.56]]])
    one = room(shelf)
    lamp = torch.tensor([one.lamp])
    solids = [intersections.pack_solids([one], shape, "cpu") for shape in intersections.SHAPES]
    assert intersections.find_blocked(solids, lamp, points - lamp[:, None]).tolist() == [[True, False, False]]


def test_a_room_is_the_same_in_any_batch_and_every_kind_occurs() -> None:
    alone, among = dataset.render_batch(21, range(5, 6)), dataset.render_batch(21, range(12))
    for name, value in among.items():
        assert np.array_equal(value[5], alone[name][0]), name
    kinds = [generator.draw(np.random.default_rng([22, n, 0])).kind for n in range(80)]
    assert set(kinds) == set(range(len(SCENES)))
    share = labels.measure_coverage(torch.from_numpy(among["semantic"].astype(np.int64))).numpy()
    assert (share.argmax(1) == among["object"]).all()
    assert (share.max(1) >= dataset.SEEN).all()
    assert share.shape[1] == len(OBJECTS)
