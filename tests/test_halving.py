import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from hpo.halving import Brackets, Halving
from hpo.schedule import Decision, Stage, Standing
from pipelines.config import RunConfig

CONFIG = RunConfig.model_validate({"train": {"epochs": 3.0, "batch_size": 10}})
ROWS = 300  # so a trial ends after 900 examples
RUNGS = [100, 300]


@dataclass
class Simulation:
    """Trials with random curves on some workers whose speed is random; asks a schedule as the controller does."""

    schedule: Halving
    planned: int
    workers: int
    seed: int
    failing: float = 0.0
    ends_the_hopeless: bool = True
    standings: dict[int, Standing] = field(default_factory=dict)
    complete: list[int] = field(default_factory=list)
    promoted: list[tuple[int, int]] = field(default_factory=list)
    trained: int = 0

    def run(self) -> "Simulation":
        self.random, self.busy, self.now = random.Random(self.seed), dict[int, tuple[float, Stage]](), 0.0
        while True:
            while len(self.busy) < self.workers and self._begin_one():
                pass
            if not self.busy:
                return self
            number = min(self.busy, key=lambda one: (self.busy[one][0], one))
            self.now, stage = self.busy.pop(number)
            self._report(number, stage)

    def _begin_one(self) -> bool:
        resting = self.schedule.promotable(self.standings, planned=self.planned)
        if resting:
            self._go_on(resting[0])
        elif len(self.standings) < self.planned:
            number = len(self.standings)
            self.standings[number] = Standing(number)
            self._go_on(number)
        else:
            return False
        return True

    def _go_on(self, number: int) -> None:
        standing = self.standings[number]
        stages = self.schedule.stages(CONFIG, number=number, rows=ROWS)
        stage = next(stage for stage in stages if stage.examples > standing.examples)
        if standing.reports:
            self.promoted.append((number, standing.examples))
        self.trained += stage.examples - standing.examples
        standing.goal = stage.examples
        # Drawn per trial and stage, so that two simulations with other decisions see the same world.
        pace = random.Random(f"{self.seed}/{number}/{stage.examples}").uniform(0.5, 2.0)
        self.busy[number] = (self.now + pace * (stage.examples - standing.examples), stage)

    def _report(self, number: int, stage: Stage) -> None:
        standing, world = self.standings[number], random.Random(f"{self.seed}/{number}")
        if random.Random(f"{self.seed}/{number}/{stage.examples}/fails").random() < self.failing:
            standing.over = True
        else:
            self._score(standing, stage, world)
        for other in self.schedule.hopeless(self.standings, planned=self.planned) if self.ends_the_hopeless else []:
            self.standings[other].over = True

    def _score(self, standing: Standing, stage: Stage, world: random.Random) -> None:
        number = standing.number
        standing.reports[stage.examples] = world.random() + 0.2 * random.Random(f"{number}{stage.examples}").random()
        if stage.examples == ROWS * 3:
            standing.over = True
            self.complete.append(number)
        elif self.schedule.decide(number, self.standings, planned=self.planned) is Decision.CONTINUE:
            self._go_on(number)


def simulated(seed: int, **changes: object) -> Simulation:
    settings = {"planned": 27, "workers": 4} | changes
    schedule = Halving(RUNGS, factor=3, brackets=int(str(settings.pop("brackets", 1))))
    return Simulation(schedule, seed=seed, **settings).run()  # type: ignore[arg-type]


def standings(*reports: dict[int, float]) -> dict[int, Standing]:
    return {number: Standing(number, goal=max(one, default=0), reports=one) for number, one in enumerate(reports)}


def test_a_trial_has_a_segment_to_each_rung_and_one_to_its_end() -> None:
    stages = Halving(RUNGS, factor=3).stages(CONFIG, number=0, rows=ROWS)
    assert stages == [Stage(10, 100), Stage(30, 300), Stage(90, 900)]
    short = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 1.0})})
    assert Halving(RUNGS, factor=3).stages(short, number=0, rows=ROWS) == [Stage(10, 100), Stage(30, 300)]
    assert Halving([], factor=3).stages(CONFIG, number=0, rows=ROWS) == [Stage(90, 900)]


def test_rungs_that_fall_on_one_step_are_one() -> None:
    coarse = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"batch_size": 300})})
    assert Halving([50, 100, 300], factor=3).stages(coarse, number=0, rows=ROWS) == [Stage(1, 300), Stage(3, 900)]


def test_the_best_third_of_those_who_came_goes_on_without_waiting_for_the_others() -> None:
    halving = Halving(RUNGS, factor=3)
    two = standings({100: 0.7}, {100: 0.8})
    assert halving.promotable(two, planned=9) == []
    three = standings({100: 0.7}, {100: 0.8}, {100: 0.6})
    assert halving.promotable(three, planned=9) == [1]
    assert halving.decide(1, three, planned=9) is Decision.CONTINUE
    assert halving.decide(0, three, planned=9) is Decision.PAUSE
    assert halving.decide(2, three, planned=9) is Decision.PAUSE


def test_who_rests_is_promoted_when_worse_ones_have_come() -> None:
    halving = Halving(RUNGS, factor=3)
    resting = standings({100: 0.7}, {100: 0.8}, {100: 0.6}, {100: 0.5}, {100: 0.4}, {100: 0.3})
    resting[1].goal = 300
    assert halving.promotable(resting, planned=9) == [0]


