"""`tests.helpers.kerasnets.plain` as its int8 TFLite file holds it, computed again by TensorFlow: its whole weights as real numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray


class Twin:
    """The file's dequantised weights in TensorFlow's own layers.

    `rounded`: between these, values take the file's steps by TensorFlow's `fake_quant`, whose gradient is 1 within a step's range
    and 0 outside (Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, §3). Otherwise they stay real numbers.
    """

    def __init__(self, path: Path, *, rounded: bool) -> None:
        self.interpreter = Interpreter(
            str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        self.interpreter.allocate_tensors()
        self.details = {each["index"]: each for each in self.interpreter.get_tensor_details()}
        self.operators, self.rounded = self.interpreter._get_ops_details(), rounded
        names = [operator["op_name"] for operator in self.operators]
        assert names == ["CONV_2D", "CONV_2D", "LOGISTIC", "MUL", "MEAN", "FULLY_CONNECTED"]

    def weight(self, index: int) -> NDArray[np.float32]:
        """Stored values as real ones, by the scales along their axis."""
        said, stored = self.details[index]["quantization_parameters"], self.interpreter.get_tensor(index)
        shape = [-1 if k == said["quantized_dimension"] else 1 for k in range(stored.ndim)]
        scales, zeros = (said[name].reshape(shape) for name in ("scales", "zero_points"))
        found: NDArray[np.float32] = ((stored.astype(np.float64) - zeros) * scales).astype(np.float32)
        return found

    def step(self, value: Any, index: int) -> Any:
        scale, zero = self.details[index]["quantization"]
        if not self.rounded:
            return value
        return tf.quantization.fake_quant_with_min_max_args(value, (-128 - zero) * scale, (127 - zero) * scale)

    def features(self, image: Any) -> Any:
        """What the last layer reads."""
        first, second, gate, product, mean, _ = self.operators
        x = self.step(image, first["inputs"][0])
        x = tf.nn.relu(self.convolved(x, first, 1, "SAME"))
        x = self.step(x, first["outputs"][0])
        x = self.step(self.convolved(x, second, 2, "VALID"), second["outputs"][0])
        x = self.step(x * self.step(tf.sigmoid(x), gate["outputs"][0]), product["outputs"][0])
        return self.step(tf.reduce_mean(x, (1, 2)), mean["outputs"][0])

    def convolved(self, x: Any, operator: Any, stride: int, padding: str) -> Any:
        weights, bias = (self.weight(index) for index in operator["inputs"][1:])
        return tf.nn.conv2d(x, weights.transpose(1, 2, 3, 0), stride, padding) + bias

    def slopes(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """d(sum of the features)/dx, float64 of the images' shape."""
        point = tf.convert_to_tensor(values)
        with tf.GradientTape() as tape:
            tape.watch(point)
            total = tf.reduce_sum(self.features(point))
        found: NDArray[np.float64] = tape.gradient(total, point).numpy().astype(np.float64)
        return found
