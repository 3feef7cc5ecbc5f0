"""The embedding table, cut to the tokens that occur: the others have no gradient, so nothing but decay happens to them.

The table is half of MiniLM's weights, and more of a multilingual model's; a data set of some thousand texts uses a
part of it. Gradients, optimizer, checkpoints and memory then pay for that part only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

_WORTHWHILE = 0.9  # share of the table above which cutting it saves nothing


class CompactEmbedding(nn.Module):
    """An `nn.Embedding` of which only some rows are there. Callers see the token ids of the whole vocabulary."""

    def __init__(self, table: nn.Embedding, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens
        self.num_embeddings, self.embedding_dim = table.num_embeddings, table.embedding_dim
        self.weight = nn.Parameter(table.weight.detach()[tokens].clone(), requires_grad=table.weight.requires_grad)
        places = torch.full((table.num_embeddings,), -1)  # -1: looking up a token that is not there fails loudly
        places[tokens] = torch.arange(len(tokens))
        self.register_buffer("places", places, persistent=False)
        self.whole_padding_idx = table.padding_idx
        self.padding_idx = None if table.padding_idx is None else int(places[table.padding_idx])

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of token ids, (..., width)."""
        places: Tensor = self.places  # type: ignore[assignment]
        return functional.embedding(places[ids], self.weight, padding_idx=self.padding_idx)


def compact_embeddings(network: Any, tokens: NDArray[np.int64]) -> None:
    """Keep only the rows of these token ids, and of the padding; where that saves nothing, leave the table alone."""
    table = network.get_input_embeddings()
    padding = [index for index in (table.padding_idx, network.config.pad_token_id) if index is not None]
    kept = np.union1d(tokens, padding).astype(np.int64)
    if type(table) is nn.Embedding and len(kept) < _WORTHWHILE * table.num_embeddings:
        network.set_input_embeddings(CompactEmbedding(table, torch.from_numpy(kept)))


def make_whole(network: Any, weights: Mapping[str, Tensor], *, decay: float) -> None:
    """Give a trained network its whole embedding table back.

    `weights` are the checkpoint's; the rows that were cut off are theirs, multiplied by `decay`, which is what weight
    decay alone would have made of them.
    """
    compact = network.get_input_embeddings()
    if not isinstance(compact, CompactEmbedding):
        return
    name = next(name for name, module in network.named_modules() if module is compact)
    whole = weights[f"{name}.weight"].to(compact.weight) * decay
    whole[compact.tokens] = compact.weight.detach()
    rows, width = whole.shape
    network.set_input_embeddings(nn.Embedding(rows, width, padding_idx=compact.whole_padding_idx, _weight=whole))
