"""The former name of `onnxspace.scores`, for one release."""

import sys
import warnings

from onnxspace import scores
from onnxspace.scores import registry

warnings.warn("onnxspace.transfer is called onnxspace.scores now.", DeprecationWarning, stacklevel=2)
sys.modules.update({__name__: scores, f"{__name__}.registry": registry})
