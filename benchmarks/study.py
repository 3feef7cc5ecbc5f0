"""What the quickstart takes, and how much of it is neither training nor evaluation.

    python -m benchmarks --only study        about six minutes on two CPU cores; run it on a quiet machine

Writes `benchmarks/results/quickstart.json` and prints the table that README quotes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import machine

RESULTS = Path(__file__).parent / "results"


def measure_study() -> None:
    """Measure in an empty home, and report."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"HPO_HOME": home}
        figures = {"machine": machine(), "help_seconds": help_seconds()} | quickstart(env, Path(home))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quickstart.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("| figure | value |\n|---|---|")
    for name, value in figures.items():
        print(f"| {name.replace('_', ' ')} | {value:.3g} |" if isinstance(value, float) else f"| {name} | {value} |")


def quickstart(env: dict[str, str], home: Path) -> dict[str, Any]:
    """Run the shipped study; times in seconds, summed over workers where it says so."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "hpo", "run", "quickstart"], check=True, env=env)
    wall = time.perf_counter() - start
    rows = json.loads(output(["show", "quickstart", "--json"], env))
    spent = {
        kind: sum(row["seconds"].get(kind, 0.0) for row in rows) for kind in ("train", "evaluate", "prepare", "finish")
    }
    session = json.loads((home / "work" / "quickstart" / "report" / "session.json").read_text(encoding="utf-8"))
    decision = json.loads(output(["promote", "quickstart", "--json"], env))
    return {
        "command_wall_seconds": wall,
        "after_start_up_seconds": session["seconds"]["wall"],
        "platform_overhead": session["overhead"],
        "locked_test_accuracy": decision["candidate"],
        "trials": f"{sum(row['state'] == 'COMPLETE' for row in rows)} complete, "
        f"{sum(row['state'] == 'PRUNED' for row in rows)} pruned",
    } | {f"{kind}_seconds_of_workers": seconds for kind, seconds in spent.items()}


def help_seconds(repeats: int = 5) -> float:
    """The best time of `hpo --help`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        output(["--help"], dict(os.environ))
        times.append(time.perf_counter() - start)
    return min(times)


def output(words: list[str], env: dict[str, str]) -> str:
    """What a command prints."""
    return subprocess.run(
        [sys.executable, "-m", "hpo", *words], check=True, env=env, capture_output=True, text=True
    ).stdout
