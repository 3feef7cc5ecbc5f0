"""The command line itself: its help, its speed, and that the documentation names what there is."""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo import measure
from hpo.cli import app
from hpo.launch import Outcome
from hpo.machine import GIB, Machine, look_at_machine
from hpo.measure import Site, staffed
from hpo.specfile import read_spec
from pipelines.data import load_data
from tests.costs import kept

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)  # type: ignore[union-attr]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) > 5
    assert f"`hpo {command}" in (ROOT / "README.md").read_text()


def test_help_answers_within_a_second() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hpo", "--help"], check=True, capture_output=True, cwd=ROOT)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0


def test_the_controller_never_imports_torch() -> None:
    code = "import sys, hpo.launch; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_readmes_file_map_equals_the_tree() -> None:
    text = (ROOT / "README.md").read_text()
    block = text.partition("## The file map")[2].partition("```\n")[2].partition("```")[0]
    named = set(re.findall(r"\b\w+\.py\b", block))
    there = {
        path.name
        for folder in ("hpo", "pipelines")
        for path in (ROOT / folder).glob("*.py")
        if not path.name.startswith("__")
    }
    assert named == there
    folders = {path.name for top in ("hpo", "pipelines") for path in (ROOT / top).iterdir() if path.is_dir()}
    above = {"hpo", "pipelines", "benchmarks", "tests", "mlruns", "docker"}
    assert set(re.findall(r"\b(\w+)/", block)) - above == folders - {"__pycache__"}


def test_the_schema_describes_every_setting() -> None:
    shown = CliRunner().invoke(app, ["check", "--json-schema"])
    assert shown.exit_code == 0
    assert '"learning_rate"' in shown.output
    assert "Peak learning rate of AdamW." in shown.output


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty home, a small CSV as an override, and measurements that are made up."""
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(measure, "PROBE", "tests.costs:probe")
    monkeypatch.setattr(measure, "look_at_machine", lambda: Machine(2, 16 * GIB, "Acme 9000", gpu=False))
    rows = "\n".join(f"text number {n},{'yes' if n % 2 else 'no'}" for n in range(200))
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}\n")
    return f"data.source={tmp_path}/my.csv"


def test_check_shows_the_plan_and_writes_nothing_but_what_it_found(own_data: str, tmp_path: Path) -> None:
    words = ["check", "quickstart", own_data, "data.train_rows=40"]
    shown = CliRunner().invoke(app, [*words, "--json"])
    assert shown.exit_code == 0, shown.output
    plan = json.loads(shown.stdout)
    assert plan["rows"] == "train 40, select 30, calibrate 10, test 40"
    assert shown.stderr.splitlines() == [
        "measuring minilm with 1 x 2 threads: some seconds, once",
        "measuring minilm with 2 x 1 threads: some seconds, once",
    ]
    assert {path.parent for path in kept(tmp_path / "home")} == {
        tmp_path / "home/cache/costs",
        tmp_path / "home/cache/leakage",
    }
    again = CliRunner().invoke(app, words)
    assert again.stderr == "", "measured once"
    assert "minutes" in again.stdout


def test_check_says_which_checkpoints_will_be_screened(own_data: str) -> None:
    candidates = ["space.model.name=[minilm, bert, gpt2]", "model.screen.keep=2"]
    shown = CliRunner().invoke(app, ["check", "quickstart", own_data, *candidates, "--json"])
    assert shown.exit_code == 0, shown.output
    plan = json.loads(shown.stdout)
    assert plan["models"] == "minilm, bert, gpt2"
    assert plan["screening"].startswith("before the first trial 3 checkpoints are ranked untrained on a third of the ")


def test_check_gives_every_choice_with_its_reason_and_in_numbers(own_data: str) -> None:
    shown = CliRunner().invoke(app, ["check", "quickstart", own_data, "budget.trials=9", "--json"])
    assert shown.exit_code == 0, shown.output
    plan = json.loads(shown.stdout)
    assert plan["workers"] == "2 (2 workers x 1 thread: 3.00x the rows/s of 1 worker x 2 threads, measured)"
    assert plan["precision"] == "bf16 (asked for)"
    assert plan["compile"] == "minilm: off (asked for)"
    estimate = plan["estimate"]
    assert (estimate["workers"], estimate["threads"]) == (2, 1)
    assert plan["time"].startswith(f"about {estimate['seconds'] / 60:.1f} minutes on a machine as busy as")
    assert f"9 trials as costly as {estimate['full_trials']:.1f} full ones, 8 s to start" in plan["time"]
    assert plan["time of a trial"].startswith(f"about {estimate['trial'] / 60:.1f} minutes")
    per_worker, whole = (f"{estimate[key] / GIB:.1f} GiB" for key in ("peak", "peak_of_all"))
    assert plan["memory"].startswith(f"about {per_worker} a worker at the most, {whole} of 16.0 GiB available")
    assert plan["disk"].startswith(f"about {estimate['disk'] / GIB:.1f} GiB at the fullest")


def test_a_measured_check_takes_less_than_five_seconds_of_a_processor(own_data: str, tmp_path: Path) -> None:
    """Processor time: a busy machine must not fail it."""
    words = [sys.executable, "-m", "hpo", "check", "quickstart", own_data, "workers.count=1", "--json"]
    machine = look_at_machine()
    spec = read_spec("quickstart", [own_data, "workers.count=1"])
    site = Site(tmp_path / "d", load_data(spec.run.data).digest, tmp_path, tmp_path / "home/cache/costs", tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "look_at_machine", lambda: machine)
        with staffed(spec, site, say=lambda _: None):
            pass
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5.0
    assert done.stderr == ""
    assert json.loads(done.stdout)["estimate"]["workers"] == 1


def test_a_study_without_a_trained_trial_says_that_there_is_no_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome("the 2 minutes are used up", selection=None, decision=None, signal=None, overhead=0.02)
    monkeypatch.setattr("hpo.launch.run_study", lambda *_, **__: outcome)
    shown = CliRunner().invoke(app, ["run", "quickstart", "budget.minutes=2"])
    assert shown.exit_code == 0
    assert "no trial was trained to its end, so there is no winner" in " ".join(shown.output.split())
