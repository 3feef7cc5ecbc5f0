"""One training run from configuration to scored model. `train_segment` is the unit of work; `run` does all of them."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch

from pipelines.adapt import plain
from pipelines.batches import evaluation_steps
from pipelines.checkpoint import save_checkpoint
from pipelines.course import draw_training
from pipelines.data import Dataset
from pipelines.device import choose_precision
from pipelines.engine import make_whole
from pipelines.export import export_model
from pipelines.files import read_json, write_json
from pipelines.notes import add_note, read_notes
from pipelines.predictions import (
    NonFiniteError,
    Predictions,
    softmax,
)
from pipelines.provenance import Facts, note_weights
from pipelines.report import write_report
from pipelines.scores import score
from pipelines.segment import (
    Choice,
    DivergedError,
    InfeasibleError,
    SegmentJob,
    SegmentResult,
    Unwatched,
    WarmUpJob,
    Watch,
)
from pipelines.train import Material, decay_of_untouched, is_out_of_memory, predict_logits, read_losses, train_steps
from pipelines.workbench import Trial, Workbench, fingerprint

_RECORDS = 200  # journal records of training steps in one run, at most: enough for a curve, cheap to mirror
_SYSTEM_SECONDS = 10.0  # between two records of memory and processor use


class _Clock:
    """Adds up wall time by kind of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - start


_WORKBENCH = Workbench()  # one per process: this is what makes a worker warm


def run(job: SegmentJob, *, watch: Watch | None = None) -> SegmentResult:
    """Train one configuration from wherever it stands to its end, all evaluations included."""
    rows = len(_WORKBENCH.dataset(job.data).splits["train"])
    for step in dict.fromkeys(evaluation_steps(rows, job.config.train)):
        result = train_segment(replace(job, until=step), watch=watch or Unwatched())
        if result.finished or result.interrupted:
            break
    return result


def warm_up(job: WarmUpJob, *, watch: Watch) -> Choice:
    """Pay a worker's start-up costs before the first trial, check the models, and choose the precision.

    Raises `ModelError` for a model that cannot be used as the study wants it.
    """
    dataset = _WORKBENCH.dataset(job.data)
    for config in reversed(job.configs):  # the first model is the first to train: it stays in memory
        _WORKBENCH.warm_up(dataset, config, cache=job.cache)
    gc.collect()
    gc.freeze()  # the libraries' objects stay: looking at them again would take 0.2 s between any two trials
    return choose_precision(job.configs[0].train.precision, cache=job.cache)


def facts(job: SegmentJob, *, watch: Watch) -> Facts:
    """What a trial depends on, as it would be trained in this process; nothing is trained or written."""
    return _WORKBENCH.facts(job)


def train_segment(job: SegmentJob, *, watch: Watch) -> SegmentResult:
    """Train a trial up to step `job.until` and score it on the select split.

    Idempotent: a trial that is finished on disk is returned as it is, and a lost segment may simply be done again.
    Raises `InfeasibleError` when the configuration cannot be trained, `UserError`s when its data or model is unusable.
    """
    clock = _Clock()
    with clock("prepare"):
        job.directory.mkdir(parents=True, exist_ok=True)
        if finished := _read_result(job, _WORKBENCH.dataset(job.data)):
            return finished
    try:
        return _segment(job, watch=watch, clock=clock)
    except DivergedError as error:
        if not _fall_back(job, error):
            raise
        return _segment(job, watch=watch, clock=clock)


def _fall_back(job: SegmentJob, error: DivergedError) -> bool:
    """Let a trial that diverged in less than fp32 go on in fp32 from its last checkpoint; False where it did before."""
    precision = job.config.train.precision
    if precision == "fp32" or read_notes(job.directory).precision is not None:
        return False
    add_note(job.directory, f"{error}, in {precision}; from its last checkpoint on in fp32", precision="fp32")
    _WORKBENCH.put_down()
    return True


