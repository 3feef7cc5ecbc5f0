"""Which library computes: PyTorch, or ONNX Runtime where the exported model answers as the original does."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from pipelines.errors import ModelError
from pipelines.loader import prove
from pipelines.serve.served import Runtime


class Kind(Enum):
    """A runtime by name."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"


def open_runtime(directory: Path, kind: Kind, *, exports: Path, say: Callable[[str], None]) -> tuple[str, Runtime]:
    """A model that was verified, loaded and held against its golden predictions, and the runtime's name.

    `auto` is ONNX where the model can be exported and the answers agree, else PyTorch; `exports` is where exported
    models are kept. Raises `ModelError`.
    """
    proved = prove(directory)
    if kind is Kind.TORCH:
        return Kind.TORCH.value, proved
    from pipelines.onnx.runtime import open_onnx  # ONNX Runtime is imported where it is used

    if kind is not Kind.AUTO:
        return kind.value, open_onnx(directory, int8=kind is Kind.ONNX_INT8, home=exports, aside=True)
    try:
        return Kind.ONNX.value, open_onnx(directory, int8=False, home=exports, aside=True)
    except ModelError as error:
        say(f"ONNX cannot be used for this model, PyTorch answers: {error}")
        return Kind.TORCH.value, proved
