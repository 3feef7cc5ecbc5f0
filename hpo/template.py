"""The study file that `hpo init-spec` writes: settings that suit a user's own data, each with its reason."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import yaml

from pipelines.data import Dataset
from pipelines.data.wording import counted, limited, shortened
from pipelines.families import Family

LENGTHS = (32, 64, 128, 256)  # longer ones are possible, but on little compute rarely worth their time
SUBSET = 10_000  # training rows that tell good settings from bad ones
_MANY_ROWS = 2 * SUBSET
_FEW_ROWS = 1000
_UNEVEN = 2.0  # the largest class by the smallest, from where on accuracy hides the small ones
_SAMPLE = 20_000  # texts that are measured; a split has no order, so its first rows are a fair sample
_BYTES_PER_TOKEN = 4.0  # of English in a vocabulary of some 30,000 pieces; bytes also count what has no spaces
_SPECIAL_TOKENS = 2
_PLAIN = re.compile(r"[A-Za-z][\w./-]*( [\w./-]+)*", re.ASCII)
_COLUMN = 31  # where the comments start


@dataclass(frozen=True)
class Answers:
    """What the user wants."""

    file: str
    """The study file, as commands name it."""
    name: str
    """Name of the study."""
    source: str
    """`data.source`."""
    models: Mapping[str, Family | None]
    """The checkpoints to choose from, each with its family where that is known."""
    trials: int
    text: str | None = None
    """Column of the texts; None where it is found by its name."""
    label: str | None = None
    """Column of the classes; None where it is found by its name."""
    label_names: Mapping[str, str] = field(default_factory=dict)
    """`data.label_names`."""
    drop_blank: bool = False
    """Leave out rows whose text is blank."""
    register_as: str | None = None


@dataclass(frozen=True)
class Findings:
    """What the data look like."""

    rows: Mapping[str, int]
    """Rows of each split."""
    classes: Mapping[str, int]
    """Rows of each class."""
    words: tuple[int, int, int]
    """Words in a text: half of the texts have at most so many, 95 % at most so many, and the longest."""
    tokens: int
    """Tokens that 95 % of the texts need, estimated."""
    examples: tuple[tuple[str, str], ...] = ()
    """Some texts, each after its class."""
    notes: tuple[str, ...] = ()
    """What a person should know about the rows."""

    @property
    def train_rows(self) -> int:
        """Rows that each trial trains on: all of them, or a subset where they are many."""
        return SUBSET if self.rows["train"] > _MANY_ROWS else self.rows["train"]

    @property
    def imbalance(self) -> float:
        """Rows of the largest class by those of the smallest."""
        return max(self.classes.values()) / min(self.classes.values())


def findings_of(dataset: Dataset) -> Findings:
    """Look at the rows: how many, in which classes, how long."""
    train = dataset.splits["train"]
    texts = list(train.texts[:_SAMPLE])
    words = np.array([len(text.split()) for text in texts])
    sizes = np.array([len(text.encode("utf-8")) for text in texts])
    counts = sum(np.bincount(split.labels, minlength=len(dataset.labels)) for split in dataset.splits.values())
    first = [int(np.argmax(train.labels == code)) for code in range(min(2, len(dataset.labels)))]
    return Findings(
        rows={str(name): len(split) for name, split in dataset.splits.items()},
        classes=dict(zip(dataset.labels, np.asarray(counts).tolist(), strict=True)),
        words=(int(np.median(words)), int(np.percentile(words, 95)), int(words.max())),
        tokens=int(np.percentile(sizes, 95) / _BYTES_PER_TOKEN) + _SPECIAL_TOKENS,
        examples=tuple((dataset.labels[train.labels[row]], train.texts[row]) for row in first),
        notes=dataset.notes,
    )


def describe(findings: Findings) -> list[str]:
    """The findings in lines for a person."""
    middle, most, longest = findings.words
    total = sum(findings.classes.values())
    shares = [f"{name} {count:,} ({count / total:.0%})" for name, count in findings.classes.items()]
    return [
        f"{counted(sum(findings.rows.values()), 'row')}: {_by_name(findings.rows)}",
        f"{len(findings.classes)} classes: {limited(shares)}",
        f"words in a text: half have at most {middle:,}, 95 % at most {most:,}, the longest has {longest:,}",
        *(one_line(f"  {label}: {shortened(text, 90)}") for label, text in findings.examples),
        *(f"note: {note}" for note in findings.notes),
    ]


def render_spec(answers: Answers, findings: Findings) -> str:
    """The text of the study file; a pure function of its arguments."""
    sections = (_purpose, _search, _run, _space, _end)
    return "\n\n".join("\n".join(section(answers, findings)) for section in sections) + "\n"


def scalar(text: str) -> str:
    """A text as a YAML scalar on one line: bare where every YAML reader takes it for the same text, else quoted."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return '"' + one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def one_line(text: str) -> str:
    """A text whose line ends and other invisible characters are written as escapes."""
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _purpose(answers: Answers, findings: Findings) -> Iterator[str]:
    file, name = one_line(answers.file), one_line(answers.name)
    rows = counted(sum(findings.rows.values()), "row")
    yield f"# {one_line(answers.source)}: {rows}, {len(findings.classes)} classes."
    yield "#"
    yield f"#   check       hpo check {file}"
    yield f"#   launch      hpo run {file}"
    yield f"#   change      hpo run {file} train.epochs=4 budget.trials=40 name=longer"
    yield f"#   look        hpo show {name}     hpo ui"
    yield "#"
    yield "# Written by `hpo init-spec`, to be edited. All keys and their meaning: `hpo check --json-schema`."
    yield ""
    yield f"name: {scalar(answers.name)}"


