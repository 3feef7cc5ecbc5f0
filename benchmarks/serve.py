"""`hpo serve` against `transformers.pipeline` behind FastAPI, under load by locust.

    python -m benchmarks.serve                some minutes on two CPU cores
    python -m benchmarks.serve --quick        seconds of each: a trial of the benchmark
    python -m benchmarks.serve --soak 10      and ten minutes of load: is memory flat?
    python -m benchmarks.serve --runtime torch

All serve the same MiniLM with a classification head, on the same sentences; the load takes its share of the same
cores. Ours stands there twice: as `--runtime auto` chooses, and in eight bits. Writes `benchmarks/results/serve.json`
and `serve.md`, a quick run `partial-serve`.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks import report
from benchmarks.findings import Comparison, Limit, Part, compared
from benchmarks.protocol import measure
from benchmarks.servers import Answers, Load, Server, free_port, percentile, put_under, started
from benchmarks.timing import Timed

PACKAGES = ("torch", "transformers", "onnxruntime", "fastapi", "uvicorn", "locust")
OURS, INT8 = "ours", "ours, int8"
PLAIN, BATCHED = "pipeline", "pipeline, batches of 32"
_RESULTS = Path(__file__).parent / "results"
_MANY = 32  # texts in a request, the most that one may have
_SOME = 16  # texts in a request under overload: with fewer, it is locust that is slow, which asks from the same cores


@dataclass(frozen=True)
class Setting:
    """One measurement."""

    home: Path
    model: str = "minilm"
    source: str = "sample:movies"
    rounds: int = 6
    """Pairs of each comparison."""
    seconds: float = 10.0
    """Of each load."""
    runtime: str = "auto"
    soak_minutes: float = 0.0
    cores: int = len(os.sched_getaffinity(0))

    @property
    def directory(self) -> Path:
        """The model that is served."""
        return self.home / "model"

    @property
    def texts(self) -> Path:
        """What is asked."""
        return self.home / "texts.json"


Put = Callable[[Load, str], Answers]
"""Puts a load on the server of that name."""


def main(words: Sequence[str]) -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two rounds of three seconds")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="a long load at the end")
    parser.add_argument("--runtime", default="auto", help="of hpo serve")
    options = parser.parse_args(words)
    if importlib.util.find_spec("locust") is None:
        sys.exit("locust is not installed: pip install '.[bench-serve]'")
    with tempfile.TemporaryDirectory(prefix="hpo-bench-") as home:
        setting = Setting(Path(home), runtime=options.runtime, soak_minutes=options.soak)
        setting = replace(setting, rounds=2, seconds=3.0) if options.quick else setting
        prepare(setting)
        parts = list(measured(setting))
        name = "partial-serve" if options.quick else "serve"
        print(
            report.write(
                parts,
                setting,
                _RESULTS,
                name=name,
                quick=options.quick,
                command="make bench-serve",
                packages=PACKAGES,
            )
        )


def prepare(setting: Setting) -> None:
    """Write the model, untrained, and the sentences: speed does not depend on what the head has learned."""
    from pipelines.config import DataConfig, ModelConfig, TokensConfig
    from pipelines.data import load_data
    from pipelines.export import export_model, read_facts, seal
    from pipelines.golden import write_golden
    from pipelines.hpo_classifier import Classifier
    from pipelines.models import load_pretrained, new_classifier

    data = load_data(DataConfig(source=setting.source))
    setting.texts.write_text(json.dumps(list(data.splits["test"].texts)), encoding="utf-8")
    pretrained = load_pretrained(ModelConfig(name=setting.model), labels=data.labels)
    network = new_classifier(pretrained, dropout=None, seed=0).eval()
    export_model(
        network, pretrained.tokenizer, setting.directory, labels=data.labels, tokens=TokensConfig(max_length=64)
    )
    write_golden(Classifier(setting.directory, device="cpu"), setting.directory)
    seal(setting.directory, read_facts(setting.directory))


def measured(setting: Setting) -> Iterator[Part]:
    """All parts, one after the other, on servers that stay warm."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_server(name, setting)) for name in (INT8, PLAIN, OURS, BATCHED)}

        def put(load: Load, name: str) -> Answers:
            return put_under(load, servers[name], source=setting.texts)

        for name in servers:  # once, so that everything is loaded
            put(Load(people=2, seconds=1.0, texts=4), name)
        yield singles(setting, put)
        yield many(setting, put)
        yield overload(setting, put)
        if setting.soak_minutes:
            yield soak(setting, put, servers[OURS])


@contextmanager
def _server(name: str, setting: Setting) -> Iterator[Server]:
    port, model = free_port(), str(setting.directory)
    if name in {OURS, INT8}:
        runtime = setting.runtime if name == OURS else "onnx-int8"
        command = ["-m", "hpo", "serve", model, "--port", str(port), "--runtime", runtime]
    else:
        command = ["-m", "benchmarks.peer_server", model, str(port), str(1 if name == PLAIN else _MANY)]
    with started(command, port=port) as server:
        yield server


