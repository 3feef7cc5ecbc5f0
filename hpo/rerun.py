"""A trial trained once more exactly as it was, and compared with what it left: step by step, and by its weights.

Nothing of the trial is written to: the replay has a directory of its own, which goes afterwards.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpo.executors import Executor, WorkerLostError
from hpo.executors.local import LocalExecutor
from hpo.likeness import Check, Difference, first_difference
from hpo.listing import one_trial
from hpo.places import Places
from hpo.space import SETTINGS
from pipelines.config import DataConfig, flatten
from pipelines.data import load_data, open_dataset
from pipelines.data.digest import content_digest
from pipelines.errors import ConfigError, DataError, ModelError, UserError
from pipelines.files import digest, read_json, sha256
from pipelines.journal import Record, read_journal
from pipelines.notes import read_notes
from pipelines.provenance import Provenance, read_provenance
from pipelines.segment import InfeasibleError, SegmentJob

FACTS, TRAIN = "pipelines.run:facts", "pipelines.run:train_segment"
_REFERENCE = re.compile(r"^(?P<study>[^/]+)/(?P<number>\d+)$")


@dataclass(frozen=True)
class Original:
    """A trial as it was trained."""

    study: str
    number: int
    state: str
    directory: Path
    data: Path
    cache: Path
    provenance: Provenance
    params: dict[str, Any]
    """Its settings by address, as the controller recorded them."""
    journal: tuple[Record, ...]

    @property
    def name(self) -> str:
        """`STUDY/NUMBER`."""
        return f"{self.study}/{self.number}"

    @property
    def threads(self) -> int:
        """Threads of the worker that began it."""
        return int(self.provenance.sessions[0].facts["threads"])

    @property
    def ends(self) -> list[int]:
        """The steps at which its segments ended with an evaluation, and the last one that it came to."""
        return sorted({record["step"] for record in self.journal if record["kind"] == "evaluation"} | {self.last})

    @property
    def last(self) -> int:
        """The last step in its journal."""
        return max(int(record["step"]) for record in self.journal)

    def job(self, directory: Path, *, until: int) -> SegmentJob:
        """The same training in another directory; no worker takes it for one that it holds."""
        config = self.provenance.config
        return SegmentJob(f"{self.name} in {directory}", config, self.data, directory, self.cache, until=until)


@dataclass(frozen=True)
class Rerun:
    """What came of the replay."""

    trial: str
    state: str
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]
    """What befell the trial and its replay on the way."""
    last: int
    """The step up to which they were compared."""
    records: int
    """Records of the trial's journal: of steps and of evaluations."""
    equal: int
    """Those before the first difference."""
    first: Difference | None
    weights: Check
    """At the end; unknown for a trial that did not come to it."""

    @property
    def bit_equal(self) -> bool:
        """Nothing differs that is known of both."""
        return self.first is None and self.weights.same is not False

    def verdict(self) -> str:
        """The result in a sentence."""
        weights = {True: ", and the weights", False: ", but not the weights", None: ""}[self.weights.same]
        if self.first is None:
            word = "bit-equal" if self.bit_equal else "differs"
            tail = "" if self.weights.same is not None else f"; no weights are kept of a trial that is {self.state}"
            return f"{word}: all {self.records} records up to step {self.last} are equal{weights}{tail}"
        end = ". The weights at the end are equal" if self.weights.same else ""
        return f"differs: {self.first.in_words()}; the {self.equal} records before that are equal{end}"

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        checks = [asdict(one) | {"same": one.same} for one in self.checks]
        return {"bit_equal": self.bit_equal, "verdict": self.verdict(), **asdict(self), "checks": checks}


def rerun(reference: str, *, places: Places, say: Callable[[str], None]) -> Rerun:
    """Train the trial `STUDY/NUMBER` again and compare; `say` is told each line as soon as it is known.

    Raises `ConfigError` where there is no such trial, `DataError` where it left nothing to compare with or its data is
    not what it was, `ModelError` where its model cannot be used any more.
    """
    original = find_original(reference, places=places)
    scratch = places.cache / "reruns" / f"{original.study}-{original.number}-{os.getpid()}"
    with _gone_afterwards(scratch):
        executor = LocalExecutor(workers=1, threads=original.threads, logs=scratch)
        with closing(executor):
            checks = look(original, executor)
            for check in checks:
                say(check.in_words())
            say(f"trains again up to step {original.last}, with {original.threads} threads")
            return replay(original, executor, scratch=scratch / "trial", checks=checks)


