"""What cannot be compared does not move the alias."""

import pytest

from tests.court import Court, a_dataset

pytestmark = pytest.mark.usefixtures("quick_sqlite")


def test_a_champion_of_other_classes_keeps_its_place(court: Court) -> None:
    court.asks("one", right=320)
    three = ("bad", "good", "mixed")
    winner = court.winner("two", right=390, labels=three)
    decision = court.promote(winner, dataset=a_dataset("toy3", three))
    assert decision.alias == "challenger"
    assert decision.reason == "the champion knows other classes (they differ in mixed): the two cannot be compared"
    assert (decision.champion, decision.champion_version) == (None, "1")
    forced = court.promote(winner, dataset=a_dataset("toy3", three), force="the new product has three classes")
    assert (forced.alias, court.champion()) == ("champion", "2")


def test_models_of_other_data_are_compared_on_the_candidates_rows_where_the_champion_never_saw_them(
    court: Court,
) -> None:
    court.asks("one", right=320)
    decision = court.asks("two", right=390, dataset=a_dataset("other"))
    assert (decision.alias, decision.champion) == ("champion", 0.8)
    assert decision.verdict is not None
    assert decision.verdict.opening == 1, "fresh rows"


def test_a_champion_that_saw_test_rows_in_training_is_not_compared_on_them(court: Court) -> None:
    court.asks("one", right=320)
    seen = a_dataset().splits
    texts = [
        *list(seen["train"].texts)[:3],
        seen["select"].texts[0].upper(),
        *(f"new {row}" for row in range(60)),
    ]
    decision = court.asks("two", right=64, dataset=a_dataset("other", test=texts))
    assert decision.alias == "challenger"
    assert decision.reason == "the champion's training saw 4 of the 64 test texts: the two cannot be compared"


def test_a_champion_of_other_data_without_a_record_of_its_rows_is_not_compared(court: Court) -> None:
    court.asks("one", right=320)
    for rows in court.home.glob("artifacts/one/*/artifacts/rows.npy"):
        rows.unlink()
    decision = court.asks("two", right=390, dataset=a_dataset("other"))
    assert decision.alias == "challenger"
    assert decision.reason == (
        "the champion was trained on other data, and no record says on which rows: the two cannot be compared"
    )


def test_a_champion_of_an_earlier_version_is_known_by_its_studys_definition(court: Court) -> None:
    court.asks("one", right=320)
    court.client.delete_model_version_tag("sentiment", "1", "hpo.data")
    court.ledger.open_study("one", {"data_digest": a_dataset().digest}, spec="{}")
    assert court.asks("two", right=350).champion == 0.8
