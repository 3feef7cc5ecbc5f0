"""A worker that trains for days must not grow."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hpo.executors.local import LocalExecutor
from tests import tiny

_MIB = 2**20
_TASK = "tests.costs:train_without_pictures"


def grown(model: Path, data: Path, home: Path, *, warm: int, trials: int) -> float:
    """Bytes that one worker grows by, from its trial `warm` to its trial `trials`; the trials differ in shape."""
    sizes = [(24, 24), (8, 12), (16, 20)]
    jobs = [
        replace(
            tiny.job(model, data, home, **{"train.batch_size": rows, "tokens.max_length": length, "train.epochs": 0.5}),
            trial=f"toy/{number}",
            directory=home / f"trial-{number}",
        )
        for number in range(trials)
        for rows, length in [sizes[number % len(sizes)]]
    ]
    with closing(LocalExecutor(workers=1, threads=1, logs=home / "logs")) as executor:
        first, before = executor.submit(_TASK, jobs[:warm], key="a").result(timeout=280)
        second, after = executor.submit(_TASK, jobs[warm:], key="b").result(timeout=280)
        assert first == second
    return float(after - before)


def test_memory_stays_flat_over_a_hundred_trials(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    assert grown(tiny_bert, toy_data_dir, tmp_path, warm=20, trials=100) < 4 * _MIB
