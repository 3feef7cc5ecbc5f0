"""A real measurement of tiny checkpoints."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines import probe as probe_module
from pipelines.config import ModelConfig, RunConfig, replaced
from pipelines.cost import Point, Probe, combined, peak_bytes, trial_seconds
from pipelines.data import Dataset
from pipelines.errors import ModelError
from pipelines.models import load_pretrained
from pipelines.segment import Choice, ProbeJob, Unwatched
from tests.costs import kept


def job(model: Path, data: Path, home: Path, *, memory: float = 1e12, **changes: object) -> ProbeJob:
    values = {"model.name": str(model), "tokens.max_length": 24, "train.precision": "fp32"}
    config = replaced(RunConfig(), values | {name.replace("__", "."): value for name, value in changes.items()})
    return ProbeJob(config, batch_sizes=(8, 24), data=data, cache=home / "cache", memory=memory)


@pytest.fixture(scope="module")
def measured(tiny_bert: Path, toy_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    return probe_module.probe(job(tiny_bert, toy_data_dir, tmp_path_factory.mktemp("probe")), watch=Unwatched())


def test_small_and_large_batches_of_short_and_long_texts_are_measured(measured: Probe) -> None:
    shapes = [(point.rows, point.length) for point in measured.steps]
    assert {rows for rows, _ in shapes} == {8, 24}
    assert len({length for _, length in shapes}) >= 2
    assert [(point.rows, point.length) for point in measured.memory] == shapes
    assert all(point.value > 0 for point in (*measured.steps, *measured.evaluations, *measured.memory))


def test_evaluation_is_measured_on_its_own_batches_where_that_is_quick(
    tiny_bert: Path, toy_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: Probe
) -> None:
    assert [point.rows for point in measured.evaluations] == [60], "the whole select split is one batch"
    monkeypatch.setattr(probe_module, "_EVALUATION_SECONDS", 0.0)
    small = probe_module.probe(job(tiny_bert, toy_data_dir, tmp_path), watch=Unwatched())
    assert [(p.rows, p.length) for p in small.evaluations] == [(p.rows, p.length) for p in small.steps]
    left = {path.suffix for path in kept(tmp_path)}
    assert left == {".arrow", ".json", ".lock"}, "nothing but the encoded texts is left behind"


def test_a_probe_knows_the_texts_the_weights_and_the_arithmetic(
    measured: Probe, toy_dataset: Dataset, tiny_bert: Path
) -> None:
    whole = load_pretrained(ModelConfig(name=str(tiny_bert)), labels=toy_dataset.labels).weights
    assert sum(measured.facts.train_lengths) == len(toy_dataset.splits["train"])
    assert sum(measured.facts.select_lengths) == len(toy_dataset.splits["select"])
    assert len(measured.facts.train_lengths) <= 25
    assert measured.facts.weights == sum(tensor.nbytes for tensor in whole.values())
    assert (measured.facts.precision.value, measured.facts.precision.reason) == ("fp32", "asked for")
    assert measured.facts.start_up > measured.facts.prepare > 0
    assert measured.facts.device_memory is None


def test_memory_is_that_of_a_process_with_torch_in_it(measured: Probe) -> None:
    assert 100e6 < peak_bytes(combined([measured]), RunConfig()) < 20e9


def test_what_was_measured_foretells_a_trial(measured: Probe) -> None:
    seconds = trial_seconds(combined([measured]), replaced(RunConfig(), {"train.batch_size": 24, "train.epochs": 1.0}))
    # A step of the tiny model takes some milliseconds; ten of them, with room for a busy machine.
    assert 0.005 < seconds["train"] < 10.0


def test_the_measured_rows_are_those_of_the_wanted_length(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    from pipelines.tokens import Encoded
    from pipelines.train import Material

    lengths = np.array([3, 9, 5, 8, 9], dtype=np.int64)
    ids = np.arange(lengths.sum(), dtype=np.int32)
    whole = Material(Encoded(ids, np.concatenate([[0], np.cumsum(lengths)])), np.array([0, 1, 2, 3, 4]), pad=0)
    part = probe_module.part_of(whole, probe_module.nearest_rows(whole, 3, 9))
    assert sorted(part.labels.tolist()) == [1, 3, 4]
    assert part.encoded.lengths.tolist() == [lengths[label] for label in part.labels]
    first = part.encoded.row(0).ids.tolist()
    assert first == ids[3:12].tolist()


def test_a_model_that_cannot_be_held_is_not_loaded(
    tiny_bert: Path, toy_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module.Workbench, "warm_up", lambda *_, **__: pytest.fail("it was loaded"))
    found = probe_module.probe(job(tiny_bert, toy_data_dir, tmp_path, memory=1000.0), watch=Unwatched())
    weights = (tiny_bert / "model.safetensors").stat().st_size
    cost = combined([found])
    assert peak_bytes(cost, RunConfig(), micro=1) == pytest.approx(5 * weights)
    assert trial_seconds(cost, RunConfig())["train"] == 0.0


def test_a_model_that_cannot_be_used_is_named(toy_data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        probe_module.probe(job(tmp_path / "nowhere", toy_data_dir, tmp_path), watch=Unwatched())


def trainee_on(device: str, compile_model: Callable[..., None] = lambda **_: None) -> Any:
    """As much of a trainee as is asked about compiling."""
    return SimpleNamespace(
        config=RunConfig(),
        model=SimpleNamespace(compile=compile_model),
        accelerator=SimpleNamespace(device=SimpleNamespace(type=device)),
    )


PLAIN = (Point(8, 10, 1.0), Point(32, 10, 3.0))


def test_nothing_is_compiled_to_be_measured_on_a_cpu(measured: Probe) -> None:
    assert measured.facts.compile == Choice("off", "on a CPU compiling takes a minute and gains nothing")


def test_compiling_that_was_asked_for_is_not_measured(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> None:
    asked = probe_module.probe(job(tiny_bert, toy_data_dir, tmp_path, train__compile="off"), watch=Unwatched())
    assert asked.facts.compile == Choice("off", "asked for")


@pytest.mark.parametrize(
    ("gain", "chosen", "shown"), [(2.0, "on", "1/2.0"), (1.05, "off", "1/1.1"), (0.5, "off", "1/0.5")]
)
def test_model_is_compiled_on_a_gpu_where_a_step_gains_a_tenth(
    gain: float, chosen: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = tuple(Point(point.rows, point.length, point.value / gain) for point in PLAIN)
    rounds = iter([PLAIN, compiled])  # the first one compiles, and does not count
    monkeypatch.setattr(probe_module, "time_steps", lambda *_, **__: (next(rounds), ()))
    choice, steps = probe_module._compiling(trainee_on("cuda"), [], plain=PLAIN, watch=Unwatched())
    assert choice == Choice(chosen, f"a compiled step takes {shown} of a plain one (measured)")
    assert steps == (compiled if chosen == "on" else PLAIN)


def test_model_that_cannot_be_compiled_is_trained_as_it_is() -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("no compiler was found\nand much more")

    choice, steps = probe_module._compiling(trainee_on("cuda", fail), [], plain=PLAIN, watch=Unwatched())
    assert (choice.value, choice.reason) == ("off", "torch cannot compile it here: no compiler was found")
    assert steps == PLAIN
