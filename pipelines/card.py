"""The model card: what a model is, how good it was found to be, and where that stops being true.

A pure function of plain values. Names of classes, data and models are the user's text, so everything is escaped.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.calibration import CalibrationFacts
from pipelines.config import scratch_parts
from pipelines.markdown import escape, table
from pipelines.scores import METRICS, metric_key

IMBALANCE = 1.5
"""From this ratio of the largest to the smallest class on, the card speaks of imbalance."""

_UNKNOWN = "–"
_KEPT = {
    "head": "the first",
    "tail": "the last",
    "head_tail": "the beginning and the end (a quarter and three quarters) of at most",
}

# What the Hugging Face hub calls our metrics; the others keep our names.
_HUB_METRICS = {"macro_f1": "f1", "mcc": "matthews_correlation", "auroc": "roc_auc", "brier": "brier_score"}


@dataclass(frozen=True)
class CardFacts:
    """Everything that a card says."""

    name: str
    """The model's name in the registry."""
    base_model: str
    """Hub id or path of the pretrained checkpoint."""
    base_license: str | None
    """Its licence, where known."""
    task: str
    """What is told apart, in the user's words."""
    labels: tuple[str, ...]
    """Class names, in the order of the model's outputs."""
    dataset: str
    """Where the rows came from."""
    dataset_digest: str
    """Fingerprint of the rows."""
    rows: Mapping[str, int]
    """Rows of each split."""
    class_counts: Mapping[str, Mapping[str, int]]
    """Rows of each class of each split."""
    select_scores: Mapping[str, float]
    """`pipelines.scores.score` of the select split."""
    test_scores: Mapping[str, float] | None
    """The same of the test split; None while it is locked."""
    params: Mapping[str, object]
    """The training's configuration by address."""
    study: str
    """The study that found the model."""
    trial: int
    """Its trial there."""
    run_id: str | None
    """Its MLflow run."""
    created: str
    """ISO date."""
    versions: Mapping[str, str]
    """Versions of the software that trained it."""
    notes: Sequence[str]
    """Further remarks, one sentence or paragraph each."""
    attribution: str | None
    """Credits that the data or the base model ask for."""
    max_length: int
    """Tokens after which a text is cut."""
    truncation: str = "head"
    """What is kept of a text that is cut: `head`, `tail` or `head_tail`."""
    lowercase: bool = False
    """Whether texts are lower-cased before the tokenizer sees them."""
    normalize: str = "none"
    """How they are normalized before: `none` or `nfkc`."""
    calibration: CalibrationFacts | None = None
    """What was fitted on the calibrate split; None where that was not tried."""


