"""Sessions of a study of the stub with all that a real one writes to, and a storm of seeded faults upon them.

`python -m tests.chaos HOME SPEC WORKERS` is such a session. Its lease is short, so that sleeping past it takes seconds.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
LEASE_SECONDS = 3.0
_PATIENCE_SECONDS = 15.0  # for a tracker that is behind at the end


def main(home: Path, changes: dict[str, object], *, workers: int) -> int:
    """One session, as `hpo.launch` puts it together; returns its exit code."""
    import sqlalchemy as sa

    from hpo import lease as lease_module
    from hpo.executors.local import LocalExecutor
    from hpo.launch import _stopping_on_signals
    from hpo.ledger import Ledger
    from hpo.storage import engine_of
    from pipelines.connection import connect, tracking_errors
    from pipelines.errors import StorageError, UserError
    from pipelines.mirror import MirrorThread
    from pipelines.tracking import Tracker
    from tests.stub import a_controller, a_spec

    sa.event.listen(sa.Engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    os.fsync = lambda _: None  # type: ignore[assignment]  # the kernel does not crash here, and disks are slow
    lease_module.LEASE_SECONDS, lease_module._BEAT_SECONDS = LEASE_SECONDS, LEASE_SECONDS / 6
    spec = a_spec(**changes)
    try:
        with (
            lease_module.leased(Ledger(f"sqlite:///{home}/studies.db"), spec.name) as lease,
            closing(LocalExecutor(workers=workers, threads=1, logs=home / "logs", silence=20.0)) as executor,
        ):
            client = connect(f"sqlite:///{home}/mlflow.db")
            tracker = Tracker(client, artifacts=home / "artifacts", allowed=lease.check)
            with tracking_errors(client.tracking_uri):
                tracker.open_study(spec.name, description="", params={}, tags={})
            mirror = MirrorThread(tracker.sync_trial)
            controller = a_controller(spec, home, executor, mirror=mirror)
            engines = (engine_of(controller.study), controller.ledger.engine)
            with _stopping_on_signals(controller), lease.guard(engines[0]), lease.guard(engines[1]):
                (home / "at-work").write_text(str(os.getpid()))
                print(controller.run(), flush=True)
            lease.check()
            if not mirror.close(patience=_PATIENCE_SECONDS):
                raise StorageError(f"the tracker is behind: {mirror.error}")
            status = "SCHEDULED" if controller.stopped_on_request else "FINISHED"
            with tracking_errors(client.tracking_uri):
                tracker.close_study(status=status, metrics={}, tags={})
            return 128 + controller.signal if controller.signal else 0
    except UserError as error:
        print(error, flush=True)
        return error.exit_code


class Storm:
    """Runs the same command again and again, and does it harm, until the study is over."""

    def __init__(self, home: Path, spec: dict[str, object], *, seed: int, workers: int = 2) -> None:
        self._command = [sys.executable, "-m", "tests.chaos", str(home), json.dumps(spec), str(workers)]
        self._home, self._draw = home, random.Random(seed)
        self.faults: dict[str, int] = {}
        """How often each fault struck."""

    def rage(self, *, sessions: int) -> bool:
        """At most so many sessions; False when the study was not over by then."""
        for _ in range(sessions):
            process = self._start()
            if self._draw.random() < 0.85:  # else it may be struck while it starts
                self._wait_for_work(process)
            if self._work(process, self._draw.uniform(0.5, 6.0)):
                return True
            self._harm(process)
        return False

    def calm(self) -> int:
        """Run the command to its end; returns its exit code."""
        return self._start().wait(timeout=300)

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self._home / "sessions.log").open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, start_new_session=True, stdout=log, stderr=log)

    def _wait_for_work(self, process: "subprocess.Popen[bytes]") -> None:
        """Until a session is past its start, or has ended, or is held up by a lock for too long."""
        mark, end = self._home / "at-work", time.monotonic() + 20.0
        while process.poll() is None and time.monotonic() < end:
            if mark.exists() and mark.read_text() == str(process.pid):
                return
            time.sleep(0.05)

    def _work(self, process: "subprocess.Popen[bytes]", seconds: float) -> bool:
        """Let a session work for a while; whether it came to the end of its study."""
        with suppress(subprocess.TimeoutExpired):
            return process.wait(seconds) == 0
        return False

    def _harm(self, process: "subprocess.Popen[bytes]") -> None:
        names = ("kill_all", "kill_controller", "kill_workers", "terminate", "nap", "oversleep")
        name = self._draw.choice(names)
        self.faults[name] = self.faults.get(name, 0) + 1
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            getattr(self, name)(process)
        self._end(process)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def kill_all(self, process: "subprocess.Popen[bytes]") -> None:
        """As when the power fails."""
        os.killpg(process.pid, signal.SIGKILL)

    def kill_controller(self, process: "subprocess.Popen[bytes]") -> None:
        """Its workers are orphans then, for a moment."""
        process.kill()
        process.wait(30)
        time.sleep(self._draw.uniform(0.0, 0.2))

    def kill_workers(self, process: "subprocess.Popen[bytes]") -> None:
        """Some of them, now and again; the session goes on."""
        for _ in range(self._draw.randint(1, 5)):
            for worker in psutil.Process(process.pid).children(recursive=True):
                if self._draw.random() < 0.6:
                    worker.kill()
            time.sleep(self._draw.uniform(0.2, 1.0))

    def terminate(self, process: "subprocess.Popen[bytes]") -> None:
        """Once, and perhaps soon again."""
        process.terminate()
        time.sleep(self._draw.uniform(0.0, 0.5))
        if self._draw.random() < 0.5:
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)

    def nap(self, process: "subprocess.Popen[bytes]") -> None:
        """The whole group stands still for less than its lease, and goes on."""
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(self._draw.uniform(0.1, LEASE_SECONDS / 3))
        os.killpg(process.pid, signal.SIGCONT)
        self._work(process, self._draw.uniform(0.5, 2.0))

    def oversleep(self, process: "subprocess.Popen[bytes]") -> None:
        """It stands still for longer than its lease; another session takes over, and it wakes up beside that one."""
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 1.0)
        heir = self._start()
        self._wait_for_work(heir)
        self._work(heir, self._draw.uniform(0.5, 3.0))
        os.killpg(process.pid, signal.SIGCONT)
        self._work(process, self._draw.uniform(0.5, 2.0))
        self._end(process)
        self._end(heir)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2]), workers=int(sys.argv[3])))
