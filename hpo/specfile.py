"""From a YAML file and `path=value` overrides to a checked StudySpec; every fault is reported at once."""

import copy
import math
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import optuna
from pydantic import ValidationError

from hpo.components import canonical, new_pruner, new_sampler
from hpo.convergence import new_terminator
from hpo.gate import elsewhere_problems, floor_problems
from hpo.objectives import names
from hpo.scheduling import pruner_of, schedule_problems
from hpo.space import MODEL, SETTINGS, default_trials, grid_of, space_problems, suggest
from hpo.spec import StudySpec
from hpo.suggest import did_you_mean
from hpo.yamlfile import load_yaml, parse_yaml
from pipelines.config import flatten
from pipelines.errors import ConfigError, UserError

Loc = tuple[str | int, ...]
"""Where pydantic found something: the keys on the way to it."""
Problem = tuple[str, str]
"""The address of a faulty key, and what is wrong with it."""

SCREEN = "model.screen"
RUN_SECTIONS = ("data", "tokens", "model", "train", "lora", "scratch")


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the installation, by name."""
    folder = Path(str(resources.files("hpo.studies")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_spec(source: str, overrides: Sequence[str] = ()) -> StudySpec:
    """The study called `source` (a shipped name or a YAML path) with overrides applied.

    Raises one `ConfigError` that lists every fault with its address.
    """
    path = find_spec(source)
    tree: dict[str, Any] = {"name": path.stem} | load_yaml(path)
    problems: list[Problem] = []
    for override in overrides:
        problems += _apply(tree, override)
    spec = _checked(tree, problems)
    if problems or spec is None:
        lines = "\n".join(f"  {address}: {message}" for address, message in problems)
        count = "one fault" if len(problems) == 1 else f"{len(problems)} faults"
        raise ConfigError(f"{path}: {count}\n{lines}")
    return _no_longer_than_its_grid(spec)


def _no_longer_than_its_grid(spec: StudySpec) -> StudySpec:
    """A grid is over when each of its points was tried; further trials would repeat them."""
    if canonical(spec.sampler.name) != "grid":
        return spec
    points = math.prod(len(values) for values in grid_of(spec).values())
    budget = spec.budget.model_copy(update={"trials": min(points, spec.budget.trials)})
    return spec.model_copy(update={"budget": budget})


def find_spec(source: str) -> Path:
    """The file of a shipped study or of the given path. Raises `ConfigError` when there is neither."""
    shipped = shipped_studies()
    if source in shipped and not Path(source).is_file():
        return shipped[source]
    if Path(source).is_file():
        return Path(source)
    hint = did_you_mean(source, shipped) or f"; shipped studies: {', '.join(shipped)}"
    raise ConfigError(f"{source}: no such file, and no shipped study of that name{hint}")


def _apply(tree: dict[str, Any], override: str) -> list[Problem]:
    """Set one `path=value` in the tree; returns what is wrong with it."""
    address, equals, text = override.partition("=")
    if not equals or not address:
        return [(override, "an override has the form path=value, for instance train.epochs=2")]
    try:
        value = parse_yaml(text, where=override) if text.strip() else None
    except ConfigError as error:
        return [(address, str(error))]
    if address.removeprefix("run.") in SETTINGS and isinstance(tree.get("space"), dict):
        tree["space"].pop(address.removeprefix("run."), None)  # a fixed value is no longer searched
    if address.removeprefix("run.") == MODEL:
        tree.pop(SCREEN, None)  # nor is a single model screened
    if address == "budget.trials" and text.strip().startswith("+"):
        address = "budget.more"
    node: Any = tree
    *sections, leaf = _keys(address)
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            return [(address, f"{section} holds a value, not further keys")]
    node[leaf] = value
    return []


def _keys(address: str) -> list[str]:
    """The keys on the way to an address. Run sections need no `run.` before them; names in `space` contain a dot."""
    keys = address.split(".")
    if address == SCREEN or address.startswith(f"{SCREEN}."):
        return [SCREEN, *keys[2:]]
    if keys[0] in RUN_SECTIONS:
        return ["run", *keys]
    if keys[0] == "space" and len(keys) > 2:
        return ["space", ".".join(keys[1:3]), *keys[3:]]
    return keys


def _checked(tree: dict[str, Any], problems: list[Problem]) -> StudySpec | None:
    """Validate shape and meaning. A faulty key is noted and left out, so that the rest can be checked as well."""
    remaining, left_out = copy.deepcopy(tree), set[Loc]()
    for _ in range(20):  # each round leaves out at least one key
        try:
            spec = StudySpec.model_validate({"name": "unnamed"} | remaining)
        except ValidationError as error:
            found = {_without_branch(entry): entry for entry in error.errors()}
            problems += [
                (_address(loc), _in_words(entry)) for loc, entry in found.items() if not _follows(loc, left_out)
            ]
            for loc in found:
                _leave_out(remaining, loc)
            left_out |= set(found)
        else:
            problems += _meaning(spec)
            return spec
    return None


def _meaning(spec: StudySpec) -> list[Problem]:
    """Faults that a single field cannot see."""
    problems = space_problems(spec) + schedule_problems(spec)
    known = names()
    for index, objective in enumerate(spec.objective):
        if objective.metric not in known:
            hint = did_you_mean(objective.metric, known)
            problems.append((f"objective[{index}].metric", f"{objective.metric!r} is never measured{hint}"))
    for make in (lambda: new_sampler(spec, trial=0), lambda: new_pruner(pruner_of(spec)), lambda: _terminator(spec)):
        try:
            make()
        except UserError as error:
            address, _, message = str(error).partition(": ")
            problems.append((address, message))
    if spec.confirm.folds > 1 and spec.confirm.average:
        problems.append(("confirm.average", "trainings of different folds have seen each other's rows; use folds: 1"))
    if spec.confirm.folds > 1 and spec.run.data.select:
        problems.append(("confirm.folds", "run.data.select is a file of its own; folds are dealt from one file's rows"))
    problems += [(f"promotion.floors.{name}", fault) for name, fault in floor_problems(spec.promotion).items()]
    problems += [(f"promotion.elsewhere.{name}", fault) for name, fault in elsewhere_problems(spec.promotion).items()]
    if not problems:
        problems += _defaults_fit(spec) or _rehearsed(spec)
    return problems + _missing_files(spec)


def _terminator(spec: StudySpec) -> None:
    """Make the study's terminator, if it has one, for its faults."""
    if spec.budget.converged is not None:
        new_terminator(spec.budget.converged)
        if len(spec.objective) > 1:
            raise ConfigError("budget.converged: several objectives have no best value to converge")


