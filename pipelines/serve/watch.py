"""Follows the aliases: a new version is loaded beside the old one, and takes its place when it can answer.

Whatever goes wrong (the registry is away, the version is bad, the alias is gone), the model that answers stays, and
the shelf says what is wrong.
"""

import logging
import threading
import traceback
from collections.abc import Callable
from time import monotonic

from pipelines.errors import StorageError, UserError
from pipelines.serve.metrics import Metrics
from pipelines.serve.served import Shelf
from pipelines.serve.sources import Source

_WARM_UP = ("warm", "one text of a dozen words, so that the first person does not wait for it")
_AGAIN_SECONDS = 60.0  # until a version that was refused is tried again: the fault may have been the network's

log = logging.getLogger(__name__)


class Watch:
    """A thread that looks at the source every few seconds; it ends with the process, or when told."""

    def __init__(
        self,
        source: Source,
        shelf: Shelf,
        *,
        metrics: Metrics,
        say: Callable[[str], None],
        every: float = 5.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`every`: seconds between two looks; `say` gets one line for each thing that changes."""
        self._source, self._shelf, self._metrics = source, shelf, metrics
        self._say, self._every, self._clock = say, every, clock
        self._refused: dict[str, float] = {}  # version: when
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a version that is being loaded is not waited for."""
        self._stop.set()

    def look(self) -> None:
        """Bring each slot up to date."""
        for slot in self._source.slots:
            try:
                self._follow(slot)
            except UserError as error:
                self._metrics.registry(False)
                self._note(slot, "the registry does not answer", why=str(error))
            except Exception as error:  # a bug, or a library's; what answers must go on
                log.error("the watch failed: %s\n%s", error, "".join(traceback.format_tb(error.__traceback__)))
                self._note(slot, "the registry cannot be watched", why=type(error).__name__)

    def _run(self) -> None:
        self.look()
        while not self._stop.wait(self._every):
            self.look()

    def _follow(self, slot: str) -> None:
        version, now = self._source.version(slot), self._shelf.look(slot)
        self._metrics.registry(True)
        if version is None:
            self._orphan(slot)
        elif now is not None and now.version == version:
            self._shelf.note(slot, None)
        elif self._clock() - self._refused.get(version, -_AGAIN_SECONDS) >= _AGAIN_SECONDS:
            self._swap(slot, version)

    def _swap(self, slot: str, version: str) -> None:
        """Load beside what answers now, warm up, and only then let it answer."""
        try:
            model = self._shelf.loaded(version)
            if model is None:  # else it answers already, and runtimes answer one thread at a time
                model = self._source.load(version)
                model.answers(_WARM_UP)
        except StorageError:
            raise
        except Exception as error:
            self._refused[version] = self._clock()
            self._metrics.refuse()
            if not isinstance(error, UserError):
                log.error("version %s cannot be loaded:\n%s", version, "".join(traceback.format_exception(error)))
            now = self._shelf.look(slot)
            stays = f"; version {now.version} goes on answering" if now else ""
            self._note(slot, f"version {version} was refused{stays}", why=str(error))
            return
        self._refused.pop(version, None)
        self._shelf.put(slot, model)
        self._metrics.swap(slot, model.name, version)
        self._say(f"{model.name} version {version} answers as {slot} ({model.kind})")

    def _orphan(self, slot: str) -> None:
        """The alias names nothing: the main model stays, another one goes."""
        now = self._shelf.look(slot)
        if slot != self._source.main:
            self._shelf.take(slot)
            self._metrics.forget(slot)
            self._shelf.note(slot, None)
        elif now is not None:
            self._note(slot, f"{now.name}@{slot} names no version any more; version {now.version} goes on answering")
        else:
            self._note(slot, f"the alias {slot} names no version")

    def _note(self, slot: str, notice: str, *, why: str = "") -> None:
        """Put it on the shelf, and say it once, with the reason: that may name places which are nobody's business."""
        if self._shelf.notice(slot) != notice:
            self._say(f"{notice}: {why}" if why else notice)
        self._shelf.note(slot, notice)
