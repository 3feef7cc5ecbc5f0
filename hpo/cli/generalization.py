"""What `hpo evaluate --data` and `--robustness` are told, and what they print."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hpo.cli.console import screen
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.generalize.checks import Check
    from pipelines.generalize.elsewhere import Elsewhere
    from pipelines.generalize.robustness import Robustness
    from pipelines.generalize.shift import Estimate

Map = dict[str, str]
_LONGEST = 100  # characters of an example's text


def read_maps(given: Sequence[str], sources: Sequence[str]) -> tuple[Map, dict[str, Map]]:
    """Labels as classes: those told for all data sets, and those told for single ones, from `LABEL=CLASS` or files.

    A file is YAML: `LABEL: CLASS`, or such pairs under the name of a data set; a class that is empty leaves rows out.
    Raises `ConfigError` for anything else.
    """
    shared: Map = {}
    single: dict[str, Map] = {}
    for one in given:
        if "=" in one and not Path(one).is_file():
            label, _, name = one.partition("=")
            shared[label.strip()] = name.strip()
            continue
        for key, value in _mapping(Path(one)).items():
            if isinstance(value, dict):
                if key not in sources:
                    raise ConfigError(f"--map {one}: {key!r} is none of the data sets ({', '.join(sources)})")
                single[key] = {str(label): _name(name) for label, name in value.items()}
            else:
                shared[str(key)] = _name(value)
    return shared, single


def _mapping(path: Path) -> dict[Any, Any]:
    tree = _yaml(path, option="--map")
    if not isinstance(tree, dict):
        raise ConfigError(f"--map {path}: holds no pairs of labels and classes; write for instance `pos: positive`")
    return tree


def _name(value: Any) -> str:
    return "" if value is None else str(value)


def read_checks(path: Path | None) -> "list[Check]":
    """The checks of a user's file; none where there is none. Raises `ConfigError` with every fault in one line."""
    from pipelines.generalize.checks import checks_from

    return [] if path is None else checks_from(_yaml(path, option="--checks"), where=f"--checks {path}")


def _yaml(path: Path, *, option: str) -> Any:
    from hpo.yamlfile import parse_yaml

    try:
        return parse_yaml(path.read_text(encoding="utf-8"), where=f"{option} {path}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{option} {path}: {reason}") from error


def print_elsewhere(found: "Elsewhere") -> None:
    """One data set: the verdict, every measure, the class balance and the surest mistakes."""
    from pipelines.predictions import most_confident_mistakes

    console, dataset = screen(), found.external.dataset
    console.print(found.verdict(), style="bold")
    if (remark := found.remark()) is not None:
        console.print(remark)
    for note in dataset.notes:
        console.print(note)
    console.print(f"seen before: {found.seen.in_words()}")
    for pair in found.seen.examples[:3]:
        console.print(f"  {pair['id']} {pair['text']!r} is {pair['similarity']:.0%} like {pair['of']} {pair['like']!r}")
    console.print(_measures(found))
    balance = ", ".join(f"{name} {one['labels']:.0%} / {one['answers']:.0%}" for name, one in found.shares().items())
    console.print(f"{len(found.predictions.labels):,} rows, {found.rows_per_second:,.0f} a second")
    console.print(f"share of the labels / of the answers: {balance}")
    if found.beside is not None:
        lead = found.beside.accuracy
        console.print(
            f"TF-IDF has {lead.a:.4f} right, the model {lead.b:.4f} ({lead.difference:+.4f}, 95 % {lead.low:+.4f} to "
            f"{lead.high:+.4f}); they answer {found.beside.same:.0%} alike"
        )
    console.print(_mistakes(most_confident_mistakes(found.predictions, 5)))


def _measures(found: "Elsewhere") -> Table:
    table = Table("score", "here", "95 %", f"at home ({found.home_rows:,} rows)", "worse by", "95 %")
    if found.unseen is not None:
        table.add_column("without seen rows")
    unseen = {one.measure: one.there for one in found.unseen or ()}
    for one in found.shifts:
        row = [one.measure, f"{one.there.value:.4f}", _interval(one.there)]
        row += [f"{one.home.value:.4f}" if one.home else "–"]
        row += [f"{one.worse.value:+.4f}", _interval(one.worse)] if one.worse else ["–", "–"]
        if one.measure in unseen:
            row.append(f"{unseen[one.measure].value:.4f}")
        table.add_row(*row)
    return table


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("surest mistakes: is", "the model says", "confidence", "text")
    for one in mistakes:
        table.add_row(one["label"], one["predicted"], f"{one['confidence']:.3f}", _short(one["text"]))
    return table


def print_robustness(found: "Robustness") -> None:
    """Changes and checks, each with its interval."""
    console = screen()
    console.print(found.verdict(), style="bold")
    table = Table("change", "texts", "flips", "95 %", "accuracy before", "after", "difference", "95 %")
    for one in found.changes:
        name = one.name if one.keeps else f"{one.name} (should flip)"
        flips = (f"{one.flips.value:.1%}", f"{one.flips.low:.1%} to {one.flips.high:.1%}")
        scores = (f"{one.before:.4f}", f"{one.after:.4f}", f"{one.difference.value:+.4f}", _interval(one.difference))
        table.add_row(name, f"{one.rows:,}", *flips, *scores)
    console.print(table)
    if found.checks:
        console.print(_checks(found))


def _checks(found: "Robustness") -> Table:
    table = Table("check", "kind", "cases", "failures", "95 %", "for instance")
    for one in found.checks:
        example = one.examples[0] if one.examples else None
        said = f"{_short(str(example['other'] or example['text']))}: {example['what']}" if example else ""
        failures = (f"{one.failed:,} ({one.failures.value:.0%})", f"{one.failures.low:.0%} to {one.failures.high:.0%}")
        table.add_row(one.name, one.kind, f"{one.cases:,}", *failures, said)
    return table


def _interval(one: "Estimate") -> str:
    return f"{one.low:.4f} to {one.high:.4f}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
