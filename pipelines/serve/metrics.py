"""What Prometheus reads of a server. Paths are those of its own pages, so that no stranger's text becomes a label."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, apart from those of any other in the process."""

    def __init__(self) -> None:
        self._registry = here = CollectorRegistry()
        self._requests = Counter("hpo_requests", "Requests by page and status.", ["path", "status"], registry=here)
        self._seconds = Histogram(
            "hpo_request_seconds", "From a request's head to its answer.", ["path"], buckets=_SECONDS, registry=here
        )
        self._rows = Histogram(
            "hpo_batch_texts", "Texts that the model answered together.", buckets=_ROWS, registry=here
        )
        self._waiting = Gauge("hpo_waiting_texts", "Texts that wait for the model.", registry=here)
        self._swaps = Counter("hpo_versions", "Versions that were loaded or refused.", ["outcome"], registry=here)
        self._model = Gauge("hpo_model", "The versions in memory, by slot.", ["slot", "name", "version"], registry=here)
        self._registry_answers = Gauge("hpo_registry_answers", "Whether the registry answered last.", registry=here)

    def request(self, path: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, rows: int) -> None:
        """The model is asked about some texts together."""
        self._rows.observe(rows)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Where to look up how many texts wait."""
        self._waiting.set_function(waiting)

    def swap(self, slot: str, name: str, version: str) -> None:
        """A version answers in a slot from now on."""
        self._swaps.labels("loaded").inc()
        self.forget(slot)
        self._model.labels(slot, name, version).set(1)

    def forget(self, slot: str) -> None:
        """Nothing answers in a slot any more."""
        self._model.remove_by_labels({"slot": slot})

    def refuse(self) -> None:
        """A version was refused."""
        self._swaps.labels("refused").inc()

    def registry(self, answers: bool) -> None:
        """Whether the registry answers."""
        self._registry_answers.set(answers)

    def page(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
