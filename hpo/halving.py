"""Successive halving over resumable trials, asynchronous and without barriers.

At each rung, so many training examples, the best 1/`factor` of the trials that have come there go on; the others rest
and may be promoted later, when worse ones have arrived. The rule is that of ASHA (Li et al., 2020, "A System for
Massively Parallel Hyperparameter Tuning", algorithm 2), with two differences: a promoted trial is resumed from its
checkpoint, not trained anew, and a trial ends as soon as arithmetic shows that it can never be promoted.

Trials may be exempt from the race: they train to their end whatever they score. The known-good default is, since a
search must beat it, and a study that is cut short then has a model to deliver.

Brackets are those of Hyperband (Li et al., 2018): a trial of bracket b skips the first b rungs, so that slow starters
have their chance.
"""

from collections.abc import Collection, Mapping, Sequence

from hpo.schedule import Decision, Stage, Standing, Standings, stages_at
from pipelines.config import RunConfig


class Halving:
    """Decides by ranks at rungs. `rungs` are training examples, rising; the end of a trial is no rung.

    `exempt` are numbers of trials that always go on; the others are ranked without them.
    """

    def __init__(self, rungs: Sequence[int], *, factor: int, brackets: int = 1, exempt: Collection[int] = ()) -> None:
        self._rungs, self._factor, self._exempt = list(rungs), factor, frozenset(exempt)
        self._brackets = Brackets(max(1, min(brackets, len(rungs))), factor=factor)

    def stages(self, config: RunConfig, *, number: int, rows: int) -> list[Stage]:
        """One segment to each rung of the trial's bracket that lies below its end, and one to its end."""
        return stages_at(self._rungs[self._brackets.of(number) :], config, rows=rows)

    def decide(self, number: int, standings: Standings, *, planned: int) -> Decision:
        """Go on when among the best, end when nothing can bring it there, else rest."""
        rungs = self._all_rungs(standings, planned)
        if self._waits_for_nobody(standings[number]) or any(number in rung.to_go_on for rung in rungs):
            return Decision.CONTINUE
        return Decision.STOP if any(number in rung.beaten for rung in rungs) else Decision.PAUSE

    def promotable(self, standings: Standings, *, planned: int) -> list[int]:
        """Resting trials among the best of their rung, the highest rung first.

        A trial that rests where no rung is has nothing to wait for: a crash left it there at its end.
        """
        found = [(-one.examples, one.number) for one in standings.values() if self._waits_for_nobody(one)]
        for rung in self._all_rungs(standings, planned):
            found += [(-rung.examples, number) for number in rung.to_go_on]
        return [number for _, number in sorted(found)]

    def hopeless(self, standings: Standings, *, planned: int) -> list[int]:
        """Resting trials with so many better ones at their rung that the largest quota there can ever be is used up."""
        return sorted(number for rung in self._all_rungs(standings, planned) for number in rung.beaten)

    def _waits_for_nobody(self, one: Standing) -> bool:
        return not one.over and one.rests and (one.number in self._exempt or one.examples not in self._rungs)

    def _all_rungs(self, standings: Standings, planned: int) -> list["_Rung"]:
        rungs, ordered = list[_Rung](), sorted(standings.values(), key=lambda one: one.number)
        resting = {one.number: one.examples for one in ordered if not one.over and one.rests}
        following = max(standings, default=-1) + 1
        last = following + max(0, planned - len(standings))
        brackets = self._brackets.first(last)
        for bracket in range(len(self._brackets)):
            mine = [one for one in ordered if brackets[one.number] == bracket and one.number not in self._exempt]
            left_out = sum(following <= new < last and brackets[new] == bracket for new in self._exempt)
            to_come = brackets[following:last].count(bracket) - left_out
            for examples in self._rungs[bracket:]:
                rungs.append(_Rung(examples, mine, resting, to_come=to_come, factor=self._factor))
                to_come = rungs[-1].to_be_promoted
        return rungs


class _Rung:
    """The trials at one rung of one bracket, and those that may still come to it."""

    def __init__(
        self, examples: int, trials: Sequence[Standing], resting: Mapping[int, int], *, to_come: int, factor: int
    ) -> None:
        """`trials` are those of the bracket, by number; `resting` says at how many examples a trial rests."""
        self.examples = examples
        came = [one for one in trials if examples in one.reports]
        here = [one for one in came if not (one.over and one.goal > examples == one.examples)]
        ranked = sorted(here, key=lambda one: -one.reports[examples])  # of equals, the earlier trial stays first
        ranks = [(rank, one.number) for rank, one in enumerate(ranked) if resting.get(one.number) == examples]
        live = [one for one in trials if not one.over]
        arriving = to_come + sum(one.goal == examples and one.number not in resting for one in live)
        largest_quota = max(1, (len(here) + arriving) // factor)
        quota = largest_quota if arriving == 0 else len(here) // factor
        self.to_go_on = [number for rank, number in ranks if rank < quota]
        """Resting trials that should go on now."""
        self.beaten = [number for rank, number in ranks if rank >= largest_quota]
        """Resting trials that cannot be promoted any more."""
        if arriving == 0:
            self.to_be_promoted = len(self.to_go_on)
        else:
            self.to_be_promoted = max(0, largest_quota - sum(one.goal > examples for one in here))


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
        return self.first(number + 1)[number]

    def first(self, count: int) -> list[int]:
        """The brackets of at least the first `count` trials, by number."""
        while len(self._assigned) < count:
            wanted = len(self._assigned) + 1
            chosen = max(range(len(self)), key=lambda b: (self._shares[b] * wanted - self._counts[b], -b))
            self._counts[chosen] += 1
            self._assigned.append(chosen)
        return self._assigned
