"""A real PostgreSQL to test and measure on, from a package's binaries: a socket in a directory, nothing installed."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
import sqlalchemy as sa

_NUMBERS = itertools.count()


class Postgres:
    """A running server, which can be shaken."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("pgserver")  # its Python part is not used: it would lock and add users
        assert found is not None
        assert found.origin is not None
        self.home = Path(tempfile.mkdtemp(prefix="pg"))
        # The server refuses to run as root; another user may not be able to read where the environment lies.
        self._user = "nobody" if os.geteuid() == 0 else None
        package = Path(found.origin).parent
        for part in ("pgserver/pginstall", "pgserver.libs"):  # the programs look for their libraries at this distance
            shutil.copytree(package.parent / part, self.home / part, symlinks=True)
        if self._user:
            for path in (self.home, *self.home.rglob("*")):
                shutil.chown(path, self._user)
        self._do("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-D", "data")
        self.start()
        self._admin = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{next(_NUMBERS)}"
        self.order(f"CREATE DATABASE {name}")
        return self._url(name)

    def order(self, statement: str) -> None:
        """Run a statement as the server's administrator."""
        with self._admin.connect() as connection:
            connection.execute(sa.text(statement))

    def drop_connections(self) -> None:
        """End every session, as an administrator or a proxy does."""
        self.order("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def start(self) -> None:
        """Begin to answer, also after a crash."""
        options = f"-k {self.home} -c listen_addresses='' -c max_connections=50"
        self._do("pg_ctl", "start", "-w", "-o", options, "-l", "log", "-D", "data")

    def crash(self) -> None:
        """Stop with no time to say goodbye."""
        self._do("pg_ctl", "stop", "-m", "immediate", "-D", "data")

    def signal(self, number: int) -> None:
        """Send a signal to every process of the server, as if the machine stood still, or went on."""
        server = psutil.Process(int((self.home / "data/postmaster.pid").read_text().split()[0]))
        for process in (server, *server.children()):
            process.send_signal(number)

    def close(self) -> None:
        """End for good."""
        self.crash()
        shutil.rmtree(self.home, ignore_errors=True)

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self.home / "pgserver" / "pginstall" / "bin" / program), *arguments]
        subprocess.run(command, cwd=self.home, user=self._user, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.home}"
