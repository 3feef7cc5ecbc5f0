"""Text to tokens: once per (texts, tokenizer, options), kept as a memory-mapped Arrow file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import TokensConfig
from pipelines.errors import ModelError
from pipelines.files import built_once, digest, new_directory, read_sealed, sha256, write_json

Tokenizer = Any  # transformers.PreTrainedTokenizerBase; the library is imported late, it costs seconds

_CHUNK = 2_000  # texts per call of the tokenizer: bounds the memory that Python lists take


@dataclass(frozen=True)
class Encoded:
    """Token ids of many texts, end to end, without padding."""

    ids: NDArray[np.int32]
    """(tokens,) all token ids."""
    offsets: NDArray[np.int64]
    """(texts + 1,) text `i` is `ids[offsets[i]:offsets[i + 1]]`."""

    @property
    def rows(self) -> str:
        """SHA-256 over all token ids, row by row."""
        state = hashlib.sha256(np.ascontiguousarray(self.ids).data)
        state.update(np.ascontiguousarray(self.offsets).data)
        return state.hexdigest()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(texts,) tokens of each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def vocabulary(self) -> NDArray[np.int64]:
        """The token ids that occur, ascending."""
        return np.flatnonzero(np.bincount(self.ids)) if len(self.ids) else np.empty(0, dtype=np.int64)

    def row(self, index: int) -> "Encoded":
        """One text alone."""
        ids = self.ids[self.offsets[index] : self.offsets[index + 1]]
        return Encoded(ids=ids, offsets=np.array([0, len(ids)], dtype=np.int64))

    def padded(self, rows: NDArray[np.int64], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Some texts as one rectangle, padded on the right: token ids and attention mask, (rows, longest)."""
        lengths = self.lengths[rows]
        ids = np.full((len(rows), int(lengths.max())), pad, dtype=np.int64)
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        ids[mask] = np.concatenate([self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        return ids, mask.astype(np.int64)


def fingerprint(tokenizer: Tokenizer) -> str:
    """Changes whenever the tokenizer would encode anything differently. Raises `ModelError` for a slow one."""
    backend = backend_of(tokenizer)
    backend.no_truncation()  # what an earlier call cut at is no trait of the tokenizer
    backend.no_padding()
    return digest(backend.to_str())


def backend_of(tokenizer: Tokenizer) -> Any:
    """The tokenizers.Tokenizer inside. Raises `ModelError` where there is none, so that nothing is known of spans."""
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is None:
        name = getattr(tokenizer, "name_or_path", "")
        raise ModelError(f"model {name!r} cannot be used: it has no fast tokenizer (tokenizer.json)")
    return backend


def tells_case(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer sees the difference of A and a; an uncased one lower-cases by itself."""
    normalizer = backend_of(tokenizer).normalizer
    return normalizer is None or normalizer.normalize_str("A") != normalizer.normalize_str("a")


def encode(texts: Sequence[str], tokenizer: Tokenizer, config: TokensConfig) -> Encoded:
    """Token ids of every text, special tokens included, at most `config.max_length` each.

    Raises `ModelError` when the tokenizer knows almost none of the text (it came without its vocabulary).
    """
    from pipelines.hpo_classifier import Reading  # imports torch, which takes seconds

    reading, rows = Reading(**config.model_dump()), list[NDArray[np.int32]]()
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        rows += [np.asarray(ids, dtype=np.int32) for ids in reading.rows(chunk, tokenizer)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    encoded = Encoded(ids=np.concatenate(rows) if rows else np.empty(0, np.int32), offsets=offsets)
    _refuse_unknown(encoded, texts, tokenizer)
    return encoded


def cached(texts: Sequence[str], content: str, *, tokenizer: Tokenizer, config: TokensConfig, home: Path) -> Encoded:
    """`encode`, or what an earlier call left under `home`; `content` is the digest of the texts.

    Of several processes that come at once, one encodes and the others wait for it. A damaged file is noticed by its
    hash and written anew.
    """
    changes = config.model_dump(include={"lowercase", "normalize"}, exclude_defaults=True)  # none: the key of old
    key = digest(
        content,
        fingerprint(tokenizer),
        str(config.max_length),
        config.truncation,
        *(f"{name}={value}" for name, value in changes.items()),
    )
    return built_once(
        home / key[:32],
        read=_read,
        write=lambda directory: _write(encode(texts, tokenizer, config), directory, content=content),
    )


def content_of(data: str, split: str) -> str:
    """The digest of one split's texts, from that of the data set."""
    return digest(data, split)


def _read(directory: Path) -> Encoded | None:
    """The encoded texts in a directory, memory-mapped; None where they are absent or damaged."""
    if read_sealed(directory, "tokens.arrow") is None:
        return None
    column = pa.ipc.open_file(pa.memory_map(str(directory / "tokens.arrow"))).read_all().column("ids").combine_chunks()
    return Encoded(ids=column.values.to_numpy(), offsets=column.offsets.to_numpy())


def _write(encoded: Encoded, directory: Path, *, content: str) -> None:
    column = pa.LargeListArray.from_arrays(pa.array(encoded.offsets), pa.array(encoded.ids))
    table = pa.table({"ids": column})
    with new_directory(directory) as beside:
        with pa.ipc.new_file(str(beside / "tokens.arrow"), table.schema) as writer:
            writer.write_table(table)
        # What it belongs to, for whoever tidies up: `content` names the texts, `rows` what is made of these tokens.
        belongs = {"content": content, "rows": encoded.rows}
        facts = {"sha256": sha256(beside / "tokens.arrow"), "texts": len(encoded)}
        write_json(beside / "manifest.json", facts | belongs)


def _refuse_unknown(encoded: Encoded, texts: Sequence[str], tokenizer: Tokenizer) -> None:
    unknown = tokenizer.unk_token_id
    special = [token for token in tokenizer.all_special_ids if token != unknown]
    words = encoded.ids[~np.isin(encoded.ids, special)]
    known = int(np.sum(words != unknown)) if unknown is not None else len(words)
    # Without a vocabulary, byte-level tokenizers do not even say "unknown": nothing is left of the text.
    if known * 2 < max(len(words), 1) and any(text.strip() for text in texts):
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path!r} knows almost nothing of this text ({known} of {len(words)} "
            "tokens): its vocabulary is missing, or the text is in another script"
        )
