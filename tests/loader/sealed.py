"""What is done to a sealed directory."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipelines.config import TokensConfig
from pipelines.export import export_model, read_facts, seal
from pipelines.models import Pretrained, new_classifier

LABELS = ("negative", "positive")
LONG = "the film was boring, on a rainy sunday, for the price of a ticket, as my brother said, wonderful"
TEXTS = ["the film was wonderful", "", LONG, "awful", "🙂 moving", "the plot was bland, " * 30]


def export(pretrained: Pretrained, directory: Path, tokens: TokensConfig) -> torch.nn.Module:
    """An untrained classifier, written as a trial writes it; returns it."""
    network = new_classifier(pretrained, dropout=None, seed=1).eval()
    export_model(network, pretrained.tokenizer, directory, labels=LABELS, tokens=tokens)
    return network


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edited(model: Path) -> None:
        values = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(values | changes))

    return edited


def edit_sealed(name: str, **changes: Any) -> Callable[[Path], None]:
    """As someone does who can write the hashes anew."""

    def edited(model: Path) -> None:
        edit(name, **changes)(model)
        seal(model, read_facts(model))

    return edited


def zip_bomb() -> bytes:
    """Two hundred megabytes of zeros in less than one; never in memory as a whole."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.safetensors", "w") as member,
    ):
        for _ in range(200):
            member.write(bytes(2**20))
    return packed.getvalue()
