"""Dropout on a CPU, at a fifth of the cost: torch draws one random number per element, here one serves four."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

_LEVELS = 2**16  # of a 16-bit random number: a probability is met to within 1/131072
_BITS = {torch.float32: (np.float32, None), torch.bfloat16: (np.int16, torch.bfloat16)}


def keep_mask(shape: Sequence[int], probability: float, *, dtype: torch.dtype) -> Tensor:
    """A dropout mask: 0 with `probability` (0 < p < 1), else the factor that keeps the expectation.

    A function of torch's random state alone, so seeding torch seeds it, and gradient checkpointing, which puts that
    state back, draws the same mask again.
    """
    dropped = min(max(round(probability * _LEVELS), 1), _LEVELS - 1)
    factor = _LEVELS / (_LEVELS - dropped)
    kept = _random_16_bits(math.prod(shape)) >= dropped
    if dtype == torch.bfloat16:  # numpy has no such numbers: multiply the bits of one
        bits = torch.tensor(factor, dtype=dtype).view(torch.int16).item()
        mask = torch.from_numpy(np.multiply(kept, np.int16(bits))).view(dtype)
    else:
        mask = torch.from_numpy(np.multiply(kept, np.float32(factor))).to(dtype)
    return mask.view(*shape)


def _random_16_bits(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    seed = int(torch.randint(2**63 - 1, ()).item())
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        2**64 - 1, size=-(-count // 4), dtype=np.uint64, endpoint=True
    )
    return words.view(np.uint16)[:count]


class Dropout(nn.Module):
    """`nn.Dropout` for the CPU."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Drop while training, and else nothing."""
        if not self.training or self.p == 0:
            return values
        return values * keep_mask(values.shape, self.p, dtype=values.dtype)


def replace_dropout(network: nn.Module) -> None:
    """Put `Dropout` in the place of every `nn.Dropout`."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
