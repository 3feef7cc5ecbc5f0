"""The benchmark's arithmetic with planted numbers, and its code on a tiny model, whose figures mean nothing."""

import json
import math
import random
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.findings import Comparison, Difference, Limit, Part, compared, difference
from benchmarks.protocol import Interval, Run, geometric_mean, interleaved, mean, measure, paired_ratios
from benchmarks.timing import Setting, Timed
from benchmarks.warm import Here, Variant, Warm
from tests import tiny

IN_PROCESS = ("control", "epoch", "evaluation", "tokens", "checkpoint", "logging", "parity")
CIRCUMSTANCES = {"machine": "a CPU", "date": "2026-01-01", "quick": False, "versions": {"torch": "2"}}


class Sleeper:
    """Stands for a variant in its process."""

    def __init__(self, setting: Setting) -> None:
        self.rows = setting.rows

    def work(self, seconds: float) -> Timed:
        return Timed(seconds, seconds, work=self.rows)

    def fail(self) -> None:
        raise ValueError("of no use")


def planted(walls: list[tuple[str, int, float]]) -> list[Run]:
    return [Run(variant, number, Timed(wall, wall, work=10.0)) for variant, number, wall in walls]


def test_two_variants_are_measured_in_the_order_a_b_b_a() -> None:
    order: list[str] = []

    def work(name: str, number: int) -> Timed:
        order.append(f"{name}{number}")
        return Timed(1.0, 1.0)

    measure(("A", "B"), 3, work)
    assert order == ["A0", "B0", "B1", "A1", "A2", "B2"]
    assert interleaved(("A", "B", "C"), 2) == [("A", "B", "C"), ("C", "B", "A")]


def test_a_drift_of_the_machine_cancels_between_rounds() -> None:
    clock = iter([1.0, 1.1, 1.2, 1.3])  # the same work, on a machine that slows down
    runs = measure(("peer", "ours"), 2, lambda *_: Timed(next(clock), 0.0))
    assert paired_ratios(runs, "peer", "ours") == pytest.approx([1.0 / 1.1, 1.3 / 1.2])
    assert geometric_mean(paired_ratios(runs, "peer", "ours")).mean == pytest.approx(1.0, abs=0.01)


def test_only_neighbours_of_the_same_round_are_a_pair() -> None:
    runs = planted([("ours", 0, 1.0), ("peer", 0, 3.0), ("other", 0, 9.0), ("ours", 0, 2.0), ("peer", 1, 8.0)])
    assert paired_ratios(runs, "peer", "ours") == pytest.approx([3.0])
    assert paired_ratios(runs, "other", "ours") == pytest.approx([4.5])


def test_ratios_are_per_unit_of_work() -> None:
    runs = [Run("peer", 0, Timed(4.0, 0.0, work=10)), Run("ours", 0, Timed(4.0, 0.0, work=20))]
    assert paired_ratios(runs, "peer", "ours") == [2.0]
    found = compared("epoch", runs, peer="peer", ours="ours", unit="rows/s")
    assert (found.peer_value, found.ours_value) == (2.5, 5.0)


def test_the_interval_is_students() -> None:
    # t(0.975, 2) = 4.30265; the standard error of 1, 2, 3 is 1 / sqrt(3).
    assert mean([1.0, 2.0, 3.0]).high == pytest.approx(2.0 + 4.30265 / math.sqrt(3), rel=1e-5)
    logs = geometric_mean([math.exp(1.0), math.exp(2.0), math.exp(3.0)])
    assert logs.mean == pytest.approx(math.exp(2.0))
    assert math.log(logs.low) == pytest.approx(2.0 - 4.30265 / math.sqrt(3), rel=1e-5)
    assert geometric_mean([2.0, 8.0]).mean == pytest.approx(4.0)
    assert math.isnan(mean([1.0]).low)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Interval(3.5, 3.2, 3.9), "met"),
        (Interval(3.1, 2.8, 3.4), "met, within noise"),
        (Interval(2.9, 2.6, 3.2), "missed, within noise"),
        (Interval(2.5, 2.2, 2.9), "missed"),
        (Interval(2.5, math.nan, math.nan), "missed"),
        (Interval(3.5, math.nan, math.nan), "met"),
    ],
)
def test_a_target_is_met_or_missed(ratio: Interval, verdict: str) -> None:
    assert Comparison("epoch", "peer", "ours", "s", 3.0, 1.0, ratio, target=3.0).verdict == verdict


