"""How the cells of a wide column become rows of numbers: of a text one per level or
word, of an image its vector.

A design is one class and one registration. It is fitted on a column's different cells
and how often each occurs.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
from scipy import sparse

from permgrad.base.arrays import Floats, Floats32, Integers
from permgrad.base.errors import must
from permgrad.base.registry import Registry
from permgrad.base.sequences import positions_of, values_at
from permgrad.data.types.identifiers import MARKS, PICTURES, UNSPACED, has_words

Matrix = Any
"""A sparse matrix ``(texts, width)`` in rows, float32."""

#: Entries of one vocabulary. The most frequent are kept.
_MOST_ENTRIES = 50_000
#: Components of vectors that enter. More cost time alone.
_MOST_COMPONENTS = 256
#: From this share of cells with several words on, words are read. Of more cells than a
#: few, as many share a word, too.
_SHARE_OF_WORDS = 0.2
_FEW = 50
#: Longer texts say enough by their words. Pieces of words of shorter ones are read as
#: well.
_LONG_TEXT = 300
#: Signs that vocabularies are learned from. Of more, a part of the texts.
_MOST_LEARNED = 20_000_000
#: Words of one text that are told apart. Those of longer texts are taken together with
#: their neighbours.
MOST_PARTS = 60
#: A word. In scripts without spaces each sign is one.
_WORD = rf"[{UNSPACED}{PICTURES}]|(?:[^\W{UNSPACED}]|[{MARKS}])+"
_spans = re.compile(_WORD)


Cells = Any
"""The different cells of a column: texts, or of images their vectors
``(cells, width)``, float32.
"""


class Design(Protocol):
    """Cells as sparse rows.

    Attributes:
        entries: What the columns stand for.
        scale: The strength that is tried first.
        reads: Which cells.
    """

    entries: list[str]
    scale: float
    reads: Literal["texts", "vectors"]

    @classmethod
    def fit(cls, texts: Cells, counts: Integers) -> Self | None:
        """Return the design, or None where it says nothing about such cells.

        Args:
            texts: The different cells of training rows.
            counts: How many rows have each, ``(texts,)``.
        """

    def matrix(self, texts: Cells) -> Matrix:
        """Return sparse rows, ``(texts, entries)``.

        Args:
            texts: Different cells of the column.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the design that ``to_dict`` wrote.

        Raises:
            KeyError, TypeError, ValueError: ``content`` is something else.
        """


class TextVectors(Protocol):
    """What turns texts into vectors that are read beside their words.

    Attributes:
        encoder: What it is made with.
    """

    encoder: Any

    def vectors(self, texts: Sequence[str]) -> Floats32:
        """Return the vectors of texts, ``(texts, width)``.

        Args:
            texts: The different texts of a column.
        """


class ImageVectors(Protocol):
    """What turns the images of a table's columns into vectors."""

    def learn(
        self, name: str, cells: Sequence[str], index: Integers, target: Any
    ) -> Floats32:
        """Learn how a column is read, and return vectors of its cells, ``(cells,
        width)``.

        Args:
            name: The column.
            cells: Its different cells: paths of images.
            index: The position of each training row's cell, ``(rows,)``.
            target: The target of the training rows, ``(rows,)``.
        """

    def vectors(self, name: str, cells: Sequence[str]) -> Floats32:
        """Return the vectors of cells, ``(cells, width)``.

        Args:
            name: The column.
            cells: Its different cells: paths of images.
        """


designs: Registry[type[Design]] = Registry("design")