def _search(answers: Answers, findings: Findings) -> Iterator[str]:
    times = f"{findings.imbalance:.1f} times"
    if findings.imbalance >= _UNEVEN:
        yield _line("objective: macro_f1", f"all classes count alike; the largest has {times} the rows of the smallest")
    else:
        yield _line("objective: accuracy", f"fair here: the largest class has {times} the rows of the smallest")
    yield "budget:"
    yield _line(f"  trials: {answers.trials}", "finished trials in total, however often the study is interrupted")
    yield _line("  # minutes: 120", "whichever limit is reached first")
    yield "sampler:"
    yield _line("  name: tpe", "any of Optuna's: tpe, gp, cmaes, random, grid, qmc, nsgaii ...")
    startup = min(10, max(3, answers.trials // 3))
    yield _line(f"  options: {{n_startup_trials: {startup}}}", "random trials before it learns from the others")
    yield _line("schedule: halving", "the best half goes on at each rung; `full` trains every trial to its end")


def _run(answers: Answers, findings: Findings) -> Iterator[str]:
    yield _line("run:", "what all trials share")
    yield from _data(answers, findings)
    if len(answers.models) == 1:
        (model,) = answers.models
        yield "  model:"
        yield _line(f"    name: {scalar(model)}", "a short name, a hub id, or a local directory")
    yield "  tokens:"
    length = next((length for length in LENGTHS if findings.tokens <= length), LENGTHS[-1])
    yield _line(f"    max_length: {length}", f"95 % of the texts have up to {_length(findings)}")
    if findings.tokens > length:
        yield _line(
            "    truncation: head",
            "what is longer is cut; `tail` keeps the end, `head_tail` both; 512 takes longer",
        )
    yield "  train:"
    few = findings.train_rows < _FEW_ROWS
    yield _line(f"    epochs: {5 if few else 3}", "few rows need more passes" if few else "enough for most fine-tuning")
    yield _line("    evaluations: 4", "how often each trial is scored, and may be pruned")


def _data(answers: Answers, findings: Findings) -> Iterator[str]:
    yield "  data:"
    yield _line(f"    source: {scalar(answers.source)}", _by_name(findings.rows))
    yield from _column("text", answers.text, "the texts")
    classes = limited([f"{scalar(shortened(name))} {count:,}" for name, count in findings.classes.items()])
    yield from _column("label", answers.label, f"the classes: {classes}")
    if answers.label_names:
        names = ", ".join(f"{scalar(raw)}: {scalar(name)}" for raw, name in answers.label_names.items())
        yield _line(f"    label_names: {{{names}}}", "readable names by label")
    elif all(name.isdecimal() for name in findings.classes):
        names = ", ".join(f"{scalar(name)}: NAME" for name in list(findings.classes)[:2])
        yield _line(f"    # label_names: {{{names}}}", "readable names of all labels")
    if answers.drop_blank:
        yield _line("    blank: drop", "rows whose text is blank are left out")
    if findings.rows["train"] > _MANY_ROWS:
        of = f"of {findings.rows['train']:,}"
        yield _line(f"    train_rows: {SUBSET}", f"{of}: a subset finds good settings sooner; take this out for all")
    yield _line("    # group: COLUMN", "rows of the same author or product stay in one split")
    yield _line("    # test: FILE", "a test file of your own, instead of a part of the rows")


def _column(role: str, column: str | None, holds: str) -> Iterator[str]:
    if column is None:
        yield _line(f"    # {role}: COLUMN", f"found by itself: {holds}")
    else:
        yield _line(f"    {role}: {scalar(column)}", f"column of {holds}")


def _space(answers: Answers, findings: Findings) -> Iterator[str]:
    yield _line("space:", "what is searched, by the same addresses as above")
    if len(answers.models) > 1:
        yield _line(f"  model.name: [{', '.join(map(scalar, answers.models))}]", "trained and compared side by side")
    yield from _learning_rates(answers.models)
    sizes = "[8, 16, 32]" if findings.train_rows < _FEW_ROWS else "[16, 32]"
    yield _line(f"  train.batch_size: {sizes}", "examples per step")
    yield "  train.warmup_ratio: {low: 0.0, high: 0.3}"
    yield "  train.weight_decay: {low: 0.0, high: 0.1}"
    if findings.imbalance >= _UNEVEN:
        yield _line("  train.class_weights: [none, balanced]", "`balanced` makes rare classes weigh more")


def _learning_rates(models: Mapping[str, Family | None]) -> Iterator[str]:
    """The range of the first model, and that of each other model whose range is another one."""
    (first, family), *others = models.items()
    yield f"  train.learning_rate:{' ' * (_COLUMN - 22)}# {_reason(first, family)}"
    low, high = _range(family)
    yield from (f"    low: {low}", f"    high: {high}", "    log: true")
    own = [(model, other) for model, other in others if _range(other) != (low, high)]
    if own:
        yield "    per_model:"
    for model, other in own:
        low, high = _range(other)
        yield f"      {scalar(model)}: {{low: {low}, high: {high}, log: true}}  # {_reason(model, other)}"


def _range(family: Family | None) -> tuple[str, str]:
    if family is None:
        return "1e-5", "1e-4"
    low, high = family.learning_rates
    return _number(low), _number(high)


def _reason(model: str, family: Family | None) -> str:
    if family is None:
        return f"{one_line(model)}: an unknown family; the usual range for models of BERT's size"
    rate = _number(float(family.defaults["train.learning_rate"]))
    return f"{one_line(model)}: around {rate}, as in {family.source}"


def _end(answers: Answers, _: Findings) -> Iterator[str]:
    name = answers.register_as
    setting = "# register_as: NAME" if name is None else f"register_as: {scalar(name)}"
    yield _line(setting, "the winner becomes a version of this registered model")


def _line(setting: str, comment: str) -> str:
    return f"{setting:{_COLUMN - 2}}  # {comment}"


def _by_name(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _length(findings: Findings) -> str:
    return f"{counted(findings.words[1], 'word')}, about {findings.tokens:,} tokens"


def _number(value: float) -> str:
    """`2.5e-5`, `4e-4`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
