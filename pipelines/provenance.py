"""`provenance.json` in a trial's directory: what it was trained with and on, so that it can be replayed and compared.

Reading it costs nothing: torch is imported only where facts are gathered.
"""

import functools
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import RunConfig
from pipelines.export import FACTS_FILE
from pipelines.files import digest, read_json, sha256, write_json
from pipelines.host import processor_name

if TYPE_CHECKING:
    from pipelines.models import Pretrained

FILE = "provenance.json"
Facts = dict[str, str]
"""What the numbers of a training depend on, in words, by the name of each."""
_LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "numpy")
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Session:
    """A stretch of a trial's training in which nothing that it depends on changed."""

    step: int
    """Optimizer steps that were done when it began: those of the checkpoint that it went on from."""
    facts: Facts


@dataclass(frozen=True)
class Provenance:
    """Where a trial comes from."""

    config: RunConfig
    sessions: tuple[Session, ...]
    """Oldest first; more than one where it was resumed with something else."""
    weights: str | None = None
    """SHA-256 of the exported `model.safetensors`; None where the trial did not come to its end."""


def facts_of(config: RunConfig, *, data: str, pretrained: "Pretrained") -> Facts:
    """What a trial of this configuration depends on, in this process; `data` is the data set's digest."""
    import torch

    return {
        **_code(),
        "data": data,
        **pretrained.digests,
        "seed": str(config.seed),
        "split seed": str(config.data.split_seed),
        "threads": str(torch.get_num_threads()),
        "precision": config.train.precision,
        "device": _device(),
        **_versions(),
    }


def note_session(directory: Path, config: RunConfig, *, step: int, facts: Facts) -> None:
    """Note that a trial goes on from `step` with these facts; nothing is written where that is known."""
    before = read_provenance(directory)
    earlier = before if before is not None and before.config == config else Provenance(config, ())
    kept = tuple(one for one in earlier.sessions if one.step < step)
    if not kept or kept[-1].facts != facts:
        kept = (*kept, Session(step, facts))
    if (now := replace(earlier, sessions=kept)) != before:
        _write(directory, now)


def note_weights(directory: Path) -> None:
    """Note the hash of the model that was just exported: the model itself goes, unless it is the best."""
    before = read_provenance(directory)
    if before is not None:
        files = read_json(directory / "model" / FACTS_FILE)["files"]
        _write(directory, replace(before, weights=files["model.safetensors"]["sha256"]))


def read_provenance(directory: Path) -> Provenance | None:
    """A trial's provenance; None where none was written. Raises `ValueError` for a damaged file."""
    found: dict[str, Any] | None = read_json(directory / FILE)
    if found is None:
        return None
    sessions = tuple(Session(**one) for one in found["sessions"])
    return Provenance(RunConfig.model_validate(found["config"]), sessions, found["weights"])


def _write(directory: Path, provenance: Provenance) -> None:
    sessions = [asdict(one) for one in provenance.sessions]
    values = {"config": provenance.config.model_dump(), "sessions": sessions, "weights": provenance.weights}
    write_json(directory / FILE, values)


@functools.cache
def _code() -> Facts:
    """Which code of ours: the package, its commit where it is a checkout, and a hash over what trains."""
    files = sorted((_ROOT / "pipelines").rglob("*.py"))
    sources = digest(*(f"{file.relative_to(_ROOT)} {sha256(file)}" for file in files))
    facts = {"package": version("hpo-finetune"), "training code": sources}
    if (_ROOT / ".git").exists() and (commit := _git("rev-parse", "HEAD")):
        changed = _git("status", "--porcelain", "--", "hpo", "pipelines")
        facts["commit"] = f"{commit} with changes" if changed else commit
    return facts


def _git(*words: str) -> str:
    """What git says; nothing where it does not answer."""
    try:
        done = subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@functools.cache
def _versions() -> Facts:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


@functools.cache
def _device() -> str:
    """The GPU, or the processor with the instructions that torch uses of it."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"
