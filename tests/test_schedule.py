import pytest

from hpo.schedule import Decision, Stage, Standing, Straight, stages_at
from pipelines.batches import total_steps
from pipelines.config import RunConfig, replaced

ALL = Straight(lambda number: False)


def a_config(batch_size: int = 16, epochs: float = 2.0, evaluations: int = 4) -> RunConfig:
    values = {"train.batch_size": batch_size, "train.epochs": epochs, "train.evaluations": evaluations}
    return replaced(RunConfig(), values)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_trials_of_any_batch_size_report_at_the_same_examples(batch_size: int) -> None:
    config = a_config(batch_size)
    stages = ALL.stages(config, number=0, rows=100)
    assert [stage.examples for stage in stages][-1] == 200
    assert {stage.examples for stage in stages} <= {50, 100, 150, 200}
    assert stages[-1].until == total_steps(100, config.train)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"), [(1000, 16, 3.0), (100, 32, 0.5), (10, 16, 1.0), (3, 1, 2.0)]
)
@pytest.mark.parametrize("evaluations", [1, 3, 8, 50])
def test_stages_rise_to_the_end(rows: int, batch_size: int, epochs: float, evaluations: int) -> None:
    config = a_config(batch_size, epochs, evaluations)
    stages = ALL.stages(config, number=0, rows=rows)
    steps, examples = [stage.until for stage in stages], [stage.examples for stage in stages]
    assert 1 <= len(stages) <= evaluations
    assert steps == sorted(set(steps))
    assert examples == sorted(set(examples))
    assert steps[0] >= 1
    assert (steps[-1], examples[-1]) == (total_steps(rows, config.train), round(epochs * rows))


def test_the_pruner_decides() -> None:
    asked = []

    def second(number: int) -> bool:
        asked.append(number)
        return number == 2

    standings = {number: Standing(number, goal=50, reports={50: 0.5}) for number in (1, 2)}
    assert Straight(second).decide(1, standings, planned=9) is Decision.CONTINUE
    assert Straight(second).decide(2, standings, planned=9) is Decision.STOP
    assert asked == [1, 2]
    assert ALL.hopeless(standings, planned=2) == []
    assert ALL.promotable(standings, planned=2) == [1, 2], "what a stop left at rest goes on"


def test_a_standing_says_who_rests_and_who_was_withdrawn() -> None:
    assert not Standing(0).rests, "it has not begun"
    assert not Standing(0, goal=50).rests, "it is on its way"
    assert Standing(0, goal=50, reports={50: 0.5}).rests
    assert not Standing(0, goal=150, reports={50: 0.5}).rests
    assert not Standing(0, goal=50, reports={50: 0.5}, over=True).rests
    assert not Standing(0, goal=50, reports={50: 0.5}, over=True).withdrawn, "it was beaten"
    assert Standing(0, goal=150, reports={50: 0.5}, over=True).withdrawn
    assert Standing(0, over=True).withdrawn


def test_marks_at_or_beyond_the_end_are_no_stages() -> None:
    config = a_config(batch_size=10, epochs=2.0)
    assert stages_at([50, 200, 300], config, rows=100) == [Stage(5, 50), Stage(20, 200)]
    assert stages_at([1, 3, 50], config, rows=100) == [Stage(1, 3), Stage(5, 50), Stage(20, 200)]
