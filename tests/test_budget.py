import pytest
from pydantic import ValidationError

from hpo.budget import Progress, in_words, settled, spent
from hpo.spec import Budget


@pytest.mark.parametrize(
    ("budget", "progress", "reason"),
    [
        (Budget(trials=3), Progress(finished=2, minutes=1e9), None),
        (Budget(trials=3), Progress(finished=3, minutes=0), "all 3 trials are finished"),
        (Budget(trials=3), Progress(finished=4, minutes=0), "all 3 trials are finished"),
        (Budget(trials=3, minutes=5), Progress(finished=2, minutes=4.99), None),
        (Budget(trials=3, minutes=5), Progress(finished=0, minutes=5), "the 5 minutes are used up"),
        (Budget(trials=3, minutes=0.5), Progress(finished=2, minutes=0.6), "the 0.5 minutes are used up"),
        (Budget(trials=3, minutes=5), Progress(finished=3, minutes=6), "all 3 trials are finished"),
        (Budget(examples=9_000), Progress(finished=0, minutes=0, examples=8_999), None),
        (
            Budget(examples=9_000),
            Progress(finished=0, minutes=0, examples=9_000),
            "the 9,000 training examples are used up",
        ),
        (Budget(device_hours=2), Progress(finished=0, minutes=0, device_hours=1.9), None),
        (Budget(device_hours=2), Progress(finished=0, minutes=0, device_hours=2), "the 2 device hours are used up"),
        (Budget(money=10, price=2.5), Progress(finished=0, minutes=0, device_hours=3.9), None),
        (
            Budget(money=10, price=2.5),
            Progress(finished=0, minutes=0, device_hours=4),
            "10 is spent, at 2.5 a device hour",
        ),
    ],
)
def test_a_budget_is_spent_for_a_reason(budget: Budget, progress: Progress, reason: str | None) -> None:
    assert spent(budget, progress) == reason


def test_more_trials_are_counted_from_what_the_study_has_and_the_same_request_goes_on_after_a_crash() -> None:
    asked = Budget(more=4)
    first = settled(asked, before=Budget(trials=8), finished=6)
    assert first.trials == 10, "it ended with 6 of its 8"
    assert settled(asked, before=first, finished=7).trials == 10, "a crash after one of the four"
    assert settled(asked, before=first, finished=10).trials == 14, "asked once more"
    assert settled(Budget(more=2), before=first, finished=7).trials == 9, "asked for something else"
    assert settled(asked, before=None, finished=0).trials == 4, "a new study"
    assert settled(Budget(trials=5), before=first, finished=7).trials == 5


def test_limits_in_words() -> None:
    assert in_words(Budget(trials=8)) == "8 trials"
    everything = Budget(
        more=3, minutes=5, examples=1000, device_hours=1.5, money=2, price=0.5, converged={"name": "emmr"}
    )
    assert in_words(everything) == (
        "3 more trials, at most 5 minutes, 1,000 training examples, 1.5 device hours, 2 at 0.5 a device hour, "
        "until converged (emmr)"
    )


@pytest.mark.parametrize("half", [{"money": 1.0}, {"price": 1.0}])
def test_money_needs_a_price(half: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="money and price need each other"):
        Budget.model_validate(half)
