"""Which weights of a classifier are trained, and how fast: adapters, frozen parts, rates by layer."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pipelines.config import RunConfig
from pipelines.errors import ModelError
from pipelines.families import ANATOMIES, Anatomy


def check(architecture: Any, config: RunConfig) -> None:
    """Refuse what cannot be done with a model; `architecture` is its transformers.PretrainedConfig.

    Raises `ModelError` for more frozen layers than there are, for an architecture whose parts are not known, and for
    one that cannot do gradient checkpointing.
    """
    model, frozen = config.model.name, config.train.frozen_layers
    for address, neutral, value in _asked_for(config):
        if value != neutral and architecture.model_type not in ANATOMIES:
            raise ModelError(
                f"{address}: the parts of model {model!r} are not known (its architecture is "
                f"{architecture.model_type!r}); set {address}={str(neutral).lower()}"
            )
    if frozen and ANATOMIES[architecture.model_type].shared:
        raise ModelError(
            f"train.frozen_layers: the layers of model {model!r} share their weights, so none can be frozen alone; "
            "set train.frozen_layers=0"
        )
    if frozen > architecture.num_hidden_layers:
        raise ModelError(
            f"train.frozen_layers: {frozen} is more than the {architecture.num_hidden_layers} layers of model {model!r}"
        )
    if config.train.gradient_checkpointing and not _can_checkpoint(architecture):
        raise ModelError(
            f"train.gradient_checkpointing: the architecture of model {model!r} ({architecture.model_type}) cannot do "
            "it; set train.gradient_checkpointing=false"
        )


def _can_checkpoint(architecture: Any) -> bool:
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return bool(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(architecture)].supports_gradient_checkpointing)


def _asked_for(config: RunConfig) -> Iterator[tuple[str, object, object]]:
    """Address, neutral value and value of every setting that needs to know the parts of a model."""
    train = config.train
    yield "lora.rank", 0, config.lora.rank
    yield "train.frozen_layers", 0, train.frozen_layers
    yield "train.freeze_embeddings", False, train.freeze_embeddings
    yield "train.layer_decay", 1.0, train.layer_decay


def adapt(network: nn.Module, config: RunConfig) -> nn.Module:
    """The network with what is not trained frozen, and with fresh adapters where they are asked for; in place.

    Adapters are a function of the seed. Raises `ModelError` as `check` does.
    """
    check(network.config, config)
    if config.lora.rank:
        _add_adapters(network, config)
    for module in frozen_parts(network, config):
        module.requires_grad_(False)
    if config.train.gradient_checkpointing:
        network.gradient_checkpointing_enable(  # type: ignore[operator]
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    return network


def frozen_parts(network: nn.Module, config: RunConfig) -> list[nn.Module]:
    """The modules that are not trained: the embeddings, and the first layers; none unless asked for."""
    train = config.train
    if not (train.frozen_layers or train.freeze_embeddings):
        return []
    parts = anatomy_of(network)
    embeddings = [module for name, module in network.named_modules() if name in parts.embeddings]
    return [*embeddings, *layers_of(network)[: train.frozen_layers]]


def train_mode(network: nn.Module, config: RunConfig) -> None:
    """Training mode, but for a frozen prefix: it runs as at inference, so that its output for a row never changes."""
    network.train()
    for module in frozen_parts(network, config) if config.train.frozen_layers else ():
        module.eval()


def rate_scales(network: nn.Module, decay: float) -> dict[str, float]:
    """Share of the learning rate for each parameter by name: discriminative fine-tuning (Howard & Ruder 2018, 3.2).

    With n layers, the head has 1, layer i (from 0) `decay ** (n - i)`, the embeddings `decay ** (n + 1)`, as in Clark
    et al. 2020, appendix B.
    """
    if decay == 1.0:
        return {name: 1.0 for name, _ in network.named_parameters()}
    parts, count = anatomy_of(network), len(layers_of(network))
    below = {f"{name}.": count + 1 for name in parts.embeddings}
    below |= {f"{parts.layers}.{index}.": count - index for index in range(count)}
    return {
        name: decay ** next((depth for start, depth in below.items() if name.startswith(start)), 0)
        for name, _ in network.named_parameters()
    }


def plain(network: nn.Module) -> nn.Module:
    """The network with its adapters merged into the weights: a plain transformers model; in place."""
    if not hasattr(network, "peft_config"):
        return network
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            network.set_submodule(name, module.get_base_layer())
    del network.peft_config
    return network


def anatomy_of(network: nn.Module) -> Anatomy:
    """Where the parts of a network are; its architecture must be a known one (`check`)."""
    return ANATOMIES[network.config.model_type]  # type: ignore[union-attr, index]


def layers_of(network: nn.Module) -> nn.ModuleList:
    """The list of layers, from the input on."""
    layers = network.get_submodule(anatomy_of(network).layers)
    return layers if isinstance(layers, nn.ModuleList) else nn.ModuleList([layers])


def _add_adapters(network: nn.Module, config: RunConfig) -> None:
    """Freeze everything but the head, and put adapters into the layers that are not frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    parts, lora = anatomy_of(network), config.lora
    open_layers = range(config.train.frozen_layers, len(layers_of(network)))
    network.requires_grad_(False)
    if open_layers:
        numbers, ends = "|".join(map(str, open_layers)), "|".join(parts.targets)
        options = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=rf"{parts.layers}\.({numbers})\.(.*\.)?({ends})",
            fan_in_fan_out=parts.input_first,
        )
        torch.manual_seed(config.seed + 2**32)  # other numbers than the head's
        inject_adapter_in_model(options, network)
    for name in parts.head:
        network.get_submodule(name).requires_grad_(True)