def find_original(reference: str, *, places: Places) -> Original:
    """The trial `STUDY/NUMBER`, with all that is needed to train it again. Raises as `rerun` does."""
    match = _REFERENCE.match(reference)
    if match is None:
        raise ConfigError(f"{reference}: a trial is STUDY/NUMBER, for instance quickstart/0")
    study, number = match["study"], int(match["number"])
    state = str(one_trial(places, study, number)["state"])
    directory = places.trial(study, number)
    journal = tuple(one for one in read_journal(directory / "progress.jsonl") if one["kind"] != "system")
    if not journal:
        raise DataError(f"{reference} is {state} and was never trained; there is nothing to replay")
    provenance = read_provenance(directory)
    if provenance is None or not provenance.sessions:
        raise DataError(f"{reference}: {directory}/provenance.json is missing; it was trained before that was kept")
    return Original(
        study=study,
        number=number,
        state=state,
        directory=directory,
        data=places.study(study) / "data",
        cache=places.cache / "encoded",
        provenance=provenance,
        params=(read_json(directory / "trial.json") or {}).get("params", {}),
        journal=journal,
    )


def look(original: Original, executor: Executor) -> tuple[Check, ...]:
    """What the trial depended on, then and now. Raises `DataError` when the study's data is not what it was."""
    was = original.provenance.sessions[0].facts
    data = _data_check(original, was["data"])
    job = original.job(original.directory, until=original.last)
    now: dict[str, str] = _answer(executor, FACTS, job)
    now |= {name: str(original.params.get(at, now[name])) for name, at in _SEEDS.items()}
    others = [Check(name, was.get(name), now.get(name)) for name in {**was, **now} if name != "data"]
    source = Check("source", was["data"], _source_digest(original.provenance.config.data))
    return (data, source, _settings_check(original), *others)


_SEEDS = {"seed": "seed", "split seed": "data.split_seed"}


def _data_check(original: Original, was: str) -> Check:
    """The rows in the study's directory, hashed anew."""
    dataset = open_dataset(original.data)
    check = Check("data", was, content_digest(dataset.labels, dataset.splits))
    if not check.same:
        raise DataError(
            f"{original.name}: {original.data} holds other rows than it was trained on ({check.in_words()})"
        )
    return check


def _source_digest(config: DataConfig) -> str:
    """The digest of what the source gives today, or why it gives nothing."""
    try:
        return load_data(config).digest
    except (UserError, OSError) as error:
        return f"not readable: {str(error).partition(chr(10))[0]}"


def _settings_check(original: Original) -> Check:
    """All settings: as the worker had them, and as the controller recorded them; what is new since had its default."""
    had = flatten(original.provenance.config.model_dump(mode="json"))
    recorded = {address: value for address, value in SETTINGS.items() if address in had} | original.params
    return Check("settings", *(digest(json.dumps(one, sort_keys=True)) for one in (had, recorded)))


def replay(original: Original, executor: Executor, *, scratch: Path, checks: Sequence[Check] = ()) -> Rerun:
    """Train a trial again in `scratch`, from segment end to segment end, and compare what comes of it.

    The executor must have one worker with as many threads as the trial's had.
    """
    ended = _train(original, executor, scratch)
    journal = [one for one in read_journal(scratch / "progress.jsonl") if one["kind"] != "system"]
    came_of_it = read_provenance(scratch)
    first, equal = first_difference(original.journal, journal)
    return Rerun(
        trial=original.name,
        state=original.state,
        checks=tuple(checks),
        remarks=tuple(_remarks(original, scratch, ended)),
        last=original.last,
        records=len(original.journal),
        equal=equal,
        first=first,
        weights=Check("weights at the end", _weights(original), came_of_it.weights if came_of_it else None),
    )


def _train(original: Original, executor: Executor, scratch: Path) -> str | None:
    """Train as far as the trial came; returns why it ended before, if it did."""
    for until in original.ends:
        try:
            result = _answer(executor, TRAIN, original.job(scratch, until=until))
        except InfeasibleError as error:
            return str(error)
        if result.finished:
            break
    return None


def _answer(executor: Executor, task: str, job: SegmentJob) -> Any:
    try:
        return executor.submit(task, job, key=job.trial).result()
    except WorkerLostError as error:
        raise ModelError(f"{job.trial}: it could not be trained here: {error}") from error


def _weights(original: Original) -> str | None:
    """The hash that was noted when the trial ended, for a winner's model may be calibrated since; else the model's."""
    model = original.directory / "model" / "model.safetensors"
    return original.provenance.weights or (sha256(model) if model.is_file() else None)


def _remarks(original: Original, scratch: Path, ended: str | None) -> Iterator[str]:
    first, *later = original.provenance.sessions
    for session in later:
        changed = [Check(name, first.facts.get(name), now) for name, now in session.facts.items()]
        words = ", ".join(one.in_words() for one in changed if not one.same)
        yield f"it went on from step {session.step} with something else: {words or 'as at first'}"
        first = session
    notes, again = read_notes(original.directory), read_notes(scratch)
    yield from (f"on the way: {text}" for text in notes.texts)
    yield from (f"in the replay: {text}" for text in again.texts if text not in notes.texts)
    if notes.precision is not None:
        yield f"it fell back to {notes.precision} on the way, which a replay does from its own beginning"
    if ended is not None:
        yield f"the replay ended: {ended}"


@contextmanager
def _gone_afterwards(directory: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
