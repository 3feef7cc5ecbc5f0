"""What the machine itself does to a study: a file system that is really full, a clock that is really wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import shows
from tests.stub import instruct

ROOT = Path(__file__).parents[1]
CHANGES = json.dumps({"budget": {"trials": 12}})
_ON_A_SMALL_DISK = """
set -u
mount -t tmpfs -o size=6m tmpfs "$1" && cp "$2" "$1/mlflow.db" || exit 77
session() { "$3" -m tests.chaos "$1" "$4" 1; echo "exit $?"; }
fill() { dd if=/dev/zero of="$1/ballast" bs=1024 count=$(( $(df --output=avail "$1" | tail -1) - $5 )) status=none; }
fill "$@"
session "$@"
rm "$1/ballast"
session "$@"
"$3" - "$1" <<'END'
import sys
from pathlib import Path
from hpo.doctor import examine
from hpo.places import Places
from tests.stub import make_whole
home = Path(sys.argv[1])
for weights in home.glob("work/toy/trial-*/model/weights"):
    make_whole(weights.parent)
found = examine(Places(home, f"sqlite:///{home}/mlflow.db", f"sqlite:///{home}/studies.db"))
print([finding.what for finding in found.findings], [(one.trials, one.runs) for one in found.examined])
END
"""


@pytest.mark.long
@shows("disk full", "ADFGI")
@pytest.mark.parametrize("kibibytes", [0, 250, 600])
def test_a_file_system_that_is_really_full_ends_the_session_and_with_room_it_goes_on(
    tmp_path: Path, empty_mlflow: Path, kibibytes: int
) -> None:
    """So many KiB are free at first. In a mount of its own, for which a user namespace stands in for rights."""
    words = [str(tmp_path), str(empty_mlflow), sys.executable, CHANGES, str(kibibytes)]
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", _ON_A_SMALL_DISK, "bash", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    *first, code, reason, after, doctor = done.stdout.splitlines()
    assert code == "exit 4", done.stdout + done.stderr
    assert "full" in first[-1]
    assert "Traceback" not in done.stderr
    assert (reason, after) == ("all 12 trials are finished", "exit 0")
    assert doctor == "[] [(12, 13)]"


@pytest.mark.long
@shows("clock", "BEH")
def test_a_clock_that_is_two_hours_off_in_one_session_and_back_in_the_next_changes_nothing(
    tmp_path: Path, empty_mlflow: Path
) -> None:
    """For every process of a session, and its databases."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("libfaketime is not installed; a patched clock is shown in test_strikes.py")
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    instruct(tmp_path / "work" / "toy", pace=0.05)
    session = [sys.executable, "-m", "tests.chaos", str(tmp_path), CHANGES, "2"]
    for shift in ("+2h", "-2h"):
        command = [faketime, "--exclude-monotonic", "-f", shift, *session]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as struck:
            with pytest.raises(subprocess.TimeoutExpired):
                struck.wait(8.0)
            struck.terminate()
        assert struck.returncode == 143
    done = subprocess.run(session, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "all 12 trials are finished\n"
