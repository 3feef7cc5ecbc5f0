"""A watch that is looked through step by step."""

from pipelines.serve.metrics import Metrics
from pipelines.serve.served import Shelf
from pipelines.serve.watch import Watch
from tests.serving import Registry


class Watched:
    """A watch over made-up versions, looked through step by step."""

    def __init__(self, source: Registry) -> None:
        self.said: list[str] = []
        self.now = 0.0
        self.shelf, self.metrics = Shelf(source.main), Metrics()
        self._watch = Watch(source, self.shelf, metrics=self.metrics, say=self.said.append, clock=lambda: self.now)

    def look(self) -> tuple[str | None, str | None, str | None]:
        """Champion, challenger, and what is wrong, after a look."""
        self._watch.look()
        models = (self.shelf.look(slot) for slot in ("champion", "challenger"))
        champion, challenger = (model.version if model else None for model in models)
        return champion, challenger, self.shelf.notice("champion")
