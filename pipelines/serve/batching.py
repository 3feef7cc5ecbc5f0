"""Concurrent requests share batches: one thread computes, the event loop stays free, and the queue is short.

Whoever comes while nothing is computed is answered at once. Whoever comes meanwhile waits for the next batch. Only
where requests do come together does a text wait a moment for others to join it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from pipelines.serve.limits import Limits
from pipelines.serve.refusal import busy


class Model(Protocol):
    """What answers a batch, in the thread."""

    def answers(self, texts: Sequence[str]) -> list[Any]:
        """One answer for each text."""


@dataclass(frozen=True, eq=False)
class _Asked:
    model: Model
    texts: Sequence[str]
    answered: asyncio.Future[list[Any]]
    since: float = field(default_factory=monotonic)


class Batcher:
    """A short queue before one thread; to be used from one event loop."""

    def __init__(self, limits: Limits, *, seen: Callable[[int], None] = lambda rows: None) -> None:
        """`seen` is told the rows of each batch."""
        self.waiting = 0
        """Texts that no batch has taken yet."""
        self._limits, self._seen = limits, seen
        self._queue: deque[_Asked] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._since: float | None = None  # when the batch that is computed began
        self._shared = False  # the last batch answered several requests
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether a further text would be refused."""
        return self.waiting >= self._limits.waiting

    @property
    def stuck(self) -> bool:
        """Whether a batch is computed for longer than anybody waits."""
        return self._since is not None and monotonic() - self._since > self._limits.seconds

    async def ask(self, model: Model, texts: Sequence[str]) -> list[Any]:
        """The model's answers. Raises `Refusal` (503) where too many texts wait, and whatever the model raises."""
        if self.waiting and self.waiting + len(texts) > self._limits.waiting:
            raise busy("too many texts are waiting; try again in a second")
        loop = asyncio.get_running_loop()
        asked = _Asked(model, texts, loop.create_future())
        self._queue.append(asked)
        self.waiting += len(texts)
        if self._since is None:
            self._begin_soon(loop)
        try:
            return await asked.answered
        finally:
            self._forget(asked)

    def _forget(self, asked: _Asked) -> None:
        """Nobody waits for it any more: its place is free for others."""
        if asked in self._queue:
            self._queue.remove(asked)
            self.waiting -= len(asked.texts)

    def close(self) -> None:
        """Take nothing more; what is being computed is finished."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compute now; or, where requests come together, when the oldest has waited for company long enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left = self._queue[0].since + self._limits.gather - monotonic()
        if self._shared and left > 0 and self.waiting < self._limits.batch:
            self._timer = loop.call_later(left, self._begin, loop)
        else:
            self._begin(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        batch = self._taken()
        if not batch:
            self._shared = False
            return
        self._since, self._shared = monotonic(), len(batch) > 1
        self._seen(sum(len(asked.texts) for asked in batch))
        future = self._thread.submit(_computed, batch)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._tell, batch, done, loop))

    def _taken(self) -> list[_Asked]:
        """The next requests that one model answers together; those that nobody waits for any more are dropped."""
        batch: list[_Asked] = []
        while self._queue and (self._queue[0].answered.done() or self._fits(self._queue[0], batch)):
            asked = self._queue.popleft()
            self.waiting -= len(asked.texts)
            if not asked.answered.done():
                batch.append(asked)
        return batch

    def _fits(self, asked: _Asked, batch: list[_Asked]) -> bool:
        """Whether a request can be answered together with these; alone it always can."""
        rows = sum(len(other.texts) for other in batch)
        return not batch or (asked.model is batch[0].model and rows + len(asked.texts) <= self._limits.batch)

    def _tell(
        self, batch: list[_Asked], done: "Future[list[list[Any] | Exception]]", loop: asyncio.AbstractEventLoop
    ) -> None:
        self._since = None
        for asked, found in zip(batch, done.result(), strict=True):
            if asked.answered.done():
                continue
            if isinstance(found, Exception):
                asked.answered.set_exception(found)
            else:
                asked.answered.set_result(found)
        if self._queue:
            self._begin_soon(loop)


def _computed(batch: list[_Asked]) -> list[list[Any] | Exception]:
    """The answers to each request. Where they fail together each is tried alone: one bad text harms nobody else."""
    texts = [text for asked in batch for text in asked.texts]
    try:
        answers = iter(batch[0].model.answers(texts))
    except Exception as error:
        return [error] if len(batch) == 1 else [found for asked in batch for found in _computed([asked])]
    return [[next(answers) for _ in asked.texts] for asked in batch]