@designs.register("levels")
class Levels:
    """Each level is an entry of its own.

    Where most rows have a text of their own, those that occur once are not.

    ``counts``: training rows of each entry. ``pooled``: how many texts are none,
    because they occur once.
    """

    scale: float = 1.0
    reads: Literal["texts", "vectors"] = "texts"

    def __init__(
        self, entries: Sequence[str], counts: Sequence[int], pooled: int
    ) -> None:
        self.entries = list(entries)
        self.counts = list(counts)
        self.pooled = pooled
        self._place = positions_of(self.entries)

    @classmethod
    def fit(cls, texts: Sequence[str], counts: Integers) -> Self | None:
        """Keep the most frequent levels."""
        # The one row of a level says little, but other levels need no more: its effect
        # is pulled towards the mean.
        kept_levels = np.flatnonzero(
            counts > (1 if counts[counts > 1].sum() < counts.sum() / 2 else 0)
        )
        order = sorted(kept_levels.tolist(), key=lambda i: (-counts[i], texts[i]))[
            :_MOST_ENTRIES
        ]
        if order:
            return cls(
                values_at(texts, order),
                counts[order].tolist(),
                len(texts) - len(order),
            )
        return None

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """Return rows of one 1 each."""
        level_indices = np.array(
            [self._place.get(level_text, -1) for level_text in texts], dtype=np.int64
        )
        known_rows = np.flatnonzero(level_indices >= 0)
        unit_values = np.ones(len(known_rows), dtype=np.float32)
        shape = (len(texts), len(self.entries))
        return sparse.csr_matrix(
            (unit_values, (known_rows, level_indices[known_rows])), shape=shape
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the levels."""
        return {"entries": self.entries, "counts": self.counts, "pooled": self.pooled}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read back the levels."""
        return cls(
            _entries(content), list(map(int, content["counts"])), int(content["pooled"])
        )


@designs.register("words")
class Words:
    """Words and pairs of words, and of short texts pieces of words of two to five
    signs, weighted by tf-idf.

    ``(1 + ln tf) · (1 + ln((1 + n) / (1 + df)))`` with the rows' norm 1, for words and
    pieces each (Salton & Buckley 1988). ``n`` and ``df`` count rows, so that a text of
    many rows counts as often.
    """

    scale: float = 2.0
    reads: Literal["texts", "vectors"] = "texts"

    def __init__(self, vocabularies: Mapping[str, tuple[list[str], Floats]]) -> None:
        self.parts = dict(vocabularies)
        self.entries = [
            entry for entries, _ in self.parts.values() for entry in entries
        ]
        counters = {}
        for vocabulary, (entries, _) in self.parts.items():
            counters[vocabulary] = _counter(vocabulary, entries)
        self._counters = counters

    @classmethod
    def fit(cls, texts: Sequence[str], counts: Integers) -> Self | None:
        """Learn the vocabularies. None where few cells have several words."""
        lengths = np.array(list(map(len, texts)))
        sampled_positions = np.arange(
            0, len(texts), 1 + int(lengths.sum()) // _MOST_LEARNED
        )
        texts = values_at(texts, sampled_positions.tolist())
        counts = counts[sampled_positions]
        lengths = lengths[sampled_positions]
        row_count = max(int(counts.sum()), 1)
        if (
            counts @ np.array(list(map(has_words, texts)), dtype=bool)
            < _SHARE_OF_WORDS * row_count
        ):
            return None
        vocabularies: dict[str, tuple[list[str], Floats]] = {}
        for vocabulary in (
            ("words", "pieces")
            if counts @ lengths <= _LONG_TEXT * row_count
            else ("words",)
        ):
            try:
                counter = _counter(vocabulary, None)
                word_counts = counter.fit_transform(texts)
            except ValueError:  # no text has a word
                continue
            present = word_counts > 0
            spread = np.asarray(counts, dtype=np.float64) @ present
            cells = np.asarray(present.sum(axis=0)).ravel()
            shared = present[:, (cells > 1) & (cells <= len(texts) / 2)]
            if (
                vocabulary == "words"
                and len(texts) > _FEW
                and np.mean(shared.getnnz(axis=1) > 0) < _SHARE_OF_WORDS
            ):
                return None  # as of "user 17", whose words say no more than the level
            # A piece of one text says nothing of others. A word weighs by its being
            # rare there.
            often = np.flatnonzero(cells >= (1 if vocabulary == "words" else 2))
            entries = counter.get_feature_names_out()
            entry_indices = _most_frequent(often.tolist(), spread, entries)
            if entry_indices:
                rarity = np.log((1 + row_count) / (1 + spread[entry_indices])) + 1
                vocabularies[vocabulary] = (
                    [str(entries[i]) for i in entry_indices],
                    rarity,
                )
        if vocabularies:
            return cls(vocabularies)
        return None

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """Return rows of norm 1, for words and pieces each."""
        matrices = []
        for vocabulary, (_, rarity) in self.parts.items():
            counts = self._counters[vocabulary].transform(texts).astype(np.float32)
            counts.data = (1 + np.log(counts.data)).astype(np.float32)
            counts = counts @ sparse.diags(rarity.astype(np.float32))
            norm = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
            matrices.append(
                sparse.diags((1 / np.where(norm > 0, norm, 1)).astype(np.float32))
                @ counts
            )
        return sparse.hstack(matrices, format="csr")

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabularies."""
        return {
            vocabulary: {"entries": entries, "rarity": rarity.tolist()}
            for vocabulary, (entries, rarity) in self.parts.items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read back the vocabularies."""
        vocabularies = {}
        for vocabulary, vocabulary_content in content.items():
            entries = _entries(vocabulary_content)
            rarity = np.asarray(vocabulary_content["rarity"], dtype=np.float64)
            must(
                vocabulary in ("words", "pieces")
                and rarity.shape == (len(entries),)
                and np.isfinite(rarity).all(),
                f"{vocabulary!r:.60} of {len(entries)} entries with weights "
                f"{rarity.shape}",
            )
            vocabularies[vocabulary] = entries, rarity
        return cls(vocabularies)


def _entries(content: Mapping[str, Any]) -> list[str]:
    entries = content["entries"]
    is_list = isinstance(entries, list) and all(
        isinstance(entry, str) for entry in entries
    )
    must(
        is_list and entries and len(set(entries)) >= len(entries),
        f"entries {entries!r:.60} are no list of different texts",
    )
    return list(entries)


@designs.register("vectors")
class Vectors:
    """Vectors, standardised, turned to their leading principal components, and of a
    norm near 1.
    """

    scale: float = 1.0
    reads: Literal["texts", "vectors"] = "vectors"

    def __init__(self, mean: Floats32, turn: Floats32) -> None:
        self.mean = mean
        self.turn = turn
        self.entries = list(map(str, range(turn.shape[1])))

    @classmethod
    def fit(cls, texts: Floats32, counts: Integers) -> Self | None:
        """Learn mean, spread and components. None where nothing varies."""
        share = counts / max(counts.sum(), 1)
        vectors = texts.astype(np.float64)
        mean_vector = share @ vectors
        spread = np.sqrt(share @ (vectors - mean_vector) ** 2)
        varies = spread > 1e-9
        if not varies.any():
            return None
        factor = np.where(varies, 1 / np.where(varies, spread, 1), 0) / np.sqrt(
            varies.sum()
        )
        component_matrix = np.diag(factor)
        if len(mean_vector) > _MOST_COMPONENTS:
            standardised = (vectors - mean_vector) * factor
            directions = np.linalg.eigh((standardised.T * share) @ standardised)[1]
            component_matrix = (
                factor[:, None] * directions[:, : -_MOST_COMPONENTS - 1 : -1]
            )
        return cls(mean_vector.astype(np.float32), component_matrix.astype(np.float32))

    def matrix(self, texts: Floats32) -> Matrix:
        """Return the components."""
        # Row by row: the product of dense matrices rounds differently for another
        # number of rows.
        return sparse.csr_matrix(sparse.csr_matrix(texts - self.mean) @ self.turn)

    def to_dict(self) -> dict[str, Any]:
        """Return means and components, float32 as base64."""
        return {
            array_name: base64.b64encode(getattr(self, array_name).tobytes()).decode()
            for array_name in ("mean", "turn")
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read back means and components."""
        mean_vector = np.frombuffer(base64.b64decode(content["mean"]), dtype=np.float32)
        component_matrix = np.frombuffer(
            base64.b64decode(content["turn"]), dtype=np.float32
        )
        return cls(mean_vector, component_matrix.reshape(len(mean_vector), -1))


def _counter(vocabulary_kind: str, entries: list[str] | None) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    count_options = {"ngram_range": (1, 2), "token_pattern": _WORD}
    if vocabulary_kind == "pieces":
        count_options = {"ngram_range": (2, 5), "analyzer": "char_wb"}
    return CountVectorizer(
        **count_options,
        vocabulary=None if entries is None else positions_of(entries),
    )


def words_in(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end."""
    return [word_match.span() for word_match in _spans.finditer(text)]


def text_parts(text: str) -> list[str | list[str]]:
    """Return a text as what is before its first word, that word, what is between, the
    next one, … in turns.

    A word is a list of itself. Of more than 60 words it is several in a row with what
    is between them: ``[a, " ", b]``.

    Examples:
        >>> text_parts("a (very) Good film")
        ['', ['a'], ' (', ['very'], ') ', ['Good'], ' ', ['film'], '']
    """
    spans = words_in(text)
    text_pieces = list[str | list[str]]()
    last_end = 0
    for span_run in (
        np.array_split(np.array(spans), min(len(spans), MOST_PARTS)) if spans else ()
    ):
        run_ends = span_run.ravel().tolist()
        text_pieces += [
            text[last_end : run_ends[0]],
            [
                text[piece_start:piece_end]
                for piece_start, piece_end in itertools.pairwise(run_ends)
            ],
        ]
        last_end = run_ends[-1]
    return [*text_pieces, text[last_end:]]


def spans_of(text: str, entry: str) -> list[tuple[int, int]]:
    """Return where a word, or a pair of words, stands in a text."""
    spans = words_in(text)
    entry_words = entry.split(" ")
    spots = list[tuple[int, int]]()
    words = [text[begin:word_end].lower() for begin, word_end in spans]
    for word_index in range(len(words) - len(entry_words) + 1):
        if words[word_index : word_index + len(entry_words)] == entry_words and (
            not spots or spans[word_index][0] >= spots[-1][1]
        ):
            spots.append(
                (spans[word_index][0], spans[word_index + len(entry_words) - 1][1])
            )
    return spots


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text with a space in the place of some of its parts, which follow each
    other.

    Examples:
        >>> without("a (very) Good film", spans_of("a (very) Good film", "good film"))
        'a (very)  '
    """
    span_ends = [0, *(span_end for _, span_end in spans)]
    return " ".join(
        text[gap_start:begin]
        for gap_start, begin in zip(
            span_ends, [*(begin for begin, _ in spans), None], strict=True
        )
    )


def _most_frequent(
    entry_indices: Sequence[int], spread: Floats, entries: Sequence[str]
) -> list[int]:
    """Return the places of the entries that most rows have, equals by text."""
    order = sorted(
        entry_indices,
        key=lambda entry_index: (-spread[entry_index], entries[entry_index]),
    )
    return order[:_MOST_ENTRIES]
