"""The tokenizers that are compared: those trained on the data."""

from collections.abc import Callable, Sequence

from pipelines.errors import ConfigError
from pipelines.scratch.tokenizer import KINDS, TRAINED_ON, UNKNOWN, alphabet_of, drawn, train_tokenizer
from pipelines.tokenization.candidates import Candidate


def train_candidates(
    kinds: Sequence[str], sizes: Sequence[int], texts: Sequence[str], *, say: Callable[[str], None] = lambda _: None
) -> list[Candidate]:
    """A tokenizer of each kind and vocabulary size, trained on `texts` (at most 200,000 of them).

    Without sizes, one of each kind with 4,000 entries. Where the texts give fewer entries than asked for, it has as
    many as they give, and `say` is told. The same texts give the same tokenizers. Raises `ConfigError`, naming all that
    is wrong, where a size is below the alphabet of the texts.
    """
    texts = drawn(texts, TRAINED_ON)
    candidates: list[Candidate] = []
    faults: list[str] = []
    for kind in dict.fromkeys(kinds):
        say(f"training {kind} on {len(texts):,} texts")
        alphabet = alphabet_of(kind, texts)
        wanted: list[int | None] = list(dict.fromkeys(sizes)) or [None]
        for size in wanted:
            try:
                trained = train_tokenizer(kind, size, texts, alphabet=alphabet)
            except ConfigError as error:
                faults.append(str(error))
                continue
            got = trained.get_vocab_size()
            if size is not None and got < size:
                say(f"{kind}: these texts give {got:,} entries, not {size:,}")
            name, model = f"{kind} {got}", f"scratch:{kind}-{got}"
            if name not in {other.name for other in candidates}:
                candidates.append(Candidate(name, "trained", KINDS[kind].what, trained, UNKNOWN, None, model))
    if faults:
        raise ConfigError(f"--vocab: {'; '.join(faults)}; choose other sizes, or leave that kind out")
    return candidates
