"""What a running study shows: a live table on a terminal, plain lines anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.launch import Display
from hpo.study import Controller
from hpo.trials import Active

_LINE_SECONDS = 20.0  # between two lines of progress in a log


@contextmanager
def open_display(console: Console) -> Iterator[Display]:
    """A display for this console, live as long as the block lasts."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield Display(say=_sayer(console), show=lambda controller: live.update(picture(controller)))
    else:
        yield Display(say=_sayer(console), show=_LineWriter(console).show)


def _sayer(console: Console) -> Callable[[str], None]:
    def say(line: str) -> None:
        stamped = f"{time.strftime('%H:%M:%S')}  {line}"
        console.print(stamped, markup=False, highlight=False, soft_wrap=True)  # a log's line stays one line

    return say


class _LineWriter:
    """Writes a line for each trial that finished, and now and then one about those that run."""

    def __init__(self, console: Console) -> None:
        self._say = _sayer(console)
        self._known: set[int] | None = None
        self._said = time.monotonic()

    def show(self, controller: Controller) -> None:
        """Say what is new."""
        finished = controller.trials.ended
        if self._known is None:
            self._known = set()
        for number in sorted(finished.keys() - self._known):
            trial = finished[number]
            value = f" {trial.values[0]:.4f}" if trial.values else ""
            reason = f" ({trial.user_attrs['reason']})" if "reason" in trial.user_attrs else ""
            self._say(f"trial {number} {trial.state.name}{value}{reason}; {headline(controller)}")
            self._said = time.monotonic()
        self._known |= finished.keys()
        if time.monotonic() - self._said > _LINE_SECONDS:
            self._say("; ".join([*map(_in_words, controller.running.values()), headline(controller)]))
            self._said = time.monotonic()


def picture(controller: Controller) -> Group:
    """The whole study in a few lines."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for running in sorted(controller.running.values(), key=lambda running: running.number):
        step, total = running.progress.get("step", 0.0), running.progress.get("total", 1.0)
        loss = f"loss {running.progress['loss']:.3f}" if "loss" in running.progress else "starting"
        table.add_row(
            f"trial {running.number}",
            ProgressBar(total=total, completed=step, width=24),
            f"step {step:.0f}/{total:.0f}",
            loss,
            _short(running),
        )
    return Group(Text(headline(controller), style="bold"), table)


def headline(controller: Controller) -> str:
    """Trials done, best so far, time gone and time left, in one line."""
    done, wanted = len(controller.trials.ended), controller.spec.budget.trials
    best, paused = controller.trials.best, controller.paused
    shown = f"best {best.values[0]:.4f} (trial {best.number})" if best else "no score yet"
    left = _minutes_left(controller, done=done)
    resting = f", {paused} paused" if paused else ""
    return f"{done}/{wanted} trials{resting}, {shown}, {controller.meter.seconds / 60:.1f} min{left}"


def _minutes_left(controller: Controller, *, done: int) -> str:
    """Time left, from the trials done and the shares of those that run; before that, from the measured costs."""
    shares = (
        running.progress.get("step", 0.0) / running.progress.get("total", 1.0)
        for running in controller.running.values()
    )
    budget, gone = controller.spec.budget, done + sum(shares)
    if done >= budget.trials or (gone < 0.1 and controller.predicted is None):
        return ""
    if done or controller.predicted is None:
        left = controller.meter.seconds / gone * (budget.trials - gone) / 60
    else:
        left = max(0.0, controller.predicted - controller.meter.seconds) / 60
    if budget.minutes is not None:
        left = min(left, max(0.0, budget.minutes - controller.meter.seconds / 60))
    return f", about {left:.1f} min left"


def _in_words(running: Active) -> str:
    step, total = running.progress.get("step", 0.0), running.progress.get("total", 0.0)
    return f"trial {running.number} step {step:.0f}/{total:.0f}" if total else f"trial {running.number} starting"


def _short(running: Active) -> str:
    values = (f"{name.rpartition('.')[2]} {_number(value)}" for name, value in running.trial.params.items())
    return Text(", ".join(values), style="dim").plain


def _number(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
