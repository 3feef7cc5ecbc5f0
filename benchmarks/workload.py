"""A setting as our run, and its data on disk, written once for all processes."""

import json

from benchmarks.timing import Setting
from pipelines.config import RunConfig, SplitName, replaced
from pipelines.data import Dataset, load_data, save_dataset

_SPLITS: tuple[SplitName, ...] = ("train", "select")


def run_config(setting: Setting, *, seed: int, precision: str = "auto") -> RunConfig:
    """Our run on this workload; what it shares with the peers comes from the setting."""
    return replaced(
        RunConfig(),
        {
            "data.source": setting.source,
            "data.train_rows": setting.rows,
            "data.fractions.select": 0.2,  # nothing is chosen by these rows here, so they measure accuracy
            "tokens.max_length": setting.max_length,
            "model.name": setting.model,
            "train.epochs": setting.epochs,
            "train.batch_size": setting.batch_size,
            "train.learning_rate": setting.learning_rate,
            "train.warmup_ratio": setting.warmup_ratio,
            "train.weight_decay": setting.weight_decay,
            "train.checkpoint_seconds": 3600.0,
            "train.precision": precision,
            "seed": seed,
        },
    )


def write_data(setting: Setting) -> None:
    """Load the source and write both forms: ours, and plain JSON."""
    dataset = load_data(run_config(setting, seed=0).data)
    setting.home.mkdir(parents=True, exist_ok=True)
    save_dataset(dataset, setting.data)
    for split in _SPLITS:
        setting.file(split).write_text(json.dumps(_columns(dataset, split)), encoding="utf-8")


def _columns(dataset: Dataset, split: SplitName) -> dict[str, list[object]]:
    part = dataset.splits[split]
    return {"text": list(part.texts), "label": part.labels.tolist()}
