"""A trained model as a plain Hugging Face directory: safetensors, JSON and tokenizer files, each with its hash."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.calibration import CalibrationFacts, facts_from
from pipelines.config import TokensConfig
from pipelines.files import new_directory, read_json, sha256, write_json

FACTS_FILE = "hpo.json"
"""Names our own facts about the model, and the hash of every other file."""


@dataclass(frozen=True)
class ModelFacts:
    """What our loader must know beyond what Hugging Face's files say."""

    labels: tuple[str, ...]
    max_length: int
    truncation: str
    lowercase: bool = False
    normalize: str = "none"
    schema: int = 1
    """2 where older releases, which do not know all of the above, would read texts otherwise."""
    calibration: CalibrationFacts | None = None
    """The temperature is in the weights already; the thresholds are not. None: it was not calibrated."""


def export_model(model: Any, tokenizer: Any, directory: Path, *, labels: tuple[str, ...], tokens: TokensConfig) -> None:
    """Write the model so that transformers, MLflow and our own loader read it offline; whole or not at all."""
    facts = facts_of(labels, tokens)
    tokenizer.model_max_length = tokens.max_length
    # With `head_tail`, tools that know one side only keep the end, which is the larger part of what we keep.
    tokenizer.truncation_side = "right" if tokens.truncation == "head" else "left"
    tokenizer.init_kwargs["truncation_side"] = tokenizer.truncation_side  # only what stands here is written
    tokenizer.backend_tokenizer.no_truncation()  # whatever it encoded before, the same files are written
    tokenizer.backend_tokenizer.no_padding()
    with new_directory(directory) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        seal(beside, facts)


def facts_of(labels: tuple[str, ...], tokens: TokensConfig) -> ModelFacts:
    """The facts about a model that was trained so."""
    plain = tokens.truncation != "head_tail" and not tokens.lowercase and tokens.normalize == "none"
    return ModelFacts(labels=labels, **tokens.model_dump(), schema=1 if plain else 2)


def seal(directory: Path, facts: ModelFacts) -> None:
    """Write `hpo.json`: our facts, and size and SHA-256 of every file that is there now."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(directory.iterdir())
        if file.name != FACTS_FILE
    }
    write_json(directory / FACTS_FILE, {**asdict(facts), "files": files})


def read_facts(directory: Path) -> ModelFacts:
    """Our facts about an exported model; the directory must hold `hpo.json`."""
    values = read_json(directory / FACTS_FILE)
    return ModelFacts(
        labels=tuple(values["labels"]),
        max_length=values["max_length"],
        truncation=values["truncation"],
        lowercase=values.get("lowercase", False),
        normalize=values.get("normalize", "none"),
        schema=values["schema"],
        calibration=facts_from(values["calibration"]) if values.get("calibration") else None,
    )
