"""The findings as JSON, with every single measurement, and as a table that people read."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.findings import Absent, Comparison, Difference, Limit, Part
from benchmarks.protocol import Interval
from hpo.machine import own_cores
from pipelines.host import processor_name

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy", "mlflow")
_HEADER = "| measure | against | peer | ours | peer / ours (95 % interval) | target | |\n|---|---|---|---|---|---|---|"


def write(
    parts: Sequence[Part],
    setting: Any,
    directory: Path,
    *,
    name: str,
    quick: bool,
    command: str = "make bench",
    packages: Sequence[str] = PACKAGES,
) -> str:
    """Write `NAME.json` and `NAME.md` into `directory`; returns the Markdown.

    `setting` is the dataclass of what was measured; of `packages`, the versions are stated.
    """
    directory.mkdir(parents=True, exist_ok=True)
    circumstances = _circumstances(asdict(setting), packages, quick=quick)
    text = markdown(parts, circumstances, command=command)
    values = circumstances | {"parts": {part.name: _as_json(part) for part in parts}}
    (directory / f"{name}.json").write_text(json.dumps(_finite(values), indent=1, allow_nan=False) + "\n", "utf-8")
    (directory / f"{name}.md").write_text(text, "utf-8")
    return text


def markdown(parts: Sequence[Part], circumstances: dict[str, Any], *, command: str = "make bench") -> str:
    """The table, and under it what was measured. `circumstances` are those of the JSON."""
    rows = [line for part in parts for line in _rows(part)]
    quick = " Few repetitions: a trial of the benchmark, not a measurement." if circumstances["quick"] else ""
    warning = [
        f"**Not a quiet machine: the A/A control is {limit.value:.1%} away from 1; do not trust these figures.**\n"
        for part in parts
        for limit in part.limits
        if part.name == "control" and limit.verdict == "missed"
    ]
    versions = ", ".join(f"{package} {number}" for package, number in circumstances["versions"].items())
    return "\n".join(
        [
            f"Measured on {circumstances['machine']}, {circumstances['date']}, by `{command}`.{quick} {versions}.\n",
            *warning,
            _HEADER,
            *rows,
            "",
            *(f"- **{part.name}**: {part.about}" for part in parts),
            "",
        ]
    )


def machine() -> str:
    """The processor, as far as the system says, cores and memory."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{processor_name()}, {len(own_cores())} cores, {memory:.0f} GiB"


def _circumstances(setting: dict[str, Any], packages: Sequence[str], *, quick: bool) -> dict[str, Any]:
    # Where things lie on this machine is nobody's business.
    values = {key: value for key, value in setting.items() if key not in {"home", "checkpoint"}}
    for key, shown in (("model", "a directory"), ("source", "a file")):
        if key in values and Path(values[key]).exists():
            values[key] = shown
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "quick": quick,
        "versions": {package: number for package in packages if (number := _version(package))},
        "setting": values,
    }


def _version(package: str) -> str:
    """The version that is installed; empty where none is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _rows(part: Part) -> list[str]:
    return [
        *(_comparison(one) for one in part.comparisons),
        *(_difference(one) for one in part.differences),
        *(_limit(one) for one in part.limits),
        *(_absent(one) for one in part.absent),
    ]


def _comparison(one: Comparison) -> str:
    name = one.measure if one.ours == "ours" or one.ours.startswith("ours,") else f"{one.measure} ({one.ours})"
    target = f"{one.target:g}x" if one.target is not None else ""
    values = f"{_shown(one.peer_value, one.unit)} | {_shown(one.ours_value, one.unit)}"
    return f"| {name} | {one.peer} | {values} | {_interval(one.ratio, 'x')} | {target} | {one.verdict} |"


def _difference(one: Difference) -> str:
    values = f"{one.peer_value:.2f} | {one.ours_value:.2f}"
    gap = f"ours - peer: {_interval(one.interval, ' points')}"
    return f"| {one.measure} | {one.peer} | {values} | {gap} | | {one.verdict} |"


def _limit(one: Limit) -> str:
    value, most = _shown(one.value, one.unit), _shown(one.at_most, one.unit)
    return f"| {one.measure} | | | {value} | | at most {most} | {one.verdict} |"


def _absent(one: Absent) -> str:
    return f"| {one.measure} | {one.peer} | | | | | {one.reason} |"


def _shown(value: float, unit: str) -> str:
    if unit == "s" and value < 0.1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.2g} {unit}".rstrip()


def _interval(interval: Interval, unit: str) -> str:
    if math.isnan(interval.low):
        return f"{interval.mean:.2f}{unit}"
    return f"{interval.mean:.2f}{unit} ({interval.low:.2f} to {interval.high:.2f})"


def _as_json(part: Part) -> dict[str, Any]:
    values = asdict(part)
    for kind in ("comparisons", "limits", "differences"):
        for found, shown in zip(getattr(part, kind), values[kind], strict=True):
            shown["verdict"] = found.verdict
    return values


def _finite(value: Any) -> Any:
    """The same tree, with null in the place of what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