def render_card(facts: CardFacts) -> str:
    """The card as Markdown with the YAML front matter of the Hugging Face hub."""
    sections = (
        _front_matter(facts),
        _introduction(facts),
        _usage(facts),
        _data(facts),
        _scores(facts),
        _classes(facts),
        _calibration(facts),
        _limits(facts),
        _training(facts),
        _provenance(facts),
        _attribution(facts),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def without_front_matter(card: str) -> str:
    """A card's Markdown without the metadata before it, which the hub reads."""
    return card.split("---\n", 2)[-1].strip() if card.startswith("---\n") else card


def _front_matter(facts: CardFacts) -> str:
    import yaml

    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["text-classification", "hpo-finetune"],
    }
    # A local path would be a broken link on the hub, which refuses it.
    if re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", facts.base_model, flags=re.ASCII):
        values["base_model"] = facts.base_model
    splits = {"test": facts.test_scores or {}, "select": facts.select_scores}
    results = [_result(facts, split, scores) for split, scores in splits.items()]
    named = [name for name in METRICS if any(name in scores for scores in splits.values())]
    values["metrics"] = [_HUB_METRICS.get(name, name) for name in named]
    values["model-index"] = [{"name": facts.name, "results": [result for result in results if result["metrics"]]}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _result(facts: CardFacts, split: str, scores: Mapping[str, float]) -> dict[str, Any]:
    remark = " (used to choose the model: optimistic)" if split == "select" else ""
    metrics = [
        {"type": _HUB_METRICS.get(name, name), "name": f"{name}{remark}", "value": float(scores[name])}
        for name in METRICS
        if name in scores
    ]
    return {
        "task": {"type": "text-classification", "name": facts.task},
        "dataset": {"name": facts.dataset, "type": facts.dataset, "split": split},
        "metrics": metrics,
    }


def _introduction(facts: CardFacts) -> str:
    labels = ", ".join(escape(label) for label in facts.labels)
    licence = f" (licence: {escape(facts.base_license)})" if facts.base_license else " (licence unknown)"
    origin = f"was fine-tuned from {escape(facts.base_model)}{licence}"
    if scratch_parts(facts.base_model) is not None:
        origin = f"was trained from random weights, its tokenizer from the same texts ({escape(facts.base_model)}),"
    return (
        f"# {escape(facts.name)}\n\n"
        f"{escape(facts.task)}: a text classifier with {len(facts.labels)} classes: {labels}.\n\n"
        f"It {origin} on {escape(facts.dataset)}. Its settings were "
        f"chosen in trial {facts.trial} of the study {escape(facts.study)}."
    )


def _usage(facts: CardFacts) -> str:
    name = " ".join(facts.name.split())
    uri = json.dumps(f"models:/{name}@champion", ensure_ascii=False)
    return f"""## How to use it

Fetch the verified files into a directory, here `model`:

```bash
hpo pull {shlex.quote(name)} model
```

With transformers:

```python
from transformers import pipeline

classify = pipeline("text-classification", model="model", truncation=True, max_length={facts.max_length})
classify("A text to classify.", top_k=None)
```
{_beyond_transformers(facts)}
With MLflow, from the registry:

```python
import mlflow

model = mlflow.pyfunc.load_model({uri})
model.predict(["A text to classify."])
```"""


def _beyond_transformers(facts: CardFacts) -> str:
    """What is done to a text that the files of a tokenizer cannot say."""
    steps = []
    if facts.normalize == "nfkc":
        steps.append("normalize each text (Unicode's NFKC, each run of white space one blank)")
    if facts.lowercase:
        steps.append("lower-case it")
    if facts.truncation == "head_tail":
        steps.append(
            "keep both ends of a long one (`tokens.truncation: head_tail`; transformers keeps its last tokens)"
        )
    if not steps:
        return ""
    listed = steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])} and {steps[-1]}"
    return (
        f"\n**With transformers alone, answers differ**: `hpo` and MLflow {listed} before the model reads it, which "
        "the files of a tokenizer cannot say. Do the same first.\n"
    )


def _data(facts: CardFacts) -> str:
    counts = [facts.class_counts.get(split, {}) for split in facts.rows]
    rows = [
        ["(all)", *(f"{count:,}" for count in facts.rows.values())],
        *([one, *(f"{split[one]:,}" if one in split else _UNKNOWN for split in counts)] for one in facts.labels),
    ]
    return (
        f"## Data\n\nSource: {escape(facts.dataset)}, fingerprint {escape(facts.dataset_digest)}. Rows of each class "
        f"in each split:\n\n{table(['class', *facts.rows], rows)}"
    )


def _scores(facts: CardFacts) -> str:
    test = facts.test_scores or {}
    rows = [
        [name, _number(facts.select_scores, name), _number(test, name), metric.direction, metric.description]
        for name, metric in METRICS.items()
        if name in facts.select_scores or name in test
    ]
    locked = (
        "The test split was locked until the model had been chosen: its scores are the ones to quote."
        if facts.test_scores is not None
        else "The test split is still locked, so there is no unbiased score yet."
    )
    return (
        "## Scores\n\nThe select split was used to choose this model among others, so its scores are optimistic. "
        f"{locked}\n\n{table(['score', 'select (optimistic)', 'test (locked)', 'better', 'meaning'], rows)}"
    )


