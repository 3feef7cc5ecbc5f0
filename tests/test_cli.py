"""The command line itself: its help, its speed, and that the documentation names what there is."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpo.cli import app

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
    assert set(re.findall(r"^  (\w+)/", block, flags=re.MULTILINE)) == {"cli", "studies", "executors", "data"}


def test_the_schema_describes_every_setting() -> None:
    shown = CliRunner().invoke(app, ["check", "--json-schema"])
    assert shown.exit_code == 0
    assert '"learning_rate"' in shown.output
    assert "Peak learning rate of AdamW." in shown.output


def test_check_shows_the_plan_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "home"))
    rows = "\n".join(f"text number {n},{'yes' if n % 2 else 'no'}" for n in range(200))
    (tmp_path / "my.csv").write_text(f"text,label\n{rows}\n")
    shown = CliRunner().invoke(
        app, ["check", "quickstart", f"data.source={tmp_path}/my.csv", "data.train_rows=40", "--json"]
    )
    assert shown.exit_code == 0, shown.output
    assert '"rows": "train 40, select 30, calibrate 10, test 40"' in shown.output
    assert not (tmp_path / "home").exists()
