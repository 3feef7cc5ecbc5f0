"""Models in ONNX Runtime: made here, from verified safetensors. No ONNX file comes out of a registry."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.export import FACTS_FILE
from pipelines.files import built_once, digest, new_directory, read_json, read_sealed, sha256, write_json
from pipelines.golden import golden_texts
from pipelines.hpo_classifier import Answers
from pipelines.loader import open_model
from pipelines.onnx.parity import Parity, compare_answers
from pipelines.onnx.write import write_onnx

FILE = "model.onnx"
SAME = 1e-4
"""Probabilities in the same precision differ by less than this."""
_AGREES = 0.8  # of the golden texts, most of which are no sentences of any task: less than this is no rounding


class OnnxClassifier(Answers):
    """The same answers as `Classifier`, computed by ONNX Runtime on the CPU."""

    batch_tokens = 1_024
    """Small batches stay in the processor's cache."""

    def __init__(self, directory: Path, file: Path) -> None:
        """Tokenizer and facts from a verified model directory, the network from the ONNX file that was made of it."""
        import onnxruntime

        super().__init__(directory)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Computed by ONNX Runtime."""
        found: NDArray[np.float32] = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return found


def open_onnx(directory: Path, *, int8: bool, home: Path) -> OnnxClassifier:
    """A verified model directory in ONNX Runtime; exported below `home` the first time, in some seconds.

    The export is compared with the original on the golden texts. Raises `ModelError` where the model cannot be exported
    or answers otherwise.
    """
    files = read_json(directory / FACTS_FILE)["files"]
    weights = [files[name]["sha256"] for name in ("model.safetensors", "config.json")]
    place = home / digest(*weights, str(int8), version("torch"), version("onnxruntime"))[:32]
    built_once(
        place,
        read=lambda found: read_sealed(found, FILE),
        write=lambda target: _build(directory, target, int8=int8),
    )
    return OnnxClassifier(directory, place / FILE)


def _build(directory: Path, target: Path, *, int8: bool) -> None:
    original = open_model(directory, device="cpu")
    with new_directory(target) as beside:
        write_onnx(original, beside / FILE, int8=int8)
        exported = OnnxClassifier(directory, beside / FILE)
        parity = compare_answers(original, exported, golden_texts(original.max_length), source="golden texts")
        refuse_other_answers(parity, int8=int8)
        write_json(beside / "manifest.json", {"sha256": sha256(beside / FILE), "parity": parity.as_json()})


def refuse_other_answers(parity: Parity, *, int8: bool) -> None:
    """Raise `ModelError` where an export does not answer as the original does, whatever the texts are.

    In the same precision probabilities must be equal up to rounding, in eight bits most answers.
    """
    if int8 and not parity.agreement >= _AGREES:
        raise ModelError(
            f"in eight bits only {parity.agreement:.0%} of the answers are those of the original; use onnx or torch"
        )
    if not int8 and not parity.largest_difference <= SAME:
        raise ModelError(
            f"the exported model differs from the original by up to {parity.largest_difference:.1e} in a probability; "
            "use torch"
        )
