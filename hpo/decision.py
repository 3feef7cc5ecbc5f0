"""A decision about a registered version, as a value: who became what, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hpo.gate import Verdict


@dataclass(frozen=True)
class Decision:
    """Who became what, and why."""

    model: str
    version: str
    alias: str
    """`champion` or `challenger`."""
    reason: str
    metric: str
    candidate: float | None
    """The metric on the locked test split; None where its rows do not define it."""
    champion: float | None
    """The reigning champion's, on the same rows; None where there was none, or none to compare with."""
    champion_version: str | None
    scores: dict[str, float] = field(default_factory=dict)
    """All of the candidate's scores on the locked test split."""
    rows: str = ""
    """Digest of the test rows."""
    verdict: Verdict | None = None
    """What the gate said; None in decisions of earlier versions."""
    forced: str | None = None
    """Why it became champion whatever the gate said; None where it did not."""

    def in_words(self) -> list[str]:
        """The decision for a person: who became what and why, then the figures."""
        why = self.reason if self.forced is None else f"forced: {self.forced} (the gate: {self.reason})"
        return [f"{self.model} version {self.version} is {self.alias}: {why}", *self._figures()]

    def _figures(self) -> list[str]:
        if self.verdict is not None:
            return self.verdict.in_words()
        versus = f"; champion version {self.champion_version}: {self.champion:.4f}" if self.champion is not None else ""
        return [f"locked test {self.metric} {self.candidate:.4f}{versus}"]

    def as_tags(self) -> dict[str, str]:
        """What the version's page in MLflow shows of it."""
        tags = {"hpo.decision": self.in_words()[0].partition(": ")[2], "hpo.decided": self.alias}
        if self.verdict is not None:
            tags["hpo.figures"] = "; ".join(self._figures())
            tags["hpo.opening"] = str(self.verdict.opening)
        return tags


def read_decision(values: Mapping[str, Any]) -> Decision:
    """The decision that `asdict` made these values of; what an earlier or later version says beyond it is left out."""
    kept = _known(Decision, values)
    if kept.get("verdict"):
        told = _known(Verdict, kept["verdict"])
        kept["verdict"] = Verdict(**told | {"failed": tuple(told.get("failed", ()))})
    return Decision(**kept)


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in values.items() if name in names}
