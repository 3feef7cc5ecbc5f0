"""The last encoder layer, computed for the first token alone: nothing else of it reaches the head.

In a model of 6 layers this saves a seventh of all matrix products. Queries, output projection and feed-forward part
are needed for one token of each text; keys and values, as ever, for all.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor, nn


def pool_early(network: nn.Module) -> None:
    """Change the last layer of a classifier whose head reads the first token; other models stay as they are.

    So do those with transformers' own "eager" attention, which is a part of each model's code.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    config: Any = network.config
    known = config._attn_implementation in ALL_ATTENTION_FUNCTIONS
    forward = _FORWARDS.get(config.model_type) if known else None
    if forward is not None and not getattr(config, "is_decoder", False):
        kind, function = forward
        layers = [module for module in network.modules() if type(module).__name__ == kind]
        if any(weight.requires_grad for weight in layers[-1].parameters()):  # what a frozen one gives is kept, whole
            layers[-1].forward = MethodType(function, layers[-1])


def _bert(layer: Any, hidden: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    inner = layer.attention.self
    seen = _attend(inner, (inner.query, inner.key, inner.value), hidden, attention_mask)
    output: Tensor = layer.feed_forward_chunk(layer.attention.output(seen, hidden[:, :1]))
    return output


def _distilbert(layer: Any, hidden: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Tensor:
    inner = layer.attention
    seen = inner.out_lin(_attend(inner, (inner.q_lin, inner.k_lin, inner.v_lin), hidden, attention_mask))
    seen = layer.sa_layer_norm(seen + hidden[:, :1])
    output: Tensor = layer.output_layer_norm(layer.ffn(seen) + seen)
    return output


def _attend(inner: Any, maps: tuple[Any, Any, Any], hidden: Tensor, mask: Tensor | None) -> Tensor:
    """What the first token takes from all tokens, (rows, 1, width), before the output projection."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    query, key, value = maps
    parts = query(hidden[:, :1]), key(hidden), value(hidden)
    heads = (part.view(*part.shape[:2], -1, inner.attention_head_size).transpose(1, 2) for part in parts)
    attention = ALL_ATTENTION_FUNCTIONS[inner.config._attn_implementation]
    dropout = inner.dropout.p if inner.training else 0.0
    mask = mask[:, :, :1] if mask is not None else None
    seen, _ = attention(inner, *heads, mask, dropout=dropout, scaling=inner.scaling)
    joined: Tensor = seen.reshape(len(hidden), 1, -1)
    return joined


_Forward = Callable[..., Tensor]
# By model_type: the class of the layers, and the forward of the last one.
_FORWARDS: dict[str, tuple[str, _Forward]] = {
    "bert": ("BertLayer", _bert),
    "roberta": ("RobertaLayer", _bert),
    "xlm-roberta": ("XLMRobertaLayer", _bert),
    "camembert": ("CamembertLayer", _bert),
    "electra": ("ElectraLayer", _bert),
    "distilbert": ("TransformerBlock", _distilbert),
}