def _classes(facts: CardFacts) -> str:
    scores = facts.select_scores if facts.test_scores is None else facts.test_scores
    split = "select split (optimistic)" if facts.test_scores is None else "test split"
    rows = []
    for label in facts.labels:
        key = metric_key(label)
        support = scores.get(f"support.{key}")
        values = [_number(scores, f"{kind}.{key}") for kind in ("precision", "recall", "f1")]
        rows.append([label, *values, _UNKNOWN if support is None else f"{support:,.0f}"])
    return f"### By class\n\nOn the {split}:\n\n{table(['class', 'precision', 'recall', 'F1', 'rows'], rows)}"


def _calibration(facts: CardFacts) -> str:
    if (found := facts.calibration) is None:
        return ""
    lines = [*_adjustments(found, facts.labels), *map(escape, found.notes)]
    parts = [
        "## Calibration",
        f"On {found.rows:,} calibrate rows, which neither training nor the choice of the model has seen:",
        "\n".join(f"- {line}" for line in lines or ["Nothing was asked for."]),
    ]
    if found.before:
        rows = [[name, _number(found.before, name), _number(found.after, name)] for name in found.before]
        parts += ["Before and after, each row by a fit that had not seen it (five folds):"]
        parts += [table(["score", "before", "after"], rows)]
    return "\n\n".join(parts)


def _adjustments(found: CalibrationFacts, labels: Sequence[str]) -> Iterator[str]:
    if found.temperature != 1.0:
        yield (
            f"Temperature {found.temperature:g} (Guo et al. 2017): the logits are divided by it. It is in the weights "
            "of the last layer, so every tool that loads them gives calibrated probabilities."
        )
    if found.thresholds is not None:
        named = ", ".join(f"{escape(label)} {one:.4f}" for label, one in zip(labels, found.thresholds, strict=True))
        yield (
            f"Thresholds for {found.metric}: {named}. The answer is the class with the largest probability / "
            "threshold. `hpo` and MLflow follow them; `transformers.pipeline` answers with the most probable class."
        )


def _limits(facts: CardFacts) -> str:
    lines = [
        f"The scores hold for texts like those of {escape(facts.dataset)}, in their languages, domain and period; "
        "measure before use on others (`hpo evaluate --data`).",
        f"Only {_KEPT[facts.truncation]} {facts.max_length:,} tokens of a text are read (`tokens.truncation`); "
        "the rest does not count.",
        "It always answers with one of its classes, also for texts that belong to none of them.",
        *_imbalance(facts),
        "No claim is made about fairness between groups of people, adversarial texts, or any use beyond the above.",
        *(escape(note) for note in facts.notes),
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _imbalance(facts: CardFacts) -> Iterator[str]:
    counts = {label: facts.class_counts.get("train", {}).get(label, 0) for label in facts.labels}
    if not any(counts.values()):
        return
    large, small = (pick(counts, key=lambda label: counts[label]) for pick in (max, min))
    if not counts[small]:
        yield f"The class {escape(small)} has no training rows at all: it cannot have been learned."
    elif counts[large] >= IMBALANCE * counts[small]:
        ratio = counts[large] / counts[small]
        yield (
            f"The classes are imbalanced: {escape(large)} has {ratio:.1f} times as many training rows as "
            f"{escape(small)}. Read the scores by class; accuracy alone flatters."
        )


def _training(facts: CardFacts) -> str:
    rows = [[address, str(value)] for address, value in sorted(facts.params.items())]
    return f"## Training\n\n{table(['setting', 'value'], rows)}"


def _provenance(facts: CardFacts) -> str:
    rows = [
        ["study", facts.study],
        ["trial", str(facts.trial)],
        ["MLflow run", facts.run_id or _UNKNOWN],
        ["created", facts.created],
        ["data fingerprint", facts.dataset_digest],
        *([name, version] for name, version in sorted(facts.versions.items())),
    ]
    return f"## Provenance\n\n{table(['what', 'value'], rows)}"


def _attribution(facts: CardFacts) -> str:
    lines = [escape(line) for line in (facts.attribution or "").splitlines() if line.strip()]
    return "## Attribution\n\n" + "\n\n".join(lines) if lines else ""


def _number(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.4f}" if name in scores else _UNKNOWN
