"""The objects of Keras that a file may describe: layers that compute, and their parts. Layers that run code or read files are not.

Left out are `Lambda`, wrappers of other frameworks (`TorchModuleWrapper`, `TFSMLayer`, `JaxLayer`, `FlaxLayer`), and layers of text
and tables, whose vocabulary may be the name of a file.
"""

from __future__ import annotations

import re

_SIZED = ("1D", "2D", "3D")
_BY_SIZE = (
    "AdaptiveAveragePooling{}", "AdaptiveMaxPooling{}", "AveragePooling{}", "AvgPool{}", "Conv{}", "Conv{}Transpose", "ConvLSTM{}",
    "Convolution{}", "Convolution{}Transpose", "Cropping{}", "DepthwiseConv{}", "GlobalAveragePooling{}", "GlobalAvgPool{}",
    "GlobalMaxPool{}", "GlobalMaxPooling{}", "MaxPool{}", "MaxPooling{}", "SeparableConv{}", "SeparableConvolution{}",
    "SpatialDropout{}", "UpSampling{}", "ZeroPadding{}",
)  # fmt: skip
LAYERS = frozenset(name.format(size) for name in _BY_SIZE for size in _SIZED) | {
    "Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout", "Attention", "AugMix", "AutoContrast",
    "Average", "BatchNormalization", "Bidirectional", "CenterCrop", "Concatenate", "CutMix", "Dense", "Dot", "Dropout", "ELU",
    "EinsumDense", "Embedding", "Equalization", "Flatten", "GRU", "GRUCell", "GaussianDropout", "GaussianNoise",
    "GroupNormalization", "GroupQueryAttention", "Identity", "InputLayer", "LSTM", "LSTMCell", "LayerNormalization", "LeakyReLU",
    "Masking", "Maximum", "Minimum", "MixUp", "MultiHeadAttention", "Multiply", "Normalization", "PReLU", "Permute", "Pipeline",
    "RMSNormalization", "RNN", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
    "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
    "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness",
    "RandomShear", "RandomTranslation", "RandomZoom", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing", "SimpleRNN",
    "SimpleRNNCell", "Softmax", "Solarization", "SpectralNormalization", "StackedRNNCells", "SyncBatchNormalization", "Subtract",
    "ThresholdedReLU", "TimeDistributed", "UnitNormalization",
}  # fmt: skip
MODELS = frozenset({"Functional", "Model", "Sequential"})
PARTS = frozenset({
    "Constant", "DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform",
    "IdentityInitializer", "L1", "L1L2", "L2", "LecunNormal", "LecunUniform", "MaxNorm", "MinMaxNorm", "NonNeg", "Ones",
    "Orthogonal", "OrthogonalInitializer", "OrthogonalRegularizer", "Policy", "QuantizedDTypePolicy", "RandomNormal",
    "RandomUniform", "STFTInitializer", "SeedGenerator", "TruncatedNormal", "UnitNorm", "VarianceScaling", "Zeros",
})  # fmt: skip
#: Values in a description, such as a shape.
_VALUES = frozenset(
    {"__bytes__", "__complex__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__", "__tuple__"}
)
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
_FUNCTION = re.compile(r"[a-z][a-z0-9_]*")
#: Modules of which every class only computes: operations on tensors, and what training needs.
_COMPUTING = re.compile(
    r"keras(\.src)?\.ops\.(numpy|nn|math|image|linalg|einops)|keras(\.src)?\.(losses|metrics|optimizers)(\.[a-z_0-9.]+)?"
)
_FUNCTION_MODULES = frozenset(
    {"builtins", "keras.activations", "keras.src.activations.activations", "keras.losses", "keras.metrics"}
)


def is_known_object(kind: str, module: str | None) -> bool:
    """Whether a class of Keras, by its name and module (None in older files), is one that only computes.

    >>> is_known_object("Conv2D", "keras.layers"), is_known_object("TFSMLayer", "keras.layers")
    (True, False)
    """
    if module is not None and _COMPUTING.fullmatch(module) is not None:
        return _CLASS.fullmatch(kind) is not None
    return kind in LAYERS | MODELS | PARTS | _VALUES


def is_known_function(name: object, module: object) -> bool:
    """Whether a function is one of Keras's activations, losses or metrics, referred to by its name.

    >>> is_known_function("relu", "builtins"), is_known_function("get_file", "keras.utils")
    (True, False)
    """
    return isinstance(name, str) and _FUNCTION.fullmatch(name) is not None and (module is None or module in _FUNCTION_MODULES)
