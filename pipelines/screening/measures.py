"""What was measured of one checkpoint."""

from dataclasses import dataclass

from pipelines.screening.linear import LinearProbe


@dataclass(frozen=True)
class Measures:
    """One checkpoint on a sample of texts, untrained; what it promises, and what it costs."""

    name: str
    """As the user named it: a short name, a hub id or a directory."""
    label: str
    """As tables name it: of a directory its own name, where that is no other's."""
    license: str | None
    """What its card or config.json states."""
    architecture: str
    """`model_type` of its config.json."""
    layers: int | None
    width: int
    """Numbers that a text becomes."""
    parameters: int
    logme: float
    h_score: float
    linear: LinearProbe
    seconds_per_1000: float
    """Seconds to embed 1,000 of these texts, tokenization left out."""
    memory: float
    """Bytes at the peak of it: weights and what a batch needs; of the device's memory on a GPU."""
    seconds: float
    """What it took to find all this out, once the checkpoint was loaded."""
    fine_tuning: float | None
    """Seconds of one full fine-tuning, loading left out, estimated from a few timed steps; None where a step does not
    fit here."""
