"""The load of `benchmarks.serve`, for locust: people who ask again as soon as they are answered, or at a given rate.

Run by `benchmarks.serve`, which gives its settings in the environment (`LOAD`, JSON): `source` (a JSON list of texts),
`texts` in a request, `rate` of a person (requests a second; 0: at once), `output` (where each answer is written).
"""

import json
import os
import random
import time
from itertools import count
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, constant_throughput, events, task

_LOAD = json.loads(os.environ["LOAD"])
_TEXTS = json.loads(Path(_LOAD["source"]).read_text(encoding="utf-8"))
_NEXT = count()
_ANSWERS: list[tuple[float, float, int]] = []


def _question() -> dict[str, Any]:
    size, number = _LOAD["texts"], next(_NEXT)
    texts = [_TEXTS[(number * size + place) % len(_TEXTS)] for place in range(size)]
    return {"text": texts[0]} if size == 1 else {"texts": texts}


class Person(FastHttpUser):  # type: ignore[misc, unused-ignore]
    """Somebody who asks."""

    wait_time = constant_throughput(_LOAD["rate"]) if _LOAD["rate"] else constant(0)

    def on_start(self) -> None:
        """At a given rate people begin at moments of their own; else all would ask at the same one, again and again."""
        if _LOAD["rate"]:
            time.sleep(random.random() / _LOAD["rate"])

    @task  # type: ignore[untyped-decorator, unused-ignore]
    def ask(self) -> None:
        """One request."""
        self.client.post("/v1/predict", json=_question())


@events.request.add_listener  # type: ignore[untyped-decorator, unused-ignore]
def note(response_time: float, response: Any = None, **_: Any) -> None:
    """Keep when it was answered, after how many seconds, and with which status; 0: not at all."""
    _ANSWERS.append((time.monotonic(), response_time / 1000, int(getattr(response, "status_code", 0) or 0)))


@events.quitting.add_listener  # type: ignore[untyped-decorator, unused-ignore]
def write(**_: Any) -> None:
    """Hand the answers over."""
    Path(_LOAD["output"]).write_text(json.dumps(_ANSWERS))
