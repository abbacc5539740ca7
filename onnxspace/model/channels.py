"""Which bands of the probe images go into the channels and frames of a network's input."""

from __future__ import annotations

from dataclasses import dataclass

from onnxspace.errors import ConfigError
from onnxspace.inputs.bands import MAX_BANDS, NAMES
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.image_input import ImageInput
from onnxspace.storage.short_text import count as number

#: Frames of a video where the file leaves them open.
DEFAULT_FRAMES = 16


@dataclass(frozen=True)
class Channels:
    """The `bands` that go into the channels, those of all `frames` one after the other; None for grey and RGB images.

    `exact` is the number of bands that probe images must have, None where `bands` were stated; `assumed` says what was inferred.
    """

    bands: tuple[int, ...] | None = None
    frames: int = 1
    exact: int | None = None
    assumed: tuple[str, ...] = ()


def resolve_channels(path: str, image: ImageInput, options: ModelOptions) -> Channels:
    """Resolve the bands of the input `image` of the file `path` by its `options`. Raises ConfigError where these contradict it."""
    if options.bands is not None and len(options.bands) != image.channels:
        raise ConfigError(
            f"{path} takes {number(image.channels, 'channel')}, but its configuration states {number(len(options.bands), 'band')}. "
            "Correct `bands`."
        )
    if options.bands is not None and options.color is not None:
        raise ConfigError(f"{path}: `bands` states the order of its channels already. Leave out `color`.")
    if "T" not in image.axes:
        return _resolve_image(path, image, options)
    frames, assumed = _count_frames(path, image, options)
    return _resolve_video(path, image, options, Channels(None, frames, None, assumed))


def _resolve_image(path: str, image: ImageInput, options: ModelOptions) -> Channels:
    if options.frames is not None or options.still is not None:
        raise ConfigError(f"{path} takes no videos. Leave out `frames` and `still` of its configuration.")
    if options.bands is not None or image.channels in (1, 3):
        return Channels(options.bands)
    count = image.channels
    return Channels(tuple(range(count)), 1, count, (f"channels are the {count} bands of the probe images in their order",))


def _count_frames(path: str, image: ImageInput, options: ModelOptions) -> tuple[int, tuple[str, ...]]:
    if image.frames is not None and options.frames not in (None, image.frames):
        raise ConfigError(
            f"{path} takes {image.frames} frames, not the {options.frames} of its configuration. Correct `frames`."
        )
    frames = image.frames or options.frames or DEFAULT_FRAMES
    if frames * image.channels > MAX_BANDS:
        raise ConfigError(
            f"{path} takes {frames} frames of {image.channels} channels, more than {MAX_BANDS} together. Leave it out."
        )
    known = image.frames is not None or options.frames is not None
    return frames, () if known else (f"{frames} frames, because the input's are open",)


def _resolve_video(path: str, image: ImageInput, options: ModelOptions, given: Channels) -> Channels:
    if options.still:
        one = options.bands or {1: (NAMES["grey"],), 3: (0, 1, 2)}.get(image.channels, tuple(range(image.channels)))
        return Channels(one * given.frames, given.frames, None, given.assumed)
    if options.bands is not None:
        raise ConfigError(
            f"{path} takes videos, whose frames have all their channels in probe videos. Leave out `bands`, or state `still = true`."
        )
    count = image.channels * given.frames
    words = f"probe videos have {given.frames} frames of {number(image.channels, 'channel')}"
    return Channels(tuple(range(count)), given.frames, count, (*given.assumed, words))
