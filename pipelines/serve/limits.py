"""What one request may cost, and who may ask: plain values."""

from dataclasses import dataclass, field
from pathlib import Path

TEXTS = 32
"""Texts in one request, at most."""
CHARACTERS = 10_000
"""Characters of one text, at most."""
WORDS = 200
"""Words of a text whose influence is measured, at most; the rest of the text stays, and is not measured."""


@dataclass(frozen=True)
class Limits:
    """Bounds of what a server takes upon itself."""

    body_bytes: int = 65_536
    seconds: float = 10.0
    """For a request's head, for its body, and for its answer, each."""
    batch: int = 32
    """Texts that the model answers together, at most, unless one request has more."""
    waiting: int = 64
    """Texts that wait for the model, at most; whoever comes then is told to come back."""
    gather: float = 0.002
    """Seconds that a text waits for others to share its batch, at most; none while requests come one at a time."""
    idle: int = 75
    """Seconds that a connection may stay without a request; whoever asks just when it is closed gets no answer."""
    open_requests: int = 512
    """Requests that are read or answered at one time, at most."""


@dataclass(frozen=True)
class Access:
    """Who may ask, and under which name."""

    hosts: frozenset[str]
    """Host names that requests may be addressed to, without a port, in lower case."""
    token: str | None = field(default=None, repr=False)
    """Bearer token that `/v1/` and `/metrics` ask for; None: everybody may."""


@dataclass(frozen=True)
class Settings:
    """All of one server's settings."""

    access: Access
    limits: Limits = Limits()
    reports: Path | None = None
    """JSONL file that takes mistake reports; None: none are taken."""
