"""What commands share that look at a user's data and report: options, loading, the page, the run in MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpo.cli.options import options_named
from pipelines.errors import ConfigError, DataError, StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from hpo.places import Places
    from pipelines.data import Dataset

Data = Annotated[str, typer.Option(help="A file, `sample:NAME`, preset, hub id or saved directory.")]
Text = Annotated[str | None, typer.Option(help="Column of the texts; found by its name if left out.")]
Label = Annotated[str | None, typer.Option(help="Column of the classes; found by its name if left out.")]
DropBlank = Annotated[bool, typer.Option("--drop-blank", help="Leave out rows whose text is blank.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report for the browser.")]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Leave MLflow alone.")]


def say(line: str) -> None:
    """A line of progress, beside the output."""
    typer.echo(line, err=True)


def words(given: str | None, option: str, what: str) -> list[str]:
    """The parts of a list with commas, each once. Raises `ConfigError` for an empty one."""
    parts = [part.strip() for part in given.split(",")] if given is not None else []
    if not all(parts):
        raise ConfigError(f"{option} {given!r}: {what} is missing; write them with commas between")
    return list(dict.fromkeys(parts))


def refuse_directory(html: Path | None) -> None:
    """Raise `ConfigError` where the page cannot be a file; before anything is computed."""
    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise ConfigError(f"--html {html}: {'is a directory' if html.is_dir() else 'its directory does not exist'}")


def load(source: str, text: str | None, label: str | None, *, drop_blank: bool) -> "Dataset":
    """The data set, split. Raises `DataError` that names the options which mend it."""
    from pipelines.config import DataConfig
    from pipelines.data import load_data

    if not source:
        raise ConfigError("--data is empty; name a file, a preset or a hub id")
    blank: Literal["fail", "drop"] = "drop" if drop_blank else "fail"
    try:
        return load_data(DataConfig(source=source, text=text or None, label=label or None, blank=blank))
    except DataError as error:
        options = [option for option in options_named(str(error)) if not option.startswith("--label-name")]
        hint = f" (here: {' '.join(options)})" if options else ""
        raise DataError(f"{error}{hint}") from error


def write_page(path: Path, page: str) -> None:
    """Write the page. Raises `ConfigError` where that is not possible."""
    from pipelines.files import write_text

    try:
        write_text(path, page)
    except OSError as error:
        raise ConfigError(f"--html {path}: cannot be written ({error.strerror})") from error


def keep_in_mlflow(experiment: str, track: "Callable[[MlflowClient], str]", *, places: "Places") -> None:
    """Keep the run in MLflow; all is shown before, so that nothing is lost when MLflow is away."""
    from hpo.places import make_home
    from pipelines.connection import connect, tracking_errors

    try:
        make_home(places)
        client = connect(places.tracking)
        with tracking_errors(places.tracking):
            run = track(client)
    except StorageError as error:
        raise StorageError(f"{error}; only MLflow lacks what was found (--no-track leaves it out)") from error
    say(f"kept in MLflow: experiment {experiment}, run {run}")
