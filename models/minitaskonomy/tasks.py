"""The twenty tasks, as in Taskonomy (Zamir et al., CVPR 2018), each with the shape of its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SIZE = 64
SEMANTICS = (
    "wall", "floor", "ceiling", "opening", "picture", "rug",
    "table", "chair", "sofa", "bed", "shelf", "lamp", "plant",
)  # fmt: skip
OBJECTS = ("table", "chair", "sofa", "bed", "shelf", "lamp", "plant")
SCENES = ("living room", "bedroom", "office", "dining room", "corridor", "library")
OFFSETS = ((0, 3), (3, 0), (0, 9), (9, 0))  # of the pixel (down, right) that a segment is compared with

Group = Literal["2D", "3D", "geometry", "semantic"]
Kind = Literal["image", "pixel classes", "classes", "vector"]


@dataclass(frozen=True)
class Task:
    """One task: `channels` counts values per pixel, classes, or numbers per image."""

    name: str
    group: Group
    kind: Kind
    channels: int
    about: str


_ALL = (
    Task("autoencoding", "2D", "image", 3, "the image itself"),
    Task("denoising", "2D", "image", 3, "the image, from a noisy copy"),
    Task("inpainting", "2D", "image", 3, "the image, from a copy with holes"),
    Task("colorization", "2D", "image", 2, "two opponent colours, from the grey image"),
    Task("edges2d", "2D", "image", 1, "length of the gradient of brightness"),
    Task("keypoints2d", "2D", "image", 1, "corners of brightness: least eigenvalue of the structure tensor"),
    Task("segment2d", "2D", "image", 4, "is the pixel some way off in the same patch of colour?"),
    Task("edges3d", "3D", "image", 1, "occlusion edges: the surface ends, and something lies behind it"),
    Task("keypoints3d", "3D", "image", 1, "corners of the surface: least eigenvalue of the normals' structure tensor"),
    Task("depth", "3D", "image", 1, "logarithm of the distance along the optical axis"),
    Task("distance", "3D", "image", 1, "logarithm of the distance from the camera"),
    Task("normals", "3D", "image", 3, "surface normal in the camera's frame"),
    Task("curvature", "3D", "image", 2, "the two principal curvatures, at the scale of a pixel"),
    Task("reshading", "3D", "image", 1, "white surfaces lit by one lamp at the camera"),
    Task("segment25d", "3D", "image", 4, "is the pixel some way off on the same smooth surface?"),
    Task("layout", "geometry", "vector", 8, "distances to the six sides of the room, the camera's turn and tilt"),
    Task("vanishing", "geometry", "vector", 9, "directions of the room's three axes, seen from the camera"),
    Task("semantic", "semantic", "pixel classes", len(SEMANTICS), "what each pixel belongs to"),
    Task("object", "semantic", "classes", len(OBJECTS), "the piece of furniture that covers most of the image"),
    Task("scene", "semantic", "classes", len(SCENES), "the kind of room"),
)
TASKS = {task.name: task for task in _ALL}
