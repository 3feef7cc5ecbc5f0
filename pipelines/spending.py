"""How much evidence a further look at the same test rows takes."""

import math


def alpha_of(k: int, alpha: float = 0.05) -> float:
    """The level of the k-th test (from 1) on the same frozen rows: `alpha * 6 / (pi^2 k^2)`.

    The levels of all looks, however many there will be, add up to `alpha`. So, along the path on which nobody who is no
    better was promoted yet, the chance that one ever is stays below `alpha`, however the tests depend on each other:
    Bonferroni's inequality over an endless series (Foster & Stine 2008 call it alpha-spending). A challenger may depend
    on earlier verdicts, since on that path they are one known series of answers (as in Blum & Hardt 2015); it may not
    depend on the test rows by any other way. A true promotion costs a look like any other.

    Fresh test rows begin at 1 again. Raises `ValueError` for k < 1.
    """
    if k < 1:
        raise ValueError(f"looks are counted from 1, not {k}")
    return alpha * 6 / (math.pi * k) ** 2
