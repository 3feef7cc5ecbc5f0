"""Passwords of the databases and servers in use, wherever a record could have caught one."""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from hpo.doctor.case import Case
from hpo.doctor.finding import Finding
from hpo.places import Places

_TEXTS = {".json", ".jsonl", ".txt", ".log", ".md", ".yaml", ".lock"}
_LONG = 8  # characters from which a password is looked for anywhere; a shorter one only where it stands as one
_ADVICE = "change this password, then take it out of the record"


def check(case: Case) -> Iterator[Finding]:
    """Every record of a study that holds a password."""
    secrets = _secrets(case.places)
    if not secrets:
        return
    for number, where, text in _records(case):
        for owner, secret in secrets.items():
            if _holds(text, secret):
                yield Finding("I16", case.name, number, f"{where} holds the password of {owner}", advice=_ADVICE)


def _secrets(places: Places) -> dict[str, str]:
    """The passwords in use, by what they open."""
    found = {"the storage": _password(places.storage), "the tracking server": _password(places.tracking)}
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        found[name] = os.environ.get(name, "")
    return {owner: secret for owner, secret in found.items() if secret}


def _password(url: str) -> str:
    """As it stands in the URL, also one that holds `/` or `@`, or stands in the query; empty where there is none."""
    found = re.search(r"://[^:/@]*:(.*)@|[?&]password=([^&]*)", url)
    return (found[1] or found[2] or "") if found else ""


def _holds(text: str, secret: str) -> bool:
    for form in {secret, unquote(secret)}:
        looked_for = [form] if len(form) >= _LONG else [f":{form}@", f"password={form}"]
        if any(one in text for one in looked_for):
            return True
    return False


def _records(case: Case) -> Iterator[tuple[int | None, str, str]]:
    """Trial, place and text of everything that is kept about a study and could hold a secret."""
    yield None, "the ledger", f"{case.row.spec}\n{case.row.definition}"
    for trial in case.trials.values():
        yield trial.number, "Optuna's attributes", str(trial.user_attrs)
    for run in case.runs or []:
        yield _number(run.tags.get("hpo.trial", "")), f"run {run.id}", _text(run.params) + _text(run.tags)
    for file in sorted(case.home.rglob("*")):
        if file.suffix in _TEXTS and file.is_file():
            folder = file.relative_to(case.home).parts[0]
            number = _number(folder.removeprefix("trial-"))
            yield number, str(file), file.read_text(encoding="utf-8", errors="replace")


def _text(values: Mapping[str, str]) -> str:
    return "\n".join(f"{name} {value}" for name, value in values.items())


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
