"""A trained model for ONNX Runtime: written, quantized, held against the original, and run."""

from enum import Enum


class Format(Enum):
    """What a model can be exported as."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    SAFETENSORS = "safetensors"
