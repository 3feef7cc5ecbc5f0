"""What a warm process keeps between segments: checkpoints in memory, encoded data, and the trial it last held."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipelines import adapt
from pipelines import data as dataset_store
from pipelines.checkpoint import restore_checkpoint
from pipelines.config import ModelConfig, RunConfig, SplitName, replaced
from pipelines.data import Dataset
from pipelines.device import device
from pipelines.engine import speed_up
from pipelines.errors import ModelError
from pipelines.files import digest
from pipelines.journal import Journal
from pipelines.models import Pretrained, load_pretrained, longest_input, new_classifier
from pipelines.notes import read_notes
from pipelines.prefix import Prefix, kept
from pipelines.provenance import Facts, facts_of, note_session
from pipelines.scratch.checkpoint import Recipe, checkpoint
from pipelines.segment import InfeasibleError, SegmentJob
from pipelines.tokens import cached, content_of, tells_case
from pipelines.train import Material, Trainee, new_trainee

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass
class Trial:
    """A trial in memory, ready to train on."""

    job: SegmentJob
    dataset: Dataset
    pretrained: Pretrained
    trainee: Trainee
    train: Material
    select: Material
    journal: Journal
    fingerprint: str


class Workbench:
    """Caches of one process. Everything in it can be thrown away and built again from disk."""

    def __init__(self) -> None:
        self._datasets: dict[Path, Dataset] = {}
        self._pretrained: dict[str, Pretrained] = {}
        self._prefixes: dict[str, tuple[Prefix | None, ...]] = {}
        self._trial: Trial | None = None

    def dataset(self, directory: Path) -> Dataset:
        """The data in a directory, opened once."""
        return _kept(self._datasets, directory, lambda: dataset_store.open_dataset(directory))

    def warm_up(self, dataset: Dataset, config: RunConfig, *, cache: Path) -> None:
        """Load a model and the data encoded for it. Raises `ModelError` for what the model cannot do."""
        pretrained = self._checkpoint(config, dataset, cache=cache)
        limit = longest_input(pretrained.config)
        if limit is not None and config.tokens.max_length > limit:
            raise ModelError(
                f"tokens.max_length: {config.tokens.max_length} is beyond the {limit} positions of model "
                f"{pretrained.name!r}"
            )
        if fault := _fault_of_tokens(pretrained, config):
            raise ModelError(f"{fault}; leave it out, or choose a cased checkpoint")
        adapt.check(pretrained.config, config)
        for split in ("train", "select"):
            material(dataset, split, pretrained, config=config, cache=cache)

    def facts(self, job: SegmentJob) -> Facts:
        """What the job's trial would depend on here. Raises `ModelError` for a model that cannot be used."""
        dataset = self.dataset(job.data)
        pretrained = self._checkpoint(job.config, dataset, cache=job.cache)
        return facts_of(job.config, data=dataset.digest, pretrained=pretrained)

    def trial(self, job: SegmentJob) -> Trial:
        """The job's trial: the one held in memory, else from its newest checkpoint, else fresh."""
        held = self._trial
        if held is not None and held.job.trial == job.trial and held.fingerprint == fingerprint(job, held.dataset):
            held.job = job
            return held
        self.put_down()
        self._trial = self._pick_up(job)
        return self._trial

    def put_down(self) -> None:
        """Forget the held trial and free its memory; what was not committed is lost."""
        if self._trial is not None:
            self._trial.journal.close()
            self._trial.trainee.accelerator.free_memory()
            self._trial = None

    def _checkpoint(self, config: RunConfig, dataset: Dataset, *, cache: Path) -> Pretrained:
        model, content = config.model.model_copy(update={"dropout": None}), content_of(dataset.digest, "train")
        recipe = Recipe.of(config)
        made = recipe and recipe.place(content, cache)

        def load() -> Pretrained:
            if recipe is None:
                return load_pretrained(model, labels=dataset.labels)
            place = checkpoint(recipe, lambda: dataset.splits["train"].texts, content=content, home=cache)
            found = load_pretrained(ModelConfig(name=str(place)), labels=dataset.labels)
            return replace(found, name=model.name)

        return _kept(self._pretrained, digest(model.model_dump_json(), str(made), *dataset.labels), load)

    def _with_prefix(self, trainee: Trainee, *parts: Material, job: SegmentJob) -> list[Material]:
        """The materials with what the trainee's frozen layers make of them."""
        config = trainee.config
        model = config.model.model_copy(update={"dropout": None})
        shape = digest(model.model_dump_json(), config.tokens.model_dump_json(), str(job.data), str(job.cache))
        key = digest(shape, str(config.train.frozen_layers), config.train.precision)
        prefixes = _kept(
            self._prefixes,
            key,
            lambda: tuple(
                kept(trainee.model, part.encoded, part.pad, config=config, home=job.cache / "prefixes")
                for part in parts
            ),
        )
        return [replace(part, prefix=prefix) for part, prefix in zip(parts, prefixes, strict=True)]

    def _pick_up(self, job: SegmentJob) -> Trial:
        dataset = self.dataset(job.data)
        pretrained = self._checkpoint(job.config, dataset, cache=job.cache)
        if fault := _fault_of_tokens(pretrained, job.config):  # of one proposal among others: it is left out
            raise InfeasibleError(fault)
        train = material(dataset, "train", pretrained, config=job.config, cache=job.cache)
        select = material(dataset, "select", pretrained, config=job.config, cache=job.cache)
        network = new_classifier(pretrained, dropout=job.config.model.dropout, seed=job.config.seed)
        adapt.adapt(network, job.config)
        tokens = np.union1d(train.encoded.vocabulary(), select.encoded.vocabulary())
        speed_up(network, tokens=tokens, cpu=device().type == "cpu")
        precision = read_notes(job.directory).precision or job.config.train.precision
        config = replaced(job.config, {"train.precision": precision})
        trainee = new_trainee(config, network, train.labels, classes=len(dataset.labels))
        train, select = self._with_prefix(trainee, train, select, job=job)
        mark = fingerprint(job, dataset)
        restore_checkpoint(trainee, job.directory / "checkpoints", fingerprint=mark)
        facts = facts_of(config, data=dataset.digest, pretrained=pretrained)
        note_session(job.directory, job.config, step=trainee.step, facts=facts)
        return Trial(
            job=job,
            dataset=dataset,
            pretrained=pretrained,
            trainee=trainee,
            train=train,
            select=select,
            journal=Journal(job.directory / "progress.jsonl"),
            fingerprint=mark,
        )