def singles(setting: Setting, put: Put) -> Part:
    """One person, one text at a time: the median of a request's seconds."""
    load = Load(people=1, seconds=setting.seconds)

    def work(name: str, number: int) -> Timed:
        found = put(load, name)
        return Timed(percentile(found.accepted, 50), None, extra={"p99": percentile(found.accepted, 99)})

    runs = measure((INT8, PLAIN, OURS), setting.rounds, work)
    found = [
        compared("single requests, median", runs, peer=PLAIN, ours=OURS, unit="s", target=2.5),
        compared("single requests, median; eight bits", runs, peer=PLAIN, ours=INT8, unit="s", target=2.5),
    ]
    about = "One connection asks one sentence after the other; median of each load."
    return Part("singles", about, found, runs={"singles": runs})


def many(setting: Setting, put: Put) -> Part:
    """Texts a second: in requests of 32 by three people, and in requests of one by 32 people."""
    full = Load(people=3, seconds=setting.seconds, texts=_MANY)
    crowd = Load(people=32, seconds=setting.seconds)

    def rows(load: Load) -> Callable[[str, int], Timed]:
        return lambda name, number: Timed(load.seconds, None, work=max(put(load, name).rate * load.seconds, 1e-9))

    whole = measure((INT8, PLAIN, OURS, BATCHED), setting.rounds, rows(full))
    each = measure((INT8, PLAIN, OURS), setting.rounds, rows(crowd))
    comparisons: list[Comparison] = [
        compared("requests of 32 texts", whole, peer=PLAIN, ours=OURS, unit="rows/s", target=5.0),
        compared("requests of 32 texts; eight bits", whole, peer=PLAIN, ours=INT8, unit="rows/s", target=5.0),
        compared("requests of 32 texts", whole, peer=BATCHED, ours=OURS, unit="rows/s"),
        compared("32 people, a text each", each, peer=PLAIN, ours=OURS, unit="rows/s"),
        compared("32 people, a text each; eight bits", each, peer=PLAIN, ours=INT8, unit="rows/s"),
    ]
    about = "Texts that were answered in a second, by closed loops; refused ones do not count."
    return Part("many", about, comparisons, runs={"requests of 32": whole, "a text each": each})


def overload(setting: Setting, put: Put) -> Part:
    """Five times as many requests as can be answered: how long do the accepted take, and how soon are the rest told?

    Several loads of each kind, in turn, and their medians: the 99th percentile of one load rests on few requests.
    """
    loop = put(Load(people=8, seconds=setting.seconds, texts=_SOME), OURS)
    capacity = len(loop.accepted) / setting.seconds
    people = max(10, min(300, round(5 * capacity)))  # so that each asks about once a second

    def offered(times: float) -> Answers:
        return put(Load(people, setting.seconds, texts=_SOME, rate=times * capacity / people), OURS)

    loads = [(offered(1.0), offered(5.0)) for _ in range(max(1, setting.rounds - 1))]
    ratios = [percentile(crowd.accepted, 99) / percentile(calm.accepted, 99) for calm, crowd in loads]
    refusals = [percentile(crowd.refused, 99) for _, crowd in loads]
    broken = sum(calm.broken + crowd.broken for calm, crowd in loads)
    limits = [
        Limit("p99 of accepted requests, five times the capacity / once", "x", median(ratios), 2.0),
        Limit("p99 until the others are refused", "s", median(refusals), 0.05),
        Limit("answers that are neither 200 nor 503", "", float(broken), 0.0),
    ]
    crowds = [crowd for _, crowd in loads]
    accepted = median(len(crowd.accepted) for crowd in crowds) / setting.seconds
    refused = median(len(crowd.refused) for crowd in crowds) / setting.seconds
    times = median(crowd.offered for crowd in crowds) / capacity
    about = (
        f"Requests of {_SOME} texts. Capacity, by eight people in a closed loop: {capacity:.0f} requests/s. Offered by "
        f"{people} people: {times:.1f} times that; accepted {accepted:.0f}, refused {refused:.0f} a second. Medians "
        f"of {len(loads)} loads; 99 of 100 refusals came within {1000 * min(refusals):.0f} to "
        f"{1000 * max(refusals):.0f} ms. The load runs on the same cores."
    )
    return Part("overload", about, limits=limits)


def soak(setting: Setting, put: Put, server: Server) -> Part:
    """A long load: memory after the first tenth and at the end, and answers that failed."""
    seen: list[float] = []
    stop = threading.Event()
    pause = 60 * setting.soak_minutes / 100

    def look() -> None:
        while not stop.wait(pause):
            seen.append(server.memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    start = time.monotonic()
    found = put(Load(people=8, seconds=60 * setting.soak_minutes, texts=2), OURS)
    stop.set()
    watcher.join()
    early, late = seen[len(seen) // 10], max(seen[-len(seen) // 10 :])
    limits = [
        Limit("memory at the end / after a tenth", "x", late / early, 1.05),
        Limit("answers that are neither 200 nor 503", "", float(found.broken), 0.0),
        Limit("p99", "s", percentile(found.accepted, 99), 1.0),
    ]
    minutes = (time.monotonic() - start) / 60
    about = f"{len(found.status):,} requests of two texts by eight people in {minutes:.1f} minutes; {late:.0f} MiB."
    return Part("soak", about, limits=limits)


if __name__ == "__main__":
    main(sys.argv[1:])
