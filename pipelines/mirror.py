"""A thread that keeps the tracker up to date, so that training never waits for it. It may be down for a while."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

_PAUSE_SECONDS = 3.0  # between two looks at the same running trial: a curve needs no more
_RETRY_SECONDS = (1.0, 30.0)  # first and longest wait after an error

log = logging.getLogger(__name__)


class MirrorThread:
    """Calls `sync(directory)` for every directory that changed, again and again until it succeeds."""

    def __init__(self, sync: Callable[[Path], object]) -> None:
        self._sync = sync
        self._changed: OrderedDict[Path, float] = OrderedDict()  # what has waited longest comes first
        self._sent = 0  # directories, since the beginning
        self._lock = threading.Condition()
        self._closing = False
        self.error: str | None = None
        """Why the tracker is behind; None while all is well."""
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def changed(self, directory: Path) -> None:
        """Something in this directory is new."""
        with self._lock:
            self._changed.setdefault(directory, time.monotonic())
            self._lock.notify()

    def close(self, *, patience: float) -> bool:
        """Send what is left, for at most `patience` seconds without success; True when everything is sent."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        last, sent = time.monotonic(), self._sent
        while self._thread.is_alive() and time.monotonic() - last < patience:
            self._thread.join(timeout=0.2)
            if self._sent != sent:  # not how many are left: one that fails again and again comes and goes there
                last, sent = time.monotonic(), self._sent
        return not self._thread.is_alive() and not self._changed

    def _work(self) -> None:
        delay = _RETRY_SECONDS[0]
        while (directory := self._next()) is not None:
            try:
                self._sync(directory)
            except Exception as error:  # whatever it is, the files are safe and the next try may do
                self.error = str(error).partition("\n")[0]
                log.warning("the tracker is behind: %s", self.error)
                self.changed(directory)
                time.sleep(delay)
                delay = min(2 * delay, _RETRY_SECONDS[1])
            else:
                self.error, delay = None, _RETRY_SECONDS[0]
                self._sent += 1

    def _next(self) -> Path | None:
        """The directory that has waited longest, once its pause is over; None at the end."""
        with self._lock:
            while True:
                if self._closing and not self._changed:
                    return None
                if self._changed:
                    directory, since = next(iter(self._changed.items()))
                    wait = since + _PAUSE_SECONDS - time.monotonic()
                    if self._closing or wait <= 0:
                        del self._changed[directory]
                        return directory
                    self._lock.wait(wait)
                else:
                    self._lock.wait()
