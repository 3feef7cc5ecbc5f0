"""A short measurement of one model on this machine: real steps, real evaluations, a few seconds."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.batches import EVALUATION_TOKENS, evaluation_batches
from pipelines.config import replaced
from pipelines.cost import Facts, Point, Probe, fit, probe_shapes
from pipelines.data import Dataset
from pipelines.device import choose_precision, forget_peak, peak_memory, with_precision
from pipelines.families import locate
from pipelines.segment import Choice, ProbeJob, SegmentJob, Watch
from pipelines.tokens import Encoded
from pipelines.train import Material, Trainee, predict_logits, train_steps
from pipelines.workbench import Workbench

_SECONDS = 6.0  # of measured steps, at most, once every shape was measured
_ROUNDS = 4  # each shape is measured so often; the first round, which allocates, counts only where it was so slow
_EVALUATION_SECONDS = 3.0  # of evaluating real batches once, at most
_WORTH_COMPILING = 1.1  # times faster a compiled step must be
_STATES = 5  # a training process holds its weights so often: checkpoint, model, gradient, two moments of AdamW
_BEGAN = time.monotonic()  # when this module was imported: a worker's libraries are loaded with it


def probe(job: ProbeJob, *, watch: Watch) -> Probe:
    """Measure a model at a few shapes of batches of the study's own texts.

    A model whose weights, gradients and optimizer state alone need more than `job.memory` is not loaded: what comes
    back holds that need and no times. Raises `ModelError` for a model that cannot be used.
    """
    bench, began = Workbench(), time.monotonic()
    choice = choose_precision(job.config.train.precision, cache=job.cache)
    if (least := _STATES * _bytes_on_disk(job)) > job.memory:
        return _refused(bench.dataset(job.data), least, choice)
    with tempfile.TemporaryDirectory() as directory:
        work = SegmentJob(
            trial="probe/0",
            config=replaced(
                with_precision(job.config, choice.value),
                {"train.epochs": 1000.0, "train.batch_size": job.batch_sizes[1], "train.micro_batch_size": None},
            ),
            data=job.data,
            directory=Path(directory),
            cache=job.cache,
            until=1,
        )
        try:
            return _measured(bench, work, job.batch_sizes, choice=choice, began=began, watch=watch)
        finally:
            bench.put_down()


def _measured(
    bench: Workbench, work: SegmentJob, batch_sizes: tuple[int, int], *, choice: Choice, began: float, watch: Watch
) -> Probe:
    bench.warm_up(bench.dataset(work.data), work.config, cache=work.cache)
    bench.trial(work)  # once for what only the first one pays
    start_up = time.monotonic() - began
    bench.put_down()
    start = time.perf_counter()
    trial = bench.trial(work)
    prepare = time.perf_counter() - start
    shapes = probe_shapes(trial.train.encoded.lengths, batch_sizes)
    parts = [part_of(trial.train, nearest_rows(trial.train, *shape)) for shape in shapes]
    steps, memory = time_steps(trial.trainee, parts, watch=watch)
    evaluations = _evaluations(trial.trainee, parts, trial.select)
    latency = _evaluation(trial.trainee, part_of(trial.select, np.arange(1))).value
    compiled, steps = _compiling(trial.trainee, parts, plain=steps, watch=watch)
    device = trial.trainee.accelerator.device
    return Probe(
        steps=steps,
        evaluations=evaluations,
        memory=memory,
        facts=Facts(
            latency=latency,
            prepare=prepare,
            start_up=start_up + _import_seconds(),
            weights=sum(weight.nbytes for weight in trial.pretrained.weights.values()),
            train_lengths=_counts(trial.train.encoded.lengths),
            select_lengths=_counts(trial.select.encoded.lengths),
            precision=choice,
            compile=compiled,
            device_memory=float(torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else None,
        ),
    )


def time_steps(
    trainee: Trainee, parts: list[Material], *, watch: Watch, rounds: int = _ROUNDS
) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """Seconds and peak bytes of optimizer steps, the shapes taken in turn, so that noise meets all of them.

    Bytes are those of the first round, which goes upwards: a process keeps what a larger batch once needed.
    """
    seconds: list[list[float]] = [[] for _ in parts]
    memory: list[Point] = []
    began = time.perf_counter()
    for turn in range(rounds):
        for part, taken in zip(parts, seconds, strict=True):
            if turn and (time.perf_counter() - began > _SECONDS or watch.stop_requested()):
                continue
            forget_peak(trainee.accelerator.device)
            start = time.perf_counter()
            next(train_steps(trainee, part, until=trainee.step + 1)).loss.item()  # reading it waits for the device
            taken.append(time.perf_counter() - start)
            if not turn:
                memory.append(_point(part, peak_memory(trainee.accelerator.device)))
    timed = [_point(part, float(np.median(taken[1:] or taken))) for part, taken in zip(parts, seconds, strict=True)]
    return tuple(timed), tuple(memory)


def _compiling(
    trainee: Trainee, parts: list[Material], *, plain: tuple[Point, ...], watch: Watch
) -> tuple[Choice, tuple[Point, ...]]:
    """Whether to compile the model, and the steps as they will then be; measured on a GPU only.

    Measured last, because a model stays compiled. torch's errors of compilation are RuntimeErrors.
    """
    asked = trainee.config.train.compile
    if asked != "auto":
        return Choice(asked, "asked for"), plain
    if trainee.accelerator.device.type != "cuda":
        return Choice("off", "on a CPU compiling takes a minute and gains nothing"), plain
    try:
        trainee.model.compile(dynamic=True)
        time_steps(trainee, parts, watch=watch)  # compiles
        compiled, _ = time_steps(trainee, parts, watch=watch)
    except RuntimeError as error:
        return Choice("off", f"torch cannot compile it here: {str(error).partition(chr(10))[0]}"), plain
    gain = sum(point.value for point in plain) / sum(point.value for point in compiled)
    reason = f"a compiled step takes 1/{gain:.1f} of a plain one (measured)"
    return (Choice("on", reason), compiled) if gain > _WORTH_COMPILING else (Choice("off", reason), plain)


def _evaluations(trainee: Trainee, parts: list[Material], select: Material) -> tuple[Point, ...]:
    """Seconds of batches without gradients: those of the study itself where that is quick, else small ones.

    The small ones flatter: on a CPU their activations stay in its caches, and workers do not slow one another down.
    """
    small = tuple(_evaluation(trainee, part) for part in parts)
    batches = evaluation_batches(select.encoded.lengths, tokens=EVALUATION_TOKENS)
    chosen = {len(batches) // 4: None, len(batches) * 3 // 4: None}  # of short texts, and of long ones
    whole, law = [part_of(select, batches[index]) for index in chosen], fit(small)
    foretold = sum(law.at(len(part.labels), int(part.encoded.lengths.max())) for part in whole)
    return tuple(_evaluation(trainee, part) for part in whole) if foretold < _EVALUATION_SECONDS else small


def _evaluation(trainee: Trainee, part: Material, repeats: int = 3) -> Point:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        predict_logits(trainee, part)
        times.append(time.perf_counter() - start)
    return _point(part, float(np.median(times)))


def nearest_rows(material: Material, rows: int, length: int) -> NDArray[np.int64]:
    """The `rows` texts whose length is nearest to `length`."""
    return np.argsort(np.abs(material.encoded.lengths - length), kind="stable")[:rows]


def part_of(material: Material, rows: NDArray[np.int64]) -> Material:
    """Some rows alone."""
    pieces = [material.encoded.row(int(row)).ids for row in rows]
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return Material(Encoded(np.concatenate(pieces), offsets), material.labels[rows], material.pad)


def _point(part: Material, value: float) -> Point:
    return Point(len(part.labels), int(part.encoded.lengths.max()), value)


def _counts(lengths: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(np.bincount(lengths).tolist())


def _refused(dataset: Dataset, least: float, choice: Choice) -> Probe:
    """A model that was not loaded: what it needs at any shape of batch, and nothing else."""
    return Probe(
        steps=(),
        evaluations=(),
        memory=(Point(1, 1, least), Point(2, 1, least)),
        facts=Facts(
            latency=0.0,
            prepare=0.0,
            start_up=0.0,
            weights=int(least / _STATES),
            train_lengths=(0, len(dataset.splits["train"])),
            select_lengths=(0, len(dataset.splits["select"])),
            precision=choice,
            compile=Choice("off", "not measured"),
            device_memory=None,
        ),
    )


def _bytes_on_disk(job: ProbeJob) -> int:
    """Size of a local checkpoint's weights; 0 where that is not known before loading."""
    return sum(file.stat().st_size for file in Path(locate(job.config.model.name)).glob("*.safetensors"))


def _import_seconds() -> float:
    """Seconds from the start of this process until its libraries were loaded."""
    import psutil

    lived = time.time() - psutil.Process().create_time()
    return max(0.0, lived - (time.monotonic() - _BEGAN))