def test_the_table_says_what_was_missed() -> None:
    part = Part(
        "epoch",
        "About.",
        comparisons=[Comparison("epoch", "peer", "ours", "s", 2.5, 1.0, Interval(2.5, 2.4, 2.6), target=3.0)],
        limits=[Limit("turn-around", "s", 0.7, 0.5), Limit("import", "s", 0.03, 1.0)],
        differences=[Difference("accuracy", "peer", "ours", "points", 80.0, 81.0, Interval(1.0, 0.5, 1.5))],
    )
    lines = report.markdown([part], CIRCUMSTANCES).splitlines()
    assert "| epoch | peer | 2.5 s | 1 s | 2.50x (2.40 to 2.60) | 3x | missed |" in lines
    assert "| turn-around | | | 0.7 s | | at most 0.5 s | missed |" in lines
    assert "| import | | | 30 ms | | at most 1 s | met |" in lines
    gap = "ours - peer: 1.00 points (0.50 to 1.50)"
    assert f"| accuracy | peer | 80.00 | 81.00 | {gap} | | ours is better |" in lines


@pytest.mark.parametrize(("apart", "warned"), [(0.08, True), (0.03, False)])
def test_a_machine_that_is_not_quiet_is_named(apart: float, warned: bool) -> None:
    text = report.markdown([Part("control", "About.", limits=[Limit("A/A", "", apart, 0.05)])], CIRCUMSTANCES)
    assert ("Not a quiet machine: the A/A control is 8.0% away from 1" in text) == warned


def test_a_difference_is_paired_and_in_points() -> None:
    found = difference("accuracy", [0.80, 0.90], [0.81, 0.91], names=("peer", "ours"))
    assert (found.peer_value, found.ours_value) == pytest.approx((85.0, 86.0))
    assert (found.interval.mean, found.interval.high) == pytest.approx((1.0, 1.0))
    assert found.verdict == "ours is better"
    assert difference("accuracy", [0.8, 0.9], [0.9, 0.8], names=("p", "o")).verdict == "no difference beyond noise"


def test_warm_processes_work_side_by_side_and_pass_their_errors_on(tmp_path: Path) -> None:
    variant = Variant("tests.test_benchmarks:Sleeper", threads=1, copies=2)
    warm = Warm(variant, Setting(home=tmp_path, rows=7))
    try:
        timed = warm.time("work", 0.5)
        assert (timed.cpu, timed.work) == (1.0, 14)
        assert all(peak > 1 for peak in warm.ask("peak"))
        with pytest.raises(RuntimeError, match="fail failed in its process: ValueError: of no use"):
            warm.ask("fail")
    finally:
        warm.close()


@pytest.fixture
def tiny_setting(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    draw, labels = random.Random(1), ("negative", "positive")
    rows = [f'"{tiny.sentence(label, draw)} {number}",{label}' for number in range(60) for label in labels]
    (tmp_path / "toy.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # the peer's callback sets it, and it must not stay
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    return Setting(
        home=tmp_path / "bench",
        model=str(tiny_bert),
        checkpoint=str(tiny_bert),
        source=str(tmp_path / "toy.csv"),
        rows=32,
        batch_size=8,
        max_length=24,
        rounds=2,
        seeds=2,
        cores=2,
    )


def test_every_part_runs_and_is_reported(tiny_setting: Setting, tmp_path: Path, no_pictures: None) -> None:
    from benchmarks.__main__ import PARTS, measured

    parts = measured(IN_PROCESS, tiny_setting, Here)
    text = report.write(parts, tiny_setting, tmp_path / "results", name="l1", quick=True)
    written = json.loads((tmp_path / "results" / "l1.json").read_text())
    assert list(written["parts"]) == list(IN_PROCESS) == [name for name in PARTS if name in IN_PROCESS]
    assert (tmp_path / "results" / "l1.md").read_text() == text
    assert str(tmp_path) not in json.dumps(written) + text
    epoch = written["parts"]["epoch"]
    assert [run["variant"] for run in epoch["runs"]["epoch"][:5]] == [
        "ours, one worker",
        "Trainer best configured",
        "ours, whole machine",
        "Trainer as shipped",
        "ours, one worker",
    ]
    assert [run["timed"]["work"] for run in epoch["runs"]["epoch"][:3]] == [32, 32, 64]
    assert all(one["ratio"]["mean"] > 0 for one in epoch["comparisons"])
    assert {run["timed"]["extra"]["step"] for run in written["parts"]["checkpoint"]["runs"]["resume"]} == {1.0}
    assert written["parts"]["parity"]["differences"][0]["measure"] == "accuracy after training"


@pytest.mark.long
def test_turn_around_and_imports_are_measured_in_processes_of_their_own(tiny_setting: Setting) -> None:
    from benchmarks.__main__ import measured

    turnaround, imports = measured(["turnaround", "imports"], tiny_setting, Warm)
    per_process, in_loop = (one.ratio.mean for one in turnaround.comparisons)
    assert per_process > in_loop
    assert per_process > 3
    assert imports.limits[0].measure == "hpo --help"
