"""The card's section on other texts: replaced as a whole, shown as text, and kept where a description must be short."""

from types import SimpleNamespace
from typing import Any

from pipelines.generalize.section import with_section
from pipelines.registry import as_description

CARD = (
    "# sentiment\n\nA classifier.\n\n## Limits\n\n- texts like these\n\n## Training\n\n" + "| setting | value |\n" * 300
)


def report(name: str = "amazon") -> dict[str, Any]:
    there, home, worse = ({"value": value, "low": value - 0.1, "high": value + 0.1} for value in (0.7, 0.8, 0.1))
    accuracy = {"measure": "accuracy", "there": there, "home": home, "worse": worse}
    return {"name": name, "rows": 1234, "seen": {"exact": 2, "near": 1}, "measures": [accuracy]}


def test_the_section_stands_before_the_limits_and_is_replaced_as_a_whole() -> None:
    once = with_section(CARD, [report()], [])
    row = "| amazon | 1,234 | 3 | 0.700 (0.600 to 0.800) | 0.800 | 0.100 (0.000 to 0.200) | – |"
    assert row in once
    assert once.index(row) < once.index("## Limits")
    assert with_section(once, [report()], []) == once
    other = with_section(once, [report("tweets")], [])
    assert "amazon" not in other
    assert with_section(other, [], []) == CARD.rstrip()


def test_names_are_shown_as_text_and_a_card_without_limits_has_the_section_at_its_end() -> None:
    found = with_section("# x", [report("a|b<script>")], [])
    assert "a\\|b&lt;script&gt;" in found
    assert found.startswith("# x\n\n## On other texts\n\n")


def test_what_a_database_would_refuse_loses_its_end_and_stays_the_same_when_written_again() -> None:
    client: Any = SimpleNamespace(tracking_uri="postgresql://host/mlflow")
    told = as_description(with_section(CARD, [report()], []), client=client)
    assert len(told) <= 5000
    assert told.endswith("| setting | value |\n\nThe whole card is README.md of the model.")
    assert "| amazon | 1,234 |" in told
    assert as_description(with_section(told, [report()], []), client=client) == told
    client.tracking_uri = "sqlite:///mlflow.db"
    assert as_description(CARD, client=client) == CARD
