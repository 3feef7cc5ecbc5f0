"""Where commands print."""

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

_WIDE = 200  # columns, where the output is no terminal: a table in a file should not be squeezed into 80


def screen() -> Console:
    """Standard output; nothing in a printed text is taken for markup or highlighted."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_WIDE)


def print_json(value: Any) -> None:
    """A value for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def pairs(values: dict[str, Any]) -> Table:
    """Names and values, one pair a row."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in values.items():
        table.add_row(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
    return table
