"""What a running study says about the time left."""

from types import SimpleNamespace
from typing import Any

import pytest

from hpo.cli.display import _minutes_left
from hpo.spec import Budget


def left(*, done: int, predicted: float | None, seconds: float = 60.0, **budget: Any) -> str:
    controller: Any = SimpleNamespace(
        running={},
        spec=SimpleNamespace(budget=Budget(trials=4, **budget)),
        predicted=predicted,
        meter=SimpleNamespace(seconds=seconds),
    )
    return _minutes_left(controller, done=done)


@pytest.mark.parametrize(
    ("done", "predicted", "words"),
    [
        (0, None, ""),
        (0, 600.0, ", about 9.0 min left"),
        (0, 30.0, ", about 0.0 min left"),
        (1, 600.0, ", about 3.0 min left"),
        (4, 600.0, ""),
    ],
)
def test_time_left_is_the_prediction_until_a_trial_is_done(done: int, predicted: float | None, words: str) -> None:
    assert left(done=done, predicted=predicted) == words


def test_time_left_is_never_beyond_the_budget() -> None:
    assert left(done=0, predicted=6000.0, minutes=3.0) == ", about 2.0 min left"
