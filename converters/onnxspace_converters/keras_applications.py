"""The preprocessing of `keras.applications`, whose networks are recognised by the names of network and layers."""

from __future__ import annotations

import re
from typing import Any, Literal

from onnxspace.inputs.config import ModelOptions

Mode = Literal["caffe", "tf", "torch", "pixels"]
#: A pattern of the network's name, one of its layers (to rule out namesakes), and the mode of its `preprocess_input`.
_FAMILIES: tuple[tuple[str, str, Mode], ...] = (
    (r"resnet(50|101|152)", "conv2_block1_1_conv", "caffe"),
    (r"vgg(16|19)", "block1_conv1", "caffe"),
    (r"resnet(50|101|152)v2", "conv2_block1_preact_bn", "tf"),
    (r"inception_v3", "mixed0", "tf"),
    (r"inception_resnet_v2", "mixed_5b", "tf"),
    (r"xception", "block1_conv1", "tf"),
    (r"mobilenet_\d.*", "conv_dw_1", "tf"),
    (r"mobilenetv2_\d.*", "expanded_conv_depthwise", "tf"),
    (r"MobilenetV3(small|large)|MobileNetV3(Small|Large)", "expanded_conv_depthwise", "tf"),
    (r"NASNet|nasnet_(mobile|large)", "stem_conv1", "tf"),
    (r"densenet(121|169|201)", "conv2_block1_1_conv", "torch"),
    (r"efficientnetv2-.*", "block1a_project_conv", "tf"),
    (r"convnext_(tiny|small|base|large|xlarge)", "_prestem_normalization", "pixels"),
)
_MODES: dict[Mode, ModelOptions] = {
    "caffe": ModelOptions(color="BGR", scale=1.0, mean=(103.939, 116.779, 123.68), std=(1.0,)),
    "tf": ModelOptions(color="RGB", scale=1 / 127.5, mean=(1.0,), std=(1.0,)),
    "torch": ModelOptions(color="RGB", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "pixels": ModelOptions(color="RGB", scale=1.0, mean=(0.0,), std=(1.0,)),
}


def mode_of(model: Any) -> Mode | None:
    """The preprocessing mode of a Keras network; None where it is unknown.

    A network that rescales its images itself takes plain pixels; one that begins with a network of `keras.applications` has the
    mode of that.
    """
    name, layers = str(getattr(model, "name", "")), list(getattr(model, "layers", ()))
    before = _leading_layers(layers)
    if any(_rescales(layer) for layer in before):
        return "pixels"
    own = {layer.name for layer in layers}
    for pattern, layer, mode in _FAMILIES:
        if re.fullmatch(pattern, name) and any(each.endswith(layer) for each in own):
            return mode
    inner = next((layer for layer in before if getattr(layer, "layers", None)), None)
    return None if inner is None else mode_of(inner)


def _leading_layers(layers: list[Any]) -> list[Any]:
    """The first layers, up to the first one with trainable weights."""
    first = next(
        (k for k, layer in enumerate(layers) if getattr(layer, "layers", None) or layer.trainable_weights), len(layers)
    )
    return layers[: first + 1]


def _rescales(layer: Any) -> bool:
    scale = getattr(layer, "scale", None)
    return type(layer).__name__ == "Rescaling" and isinstance(scale, float) and scale < 0.02


def preprocessing_of(mode: Mode | None, shape: tuple[int, ...]) -> ModelOptions:
    """The options of a preprocessing mode, for images of `shape`, the sizes of axes without the batch."""
    channels = shape[-1]
    layout, size = ("NHWC", shape[:2]) if channels in (1, 3) else ("NCHW", shape[1:])
    known = ModelOptions() if mode is None else _MODES[mode]
    if channels == 1 or shape[0] == 1:
        known = (
            ModelOptions(color="GREY", scale=known.scale, mean=known.mean, std=known.std)
            if mode in ("tf", "pixels")
            else ModelOptions()
        )
    height, width = size
    return ModelOptions(size=(height, width), layout="NCHW" if layout == "NCHW" else "NHWC").over(known)
