"""Then and now: a fact beside a fact, and where two journals first differ, bit for bit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.journal import Record

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")


@dataclass(frozen=True)
class Check:
    """Something that a training depends on, or that came of it: then and now."""

    name: str
    was: str | None
    """None: it was not recorded."""
    now: str | None
    """None: there is nothing like it here."""

    @property
    def same(self) -> bool | None:
        """None where one of the two is not known."""
        return None if self.was is None or self.now is None else self.was == self.now

    def in_words(self) -> str:
        """One line for a person, with hashes cut short."""
        was, now = (_HASH.sub(r"\1", one or "unknown") for one in (self.was, self.now))
        return f"{self.name}: same ({now})" if self.same else f"{self.name}: was {was}, is {now}"


@dataclass(frozen=True)
class Difference:
    """The first value of a journal that the replay has otherwise."""

    kind: str
    """`step` or `evaluation`."""
    step: int
    name: str
    was: float | None
    now: float | None
    """None: the replay did not come there."""

    def in_words(self) -> str:
        """One phrase for a person."""
        place = f"step {self.step}" if self.kind == "step" else f"the evaluation at step {self.step}"
        if self.was is None or self.now is None:
            return f"at {place} {self.name} was {self.was}, is {self.now}"
        return f"at {place} {self.name} was {self.was!r}, is {self.now!r} ({self.now - self.was:+.1e})"


def first_difference(was: Sequence[Record], now: Sequence[Record]) -> tuple[Difference | None, int]:
    """Where a journal first differs from another, bit for bit, and how many of its records come before that.

    What only the second one has does not count: a replay is scored where it stops.
    """
    found = {(record["kind"], record["step"]): record["values"] for record in now}
    for count, record in enumerate(was):
        values = found.get((record["kind"], record["step"]), {})
        for name in {**record["values"], **values}:
            then, again = record["values"].get(name), values.get(name)
            if then != again:
                return Difference(record["kind"], record["step"], name, then, again), count
    return None, len(was)
