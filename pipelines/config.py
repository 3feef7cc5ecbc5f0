"""Everything that defines one training run, as one frozen tree.

A field's path is its address everywhere: `train.learning_rate` is the key in the YAML, the override on
the command line, the name of the hyperparameter in Optuna and of the parameter in MLflow.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

SplitName = Literal["train", "select", "calibrate", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "select", "calibrate", "test")


def _text_pairs(value: Any) -> Any:
    """YAML reads `0: negative` with a number as its key; labels are text."""
    return {str(key): str(name) for key, name in value.items()} if isinstance(value, dict) else value


Number = Annotated[float, Field(allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of all configuration: immutable, strict about types, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Fractions(Frozen):
    """Shares of the rows that are held out of training, for the splits that have no file of their own."""

    select: Number = Field(default=0.15, ge=0, lt=1)
    """Rows that rank the trials; the search sees them."""
    calibrate: Number = Field(default=0.05, ge=0, lt=1)
    """Rows for calibration of probabilities; the search never sees them."""
    test: Number = Field(default=0.2, ge=0, lt=1)
    """Rows opened once, for the winner and the reigning champion."""

    @model_validator(mode="after")
    def _leave_rows_for_training(self) -> Self:
        if self.select + self.calibrate + self.test >= 1:
            raise ValueError("select + calibrate + test must stay below 1, so that rows remain for training")
        return self


class DataConfig(Frozen):
    """What to learn from, and how it is split."""

    source: str = Field(default="sample:movies", min_length=1)
    """`sample:movies|amazon|tweets|editorials`, a CSV, TSV, JSONL or Parquet file, a preset (`imdb`,
    `yelp_polarity`, `amazon_polarity`, `sst2`, `rotten_tomatoes`), a Hugging Face hub id, or a directory saved
    by `datasets`."""
    config: str | None = None
    """Configuration (subset) of a hub data set."""
    revision: str | None = None
    """Git revision of a hub data set; pin it to be reproducible."""
    text: str | None = None
    """Name of the text column; found by itself when there is only one candidate."""
    label: str | None = None
    """Name of the label column; found by itself when there is only one candidate."""
    group: str | None = None
    """Column whose equal values must stay in one split (author, product ...)."""
    label_names: Annotated[dict[str, str], BeforeValidator(_text_pairs)] = Field(default_factory=dict)
    """Readable class names by raw label, for instance `{"0": negative, "1": positive}`."""
    select: str | None = None
    """Own file, `sample:` name or hub split for the select split, instead of a fraction."""
    calibrate: str | None = None
    """Own file, `sample:` name or hub split for the calibrate split, instead of a fraction."""
    test: str | None = None
    """Own file, `sample:` name or hub split for the test split, instead of a fraction."""
    fractions: Fractions = Fractions()
    """Shares of the rows for the splits without a file of their own."""
    train_rows: int | None = Field(default=None, ge=2)
    """Use at most so many training rows (a stratified, reproducible subset)."""
    blank: Literal["fail", "drop"] = "fail"
    """Rows whose text is blank: `fail` names them and stops, `drop` leaves them out and says how many."""
    allow_overlap: bool = False
    """Accept rows of the train file that stand again in the test file (refused otherwise)."""
    split_seed: int = Field(default=0, ge=0)
    """Another seed draws another split of the same rows."""


class TokensConfig(Frozen):
    """How text becomes tokens."""

    max_length: int = Field(default=128, ge=4, le=8192)
    """Longest sequence in tokens, special tokens included; what is longer is cut."""
    truncation: Literal["head", "tail", "head_tail"] = "head"
    """What is kept of a text that is too long: its beginning, its end, or a quarter of the tokens of its beginning and
    three of its end (`head_tail`, Sun et al. 2019)."""
    lowercase: bool = False
    """Texts are lower-cased before the tokenizer sees them; for checkpoints that tell case apart."""
    normalize: Literal["none", "nfkc"] = "none"
    """`nfkc`: characters become their plain forms (Unicode's NFKC: ﬁ to fi, Ａ to A), and each run of white space one
    blank, before the tokenizer sees them."""


TOKENIZERS = ("bpe", "unigram", "wordpiece", "bytes")
"""The kinds of tokenizers that can be trained on a data set."""
_SCRATCH = "scratch:"
_SCRATCH_NAME = re.compile(rf"{_SCRATCH}(?P<kind>{'|'.join(TOKENIZERS)})(-(?P<size>[1-9]\d{{0,5}}))?", re.ASCII)


def scratch_parts(name: str) -> tuple[str, int | None] | None:
    """Kind and size of the vocabulary of a model from scratch, `scratch:KIND` or `scratch:KIND-SIZE`; None for others.

    Raises `ValueError` for a name that only begins like one.
    """
    if not name.startswith(_SCRATCH):
        return None
    if (match := _SCRATCH_NAME.fullmatch(name)) is None:
        known = f"{', '.join(TOKENIZERS[:-1])} and {TOKENIZERS[-1]}"
        raise ValueError(f"a model from scratch is {_SCRATCH}KIND-SIZE, as {_SCRATCH}bpe-4000; the kinds are {known}")
    return match["kind"], int(match["size"]) if match["size"] else None


class ModelConfig(Frozen):
    """The checkpoint to start from."""

    name: str = Field(default="minilm", min_length=1)
    """A short name (`minilm`, `bert`, `roberta`, `gpt2`, `distilbert` ...), a hub id, or a local directory. Or
    `scratch:KIND-SIZE`: a small BERT of random weights whose tokenizer (`bpe`, `unigram`, `wordpiece` or `bytes`, with
    so many entries; 4,000 where the size is left out) is trained on the train split."""
    revision: str | None = None
    """Git revision of a hub checkpoint; pin it to be reproducible."""
    dropout: Number | None = Field(default=None, ge=0, lt=1)
    """Dropout of all layers; the checkpoint's own where this is left out."""

    @field_validator("name")
    @classmethod
    def _names_a_kind(cls, name: str) -> str:
        scratch_parts(name)
        return name


class ScratchConfig(Frozen):
    """The size of a model from scratch (`model.name: scratch:...`); without effect on others. As it stands it is
    BERT-mini (Turc et al. 2019)."""

    layers: int = Field(default=4, ge=1, le=24)
    """Its layers."""
    heads: int = Field(default=4, ge=1, le=16)
    """Its attention heads, each 64 wide: of 4 the model's width is 256."""


class LoraConfig(Frozen):
    """Low-rank adapters (Hu et al. 2021): instead of the pretrained weights, small matrices beside them are trained."""

    rank: int = Field(default=0, ge=0, le=1024)
    """Rank of the adapters; 0 trains the weights themselves. Adapters want a higher learning rate, up to 1e-3."""
    alpha: Number = Field(default=16.0, gt=0, le=4096)
    """What the adapters add is multiplied by alpha / rank."""
    dropout: Number = Field(default=0.0, ge=0, lt=1)
    """Dropout of what goes into the adapters."""


class TrainConfig(Frozen):
    """The fine-tuning itself."""

    epochs: Number = Field(default=3.0, gt=0, le=1000)
    """Passes over the training rows; it also fixes the horizon of the learning-rate schedule."""
    batch_size: int = Field(default=32, ge=1, le=65536)
    """Examples per optimizer step, whatever the micro-batch."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Examples per forward pass at most; fewer than `batch_size` means gradient accumulation. All by default; halved
    by itself when memory runs out."""
    learning_rate: Number = Field(default=5e-5, gt=0, le=1)
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant_with_cooldown"] = "linear"
    """Shape of the learning rate after the warm-up: linear to zero, half a cosine to zero, or constant with a
    linear cool-down at the end."""
    warmup_ratio: Number = Field(default=0.1, ge=0, le=1)
    """Share of all steps over which the learning rate rises from zero."""
    cooldown_ratio: Number = Field(default=0.2, ge=0, le=1)
    """Share of all steps over which `constant_with_cooldown` falls to zero."""
    weight_decay: Number = Field(default=0.01, ge=0, le=10)
    """Decoupled weight decay; biases and normalization weights are exempt."""
    beta1: Number = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the first moment."""
    beta2: Number = Field(default=0.999, ge=0, lt=1)
    """AdamW's decay of the second moment."""
    epsilon: Number = Field(default=1e-8, gt=0, le=1)
    """AdamW's epsilon."""
    max_grad_norm: Number | None = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm; `null` switches clipping off."""
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    """Share of the probability that is spread over all classes in the training loss."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs classes inversely to their frequency in the training loss."""
    evaluations: int = Field(default=4, ge=1, le=1000)
    """How often the select split is scored, evenly over the run; the last time at its end."""
    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after so many evaluations in a row without a better log loss; `null` trains to the end."""
    frozen_layers: int = Field(default=0, ge=0, le=1024)
    """The embeddings and so many layers, counted from the input, are not trained. They run without dropout, so their
    output is computed once and kept."""
    freeze_embeddings: bool = False
    """The embeddings alone are not trained."""
    layer_decay: Number = Field(default=1.0, gt=0, le=1)
    """The learning rate of each layer as a share of that of the layer above it; the head has the full rate."""
    gradient_checkpointing: bool = False
    """Computes the layers once more on the way back instead of remembering them: less memory, more time."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; `auto` takes what measured fastest on this device. A trial that diverges in
    less than fp32 goes on in fp32 from its last checkpoint, once."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the model with torch. `auto`: on a GPU where a measured step gains a tenth; never on a CPU, where
    it takes a minute and gained nothing. Without effect where layers are frozen."""
    checkpoint_seconds: Number = Field(default=60.0, ge=0)
    """A crash loses at most so much training time."""

    @property
    def rows_at_once(self) -> int:
        """Examples per forward pass at most, as configured."""
        return min(self.micro_batch_size or self.batch_size, self.batch_size)

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        if self.schedule == "constant_with_cooldown" and self.warmup_ratio + self.cooldown_ratio > 1:
            raise ValueError("warmup_ratio + cooldown_ratio must not exceed 1")
        return self


class RunConfig(Frozen):
    """One training run, completely: equal configurations on equal data give equal models."""

    data: DataConfig = DataConfig()
    """What to learn from."""
    tokens: TokensConfig = TokensConfig()
    """How text becomes tokens."""
    model: ModelConfig = ModelConfig()
    """What to start from."""
    train: TrainConfig = TrainConfig()
    """How to fine-tune."""
    lora: LoraConfig = LoraConfig()
    """Low-rank adapters instead of full fine-tuning."""
    scratch: ScratchConfig = ScratchConfig()
    """How large a model from scratch is."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seeds the new head, the order of batches and dropout. Never a hyperparameter."""


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries to `{address: leaf}`; empty dictionaries are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        address = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{address}.")
        else:
            flat[address] = value
    return flat


def replaced(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """A copy of `config` with the values at the given addresses, checked again.

    Raises `pydantic.ValidationError` for a value that the field refuses, `KeyError` for an unknown address.
    """
    tree = config.model_dump()
    for address, value in values.items():
        *sections, leaf = address.split(".")
        node = tree
        for section in sections:
            node = node[section]
        if leaf not in node:
            raise KeyError(address)
        node[leaf] = value
    return RunConfig.model_validate(tree)
