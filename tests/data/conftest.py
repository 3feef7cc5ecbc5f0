"""Small files, and the one line with which each faulty one is refused."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import hub
from pipelines.config import DataConfig
from pipelines.data import load_data
from pipelines.errors import DataError

from .rows import Refused, Write


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may look for a hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "_answers", lambda: False)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file into the working directory of the test, so that messages name it by its bare name."""
    monkeypatch.chdir(tmp_path)

    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture
def refused() -> Refused:
    """The message with which data are refused."""

    def message(source: str, **settings: Any) -> str:
        with pytest.raises(DataError) as caught:
            load_data(DataConfig(source=source, **settings))
        assert caught.value.exit_code == 3
        return str(caught.value)

    return message
