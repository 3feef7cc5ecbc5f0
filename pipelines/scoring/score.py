"""A file of texts in, the same file with labels and probabilities out."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa
from mlflow import MlflowClient
from numpy.typing import NDArray

from pipelines.data.content import is_blank
from pipelines.data.reading import opened
from pipelines.data.wording import listing
from pipelines.errors import ConfigError, DataError, ModelError
from pipelines.files import disk_full_errors
from pipelines.loader import open_model
from pipelines.registry import copy_name, find_version, pulled
from pipelines.scoring.check import Checked, check
from pipelines.scoring.kept import Kept, keeping
from pipelines.scoring.outputs import SUFFIXES, Part, write_rows
from pipelines.scoring.rows import Row, Rows, chunks, open_rows

CHUNK = 1_000  # rows that are scored at once, and lost at most by a crash
_CHARACTERS = 4_000_000  # of the texts of a chunk, at most: bounds the memory where texts are long
_NAMES = {"file": "the file", "column": "the text column", "model": "the model's version"}


class Scorer(Protocol):
    """What scores texts: `hpo_classifier.Classifier`, or another runtime."""

    labels: tuple[str, ...]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(texts, classes)."""

    def predicted(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """(texts,), the class of each row of probabilities."""


@dataclass(frozen=True)
class Order:
    """What is to be scored, and where the result goes."""

    file: Path
    out: Path
    column: str | None = None
    """That of the texts; None: found by its name."""
    overwrite: bool = False
    prefix: str = ""
    """Stands before the names of the added columns."""

    def columns(self, labels: Sequence[str]) -> list[str]:
        """The names of what is added to each row: its class, how probable that is, and each class."""
        return [self.prefix + name for name in ("label", "probability", *(f"p.{label}" for label in labels))]


@dataclass(frozen=True)
class Told:
    """Who hears how far it is: rows done of all rows, and lines for a person."""

    progress: Callable[[int, int], None] = lambda done, total: None
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Scored:
    """What was done."""

    rows: int
    blank: int
    """Rows whose text is blank; they have no label."""
    model: str
    """NAME/VERSION."""


def score_with(client: MlflowClient, reference: str, order: Order, *, cache: Path, told: Told) -> Scored:
    """`score_file` with a registered model, which is fetched and verified once the file has been checked.

    Raises `ModelError` too.
    """
    version = find_version(client, reference)
    return score_file(
        order,
        load=lambda: open_model(pulled(client, version, cache)),
        model=f"{version.name}/{version.version}",
        identity=copy_name(version),
        told=told,
    )


def score_file(order: Order, *, load: Callable[[], Scorer], model: str, identity: str, told: Told) -> Scored:
    """Write the rows of a file with the columns `label`, `probability` and `p.LABEL` of each class.

    Killed and called again it goes on where it was, and the output is the same, byte for byte; where the file, the
    column or the model's `identity` is another one it begins anew. The output appears when it is whole. Raises
    `ConfigError` for an output that cannot be, `DataError` for the file's faults, before anything is computed.
    """
    refuse_output(order)
    shown, out = str(order.file), order.out
    work = out.with_name(f".{out.name}.scoring")
    with disk_full_errors(out), keeping(work, str(out)) as kept:
        with opened(order.file, shown, limit=None) as handle, disk_full_errors(out):
            checked = check(handle, order.file.suffix.lower(), order.column, shown)
            scorer = load()
            columns = order.columns(scorer.labels)
            _refuse_clash(checked, columns, shown)
            _take_up(kept, checked, scorer, identity=identity, told=told, shown=shown)
            task = _Task(order, checked, scorer, kept, handle)
            _answer(task, model=model, told=told)
            with closing(_parts(task)) as parts:
                write_rows(work / "whole", out.suffix.lower(), parts, _types(checked, columns))
            blank = int(np.isnan(kept.read()[:, 0]).sum())
        (work / "whole").replace(out)
    return Scored(checked.rows, blank, model)


def refuse_output(order: Order) -> None:
    """Raises `ConfigError` where the output cannot be written as it is named."""
    out = order.out
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out}: the name must end in {listing(SUFFIXES, 'or')}")
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"--out {out}: {'is a directory' if out.is_dir() else 'its directory does not exist'}")
    if out.resolve() == order.file.resolve():
        raise ConfigError(f"--out {out}: is the file that is read; name another one")
    if out.exists() and not order.overwrite:
        raise ConfigError(f"--out {out}: exists; name another file, or give --overwrite")


