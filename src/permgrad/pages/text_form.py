"""Texts as a page needs them to predict without some of their words: all that can be left, and what it adds."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pandas as pd

from permgrad.data.encode.designs import Words, text_parts, words_in
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.identifiers import LONGEST_READ
from permgrad.pages.page_data import packed

#: Signs that texts may take in a page, with their vocabulary.
MOST_SIGNS = 1_000_000


def text_forms(encoder: TableEncoder, frame: pd.DataFrame) -> dict[str, Any]:
    """Return what scores the texts of rows without some of their words, by column: see ``Texts`` in network.js.

    ``rows`` have a text, its parts (``designs.text_parts``), and all ``entries`` that can be left in it, each with its
    rarity and its weights, as many rows as take a million signs. ``mean`` is that of scores. ``None``: the page cannot
    read such texts.
    """
    forms: dict[str, Any] = {}
    room = MOST_SIGNS
    for name in (one for one in frame if one in encoder.scores_.columns):
        forms[name], room = _form_of(encoder, frame, name, room)
    return forms


def _form_of(encoder: TableEncoder, frame: pd.DataFrame, name: str, room: int) -> tuple[dict[str, Any] | None, int]:
    """Return the form of one column's texts, and how much room is left."""
    designs = {kind: (design, weights) for kind, design, weights in encoder.scores_.columns[name]}
    known, weights = designs.get("words", (None, None))
    if not isinstance(known, Words) or weights is None or not set(designs) <= {"words", "levels"}:
        return None, room
    wide = 1 + encoder.scores_.outputs
    used: dict[str, dict[str, None]] = {part: {} for part in known.parts}
    unused = {part: set(vocabulary) for part, (vocabulary, _) in known.parts.items()}
    rows, texts = list[int](), list[list[Any]]()
    distinct, index = encoder.texts_of(frame, name)
    for row in np.flatnonzero(index >= 0).tolist():
        text = distinct[index[row]]
        parts = text_parts(text)
        new = {part: [entry for entry in _entries[part](parts) if entry in unused[part]] for part in unused}
        signs = len(text) + 3 * len(parts) + sum(len(entry) + 5 * wide for some in new.values() for entry in some)
        if _reads_alike(text) and signs <= room:
            room -= signs
            rows.append(row)
            texts.append([re.sub(r"\s", " ", part) if isinstance(part, str) else part for part in parts])
            for part, some in new.items():
                used[part] |= dict.fromkeys(some)
                unused[part].difference_update(some)
    form = {"rows": rows, "texts": texts, "mean": packed(encoder.scores_.means.get(name, np.zeros(wide - 1)))}
    ends = np.cumsum([len(rarity) for _, rarity in known.parts.values()])
    for (part, (vocabulary, rarity)), block in zip(known.parts.items(), np.split(weights, ends[:-1]), strict=True):
        numbers = pd.DataFrame(np.column_stack([rarity, block]), index=vocabulary).loc[list(used[part])]
        form[part] = {"entries": list(used[part]), "numbers": packed(numbers)}
    return form, room


def _reads_alike(text: str) -> bool:
    """Whether the words of a text are found in it whole and in lower case, as a vocabulary reads it."""
    low = text.lower()
    alike = [text[begin:end].lower() for begin, end in words_in(text)] == [
        low[begin:end] for begin, end in words_in(low)
    ]
    return alike and len(text) <= LONGEST_READ


def _words_left(parts: list[Any]) -> list[str]:
    """Return all words and pairs of words that can stand in a text without some of its parts."""
    runs = [[word.lower() for word in run[::2]] for run in parts[1::2]]
    pairs = [pair for run in runs for pair in itertools.pairwise(run)]
    pairs += [(one[-1], other[0]) for one, other in itertools.combinations(runs, 2)]
    return list(dict.fromkeys([*(word for run in runs for word in run), *(f"{one} {other}" for one, other in pairs)]))


def _pieces_left(parts: list[Any]) -> list[str]:
    """Return all pieces of words, of two to five signs, that can stand in a text without some of its parts."""
    segments = ["".join(part).lower() for part in parts]
    text, ends = "".join(segments), np.cumsum([len(one) for one in segments]).tolist()
    cuts = list(zip(ends[:-1:2], ends[1::2], strict=True))
    pieces: dict[str, None] = {}
    for begin, end in (one.span() for one in re.finditer(r"\S+", text)):
        starts = [begin, *(high for _, high in cuts if begin < high < end)]
        stops = [end, *(low for low, _ in cuts if begin < low < end)]
        pieces |= {text[at : at + size]: None for size in range(2, 6) for at in range(begin, end - size + 1)}
        pieces |= {" " + text[at : at + size]: None for size in range(1, 5) for at in starts if at + size <= end}
        pieces |= {text[at - size : at] + " ": None for size in range(1, 5) for at in stops if at - size >= begin}
        pieces |= {f" {text[at:to]} ": None for at in starts for to in stops if 0 < to - at < 4}
    return list(pieces)


_entries = {"words": _words_left, "pieces": _pieces_left}
