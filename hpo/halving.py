"""Successive halving over resumable trials, asynchronous and without barriers.

At each rung, so many training examples, the best 1/`factor` of the trials that have come there go on; the others rest
and may be promoted later, when worse ones have arrived. The rule is that of ASHA (Li et al., 2020, "A System for
Massively Parallel Hyperparameter Tuning", algorithm 2), with two differences: a promoted trial is resumed from its
checkpoint, not trained anew, and a trial ends as soon as arithmetic shows that it can never be promoted.

Brackets are those of Hyperband (Li et al., 2018): a trial of bracket b skips the first b rungs, so that slow starters
have their chance.
"""

from collections.abc import Sequence

from hpo.schedule import Decision, Stage, Standing, Standings, stages_at
from pipelines.config import RunConfig


class Halving:
    """Decides by ranks at rungs. `rungs` are training examples, rising; the end of a trial is no rung."""

    def __init__(self, rungs: Sequence[int], *, factor: int, brackets: int = 1) -> None:
        self._rungs, self._factor = list(rungs), factor
        self._brackets = Brackets(max(1, min(brackets, len(rungs))), factor=factor)

    def stages(self, config: RunConfig, *, number: int, rows: int) -> list[Stage]:
        """One segment to each rung of the trial's bracket that lies below its end, and one to its end."""
        return stages_at(self._rungs[self._brackets.of(number) :], config, rows=rows)

    def decide(self, number: int, standings: Standings, *, planned: int) -> Decision:
        """Go on when among the best, end when nothing can bring it there, else rest."""
        if number in self.promotable(standings, planned=planned):
            return Decision.CONTINUE
        if number in self.hopeless(standings, planned=planned):
            return Decision.STOP
        return Decision.PAUSE

    def promotable(self, standings: Standings, *, planned: int) -> list[int]:
        """Resting trials among the best of their rung, the highest rung first.

        A trial that rests where no rung is has nothing to wait for: a crash left it there at its end.
        """
        found = [
            (-one.examples, one.number) for one in standings.values() if one.rests and one.examples not in self._rungs
        ]
        for rung in self._all_rungs(standings, planned):
            found += [(-rung.examples, one.number) for one in rung.ranked[: rung.quota] if _rests_at(one, rung)]
        return [number for _, number in sorted(found)]

    def hopeless(self, standings: Standings, *, planned: int) -> list[int]:
        """Resting trials with so many better ones at their rung that the largest quota there can ever be is used up."""
        found: list[int] = []
        for rung in self._all_rungs(standings, planned):
            found += [one.number for one in rung.ranked[rung.largest_quota :] if _rests_at(one, rung)]
        return sorted(found)

    def _all_rungs(self, standings: Standings, planned: int) -> list["_Rung"]:
        rungs: list[_Rung] = []
        following = max(standings, default=-1) + 1
        to_begin = [self._brackets.of(following + later) for later in range(planned - len(standings))]
        for bracket in range(len(self._brackets)):
            mine = [one for number, one in standings.items() if self._brackets.of(number) == bracket]
            to_come = to_begin.count(bracket)
            for examples in self._rungs[bracket:]:
                rungs.append(_Rung(examples, mine, to_come=to_come, factor=self._factor))
                to_come = rungs[-1].to_be_promoted
        return rungs


class _Rung:
    """The trials at one rung of one bracket, and those that may still come to it."""

    def __init__(self, examples: int, trials: Sequence[Standing], *, to_come: int, factor: int) -> None:
        self.examples = examples
        here = [one for one in trials if examples in one.reports and not (one.withdrawn and one.examples == examples)]
        self.ranked = sorted(here, key=lambda one: (-one.reports[examples], one.number))
        on_the_way = sum(not one.over and one.goal == examples > one.examples for one in trials)
        arriving = to_come + on_the_way
        self.largest_quota = max(1, (len(here) + arriving) // factor)
        self.quota = self.largest_quota if arriving == 0 else len(here) // factor
        if arriving == 0:
            self.to_be_promoted = sum(_rests_at(one, self) for one in self.ranked[: self.quota])
        else:
            self.to_be_promoted = max(0, self.largest_quota - sum(one.goal > examples for one in here))


def _rests_at(one: Standing, rung: _Rung) -> bool:
    return one.rests and one.examples == rung.examples


class Brackets:
    """Which bracket a trial belongs to: a function of its number alone, so that a restart changes nothing.

    Bracket b of B gets a share proportional to factor^-b / (B - b), as in Hyperband; each trial goes to the bracket
    that is farthest behind its share.
    """

    def __init__(self, count: int, *, factor: int) -> None:
        weights = [factor**-b / (count - b) for b in range(count)]
        self._shares = [weight / sum(weights) for weight in weights]
        self._counts, self._assigned = [0] * count, list[int]()

    def __len__(self) -> int:
        return len(self._shares)

    def of(self, number: int) -> int:
        """The bracket of trial `number`."""
        while len(self._assigned) <= number:
            wanted = len(self._assigned) + 1
            chosen = max(range(len(self)), key=lambda b: (self._shares[b] * wanted - self._counts[b], -b))
            self._counts[chosen] += 1
            self._assigned.append(chosen)
        return self._assigned[number]
