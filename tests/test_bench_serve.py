"""The arithmetic of the serving benchmark with planted answers; its figures need a quiet machine."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serve
from benchmarks.serve import OURS, PLAIN, Setting
from benchmarks.servers import Answers, Load, answers, percentile


def test_what_was_begun_while_the_load_warmed_up_does_not_count() -> None:
    noted = [(10.5, 0.5, 200), (11.2, 0.3, 200), (11.2, 0.1, 200), (12.0, 0.9, 503), (12.0, 0.5, 0)]
    found = answers(noted, Load(people=1, seconds=2.0, texts=4))
    assert (found.accepted, found.refused, found.broken) == ([0.1], [0.9], 1)
    assert (found.rate, found.offered) == (2.0, 1.5)
    assert math.isnan(percentile(answers([], Load(1, 1.0)).accepted, 99))


def planted(took: dict[str, float], *, refused: float = 0.01) -> Any:
    """Puts no load on anything: each person of a server is answered after so many seconds, up to 100 requests/s."""

    def put(load: Load, name: str) -> Answers:
        if load.rate:
            wanted = round(load.people * load.rate * load.seconds)
            good = min(wanted, round(100 * load.seconds))
            times = [took[name]] * good + [refused] * (wanted - good)
            return Answers(load, times, times, [200] * good + [503] * (wanted - good))
        each = round(load.people * load.seconds / took[name])
        return Answers(load, [1.0] * each, [took[name]] * each, [200] * each)

    return put


def test_the_parts_say_how_many_times_faster_ours_is() -> None:
    setting = Setting(Path("nowhere"), rounds=2, seconds=4.0)
    put = planted({PLAIN: 0.04, OURS: 0.01, serve.INT8: 0.005, serve.BATCHED: 0.02})
    single, eight = serve.singles(setting, put).comparisons
    assert (single.peer_value, single.ours_value) == pytest.approx((0.04, 0.01))
    assert single.ratio.mean == pytest.approx(4.0)
    assert (single.verdict, eight.ratio.mean) == ("met", pytest.approx(8.0))
    whole, *others = serve.many(setting, put).comparisons
    assert [one.ratio.mean for one in (whole, *others)] == pytest.approx([4.0, 8.0, 2.0, 4.0, 8.0])
    assert (whole.unit, whole.ours_value, whole.verdict) == ("rows/s", pytest.approx(3 * 32 / 0.01), "missed")


def test_the_overload_is_five_times_the_capacity() -> None:
    setting = Setting(Path("nowhere"), rounds=2, seconds=4.0)
    part = serve.overload(setting, planted({OURS: 0.08}, refused=0.06))
    assert "Offered by 300 people: 5.0 times that; accepted 100, refused 400 a second" in part.about
    assert [(limit.value, limit.verdict) for limit in part.limits] == [(1.0, "met"), (0.06, "missed"), (0.0, "met")]


def test_of_several_overloads_the_median_counts() -> None:
    waits = iter([0.02, 0.09, 0.03, 0.04, 0.025])

    def put(load: Load, name: str) -> Answers:
        crowded = load.people * load.rate > 200
        return planted({OURS: 0.08}, refused=next(waits) if crowded else 0.0)(load, name)

    part = serve.overload(Setting(Path("nowhere"), rounds=6, seconds=4.0), put)
    assert [limit.value for limit in part.limits] == pytest.approx([1.0, 0.03, 0.0])
    assert "Medians of 5 loads; 99 of 100 refusals came within 20 to 90 ms" in part.about
