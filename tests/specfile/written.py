"""Studies written to a file, and read."""

from collections.abc import Callable
from pathlib import Path

from hpo.spec import StudySpec
from hpo.specfile import read_spec

Refusal = Callable[..., list[str]]


def spec_of(tmp_path: Path, content: str, *overrides: str) -> StudySpec:
    (tmp_path / "mine.yaml").write_text(content)
    return read_spec(str(tmp_path / "mine.yaml"), overrides)
