"""PyTorch to ONNX, and to eight bits."""

import copy
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from pipelines.engine.lastlayer import pool_early
from pipelines.errors import ModelError
from pipelines.hpo_classifier import Classifier


class _Logits(nn.Module):
    """The network with token ids and mask in, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()  # the original stays, to be compared with
        pool_early(self.network)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def write_onnx(classifier: Classifier, target: Path, *, int8: bool) -> None:
    """Write `target` (.onnx), any number of texts and tokens in; the weights with `int8` in eight bits.

    The exporter of `torch.export` is used: the older one, which follows one example, gave other numbers for six of
    eight families. Raises `ModelError` where the architecture cannot be exported.
    """
    if not int8:
        _export(classifier, target)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = target.with_suffix(".fp32.onnx")
    _export(classifier, whole)
    with _quiet():
        quantize_dynamic(whole, target, weight_type=QuantType.QInt8, per_channel=True)
    whole.unlink()


def _export(classifier: Classifier, target: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ids = torch.ones((2, 8), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    shape = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                _Logits(classifier.model),
                (ids, mask),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes=(shape, shape),
                dynamo=True,
                verbose=False,
            )
            assert program is not None, "only the older exporter returns nothing"
            ClearMetadataAndDocStringPass()(program.model)  # the exporter notes paths of this machine at every node
            program.save(str(target), external_data=False)
    except Exception as error:  # the exporter raises whatever it stumbles over
        reason = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split())[:200]  # it writes in colours
        raise ModelError(f"{classifier.directory}: cannot be exported to ONNX ({reason}); use PyTorch") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on their own insides."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
