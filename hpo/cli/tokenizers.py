"""The command that sets tokenizers side by side on a user's texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hpo.cli.console import print_json, screen
from hpo.cli.looking import (
    Data,
    DropBlank,
    Html,
    Label,
    NoTrack,
    Text,
    keep_in_mlflow,
    load,
    refuse_directory,
    say,
    words,
    write_page,
)  # fmt: skip
from hpo.cli.options import AsJson, Tracking
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from hpo.places import Places
    from pipelines.data import Dataset
    from pipelines.tokenization.candidates import Candidate
    from pipelines.tokenization.comparison import Comparison


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(tokenizers)


def tokenizers(
    data: Data,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Checkpoints: short names, hub ids, directories. Default: minilm, without --train."
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(metavar="KIND,...", help="Train on the data's train split: bpe, unigram, wordpiece, bytes."),
    ] = None,
    vocab: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE,...", help="Vocabulary sizes of what is trained. Default: 4000, or what the texts give."
        ),
    ] = None,
    text: Text = None,
    label: Label = None,
    drop_blank: DropBlank = False,
    html: Html = None,
    no_track: NoTrack = False,
    as_json: AsJson = False,
    tracking_uri: Tracking = None,
) -> None:
    """Compare tokenizers on your texts: tokens a word, what is unknown or lost, and which tokens.max_length to take.

    Of more than 10,000 texts of the train split a sample is measured. The run is kept in MLflow, experiment
    `tokenizers`.
    """
    from hpo.places import find_places
    from pipelines.tokenization.comparison import compare
    from pipelines.tokenization.page import render

    kinds, sizes = _wanted(train, vocab)
    names = words(models, "--models", "a checkpoint") or ([] if kinds else ["minilm"])
    refuse_directory(html)
    places = None if no_track else find_places(tracking=tracking_uri)
    dataset = load(data, text, label, drop_blank=drop_blank)
    found = compare(_candidates(names, kinds, sizes=sizes, dataset=dataset), dataset, say=say)
    if html is not None:
        write_page(html, render(found))
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if places is not None:
        _track(found, dataset, places)


def _wanted(train: str | None, vocab: str | None) -> tuple[list[str], list[int]]:
    """What is to be trained: kinds and vocabulary sizes."""
    from hpo.suggest import did_you_mean

    known = ("bpe", "unigram", "wordpiece", "bytes")
    kinds, sizes = words(train, "--train", "a kind"), words(vocab, "--vocab", "a size")
    for kind in kinds:
        if kind not in known:
            hint = did_you_mean(kind, known) or f"; the kinds are {', '.join(known)}"
            raise ConfigError(f"--train: {kind!r} is no kind of tokenizer{hint}")
    if sizes and not kinds:
        raise ConfigError("--vocab says how large trained vocabularies are; say what to train by --train")
    for size in sizes:
        if not (size.isascii() and size.isdecimal() and 1 <= int(size) <= 1_000_000):
            raise ConfigError(f"--vocab: {size!r} is no whole number from 1 to 1000000")
    return kinds, [int(size) for size in sizes]


def _candidates(
    names: Sequence[str], kinds: Sequence[str], *, sizes: Sequence[int], dataset: "Dataset"
) -> "list[Candidate]":
    from pipelines.tokenization.candidates import load_candidates, named_apart
    from pipelines.tokenization.training import train_candidates

    loaded = load_candidates(names)
    return named_apart([*loaded, *train_candidates(kinds, sizes, dataset.splits["train"].texts, say=say)])


def _track(found: "Comparison", dataset: "Dataset", places: "Places") -> None:
    from pipelines.tokenization.tracked import EXPERIMENT, track

    keep_in_mlflow(
        EXPERIMENT, lambda client: track(found, dataset, client=client, artifacts=places.artifacts), places=places
    )


def _print(found: "Comparison") -> None:
    console = screen()
    console.print(f"measured on {found.basis()}")
    console.print(found.verdict, style="bold")
    for table in (_costs(found), _survival(found), _lengths(found)):
        console.print(table)
    for one in found.measures:
        console.print(f"{one.candidate.name}: tokens.max_length {one.recommended.length} {one.recommended.reason}")
    for example in found.examples:
        console.print(_example(example.text, example.lines()))


def _costs(found: "Comparison") -> Table:
    headings = ("tokenizer", "tokens/word", "unseen", "chars/token", "unknown", "lost", "bytes", "vocabulary", "used")
    table = Table(*headings, "texts/s")
    for one in found.measures:
        seen, unseen = one.seen, one.unseen.tokens_per_word if one.unseen else None
        shares = (_share(seen.unknown), _share(seen.lost), _share(seen.byte_fallback))
        fertility = (_number(seen.tokens_per_word), _number(unseen), _number(seen.characters_per_token))
        size = (f"{one.candidate.size:,}", _share(one.used), f"{one.texts_per_second:,.0f}")
        table.add_row(one.candidate.name, *fertility, *shares, *size)
    return table


def _survival(found: "Comparison") -> Table:
    names = [f"{name} ({left.words:,})" for name, left in found.measures[0].survival.items()]
    table = Table("left of (words)", *names)
    for one in found.measures:
        table.add_row(one.candidate.name, *(_share(left.share) for left in one.survival.values()))
    return table


def _lengths(found: "Comparison") -> Table:
    lengths = sorted({cut.length for one in found.measures for cut in one.cuts})
    table = Table("texts (characters) cut at", *map(str, lengths), "take")
    for one in found.measures:
        cuts = one.cuts_by_length
        cells = [_cut(cuts[length].texts, cuts[length].characters) if length in cuts else "–" for length in lengths]
        table.add_row(one.candidate.name, *cells, str(one.recommended.length))
    return table


def _example(text: str, lines: dict[str, str]) -> Table:
    table = Table("tokens of", " ".join(text.split()))
    for name, line in lines.items():
        table.add_row(name, line)
    return table


def _cut(texts: float, characters: float) -> str:
    return f"{_share(texts)} ({_share(characters)})" if texts else "none"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(share: float | None) -> str:
    from pipelines.tokenization.lengths import in_percent

    return "–" if share is None else in_percent(share)