def _defaults_fit(spec: StudySpec) -> list[Problem]:
    try:
        default_trials(spec)
    except ValidationError as error:
        return [("run", f"{entry['msg']}") for entry in error.errors()]
    return []


def _rehearsed(spec: StudySpec) -> list[Problem]:
    """Optuna looks at some options only when it uses them: let it propose, report and prune in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(
                directions=["maximize"] * len(spec.objective),
                sampler=new_sampler(spec, trial=0),
                pruner=new_pruner(pruner_of(spec)),
            )
            for _ in range(3):
                trial = study.ask()
                suggest(trial, spec)
                if len(spec.objective) == 1:
                    trial.report(0.5, 1)
                    trial.should_prune()
                study.tell(trial, [0.5] * len(spec.objective))
    except (TypeError, ValueError, NotImplementedError) as error:
        return [("sampler, pruner", f"Optuna refuses their options: {error}")]
    return []


def _missing_files(spec: StudySpec) -> list[Problem]:
    """Data and model paths that look like files and are not there."""
    data = spec.run.data
    named = {f"run.data.{key}": getattr(data, key) for key in ("source", "select", "calibrate", "test")}
    problems = []
    for address, value in named.items():
        if value and _looks_like_path(value) and not Path(value).expanduser().exists():
            problems.append((address, f"{value}: there is no such file"))
    for model in spec.models:
        if model.startswith((".", "/", "~")) and not Path(model).expanduser().is_dir():
            problems.append(("model.name", f"{model}: there is no such directory"))
    return problems


def _looks_like_path(value: str) -> bool:
    return value.startswith((".", "/", "~")) or Path(value).suffix in {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"}


def _without_branch(entry: Any) -> Loc:
    """Where a fault is, without the branch of a union that pydantic tried: `choices[0]`, not `choices[0].str`."""
    loc: Loc = entry["loc"]
    return loc[:-1] if loc[-1] in {"str", "int", "float", "bool"} and isinstance(loc[-2], int) else loc


def _follows(loc: Loc, left_out: set[Loc]) -> bool:
    """Whether a fault is there only because a faulty key was left out: the key is missing, or its section is torn."""
    return any(loc in {other, other[:-1]} for other in left_out)


def _address(loc: Loc) -> str:
    """A pydantic location in our words: `objective[0].metric`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "study"


