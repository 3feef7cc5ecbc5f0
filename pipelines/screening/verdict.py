"""What a screening says, in plain words."""

from collections.abc import Sequence

from pipelines.screening.measures import Measures


def verdict(measures: Sequence[Measures], shortlist: Sequence[str], *, behind: Sequence[str], majority: float) -> str:
    """Whom to fine-tune and why; `measures` are in order, `behind` names those that are left out in any case."""
    kept = [one for one in measures if one.name in shortlist]
    sentences = [f"Fine-tune {listing([one.label for one in kept])}: {_why(kept, measures)}."]
    if len(kept) > 1:
        sentences.append("Crown none yet: how they embed texts untrained foretells fine-tuning only roughly.")
    left_out = [one.label for one in measures if one.name in behind]
    if left_out:
        probe, gains = ("Its linear probe", "gains") if len(left_out) == 1 else ("Their linear probes", "gain")
        sentences.append(
            f"Leave out {listing(left_out)}. {probe} {gains} less over guessing ({100 * majority:.1f} %) than a third "
            "of what the best one gains, or nothing beyond chance."
        )
    return " ".join(sentences)


def _why(kept: Sequence[Measures], measures: Sequence[Measures]) -> str:
    shown = ", ".join(f"{one.label} {100 * one.linear.accuracy:.1f} %" for one in kept)
    rest = [one for one in measures if one not in kept]
    best = max((one.linear.accuracy for one in rest), default=None)
    behind = "" if best is None else f", the best of the others {100 * best:.1f} %"
    if len(measures) == 1:
        return f"there is no other; a linear probe has {shown} right"
    order = "it is" if len(kept) == 1 else "they are"
    first = "first" if len(kept) < len(measures) else "in this order"
    return f"{order} {first} by LogME, H-score and linear probe together (linear probe: {shown}{behind})"


def cost_in_words(measures: Sequence[Measures]) -> str:
    """What screening took, against one full fine-tuning of each."""
    took = sum(one.seconds for one in measures)
    known = [one for one in measures if one.fine_tuning is not None]
    told = f"Screening took {duration(took)}"
    if not known:
        return f"{told}; what fine-tuning would take could not be measured here."
    full = sum(one.fine_tuning or 0.0 for one in known)
    of = "each" if len(known) == len(measures) else listing([one.label for one in known])
    times = full / sum(one.seconds for one in known)
    return f"{told}; one full fine-tuning of {of} would take about {duration(full)}, {times:.0f} times as long."


def duration(seconds: float) -> str:
    """`12 s`, `3.4 min`, `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
