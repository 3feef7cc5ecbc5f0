"""What is known of a model beyond its own rows, as a section of its card in the registry."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.markdown import escape, table

_HEADING = "## On other texts"
_SECTION = re.compile(rf"\n*{_HEADING}\n.*?(?=\n## |\Z)", re.DOTALL)
_BEFORE = "\n## Limits"


def with_section(card: str, elsewhere: Sequence[Mapping[str, Any]], robustness: Sequence[Mapping[str, Any]]) -> str:
    """The card with what the reports say (`report.json` of each), before its limits; an earlier section is replaced."""
    bare = _SECTION.sub("\n", card).rstrip()
    parts = [*_elsewhere(elsewhere), *_robustness(robustness)]
    if not parts:
        return bare
    section = "\n\n".join([_HEADING, *parts])
    head, limits, rest = bare.partition(_BEFORE)
    return f"{head.rstrip()}\n\n{section}\n{limits}{rest}" if limits else f"{bare}\n\n{section}"


def _elsewhere(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not reports:
        return
    header = ["data", "rows", "seen before", "accuracy", "at home", "worse by", "calibration error"]
    rows = []
    for one in reports:
        measures = {shift["measure"]: shift for shift in one["measures"]}
        accuracy, ece = measures["accuracy"], measures.get("ece")
        seen = one["seen"]["exact"] + one["seen"]["near"]
        cells = [one["name"], f"{one['rows']:,}", f"{seen:,}", _estimate(accuracy["there"]), _value(accuracy["home"])]
        rows.append([*cells, _estimate(accuracy["worse"]), _value(ece["there"] if ece else None)])
    yield "Measured by `hpo evaluate --data`, with 95 % intervals; at home: the locked test split, of the same classes."
    yield table(header, rows)


def _robustness(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in reports:
        changes = [change for change in one["changes"] if change["keeps"]]
        worst = max(changes, key=lambda change: change["flips"]["value"], default=None)
        if worst is not None:
            yield (
                f"Changed texts ({escape(one['name'])}, by `hpo evaluate --robustness`): the answer flips most often "
                f"under {escape(worst['name'])}, in {100 * worst['flips']['value']:.1f} % of the texts."
            )
        failed = [check["name"] for check in one["checks"] if check["failed"]]
        if one["checks"]:
            kept = len(one["checks"]) - len(failed)
            names = f"; it fails cases of {', '.join(map(escape, failed))}" if failed else ""
            yield f"Behavioural checks: {kept} of {len(one['checks'])} without a failure{names}."


def _estimate(one: Mapping[str, float] | None) -> str:
    return "–" if one is None else f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _value(one: Mapping[str, float] | None) -> str:
    return "–" if one is None else f"{one['value']:.3f}"