def material(dataset: Dataset, split: SplitName, pretrained: Pretrained, *, config: RunConfig, cache: Path) -> Material:
    """One split, encoded for this model (from the cache where it is there)."""
    part = dataset.splits[split]
    encoded = cached(
        part.texts,
        content_of(dataset.digest, split),
        tokenizer=pretrained.tokenizer,
        config=config.tokens,
        home=cache,
    )
    return Material(encoded, part.labels, pretrained.tokenizer.pad_token_id)


def _fault_of_tokens(pretrained: Pretrained, config: RunConfig) -> str | None:
    """Why a model's texts cannot be read so; None where they can."""
    if config.tokens.lowercase and not tells_case(pretrained.tokenizer):
        return f"tokens.lowercase: the tokenizer of {pretrained.name!r} lower-cases by itself, so nothing would change"
    return None


def fingerprint(job: SegmentJob, dataset: Dataset) -> str:
    """Equal for jobs that must give equal models: the same configuration on the same data."""
    return digest(job.config.model_dump_json(), dataset.digest)


def _kept(values: dict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """The value under `key`, made when absent; only the two newest stay, so memory does not grow with the study."""
    if key not in values:
        while len(values) >= 2:
            values.pop(next(iter(values)))
        values[key] = make()
    return values[key]
