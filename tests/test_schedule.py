import optuna
import pytest

from hpo.schedule import Decision, Straight
from pipelines.batches import total_steps
from pipelines.config import RunConfig, replaced


def a_config(batch_size: int = 16, epochs: float = 2.0, evaluations: int = 4) -> RunConfig:
    values = {"train.batch_size": batch_size, "train.epochs": epochs, "train.evaluations": evaluations}
    return replaced(RunConfig(), values)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_trials_of_any_batch_size_report_at_the_same_examples(batch_size: int) -> None:
    config = a_config(batch_size)
    stages = Straight(prunes=True).stages(config, rows=100)
    assert [stage.examples for stage in stages][-1] == 200
    assert {stage.examples for stage in stages} <= {50, 100, 150, 200}
    assert stages[-1].until == total_steps(100, config.train)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"), [(1000, 16, 3.0), (100, 32, 0.5), (10, 16, 1.0), (3, 1, 2.0)]
)
@pytest.mark.parametrize("evaluations", [1, 3, 8, 50])
def test_stages_rise_to_the_end(rows: int, batch_size: int, epochs: float, evaluations: int) -> None:
    config = a_config(batch_size, epochs, evaluations)
    stages = Straight(prunes=True).stages(config, rows=rows)
    steps, examples = [stage.until for stage in stages], [stage.examples for stage in stages]
    assert 1 <= len(stages) <= evaluations
    assert steps == sorted(set(steps))
    assert examples == sorted(set(examples))
    assert steps[0] >= 1
    assert (steps[-1], examples[-1]) == (total_steps(rows, config.train), round(epochs * rows))


def test_the_pruner_decides_unless_there_are_several_objectives() -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    trial = study.ask()
    trial.report(0.6, 10)
    assert Straight(prunes=True).decide(trial) is Decision.CONTINUE
    trial.report(0.4, 20)
    assert Straight(prunes=True).decide(trial) is Decision.STOP
    assert Straight(prunes=False).decide(trial) is Decision.CONTINUE