def _in_words(entry: Any) -> str:
    """A pydantic error as one clear phrase, with a suggestion for an unknown key."""
    given = entry["input"]
    if entry["type"] == "extra_forbidden":
        return f"no such key{_near_key(entry['loc'])}"
    if entry["type"] == "string_pattern_mismatch":
        return f"{given!r}: a name has letters, digits, '.', '_' and '-', 80 at most, the first a letter or digit"
    if entry["type"] in {"model_type", "dict_type"}:
        return f"should hold keys and values, not {_shown(given)}"
    if _without_branch(entry) != entry["loc"]:
        return f"should be a word, a number, true, false or null, not {_shown(given)}"
    message = entry["msg"].removeprefix("Value error, ").removeprefix("Input ")
    plain = isinstance(given, dict) or entry["type"] in {"value_error", "too_short", "too_long"}
    shown = "" if plain else f", not {_shown(given)}"
    return f"{message}{shown}"


def _shown(value: Any) -> str:
    kind = "text " if isinstance(value, str) else ""
    return f"{kind}{value!r}"[:80]


def _near_key(loc: Loc) -> str:
    """A key that is called so elsewhere, by its whole address; else one that is spelt nearly so, here or elsewhere."""
    anywhere = {address.rpartition(".")[2]: address for address in _addresses()}
    if loc[-1] in anywhere:
        return f"; did you mean {anywhere[str(loc[-1])]}?"
    here = did_you_mean(str(loc[-1]), _known_keys(loc[:-1]))
    hint = did_you_mean(str(loc[-1]), anywhere)
    leaf = hint.removeprefix("; did you mean ").removesuffix("?")
    return here or (f"; did you mean {anywhere[leaf]}?" if hint else "")


def _known_keys(loc: Loc) -> list[str]:
    """The keys that exist at a place in the tree."""
    known = _addresses()
    prefix = "".join(f"{part}." for part in loc if isinstance(part, str))
    if prefix.startswith("space."):
        return ["choices", "low", "high", "log", "step", "per_model"]
    return sorted({address.removeprefix(prefix).partition(".")[0] for address in known if address.startswith(prefix)})


def _addresses() -> list[str]:
    """Every address of a study, with those of the section that is left out as a rule."""
    trees = [StudySpec.model_validate(tree) for tree in ({"name": "x", SCREEN: {}}, {"name": "x"})]
    return [address for tree in trees for address in flatten(tree.model_dump(by_alias=True))]


def _leave_out(tree: dict[str, Any], loc: Loc) -> None:
    """Remove the faulty key, or the deepest thing around it that exists."""
    node: Any = tree
    path: list[tuple[Any, str | int]] = []
    for part in loc:
        try:
            inner = node[part]
        except (TypeError, KeyError, IndexError):
            break  # pydantic's locations also name branches of unions, which are no keys
        path.append((node, part))
        node = inner
    if path:
        owner, key = path[-1]
        del owner[key]
