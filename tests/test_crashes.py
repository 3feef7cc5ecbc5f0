"""A crash at every durable effect of a study of three trials; see `tests.crashes`.

In a process of its own: forks and the threads of other tests do not go together.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import shows

ROOT = Path(__file__).parents[1]
_SWEEP = """
import sys
from pathlib import Path
from tests.crashes import a_template, crash_and_mend
home, first, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
template, at = a_template(home / "template"), first
while crash_and_mend(template, home / "study", at=at, again=at % 41 + 1 if at % 3 == 0 else None):
    at += every
print(at)
"""


def sweep(home: Path, *, first: int, every: int, timeout: float) -> int:
    """Crash at every so-many-th effect; returns the first number that the study does not reach."""
    command = [sys.executable, "-c", _SWEEP, str(home), str(first), str(every)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[-1])


def sweep_promotion(home: Path, *, first: int, every: int, timeout: float) -> int:
    """The same of a promotion that makes a champion of another version."""
    code = "import sys; from pathlib import Path; from tests.court import sweep; "
    code += "print(sweep(Path(sys.argv[1]), first=int(sys.argv[2]), every=int(sys.argv[3])))"
    command = [sys.executable, "-c", code, str(home), str(first), str(every)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[-1])


@shows("SIGKILL controller", "J")
def test_a_crash_at_any_of_many_effects_of_a_promotion_leaves_no_trace(tmp_path: Path) -> None:
    assert sweep_promotion(tmp_path / "home", first=2, every=11, timeout=280) > 40


@shows("SIGKILL controller", "J")
@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_crash_at_every_effect_of_a_promotion_leaves_no_trace(tmp_path: Path) -> None:
    assert sweep_promotion(tmp_path / "home", first=1, every=1, timeout=3000) > 40


@shows("SIGKILL controller", "BCDEFGHI")
@shows("memory limit", "H")
def test_a_crash_at_any_of_many_effects_leaves_no_trace(tmp_path: Path) -> None:
    assert sweep(tmp_path, first=3, every=17, timeout=280) > 100


@shows("SIGKILL controller", "BCDEFGHI")
@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_crash_at_every_effect_leaves_no_trace(tmp_path: Path) -> None:
    assert sweep(tmp_path, first=1, every=1, timeout=3000) > 100
