"""Attention with dropout on a CPU. torch's own goes the slow way there as soon as there is dropout to do."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.engine.dropout import keep_mask

_NAME = "hpo_cheap_dropout"


def use_cheap_attention_dropout(network: nn.Module) -> None:
    """Let a model that uses torch's attention draw its dropout masks cheaply; other models stay as they are."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    config: Any = network.config
    if config._attn_implementation == "sdpa":
        config._attn_implementation = _NAME


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention as transformers calls it.

    query, key, value: (rows, heads, tokens, width); attention_mask: boolean, True where a token may look, or None.
    Returns (rows, tokens, heads, width), and no weights. Source: Vaswani et al. 2017, section 3.2.1.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if dropout == 0.0:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=0.0, scaling=scaling, **others
        )
        return output, None
    scores = torch.matmul(query * (scaling or 1 / math.sqrt(query.shape[-1])), key.transpose(2, 3))
    visible = _causal(scores) if attention_mask is None and getattr(module, "is_causal", True) else attention_mask
    if visible is not None:
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    weights = functional.softmax(scores, dim=-1)
    weights = weights * keep_mask(weights.shape, dropout, dtype=weights.dtype)
    return torch.matmul(weights, value).transpose(1, 2), None


def _causal(scores: Tensor) -> Tensor | None:
    """Each token sees itself and those before it; None where there is but one query, which sees all."""
    tokens, keys = scores.shape[-2:]
    return torch.ones(tokens, keys, dtype=torch.bool).tril() if tokens > 1 else None
