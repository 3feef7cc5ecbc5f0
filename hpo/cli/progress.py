"""How far a long command is: a bar on a terminal, a line now and then anywhere else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_SECONDS = 20.0  # between two lines of progress in a log


class Display(Protocol):
    """What shows how far it is."""

    def show(self, done: int, total: int) -> None:
        """So many are done."""

    def say(self, line: str) -> None:
        """A line that stays."""


@contextmanager
def open_progress(console: Console, what: str) -> Iterator[Display]:
    """A display of how many of `what` (rows, texts ...) are done, live as long as the block lasts."""
    if not console.is_terminal:
        yield _Lines(console, what)
        return
    remaining = (MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*Progress.get_default_columns()[:2], *remaining, console=console, transient=True) as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def show(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def say(self, line: str) -> None:
        _print(self._progress.console, line)


class _Lines:
    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what = console, what
        self._first: tuple[float, int] | None = None
        self._said = 0.0

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._said = (now, done), now
        elif now - self._said >= _LINE_SECONDS or done == total:
            self.say(f"{done:,}/{total:,} {self._what}{self._pace(done, total, now)}")
            self._said = now

    def say(self, line: str) -> None:
        _print(self._console, f"{time.strftime('%H:%M:%S')}  {line}")

    def _pace(self, done: int, total: int, now: float) -> str:
        begun, before = self._first or (now, done)
        if done == before or now == begun:
            return ""
        rate = (done - before) / (now - begun)
        left = f", about {(total - done) / rate / 60:.1f} min left" if done < total else ""
        return f", {rate:,.0f} a second{left}"


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)  # a log's line stays one line