def test_the_higher_rung_goes_first() -> None:
    halving = Halving(RUNGS, factor=3)
    high = {100: 0.9, 300: 0.9}
    there = standings(high, {**high, 300: 0.8}, {**high, 300: 0.7}, {100: 0.95}, {100: 0.1}, {100: 0.2})
    there |= {n: Standing(n, goal=100, reports={100: 0.01 * n}) for n in range(6, 12)}
    assert halving.promotable(there, planned=20) == [0, 3]


def test_who_cannot_be_promoted_any_more_is_hopeless() -> None:
    halving = Halving(RUNGS, factor=3)
    # 9 planned: at most 3 go on. The fourth best can never be among them; the third may yet.
    four = standings({100: 0.9}, {100: 0.8}, {100: 0.7}, {100: 0.6})
    assert halving.hopeless(four, planned=9) == [3]
    assert halving.decide(3, four, planned=9) is Decision.STOP
    assert halving.hopeless(four, planned=12) == []


def test_the_last_one_of_a_small_study_goes_to_the_end() -> None:
    halving = Halving(RUNGS, factor=3)
    two = standings({100: 0.7}, {100: 0.8})
    assert halving.promotable(two, planned=2) == [1], "nobody is to come: the best goes on"
    assert halving.hopeless(two, planned=2) == [0]
    two[1] = Standing(1, goal=300, reports={100: 0.8, 300: 0.8})
    assert halving.promotable(two, planned=2) == [1]


def test_a_trial_that_a_crash_left_at_its_end_goes_on_to_be_ended() -> None:
    halving = Halving(RUNGS, factor=3)
    there = standings({100: 0.7}, {100: 0.8, 300: 0.8, 900: 0.9})
    assert halving.promotable(there, planned=9) == [1]
    there[1].over = True
    assert halving.promotable(there, planned=9) == []


def test_where_the_best_fails_the_next_one_takes_its_place() -> None:
    halving = Halving(RUNGS, factor=3)
    three = standings({100: 0.7}, {100: 0.8}, {100: 0.6})
    three[1].goal, three[1].over = 300, True
    assert halving.promotable(three, planned=3) == [0]


@pytest.mark.parametrize("brackets", [1, 2])
@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("planned", [1, 2, 5, 27])
def test_every_study_comes_to_an_end_with_nobody_left_resting(planned: int, workers: int, brackets: int) -> None:
    for seed in range(20):
        end = simulated(seed, planned=planned, workers=workers, brackets=brackets)
        assert len(end.standings) == planned
        assert all(one.over for one in end.standings.values())
        assert end.complete, "somebody trained to the end"


@pytest.mark.parametrize("seed", range(20))
def test_ending_the_hopeless_changes_nothing_else(seed: int) -> None:
    ending, keeping = simulated(seed), simulated(seed, ends_the_hopeless=False)
    assert ending.promoted == keeping.promoted
    assert ending.complete == keeping.complete


def test_each_quota_is_used_to_the_last() -> None:
    for seed in range(20):
        end = simulated(seed)
        came = Counter(rung for one in end.standings.values() for rung in one.reports)
        promoted = Counter(rung for _, rung in end.promoted)
        assert came[100] == 27
        for rung, above in itertools.pairwise([100, 300, 900]):
            assert came[above] >= came[rung] // 3
        assert len(promoted) <= 2


def test_one_worker_promotes_few_more_than_the_synchronous_rule() -> None:
    costs = [simulated(seed, workers=1).trained for seed in range(30)]
    full, synchronous = 27 * 900, 27 * 100 + 9 * 200 + 3 * 600
    assert synchronous <= sum(costs) / len(costs) <= 1.5 * synchronous
    assert max(costs) < full / 2


@pytest.mark.parametrize("failing", [0.2, 0.6, 1.0])
def test_failing_trials_hold_nobody_up(failing: float) -> None:
    for seed in range(20):
        end = simulated(seed, failing=failing)
        assert all(one.over for one in end.standings.values())


def test_brackets_share_the_trials_as_in_hyperband_and_depend_on_the_number_alone() -> None:
    brackets = Brackets(3, factor=3)
    first = [brackets.of(number) for number in range(1000)]
    assert [first.count(bracket) for bracket in range(3)] == pytest.approx([545, 273, 182], abs=2)
    assert Brackets(3, factor=3).of(500) == first[500]
    assert first[0] == 0
    assert {Brackets(1, factor=3).of(number) for number in range(5)} == {0}


def test_a_later_bracket_skips_the_early_rungs() -> None:
    halving = Halving(RUNGS, factor=3, brackets=2)
    brackets = Brackets(2, factor=3)
    late = next(number for number in range(10) if brackets.of(number) == 1)
    assert [stage.examples for stage in halving.stages(CONFIG, number=late, rows=ROWS)] == [300, 900]


def test_an_exempt_trial_goes_to_its_end_and_takes_nobodys_place() -> None:
    schedule = Halving(RUNGS, factor=3, exempt=[0])
    alone = standings({100: 0.1})
    assert schedule.decide(0, alone, planned=4) is Decision.CONTINUE
    four = standings({100: 0.1}, {100: 0.2}, {100: 0.3}, {100: 0.4})
    assert schedule.promotable(four, planned=4) == [0, 3]
    assert schedule.hopeless(four, planned=4) == [1, 2]


@pytest.mark.parametrize("workers", [1, 4])
def test_every_study_with_an_exempt_trial_comes_to_an_end_with_that_one_complete(workers: int) -> None:
    for seed in range(20):
        done = Simulation(Halving(RUNGS, factor=3, exempt=[0]), planned=28, workers=workers, seed=seed).run()
        assert 0 in done.complete
        assert len(done.complete) >= 4
        assert not any(standing.rests for standing in done.standings.values())
