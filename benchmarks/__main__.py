"""Measure this platform against its peers.

    python -m benchmarks                    all parts but `study`; some 25 minutes on two CPU cores
    python -m benchmarks --quick            the same with two repetitions
    python -m benchmarks --only epoch study

Run it on a quiet machine. A whole run writes `benchmarks/results/l1.json` and `l1.md`; any other `partial.json` and
`partial.md`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import report, training, units
from benchmarks.findings import Part
from benchmarks.study import measure_study
from benchmarks.timing import Setting
from benchmarks.warm import Start, Warm
from benchmarks.workload import write_data
from pipelines.families import locate

PARTS: dict[str, Callable[[Setting, Start], Part]] = {
    "control": training.control,
    "epoch": training.epoch,
    "evaluation": training.evaluation,
    "turnaround": units.turnaround,
    "tokens": units.tokens,
    "checkpoint": units.checkpoint,
    "logging": units.logging,
    "imports": units.imports,
    "parity": training.parity,
}
_STUDY = "study"
_RESULTS = Path(__file__).parent / "results"


def main(words: Sequence[str]) -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*PARTS, _STUDY], metavar="NAME", help=", ".join([*PARTS, _STUDY]))
    parser.add_argument("--quick", action="store_true", help="two repetitions: a trial of the benchmark")
    options = parser.parse_args(words)
    names = [name for name in options.only or PARTS if name != _STUDY]
    whole = names == list(PARTS) and not options.quick
    if names:
        with tempfile.TemporaryDirectory(prefix="hpo-bench-") as home:
            setting = Setting(home=Path(home), checkpoint=locate("minilm"))
            setting = replace(setting, rounds=2, seeds=2) if options.quick else setting
            parts = measured(names, setting, Warm)
            print(report.write(parts, setting, _RESULTS, name="l1" if whole else "partial", quick=options.quick))
    if _STUDY in (options.only or []):
        measure_study()


def measured(names: Sequence[str], setting: Setting, start: Start) -> list[Part]:
    """The named parts, one after the other."""
    write_data(setting)
    parts = []
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        parts.append(PARTS[name](setting, start))
    return parts


if __name__ == "__main__":
    main(sys.argv[1:])
