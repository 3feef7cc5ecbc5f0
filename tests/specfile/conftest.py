"""The messages with which a file is refused."""

from pathlib import Path

import pytest

from hpo.specfile import read_spec
from pipelines.errors import ConfigError

from .written import Refusal


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """The faults that are reported about a study file, one line each; nothing may have been written."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"

    def faults(content: str, *overrides: str) -> list[str]:
        path.write_text(content)
        with pytest.raises(ConfigError) as caught:
            read_spec("mine.yaml", overrides)
        assert caught.value.exit_code == 2
        assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]
        headline, *lines = str(caught.value).splitlines()
        assert headline == f"mine.yaml: {'one fault' if len(lines) == 1 else f'{len(lines)} faults'}"
        return [line.removeprefix("  ") for line in lines]

    return faults