@dataclass(frozen=True)
class _Task:
    order: Order
    checked: Checked
    scorer: Scorer
    kept: Kept
    handle: BinaryIO

    def rows(self) -> AbstractContextManager[Rows]:
        """The file's rows, from its beginning."""
        return open_rows(self.handle, self.order.file.suffix.lower(), self.order.column, str(self.order.file))


def _refuse_clash(checked: Checked, columns: Sequence[str], shown: str) -> None:
    clash = [name for name in columns if name in checked.types]
    if clash:
        names = listing([repr(name) for name in clash])
        raise DataError(
            f"{shown}: has columns of its own named {names}, which the output adds; "
            "rename them, or give the added ones another name: --prefix predicted_"
        )


def _take_up(kept: Kept, checked: Checked, scorer: Scorer, *, identity: str, told: Told, shown: str) -> None:
    of = {"file": checked.digest, "column": checked.column, "model": identity}
    changed = kept.go_on(of, width=len(scorer.labels))
    if changed:
        verb = "is" if len(changed) == 1 else "are"
        told.say(f"{shown}: {listing([_NAMES[name] for name in changed])} {verb} not what it was; begun anew")
    elif kept.rows:
        told.say(f"{shown}: goes on after row {kept.rows:,} of {checked.rows:,}")


def _answer(task: _Task, *, model: str, told: Told) -> None:
    kept, checked = task.kept, task.checked
    told.progress(kept.rows, checked.rows)
    with task.rows() as rows:
        rest = islice(rows.each, kept.rows, None)
        for chunk in chunks(rest, count=CHUNK, characters=_CHARACTERS):
            kept.append(_probabilities(task, chunk, model=model))
            told.progress(kept.rows, checked.rows)


def _probabilities(task: _Task, chunk: list[Row], *, model: str) -> NDArray[np.float64]:
    """(rows, classes); NaN where the text is blank."""
    texts = [row.text for row in chunk]
    wanted = np.flatnonzero(~is_blank(pa.chunked_array([pa.array(texts, pa.large_string())])))
    found = np.full((len(chunk), len(task.scorer.labels)), np.nan)
    if len(wanted):
        found[wanted] = task.scorer.probabilities([texts[index] for index in wanted])
    lacking = wanted[~np.isfinite(found[wanted]).all(axis=1)]
    if len(lacking):
        where = f"{task.order.file}, {task.checked.unit} {chunk[lacking[0]].number}"
        raise ModelError(f"{where}: {model} gives no probabilities for this text; use another version")
    return found


def _parts(task: _Task) -> Generator[Part, None, None]:
    """All rows with their answers."""
    answers, done = task.kept.read(), 0
    with task.rows() as rows:
        for chunk in chunks(rows.each, count=8 * CHUNK, characters=_CHARACTERS):
            found = np.array(answers[done : done + len(chunk)])
            done += len(chunk)
            _refuse_other_rows(task, done)
            yield _joined(chunk, found, task)


def _refuse_other_rows(task: _Task, rows: int) -> None:
    if rows > task.kept.rows or task.kept.rows != task.checked.rows:
        raise DataError(f"{task.order.file}: has other rows than before; run again when nothing writes to it")


def _joined(chunk: list[Row], found: NDArray[np.float64], task: _Task) -> Part:
    scorer = task.scorer
    names = task.order.columns(scorer.labels)
    part: Part = []
    for row, answer, best in zip(chunk, found, scorer.predicted(found).tolist(), strict=True):
        cells: list[str | float | None] = [None] * len(names)
        if not np.isnan(answer[0]):
            cells = [scorer.labels[best], *(round(float(value), 6) for value in (answer[best], *answer))]
        part.append(row.values | dict(zip(names, cells, strict=True)))
    return part


def _types(checked: Checked, columns: Sequence[str]) -> dict[str, pa.DataType]:
    label, *numbers = columns
    return checked.types | {label: pa.string()} | dict.fromkeys(numbers, pa.float64())
