"""The faults that a study must survive, by the phase in which they strike, and which tests show that it does.

A test names its cells with `shows`; at the end of a run the table says which cells were shown (`tests/conftest.py`).
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PHASES = {
    "A": "storage init",
    "B": "ask",
    "C": "run create",
    "D": "data and cache",
    "E": "training step",
    "F": "checkpoint",
    "G": "metric mirror",
    "H": "tell",
    "I": "upload",
    "J": "promote",
    "K": "serve",
}
MATRIX = {  # P: in every run, with a stub trainer; N: in the long run; -: cannot happen
    "SIGKILL worker": "-PPPPPPPPP-",
    "SIGKILL controller": "PPPNPNPPPPP",
    "SIGTERM, SIGINT": "NPNPPPNPPNN",
    "SIGSTOP past the lease": "-PNNPPPPPPN",
    "memory limit": "---NPN-PNNP",
    "database away": "PPP-P--P-P-",
    "tracker away": "P-P-P-PPPPP",
    "disk full": "N--P-PP-PNN",
    "damaged file": "---P-P--PPP",
    "clock": "-P--P--N-P-",
    "hang": "-N-PPN-PNNP",
    "not finite": "----P-PP-PP",
    "exception, exit": "---PPNNPNN-",
    "two controllers": "PPPP-----PP",
    "changed spec or data": "P--P-P---PP",
}
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Cells that ought to be shown in every run and are not, with the reason."""

_SIGNS = {"passed": "+", "failed": "!", "skipped": "~", "not run": ".", "no test": "?"}
_LEGEND = "+ passed   ! failed   ~ skipped   . not in this selection   ? no test   P in every run   N in the long run"

Cell = tuple[str, str]


def shows(fault: str, phases: str) -> pytest.MarkDecorator:
    """Mark a test that shows what this fault does in each of these phases. Raises `KeyError` for an unknown one."""
    MATRIX[fault], [PHASES[phase] for phase in phases]
    return pytest.mark.fault(fault, phases)


def moments(fault: str, phases: str) -> list[Any]:
    """Parameters of a test that is run once for each of these phases, whose letter it gets."""
    return [pytest.param(phase, marks=shows(fault, phase)) for phase in phases]


@cache
def shown_cells(*, short: bool = False) -> frozenset[Cell]:
    """The cells that tests show, whatever is selected; those of the short run alone. Read from the tests' text."""
    files = Path(__file__).parent.rglob("test_*.py")
    return frozenset(cell for file in files for cell in _named_in(file, short=short))


def _named_in(file: Path, *, short: bool) -> Iterator[Cell]:
    tests = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    for decorators in (test.decorator_list for test in tests):
        if short and any(ast.unparse(one) == "pytest.mark.long" for one in decorators):
            continue
        for node in (part for one in decorators for part in ast.walk(one)):
            match node:
                case ast.Call(ast.Name("shows" | "moments"), [ast.Constant(fault), ast.Constant(phases)]):
                    yield from ((fault, phase) for phase in phases)


def cells(kind: str) -> set[Cell]:
    """All cells of one kind, P or N."""
    return {
        (fault, phase) for fault, row in MATRIX.items() for phase, one in zip(PHASES, row, strict=True) if one == kind
    }


def table(outcomes: Mapping[Cell, set[str]]) -> Iterable[str]:
    """The matrix with what became of each cell in this run, as lines."""
    yield f"{'':24}" + " ".join(f"{phase:3}" for phase in PHASES)
    for fault, row in MATRIX.items():
        shown = (_cell(kind, outcomes, (fault, phase)) for phase, kind in zip(PHASES, row, strict=True))
        yield f"{fault:24}" + " ".join(f"{text:3}" for text in shown)
    yield _LEGEND
    yield ", ".join(f"{phase} {words}" for phase, words in PHASES.items())
    yield from (f"not shown: {fault} in {phase}: {reason}" for (fault, phase), reason in EXCEPTIONS.items())


def _cell(kind: str, outcomes: Mapping[Cell, set[str]], cell: Cell) -> str:
    found = outcomes.get(cell, set())
    known = "not run" if cell in shown_cells() else "no test"
    outcome = next((one for one in ("failed", "passed", "skipped") if one in found), known)
    return " -" if kind == "-" and outcome == "no test" else f"{kind.replace('-', ' ')}{_SIGNS[outcome]}"