def _segment(job: SegmentJob, *, watch: Watch, clock: _Clock) -> SegmentResult:
    with clock("prepare"):
        trial = _WORKBENCH.trial(job)
    if trial.trainee.step > job.until:  # an earlier attempt went further; its score of this step was journalled
        return _result(trial, _journalled(trial, job.until), clock=clock)
    if job.pause and trial.trainee.step == job.until and (scores := _journalled(trial, job.until)):
        with clock("checkpoint"):
            _commit(trial)
        return _result(trial, scores, clock=clock)
    try:
        interrupted = _advance(trial, watch=watch, clock=clock)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _WORKBENCH.put_down()
        raise InfeasibleError(
            "out of memory even with one example at a time; try a smaller tokens.max_length or model.name"
        ) from error
    if interrupted or job.pause:
        with clock("checkpoint"):
            _commit(trial)
    if interrupted:
        return _result(trial, {}, clock=clock, interrupted=True)
    with clock("evaluate"):
        predictions = _predict(trial, watch=watch)
        scores = score(predictions)
        trial.journal.append("evaluation", step=trial.trainee.step, values=scores)
    if not _is_over(trial):
        return _result(trial, scores, clock=clock)
    return _finish(trial, predictions, scores=scores, clock=clock)


def _advance(trial: Trial, *, watch: Watch, clock: _Clock) -> bool:
    """Train to the segment's end, journalling and committing on the way; True when asked to stop before it."""
    trainee, every = trial.trainee, max(1, -(-trial.trainee.total_steps // _RECORDS))
    committed = sampled = time.monotonic()
    steps = train_steps(trainee, trial.train, until=trial.job.until)
    while trainee.step < min(trial.job.until, trainee.total_steps):
        if watch.stop_requested():
            return True
        with clock("train"):
            log = next(steps)
        _pass_on_notes(trial)
        if log.step % every == 0 or log.step == trainee.total_steps:
            with clock("train"):  # a GPU is still at work: its time is training time
                grad_norm = log.grad_norm.item()
            loss = _journal_window(trial, log.learning_rate, grad_norm=grad_norm)
            watch.tell({"step": log.step, "total": trainee.total_steps, "loss": loss})
        if time.monotonic() - sampled > _SYSTEM_SECONDS:
            trial.journal.append("system", step=log.step, values=system_metrics())
            sampled = time.monotonic()
        if time.monotonic() - committed > trial.job.config.train.checkpoint_seconds:
            _refuse_nonfinite(trial, grad_norm=log.grad_norm.item())  # a checkpoint must be worth going back to
            with clock("checkpoint"):
                _commit(trial)
            committed = time.monotonic()
    return False


def _pass_on_notes(trial: Trial) -> None:
    """Write down what the training loop had to do to go on."""
    for text in trial.trainee.notes:
        add_note(trial.job.directory, text)
    trial.trainee.notes.clear()


def _refuse_nonfinite(trial: Trial, *, grad_norm: float) -> bool:
    """Raise `DivergedError` when loss or gradient are not finite; True where fp16 overflowed, which does no harm."""
    trainee = trial.trainee
    read_losses(trainee)
    skipped = trainee.accelerator.scaler is not None and not np.isfinite(grad_norm)
    if not np.isfinite([trainee.window[0], 0.0 if skipped else grad_norm]).all():
        raise DivergedError(f"diverged: the loss or its gradient is not finite at step {trainee.step}")
    return skipped


def _journal_window(trial: Trial, learning_rate: float, *, grad_norm: float) -> float:
    """Record the mean loss since the last record; returns it. Raises `DivergedError` when it is not finite."""
    trainee, skipped = trial.trainee, _refuse_nonfinite(trial, grad_norm=grad_norm)
    loss = trainee.window[0] / trainee.window[1]
    values = {"loss": loss, "learning_rate": learning_rate} | ({} if skipped else {"grad_norm": grad_norm})
    values["epoch"] = trainee.step * trial.job.config.train.batch_size / len(trial.train.labels)
    trial.journal.append("step", step=trainee.step, values=values)
    trainee.window = [0.0, 0.0]
    return loss


def _predict(trial: Trial, *, watch: Watch) -> Predictions:
    """Probabilities of the select split. Raises `DivergedError` when they are not finite."""
    split = trial.dataset.splits["select"]
    progress = {"step": trial.trainee.step, "total": trial.trainee.total_steps}
    logits = predict_logits(trial.trainee, trial.select, each=lambda: watch.tell(progress))  # signs of life
    try:
        return Predictions(
            ids=split.ids,
            texts=split.texts,
            labels=split.labels,
            probabilities=softmax(logits),
            names=trial.dataset.labels,
        )
    except NonFiniteError as error:
        raise DivergedError(f"diverged: {error}") from error


def _journalled(trial: Trial, step: int) -> dict[str, float]:
    """The scores that were journalled at a step; empty where there are none."""
    evaluations = trial.journal.of_kind("evaluation")
    return next((dict(record["values"]) for record in evaluations if record["step"] == step), {})


def _is_over(trial: Trial) -> bool:
    """The horizon is reached, or the log loss has not improved for the configured number of evaluations."""
    trainee, patience = trial.trainee, trial.job.config.train.early_stopping
    evaluations = trial.journal.of_kind("evaluation")  # those of a lost attempt that came further do not count yet
    losses = [record["values"]["log_loss"] for record in evaluations if record["step"] <= trainee.step]
    tired = patience is not None and len(losses) - 1 - int(np.argmin(losses)) >= patience
    return trainee.step >= trainee.total_steps or tired


def _finish(trial: Trial, predictions: Predictions, *, scores: dict[str, float], clock: _Clock) -> SegmentResult:
    """Write model, predictions, pictures and, last of all, `result.json`, which makes the trial finished."""
    with clock("finish"):
        directory, network = trial.job.directory, trial.trainee.accelerator.unwrap_model(trial.trainee.model)
        decay = decay_of_untouched(trial.trainee, network.get_input_embeddings().weight)
        trained = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
        network = plain(network).to("cpu")
        make_whole(network, trial.pretrained.weights, decay=decay)
        labels, tokens = trial.dataset.labels, trial.job.config.tokens
        export_model(network, trial.pretrained.tokenizer, directory / "model", labels=labels, tokens=tokens)
        note_weights(directory)
        network.to(trial.trainee.accelerator.device)
        _write_artifacts(trial, predictions, directory / "artifacts")
        scores = scores | {"parameters": float(sum(p.numel() for p in network.parameters()))}
        scores["trained_parameters"] = float(trained)
        scores["latency_ms"] = _latency(trial)
    result = _result(trial, scores, clock=clock, finished=True)
    write_json(directory / "result.json", {"fingerprint": trial.fingerprint, **vars(result)})
    return result


def _write_artifacts(trial: Trial, predictions: Predictions, directory: Path) -> None:
    write_report(predictions, directory)
    steps, evaluations = (
        [{"step": record["step"], **record["values"]} for record in trial.journal.of_kind(kind)]
        for kind in ("step", "evaluation")
    )
    draw_training(steps, evaluations, directory / "training.png")
    write_json(directory / "config.json", trial.job.config.model_dump())


def _latency(trial: Trial, texts: int = 16) -> float:
    """Milliseconds to classify one encoded text: the median over some of the select split."""
    times = []
    for row in range(min(texts, len(trial.select.labels))):
        one = Material(trial.select.encoded.row(row), trial.select.labels[row : row + 1], trial.select.pad)
        start = time.perf_counter()
        predict_logits(trial.trainee, one)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000


def _commit(trial: Trial) -> None:
    read_losses(trial.trainee)
    save_checkpoint(trial.trainee, trial.job.directory / "checkpoints", fingerprint=trial.fingerprint)


def _result(
    trial: Trial, scores: dict[str, float], *, clock: _Clock, finished: bool = False, interrupted: bool = False
) -> SegmentResult:
    trainee, rows = trial.trainee, len(trial.train.labels)
    epochs, steps = divmod(trainee.step, -(-rows // trial.job.config.train.batch_size))
    return SegmentResult(
        step=trainee.step,
        examples=epochs * rows + steps * trial.job.config.train.batch_size,
        total_steps=trainee.total_steps,
        scores=scores,
        finished=finished,
        interrupted=interrupted,
        seconds=clock.seconds,
    )


def _read_result(job: SegmentJob, dataset: Dataset) -> SegmentResult | None:
    """The result that an earlier attempt left on disk, when it is of this very configuration and data."""
    found = read_json(job.directory / "result.json")
    if found is None or found.pop("fingerprint") != fingerprint(job, dataset):
        return None
    return SegmentResult(**found)


def system_metrics() -> dict[str, float]:
    """Processor and memory use of this process and of the machine, and of the GPU where there is one."""
    process = psutil.Process(os.getpid())
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": psutil.virtual_memory().used / 1e6,
        "worker_memory_megabytes": process.memory_info().rss / 1e6,
    }
    if torch.cuda.is_available():
        values["gpu_memory_megabytes"] = torch.cuda.memory_allocated() / 1e6
    return values
