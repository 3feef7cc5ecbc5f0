"""What is refused before anything is written."""

from pathlib import Path

from tests.commands import new_home

from .studies import write_study


def test_five_mistakes_are_five_messages_and_nothing_is_created(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    (tmp_path / "bad.yaml").write_text(
        "objective: acuracy\nbudget: {trials: 0}\nsampler: tpee\n"
        "run: {train: {batch_size: '16'}, data: {source: ./nope.csv}}\nspace: {train.learning_rat: [1e-5]}\n"
    )
    done = home.hpo("run", "bad.yaml")
    assert done.returncode == 2
    for expected in (
        "objective[0].metric: 'acuracy' is never measured; did you mean accuracy?",
        "budget.trials: should be greater than or equal to 1, not 0",
        "sampler.name: Optuna has no sampler 'tpee'; did you mean tpe?",
        "run.train.batch_size: should be a valid integer, not text '16'",
        "space.train.learning_rat: no such setting; did you mean train.learning_rate?",
        "run.data.source: ./nope.csv: there is no such file",
    ):
        assert expected in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml"]


def test_bad_data_is_refused_before_anything_is_written(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert)
    with (tmp_path / "reviews.csv").open("a") as file:
        file.write("one,two,three\n")
    done = home.hpo("run", "own.yaml")
    assert done.returncode == 3
    assert "reviews.csv" in done.stderr
    assert not (tmp_path / "mlruns").exists()


def test_a_length_beyond_the_model_is_refused_before_training(tmp_path: Path, tiny_bert: Path) -> None:
    home = new_home(tmp_path)
    write_study(tmp_path, tiny_bert)
    done = home.hpo("run", "own.yaml", "tokens.max_length=8000")
    assert done.returncode == 5
    assert "tokens.max_length: 8000 is beyond the" in done.stderr
    assert "Traceback" not in done.stderr
