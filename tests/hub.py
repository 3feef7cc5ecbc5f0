"""A small model hub on this machine: the few routes that Hugging Face's client asks for."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

FIRST, SECOND = "1a" * 20, "2b" * 20  # digits alone would be read as a number on a command line


@dataclass
class Hub:
    """Repositories by id: the directory of each commit, and the commit of each branch or tag."""

    repositories: dict[str, dict[str, Path]]
    names: dict[str, str] = field(default_factory=lambda: {"main": FIRST})
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    url: str = ""

    def environment(self, home: Path) -> dict[str, str]:
        """What a process needs to find this hub and nothing else."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """Within the block the hub answers on loopback."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """The list of requests is enough."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            self._about(path.removeprefix("/api/models/"), body=body)
        else:
            id, _, rest = path[1:].partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._file(id, revision, name, body=body)

    def _about(self, rest: str, *, body: bool) -> None:
        """`ID`, `ID/revision/REVISION`, `ID/tree/REVISION[/FOLDER]`."""
        owner, name, *more = rest.split("/")
        kind, revision, *folders = [*more, "revision", "main"][:2] + more[2:]
        folder = self._directory(f"{owner}/{name}", revision, body=body)
        if folder is None:
            return
        files = sorted(file for file in folder.iterdir() if file.is_file())
        if kind == "tree":
            listed = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"} for file in files]
            if folders:
                self._refuse("EntryNotFound", body=body)
            else:
                self._send(json.dumps(listed).encode(), body=body)
            return
        siblings = [{"rfilename": file.name} for file in files]
        facts = {"id": f"{owner}/{name}", "sha": self._commit(revision), "siblings": siblings, "tags": []}
        self._send(json.dumps(facts).encode(), body=body)

    def _file(self, id: str, revision: str, name: str, *, body: bool) -> None:
        folder = self._directory(id, revision, body=body)
        if folder is None:
            return
        if not (folder / name).is_file():
            self._refuse("EntryNotFound", body=body, commit=self._commit(revision))
            return
        content = (folder / name).read_bytes()
        marks = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": self._commit(revision)}
        self._send(content, body=body, headers=marks)

    def _commit(self, revision: str) -> str:
        return self.hub.names.get(revision, revision)

    def _directory(self, id: str, revision: str, *, body: bool) -> Path | None:
        if id not in self.hub.repositories:
            self._refuse("RepoNotFound", body=body)
            return None
        folder = self.hub.repositories[id].get(self._commit(revision))
        if folder is None:
            self._refuse("RevisionNotFound", body=body)
        return folder

    def _refuse(self, code: str, *, body: bool, commit: str | None = None) -> None:
        headers = {"X-Error-Code": code} | ({"X-Repo-Commit": commit} if commit else {})
        self._send(b"{}", body=body, status=404, headers=headers)

    def _send(self, content: bytes, *, body: bool, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)
