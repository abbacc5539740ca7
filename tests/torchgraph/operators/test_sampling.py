"""Operators that read between pixels: resizing, sampling of grids and of regions."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.examples import examples
from tests.helpers.spatial import Arrays, check, few, ints, normal

_COORDINATES = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric", "tf_crop_and_resize"]


@settings(max_examples=examples(120), deadline=None, derandomize=True)
@given(
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from(_COORDINATES),
    st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.booleans(),
    st.booleans(),
)
def test_resize(
    mode: str, coordinates: str, nearest: str, sizes: tuple[int, int], wanted: tuple[int, int], exclude: bool, antialias: bool
) -> None:
    x = {"a": normal(0, 2, 2, *sizes)}
    stored: Arrays = {"d": ints(2, 2, *wanted)}
    if coordinates == "tf_crop_and_resize":
        assume(sizes[0] != wanted[0] and sizes[1] != wanted[1])  # the runtime would ignore the region
        stored["b"] = np.array([0, 0, 0.1, -0.2, 1, 1, 0.8, 1.3], np.float32)
    check(
        "Resize",
        x,
        stored,
        opset=19,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=nearest,
        exclude_outside=int(exclude and mode == "cubic"),
        antialias=int(antialias and mode != "nearest" and coordinates != "tf_crop_and_resize"),
        extrapolation_value=0.5,
    )


@few
@given(
    st.sampled_from([("Resize", 10), ("Upsample", 9), ("Resize", 11), ("Resize", 13), ("Resize", 18)]),
    st.sampled_from(["nearest", "linear"]),
    st.tuples(st.integers(2, 7), st.integers(2, 7)),
    st.tuples(st.sampled_from([0.5, 1.0, 2.0, 1.7, 3.0, 0.6]), st.sampled_from([0.5, 1.0, 2.0, 1.7, 3.0, 0.6])),
)
def test_resize_by_factors(kind: tuple[str, int], mode: str, sizes: tuple[int, int], factors: tuple[float, float]) -> None:
    operator, opset = kind
    assume(operator == "Resize" or min(factors) >= 1)
    position = "b" if opset < 11 else "c"
    check(operator, {"a": normal(0, 2, 2, *sizes)}, {position: np.array([1, 1, *factors], np.float32)}, opset, mode=mode)


@few
@given(
    st.sampled_from(["constant", "edge", "reflect", "wrap"]),
    st.lists(st.integers(-1, 3), min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_pad(mode: str, pads: list[int], computed: bool, valued: bool) -> None:
    assume(mode == "constant" or min(pads) >= 0)
    x, amounts = {"a": normal(0, 2, 3, 4, 5)}, {"b": ints(*pads), "d": ints(1, -1)}
    amounts |= {"c": np.array(0.5, np.float32)} if valued else {}
    check("Pad", x | amounts if computed else x, {} if computed else amounts, opset=21, mode=mode)


@few
@given(
    st.sampled_from(["linear", "nearest", "cubic"]),
    st.sampled_from(["zeros", "border", "reflection"]),
    st.booleans(),
    st.booleans(),
)
def test_grid_sample(mode: str, padding: str, aligned: bool, solid: bool) -> None:
    assume(not (solid and mode == "cubic"))
    sizes, places = ((4, 5, 6), (2, 3, 2)) if solid else ((4, 5), (3, 4))
    feeds = {"a": normal(0, 2, 2, *sizes), "b": normal(1, 2, *places, len(sizes))}
    check("GridSample", feeds, opset=20, mode=mode, padding_mode=padding, align_corners=int(aligned), tolerance=1e-3)


@few
@given(
    st.sampled_from([10, 16, 22]),
    st.sampled_from(["avg", "max"]),
    st.integers(0, 3),
    st.sampled_from(["half_pixel", "output_half_pixel"]),
    st.integers(0, 999),
)
def test_roi_align(opset: int, mode: str, ratio: int, coordinates: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(-3, 14, (3, 2)), rng.uniform(0.2, 9, (3, 2))
    feeds = {
        "a": normal(seed, 2, 2, 7, 6),
        "b": np.concatenate([corner, corner + size], 1).astype(np.float32),
        "c": ints(0, 1, 0),
    }
    more = {} if opset == 10 else {"coordinate_transformation_mode": coordinates}
    sizes = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": 0.5}
    check("RoiAlign", feeds, opset=opset, mode=mode, **sizes, **more)


@few
@given(st.integers(0, 999))
def test_max_roi_pool(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 10, (3, 2)), rng.uniform(0.2, 9, (3, 2))
    rois = np.concatenate([[[0], [1], [0]], corner, corner + size], 1).astype(np.float32)
    check("MaxRoiPool", {"a": normal(seed, 2, 2, 7, 6), "b": rois}, opset=21, pooled_shape=[3, 2], spatial_scale=0.5)
