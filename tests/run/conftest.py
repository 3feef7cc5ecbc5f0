"""A job, and processes that know nothing of it yet."""

from pathlib import Path

import pytest

from pipelines import run as run_module
from pipelines.segment import SegmentJob
from pipelines.workbench import Workbench

from .jobs import Fresh, make_job


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, workbench: Workbench) -> Fresh:
    """Gives the process an empty workbench, as a new process has it."""

    def make() -> Workbench:
        made = Workbench()
        monkeypatch.setattr(run_module, "_WORKBENCH", made)
        return made

    return make


@pytest.fixture
def job(tiny_bert: Path, toy_data_dir: Path, tmp_path: Path) -> SegmentJob:
    return make_job(tiny_bert, toy_data_dir, tmp_path)
