"""Screenings that are made up: checkpoints with the scores that a test needs."""

from typing import Any

from pipelines.screening.comparison import Basis, Screening, in_order
from pipelines.screening.linear import LinearProbe
from pipelines.screening.measures import Measures


def measures(name: str, accuracy: float, **changes: Any) -> Measures:
    """A checkpoint whose three scores agree: LogME and H-score follow the accuracy."""
    plain: dict[str, Any] = {
        "label": name,
        "license": "mit",
        "architecture": "bert",
        "layers": 6,
        "width": 384,
        "parameters": 22_700_000,
        "logme": accuracy - 1,
        "h_score": accuracy / 2,
        "linear": LinearProbe(accuracy, 0.01, 5),
        "seconds_per_1000": 5.0,
        "memory": 3e8,
        "seconds": 10.0,
        "fine_tuning": 200.0,
    }
    return Measures(name=name, **plain | changes)


def screening(*measured: Measures, keep: int = 3, majority: float = 0.5) -> Screening:
    """They in their order, on rows of which guessing has `majority` right."""
    basis = Basis("toy", "d" * 64, rows=2_000, available=6_000, classes=2, majority=majority, seed=0)
    return Screening(basis, keep, tuple(in_order(measured)))
