"""The command that writes a study file for a user's own data."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.console import screen
from hpo.cli.options import options_named
from pipelines.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from pipelines.config import DataConfig
    from pipelines.data import Dataset

_NOTHING = "-"
_COLUMNS = {"text": "Column of the texts", "label": "Column of the classes"}


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command(name="init-spec")(init_spec)


def init_spec(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to write; NAME.yaml if none.")] = None,
    data: Annotated[str | None, typer.Option(help="A CSV, TSV, JSONL or Parquet file, a preset or a hub id.")] = None,
    text: Annotated[str | None, typer.Option(help="Column of the texts; found by its name if left out.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the classes; found by its name if left out.")] = None,
    label_name: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=NAME", help="Readable name of a label; repeat it for each.")
    ] = None,
    drop_blank: Annotated[bool, typer.Option("--drop-blank", help="Leave out rows whose text is blank.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="Checkpoint; repeat it to compare several.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Finished trials in total.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    register_as: Annotated[str | None, typer.Option(help="Registered model of the winner; `-` for none.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The same as FILE.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
) -> None:
    """Write a commented study for your own data, from a few questions.

    Each question has an option; what an option answers is not asked.
    """
    from hpo.template import Answers, describe, findings_of, render_spec
    from pipelines.families import family_called

    ask = _Asker(yes=yes)
    given = _one_target(file, output, force=force)
    source = ask("Data: a file, preset or hub id", "--data", given=data)
    config, dataset = _load(_data_config(source, text, label, names=label_name, drop_blank=drop_blank), ask)
    findings = findings_of(dataset)
    for line in describe(findings):
        screen().print(line)
    models = ask("Checkpoints, with commas between", "--model", given=_joined(model), default="minilm", check=_models)
    wanted = 20 + 10 * (len(models) - 1)  # each further checkpoint needs some trials of its own
    count = ask("Trials", "--trials", given=trials, default=wanted, check=_trials)
    study = ask("Name of the study", "--name", given=name, default=_name_for(dataset.name), check=_name)
    asked = f"Registered model of the winner ({_NOTHING} for none)"
    registered = ask(asked, "--register-as", given=register_as, default=study, check=_registered)
    target = ask(
        "File", "FILE", given=given, default=f"{study}.yaml", check=lambda path: _free(Path(path), force=force)
    )
    answers = Answers(
        file=shlex.quote(str(target)),
        name=study,
        source=config.source,
        models={model: family_called(model) for model in models},
        trials=count,
        text=config.text,
        label=config.label,
        label_names=config.label_names,
        drop_blank=drop_blank,
        register_as=registered,
    )
    _write(target, render_spec(answers, findings))
    screen().print(f"written: {target}\nnext:  hpo check {answers.file}  |  hpo run {answers.file}")


class _Asker:
    """Takes an answer from an option, the default, or the person at the terminal, and checks it."""

    def __init__(self, *, yes: bool) -> None:
        self.yes = yes

    def __call__(
        self, question: str, option: str, *, given: Any, default: Any = None, check: Callable[[str], Any] = str
    ) -> Any:
        """The checked answer. A wrong option is an error; at the terminal the question is asked again."""
        if given is not None or (self.yes and default is not None):
            return check(str(default if given is None else given))
        if self.yes:
            raise ConfigError(f"{option} is missing, and there is no default for it")
        try:
            return typer.prompt(question, default=default, value_proc=lambda answer: _checked(answer, check))
        except typer.Abort as stop:
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise
            raise ConfigError(f"no answer to {question!r}; give {option}, or --yes for the defaults") from None


def _checked(answer: object, check: Callable[[str], Any]) -> Any:
    try:
        return check(str(answer).strip())
    except UserError as error:
        raise typer.BadParameter(str(error)) from None


def _data_config(
    source: str, text: str | None, label: str | None, *, names: list[str] | None, drop_blank: bool
) -> "DataConfig":
    from pipelines.config import DataConfig

    if not source:
        raise ConfigError("--data is empty; name a file, a preset or a hub id")
    pairs = [pair.partition("=") for pair in names or []]
    for raw, equals, name in pairs:
        if not (raw and equals and name):
            raise ConfigError(f"--label-name {raw}{equals}{name}: write LABEL=NAME, for instance 1=positive")
    label_names = {raw: name for raw, _, name in pairs}
    blank: Any = "drop" if drop_blank else "fail"
    return DataConfig(source=source, text=text or None, label=label or None, label_names=label_names, blank=blank)


def _load(config: "DataConfig", ask: _Asker) -> "tuple[DataConfig, Dataset]":
    """The data; the columns are asked for as long as they cannot be found."""
    from pipelines.data import load_data

    while True:
        try:
            return config, load_data(config)
        except DataError as error:
            options = options_named(str(error))
            roles = [role for role in _COLUMNS if f"--{role} COLUMN" in options]
            if ask.yes or not roles:
                hint = f" (here: {' '.join(options)})" if options else ""
                raise DataError(f"{error}{hint}") from error
            screen().print(str(error))
        config = config.model_copy(update={role: ask(_COLUMNS[role], f"--{role}", given=None) for role in roles})


def _one_target(file: Path | None, output: Path | None, *, force: bool) -> Path | None:
    if file is not None and output is not None and file != output:
        raise ConfigError(f"FILE is {file}, but --output is {output}; give one of them")
    given = file or output
    return None if given is None else _free(given, force=force)


def _free(path: Path, *, force: bool) -> Path:
    """`path`, if a file may be written there."""
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"{path}: {'is a directory' if path.is_dir() else 'its directory does not exist'}")
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists; name another file, or overwrite it by --force")
    return path


def _joined(models: list[str] | None) -> str | None:
    return ",".join(models) if models else None


def _models(answer: str) -> list[str]:
    """Checkpoint names, each once."""
    models = list(dict.fromkeys(name.strip() for name in answer.split(",") if name.strip()))
    if not models:
        raise ConfigError("name at least one checkpoint, for instance minilm")
    for name in models:
        if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
            raise ConfigError(f"{name}: there is no such directory")
    return models


def _trials(answer: str) -> int:
    if not answer.isdecimal() or not 1 <= int(answer) <= 100_000:
        raise ConfigError(f"{answer!r}: the number of trials is a whole number from 1 to 100,000")
    return int(answer)


def _name(answer: str) -> str:
    from pydantic import ValidationError

    from hpo.spec import StudySpec

    try:
        return StudySpec(name=answer).name
    except ValidationError:
        rule = "a name has letters, digits, '.', '_' and '-', 80 at most, the first a letter or digit"
        raise ConfigError(f"{answer!r}: {rule}") from None


def _registered(answer: str) -> str | None:
    return None if answer == _NOTHING else _name(answer)


def _name_for(dataset: str) -> str:
    """A study name from the name of the data: `stanfordnlp/imdb` and `imdb.csv` both give `imdb`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(dataset).stem).strip("-._")[:80] or "study"


def _write(target: Path, text: str) -> None:
    """Put the study in place, once it is known to be free of faults."""
    from hpo.specfile import read_spec
    from pipelines.files import write_text

    with TemporaryDirectory() as directory:
        draft = Path(directory) / "draft.yaml"
        draft.write_text(text, encoding="utf-8")
        read_spec(str(draft))
    try:
        write_text(target, text)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from error
