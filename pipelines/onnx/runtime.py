"""Models in ONNX Runtime: made here, from verified safetensors. No ONNX file comes out of a registry."""

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.export import FACTS_FILE
from pipelines.files import built_once, digest, new_directory, read_json, read_sealed, sha256, write_json
from pipelines.golden import golden_texts
from pipelines.host import let_others_go_first
from pipelines.hpo_classifier import Answers, softmax
from pipelines.loader import open_model
from pipelines.onnx.parity import Parity, compare_answers
from pipelines.onnx.write import write_onnx

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FILE = "model.onnx"
SAME = 1e-4
"""Probabilities in the same precision differ by less than this."""
_RECIPE = "2"  # of `write_onnx`: what another one wrote is exported anew
_SLOW_FUSIONS = ["SkipLayerNormFusion"]  # the fused kernel takes five times as long as addition and normalization
_AGREES = 0.8  # of the golden texts, most of which are no sentences of any task: less than this is no rounding


class OnnxClassifier(Answers):
    """The same answers as `Classifier`, computed by ONNX Runtime on the CPU."""

    batch_tokens = 256
    """Small batches stay in the processor's cache, and there are enough of them for all cores."""

    def __init__(self, directory: Path, file: Path) -> None:
        """Tokenizer and facts from a verified model directory, the network from the ONNX file that was made of it.

        The network is in memory twice where there are several cores: one batch alone is shared by all of them, of
        several batches each has its own core. That is up to twice as fast: no core waits for another in each layer.
        """
        super().__init__(directory)
        cores = len(os.sched_getaffinity(0))
        self._alone = _session(file, threads=cores)
        self._beside = _session(file, threads=1) if cores > 1 else self._alone
        self._cores = ThreadPoolExecutor(cores, thread_name_prefix="onnx", initializer=let_others_go_first)

    def logits(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Computed by ONNX Runtime."""
        return _run(self._alone, ids, mask)

    def _computed(self, batches: list[list[list[int]]]) -> Iterable[NDArray[np.float64]]:
        if len(batches) == 1:
            return super()._computed(batches)
        return self._cores.map(lambda rows: softmax(_run(self._beside, *self._padded(rows))), batches)


def _session(file: Path, *, threads: int) -> "InferenceSession":
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return InferenceSession(str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOW_FUSIONS)


def _run(session: "InferenceSession", ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
    return found


def open_onnx(directory: Path, *, int8: bool, home: Path, aside: bool = False) -> OnnxClassifier:
    """A verified model directory in ONNX Runtime; exported below `home` the first time, in some seconds.

    The export is compared with the original on the golden texts. `aside`: by another process, while this one answers
    requests. Raises `ModelError` where the model cannot be exported or answers otherwise.
    """
    files = read_json(directory / FACTS_FILE)["files"]
    weights = [files[name]["sha256"] for name in ("model.safetensors", "config.json")]
    place = home / digest(*weights, _RECIPE, str(int8), version("torch"), version("onnxruntime"))[:32]
    built_once(
        place,
        read=lambda found: read_sealed(found, FILE),
        write=lambda target: (_build_aside if aside else _build)(directory, target, int8),
    )
    return OnnxClassifier(directory, place / FILE)


def _build_aside(directory: Path, target: Path, int8: bool) -> None:
    """An export keeps an interpreter busy for seconds, and leaves it with 600 MB that it does not give back."""
    child = get_context("spawn").Process(target=_build_behind, args=(directory, target, int8), daemon=True)
    child.start()
    child.join()
    if child.exitcode:
        _build(directory, target, int8)  # says what is wrong


def _build_behind(directory: Path, target: Path, int8: bool) -> None:
    os.nice(10)
    try:
        _build(directory, target, int8)
    except ModelError:
        sys.exit(1)


def _build(directory: Path, target: Path, int8: bool) -> None:
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
