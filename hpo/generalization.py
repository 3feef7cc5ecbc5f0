"""A registered model beyond its own rows: found, its data checked first, tested, and what was found attached to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from hpo.places import Places
from pipelines import registry
from pipelines.config import DataConfig
from pipelines.connection import connect, tracking_errors
from pipelines.data import Dataset, open_dataset
from pipelines.data.keys import text_keys
from pipelines.errors import ConfigError, DataError
from pipelines.export import read_facts
from pipelines.generalize.attached import EXTERNAL, ROBUSTNESS, Attachment, attach
from pipelines.generalize.checks import Check, class_of, fitting, shipped_checks
from pipelines.generalize.elsewhere import Elsewhere, judge_elsewhere
from pipelines.generalize.external import External, as_external, load_external, without
from pipelines.generalize.page import render_elsewhere
from pipelines.generalize.robustness import Robustness, judge_robustness
from pipelines.generalize.seen import Home, Seen, find_seen
from pipelines.predictions import Predictions
from pipelines.segment import Unwatched

_MOST_SEEN = 0.5  # of the rows: beyond that it is the training data under another name

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Subject:
    """The registered version that is looked at."""

    client: MlflowClient
    version: ModelVersion
    directory: Path
    """Its files, verified."""
    labels: tuple[str, ...]
    home: Home
    at_home: Predictions | None
    """Its answers on its locked test rows, kept from when these were opened; None where none are."""

    @property
    def name(self) -> str:
        """`sentiment version 3`."""
        return f"{self.version.name} version {self.version.version}"


@dataclass(frozen=True)
class Wanted:
    """Which data sets, and how they are read."""

    sources: tuple[str, ...]
    told: Mapping[str, str]
    """Their labels as the model's classes; to nothing: rows to leave out. For all sets, see `of`."""
    by_source: Mapping[str, Mapping[str, str]]
    """The same for single sets, by their source."""
    text: str | None = None
    label: str | None = None
    drop_blank: bool = False
    rows: int | None = None
    """So many rows of each, or of the select split, at most."""
    allow_overlap: bool = False
    """Test also on data of which the model's training has seen most."""

    def config(self, source: str) -> DataConfig:
        """How one of them is read."""
        blank: Any = "drop" if self.drop_blank else "fail"
        return DataConfig(source=source, text=self.text, label=self.label, blank=blank)

    def of(self, source: str) -> dict[str, str]:
        """What is told of one set's labels."""
        return {**self.told, **self.by_source.get(source, {})}


def find_subject(reference: str, *, places: Places) -> Subject:
    """The version that `NAME`, `NAME@alias` or `NAME/version` means, with what is known of its own rows.

    Raises `ModelError` where there is no such model, or its files are not sound.
    """
    client = connect(places.tracking)
    with tracking_errors(places.tracking, alone=False):
        version = registry.find_version(client, reference)
        directory = registry.pulled(client, version, places.cache / "models")
        home = Home(_own_data(version, places), registry.seen_by(client, version))
        at_home = registry.locked_predictions(client, version)
    return Subject(client, version, directory, read_facts(directory).labels, home, at_home)


def evaluate_elsewhere(
    subject: Subject, wanted: Wanted, *, places: Places, track: bool = True, say: Say = lambda _: None
) -> Iterator[Elsewhere]:
    """Test a version on external data sets, one after the other; each is attached to it when it is found.

    All sets are read, matched and looked through for rows that the model has seen before it is loaded. Raises
    `DataError` and `ConfigError` for data that cannot be used, `ModelError` for a model that cannot read them.
    """
    sets = _read(subject, wanted, places=places, say=say)
    classifier = None
    for external, seen in sets:
        if classifier is None:
            from pipelines.generalize.answering import ready

            classifier = ready(subject.directory)
        say(f"testing {subject.name} on {len(external.rows):,} rows of {external.dataset.name}")
        found = judge_elsewhere(
            classifier,
            external,
            seen=seen,
            at_home=subject.at_home,
            home=subject.home,
            cache=places.cache / "encoded",
            watch=Unwatched(),
        )
        if track:
            with tracking_errors(places.tracking, alone=False):
                attach([_attachment(found, subject)], subject.version, client=subject.client)
        yield found


def _own_data(version: ModelVersion, places: Places) -> Dataset | None:
    """The data of the version's study; None where it is not here, or is not what the version was trained on."""
    folder = places.study(str(version.tags.get("hpo.study"))) / "data"
    if not folder.is_dir():
        return None
    dataset = open_dataset(folder)
    return dataset if version.tags.get(registry.DATA, dataset.digest) == dataset.digest else None


