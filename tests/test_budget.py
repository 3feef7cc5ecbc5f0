import pytest

from hpo.budget import Progress, spent
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
    ],
)
def test_a_budget_is_spent_for_a_reason(budget: Budget, progress: Progress, reason: str | None) -> None:
    assert spent(budget, progress) == reason
