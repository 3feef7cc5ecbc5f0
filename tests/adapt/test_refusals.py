"""What a model cannot do."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.adapt import adapt, check, plain
from pipelines.config import replaced
from pipelines.errors import ModelError
from pipelines.families import ANATOMIES
from pipelines.run import warm_up
from pipelines.segment import Unwatched, WarmUpJob
from pipelines.workbench import Workbench
from tests import tiny

from .bench import PLAIN, Bench


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {"train.frozen_layers": 3}, "train.frozen_layers: 3 is more than the 2 layers of model {name!r}"),
        ("gpt2", {"train.frozen_layers": 7}, "train.frozen_layers: 7 is more than the 2 layers of model {name!r}"),
        (
            "albert",
            {"train.frozen_layers": 1},
            "train.frozen_layers: the layers of model {name!r} share their weights, so none can be frozen alone; set "
            "train.frozen_layers=0",
        ),
        (
            "albert",
            {"train.gradient_checkpointing": True},
            "train.gradient_checkpointing: the architecture of model {name!r} (albert) cannot do it; set "
            "train.gradient_checkpointing=false",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_on_warm_up(
    family: str,
    changes: dict[str, Any],
    message: str,
    workbench: Workbench,
    tiny_checkpoints: dict[str, Path],
    toy_data_dir: Path,
    tmp_path: Path,
) -> None:
    job = tiny.job(tiny_checkpoints[family], toy_data_dir, tmp_path, **changes)
    with pytest.raises(ModelError) as caught:
        warm_up(WarmUpJob((job.config,), toy_data_dir, job.cache), watch=Unwatched())
    assert str(caught.value) == message.format(name=str(tiny_checkpoints[family]))


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"lora.rank": 8}, "lora.rank=0"),
        ({"train.frozen_layers": 1}, "train.frozen_layers=0"),
        ({"train.freeze_embeddings": True}, "train.freeze_embeddings=false"),
        ({"train.layer_decay": 0.9}, "train.layer_decay=1.0"),
    ],
)
def test_unknown_architecture_is_refused_with_the_remedy(changes: dict[str, Any], remedy: str) -> None:
    from transformers import XLNetConfig

    config = replaced(PLAIN, {"model.name": "acme/xl", **changes})
    with pytest.raises(ModelError) as caught:
        check(XLNetConfig(), config)
    address = remedy.partition("=")[0]
    assert str(caught.value) == (
        f"{address}: the parts of model 'acme/xl' are not known (its architecture is 'xlnet'); set {remedy}"
    )
    check(XLNetConfig(), PLAIN)


@pytest.mark.parametrize("model_type", ANATOMIES)
def test_every_known_architecture_has_the_parts_that_are_named(model_type: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
    config = AutoConfig.for_model(model_type, **small, intermediate_size=16, pad_token_id=0)
    network = AutoModelForSequenceClassification.from_config(config)
    adapt(network, replaced(PLAIN, {"lora.rank": 2, "train.freeze_embeddings": True}))
    open_ = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert any("lora_A" in name for name in open_)
    assert all("lora_" in name or name.startswith(tuple(ANATOMIES[model_type].head)) for name in open_)


def test_hub_checkpoint_in_memory_is_never_changed(bench: Bench) -> None:
    before = {name: weight.clone() for name, weight in bench.pretrained("bert").weights.items()}
    trainee = bench.trainee("bert", **{"lora.rank": 4})
    bench.train(trainee, "bert", 3)
    plain(trainee.model)
    assert all(torch.equal(weight, before[name]) for name, weight in bench.pretrained("bert").weights.items())