def _read(subject: Subject, wanted: Wanted, *, places: Places, say: Say) -> list[tuple[External, Seen]]:
    sets = [_load(subject, source, wanted) for source in dict.fromkeys(wanted.sources)]
    _refuse_same_names(sets)
    found = []
    for external in sets:
        for note in external.dataset.notes:
            say(f"data: {note}")
        seen = find_seen(external.rows, external.dataset.digest, subject.home, cache=places.leakage)
        say(f"data: {external.dataset.name}: {seen.in_words()}")
        if not wanted.allow_overlap:
            _refuse_seen(subject, external, seen)
        found.append((external, seen))
    return found


def _load(subject: Subject, source: str, wanted: Wanted) -> External:
    """A data set without the version's locked test rows: a look at these is counted, and this one is not."""
    external = load_external(wanted.config(source), subject.labels, told=wanted.of(source), most=wanted.rows)
    if subject.at_home is None:
        return external
    locked = text_keys(subject.at_home.texts, seed=0)[:, 0]
    return without(external, locked, why="its locked test rows (--split test looks at them, and that is counted)")


def _refuse_same_names(sets: Sequence[External]) -> None:
    by_key: dict[str, str] = {}
    for external in sets:
        other = by_key.setdefault(external.key, external.dataset.source)
        if other != external.dataset.source:
            raise ConfigError(
                f"--data: {other} and {external.dataset.source} are both called {external.key}; rename one of them"
            )


def _refuse_seen(subject: Subject, external: External, seen: Seen) -> None:
    share = float(np.mean(seen.rows))
    if share > _MOST_SEEN:
        raise DataError(
            f"{external.dataset.name}: {int(seen.rows.sum()):,} of its {len(seen.rows):,} rows overlap with the data "
            f"that {subject.name} was made with, so it says little about other texts; give other data, or "
            "--allow-overlap (its own held-out rows are tested by --split test)"
        )


def _attachment(found: Elsewhere, subject: Subject) -> Attachment:
    dataset = found.external.dataset
    metrics = {
        **found.scores,
        "kappa": found.by_measure["kappa"].there.value if "kappa" in found.by_measure else None,
        "overconfidence": found.by_measure["overconfidence"].there.value,
        "rows": float(len(found.predictions.labels)),
        "seen": float(found.seen.rows.sum()),
        **{f"worse.{one.measure}": one.worse.value for one in found.shifts if one.worse},
    }
    return Attachment(
        kind=EXTERNAL,
        key=found.key,
        verdict=f"{found.verdict()}; {len(found.predictions.labels):,} rows, digest {dataset.digest[:12]}",
        metrics={name: value for name, value in metrics.items() if value is not None},
        dataset=dataset,
        figures=found.as_json(),
        page=render_elsewhere([found], model=subject.name),
        predictions=found.predictions,
    )


def evaluate_robustness(
    subject: Subject,
    wanted: Wanted,
    *,
    own_checks: Sequence[Check] = (),
    places: Places,
    track: bool = True,
    say: Say = lambda _: None,
) -> Iterator[Robustness]:
    """Change the texts of each data set, or of the select rows of the version's study, and put the checks to the model.

    The checks are those that come along and `own_checks`, which replace one of the same name. Raises `DataError` where
    no rows are at hand, `ConfigError` for a check of a class that the model does not have.
    """
    for check in own_checks:
        class_of(check, subject.labels)
    shipped, notes = fitting(shipped_checks(), subject.labels)
    for note in notes:
        say(note)
    checks = list({check.name: check for check in (*shipped, *own_checks)}.values())
    rows = [external for external, _ in _read(subject, wanted, places=places, say=say)] or [
        _select_rows(subject, wanted.rows)
    ]
    from pipelines.generalize.answering import answers_on, probabilities_of, ready

    classifier = ready(subject.directory)
    for external in rows:
        say(f"changing {len(external.rows):,} texts of {external.dataset.name}")
        found = judge_robustness(
            answers_on(classifier, external.dataset, cache=places.cache / "encoded", watch=Unwatched()),
            lambda texts: probabilities_of(classifier, texts, watch=Unwatched()),
            name=external.dataset.name,
            key=external.key,
            checks=checks,
        )
        if track:
            with tracking_errors(places.tracking, alone=False):
                attach([_of_robustness(found, external, subject)], subject.version, client=subject.client)
        yield found


def _select_rows(subject: Subject, most: int | None) -> External:
    """The select rows of the version's study, at most so many: neither trained on nor locked."""
    dataset = subject.home.dataset
    if dataset is None:
        raise DataError(
            f"{subject.name}: the data of its study is not here, so there are no rows to change; set HPO_HOME, or name "
            "a data set by --data"
        )
    return as_external(dataset, "select", labels=subject.labels, most=most)


def _of_robustness(found: Robustness, external: External, subject: Subject) -> Attachment:
    own = subject.home.dataset
    return Attachment(
        kind=ROBUSTNESS,
        key=found.key,
        verdict=found.verdict(),
        metrics=found.metrics(),
        dataset=None if own is not None and external.dataset.source == own.source else external.dataset,
        figures=found.as_json(),
        page=render_elsewhere([], model=subject.name, robustness=[found]),
    )
