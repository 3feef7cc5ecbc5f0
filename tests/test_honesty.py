"""The benchmark of reported scores, on answers that are made up."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.answers import packed, settings, unpacked
from benchmarks.honesty import Pool, Study, row
from hpo.spec import Confirmation
from pipelines.files import write_json

ROWS = 2000


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Five equal configurations with four seeds each: all that differs is luck."""
    rng = np.random.default_rng(0)
    curves = [
        {"number": number, "seed": seed, "rows": ROWS, "right": packed(rng.random(ROWS) < 0.8)}
        for number in range(5)
        for seed in range(4)
    ]
    write_json(tmp_path / "answers.json", {"curves": curves})
    return Pool(tmp_path / "answers.json")


def test_answers_survive_packing() -> None:
    right = np.random.default_rng(1).random(1001) < 0.5
    assert (unpacked(packed(right), 1001) == right).all()


def test_the_configurations_lie_in_their_space_and_the_first_is_the_default() -> None:
    assert settings(0)["train.learning_rate"] == 1e-4
    for number in range(1, 12):
        found = settings(number)
        assert 2e-5 <= found["train.learning_rate"] <= 5e-4
        assert found["train.batch_size"] in {16, 32}


def test_the_best_score_of_equals_flatters_and_the_confirmed_one_does_not(pool: Pool) -> None:
    confirm = Confirmation(finalists=3, seeds=1)
    found = [pool.study(seed, rows=300, confirm=confirm) for seed in range(12)]
    truth = pool.right.mean()
    assert np.mean([one.naive for one in found]) > truth + 0.01
    assert np.mean([one.reported for one in found]) == pytest.approx(truth, abs=0.015)
    assert sum(one.covered for one in found) >= 9
    assert sum(one.default for one in found) >= 9, (
        "of equals the default is delivered, but where chance sets them apart"
    )


def test_a_row_says_whether_the_targets_are_met() -> None:
    honest = Study(0.8, 0.76, 0.84, truth=0.801, locked=0.799, naive=0.83, naive_locked=0.8, default=True)
    lucky = Study(0.83, 0.81, 0.85, truth=0.8, locked=0.8, naive=0.83, naive_locked=0.8, default=False)
    assert row("s", [honest] * 19 + [lucky]).endswith("| +3.00 ± 0.00 | +0.24 ± 0.28 | 95% | 95% | met, met |")
    assert row("s", [lucky] * 20).endswith("| 0% | 0% | missed, missed |")
