"""A registered model as a directory for other programs, with the proof that it answers as the original does."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.export import FACTS_FILE, read_facts, seal
from pipelines.files import copied, new_directory, write_json
from pipelines.golden import GOLDEN_FILE
from pipelines.loader import open_model
from pipelines.onnx import Format
from pipelines.onnx.parity import Parity, compare_answers
from pipelines.onnx.runtime import FILE, OnnxClassifier, refuse_other_answers
from pipelines.onnx.write import write_onnx

PARITY_FILE = "parity.json"
_NOT_ONNX = (FACTS_FILE, GOLDEN_FILE, "model.safetensors")


@dataclass(frozen=True, eq=False)
class Trial:
    """Texts on which an export is compared with the original."""

    texts: Sequence[str]
    source: str
    """Where they are from, for people."""
    labels: NDArray[np.int64] | None = None
    """(texts,) class indices in the order of the model's; None where they are not known."""


def export_onnx(model: Path, target: Path, *, form: Format, trial: Trial, limit: float) -> Parity:
    """Write a verified model's tokenizer, facts and network as ONNX into a new directory, with `parity.json`.

    `limit` is how many points of accuracy it may lose; where no labels are known, how many answers in a hundred may be
    others. Raises `ModelError` where it loses more, or cannot be exported; then nothing is left of it.
    """
    if target.exists():
        raise ModelError(f"{target}: is there already; name a new directory")
    original, int8 = open_model(model, device="cpu"), form is Format.ONNX_INT8
    with new_directory(target) as beside:
        copied(model, beside, leaving_out=_NOT_ONNX)
        write_onnx(original, beside / FILE, int8=int8)
        shutil.copyfile(model / FACTS_FILE, beside / FACTS_FILE)  # read to know how texts become tokens
        exported = OnnxClassifier(beside, beside / FILE)
        parity = compare_answers(original, exported, trial.texts, source=trial.source, labels=trial.labels)
        refuse_other_answers(parity, int8=int8)
        _refuse_loss(parity, limit)
        write_json(beside / PARITY_FILE, {"format": form.value, "limit": limit} | parity.as_json())
        seal(beside, read_facts(model))
    return parity


def _refuse_loss(parity: Parity, limit: float) -> None:
    change = parity.accuracy_change
    lost = 100 * (1 - parity.agreement if change is None else -change)
    what = "of the answers are others" if change is None else "points of accuracy are lost"
    if not lost <= limit:
        raise ModelError(
            f"{lost:.2f} {'% ' if change is None else ''}{what} on {parity.texts:,} texts ({parity.source}), "
            f"{limit:g} are allowed (--max-loss); nothing was written"
        )
