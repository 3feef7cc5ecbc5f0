"""What a comparison of tokenizers says, in plain words."""

from collections.abc import Sequence

from pipelines.tokenization.lengths import in_percent
from pipelines.tokenization.measuring import Measures

LOSES = 0.5
"""A trait that survives in fewer words than this share is called lost."""
MUCH = 0.01
"""A share of lost characters that is worth a word."""


def verdict(measures: Sequence[Measures]) -> str:
    """Which tokenizer needs the fewest tokens, what each loses, which `max_length` to take; warnings first."""
    sound = [one for one in measures if not one.is_broken]
    sentences = [_warning(one) for one in measures if one.is_broken]
    if sound:
        checkpoints = [one for one in sound if one.candidate.origin == "checkpoint"]
        trained = [one for one in sound if one.candidate.origin == "trained"]
        judged = checkpoints or trained
        sentences += [_thrift(judged), *_losses(judged)]
        if checkpoints and trained:
            sentences.append(_own(trained, checkpoints))
        sentences.append(_lengths(judged))
    return " ".join(sentences)


def _warning(one: Measures) -> str:
    unknown, lost = one.seen.unknown, one.seen.lost
    knows = (
        "makes no token of these texts" if unknown is None else f"does not know {in_percent(lost)} of the characters"
    )
    return (
        f"Do not use {one.candidate.name}: it {knows}; its vocabulary is missing, or the texts are in another script."
    )


def _thrift(judged: Sequence[Measures]) -> str:
    best, *others = sorted(judged, key=_tokens)
    if not others:
        return f"{best.candidate.name} needs {_tokens(best):.2f} tokens a word."
    rest = ", ".join(f"{one.candidate.name} {_tokens(one):.2f}" for one in others)
    return f"{best.candidate.name} needs the fewest tokens, {_tokens(best):.2f} a word ({rest})."


def _tokens(one: Measures) -> float:
    """Tokens a word, on texts that no tokenizer was trained on where there are any."""
    on = one.unseen if one.unseen and one.unseen.tokens_per_word is not None else one.seen
    return on.tokens_per_word or float("inf")


def _losses(judged: Sequence[Measures]) -> list[str]:
    sentences = []
    for one in judged:
        lost = [name for name, left in one.survival.items() if left.share is not None and left.share < LOSES]
        words = [f"loses {_listing(lost)}"] if lost else []
        if one.seen.lost > MUCH:
            words.append(f"does not know {in_percent(one.seen.lost)} of the characters")
        if words:
            sentences.append(f"{one.candidate.name} {' and '.join(words)}.")
    return sentences


def _own(trained: Sequence[Measures], checkpoints: Sequence[Measures]) -> str:
    ours, theirs = min(trained, key=_tokens), min(checkpoints, key=_tokens)
    change = _tokens(ours) / _tokens(theirs) - 1
    what = f"A vocabulary of the data's own ({ours.candidate.name}, {_tokens(ours):.2f})"
    if change < -MUCH:
        saved = f"would need {in_percent(-change)} fewer tokens than {theirs.candidate.name}"
        return f"{what} {saved}, but no pretrained model has it."
    return f"{what} would save nothing."


def _lengths(judged: Sequence[Measures]) -> str:
    lengths = {one.candidate.name: one.recommended.length for one in judged}
    if len(set(lengths.values())) > 1:
        return f"Take tokens.max_length {', '.join(f'{length} for {name}' for name, length in lengths.items())}."
    return (
        f"Take tokens.max_length {judged[0].recommended.length}: it {judged[0].recommended.reason.partition(';')[0]}."
    )


def _listing(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
