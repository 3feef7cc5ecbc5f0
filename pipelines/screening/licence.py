"""Under which licence a checkpoint says that it may be used."""

from pathlib import Path

from pipelines import hub
from pipelines.config import ModelConfig
from pipelines.families import license_in, license_of, locate


def stated_license(model: ModelConfig) -> str | None:
    """What the checkpoint's card or config.json says, here or on the hub; None where neither says anything."""
    place = locate(model.name)
    if Path(place).is_dir():
        return license_of(model.name)
    card = _from_hub(place, "README.md", model.revision)
    return license_in(card) if card else None


def _from_hub(id: str, file: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download

    hub.prepare(id)
    try:
        return Path(hf_hub_download(id, file, revision=revision))
    except (OSError, ValueError):  # the hub's own errors are both: no such file, or nobody answers
        return None
