"""Whether the cells of a column are words that people wrote, in any script, or the codes and names of things."""

from __future__ import annotations

import re
from collections.abc import Sequence

from permgrad.base.arrays import Integers

#: Scripts whose words no space divides (Thai to Khmer, kana, Chinese), and pictures that each are a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003134f"
PICTURES = "\u2600-\u27bf\U0001f300-\U0001faff"
#: Signs over, under and behind letters, which belong to their word though they are no letters: accents, vowels.
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0980-\u0dff"
#: What is read of a cell, in signs.
LONGEST_READ = 20_000
#: A word of letters that is no part of a code: not "AB-12", "SW1A" or the capitals of a number plate.
_WORD = re.compile(
    rf"(?<!\w)(?<!\d[-/.])(?:(?:[^\W\d_]|[{MARKS}]){{3,}}|(?:[^\W\d_A-Z]|[{MARKS}]){{2,}})(?!\w|[-/.]\d)"
)
_RUN = re.compile(rf"[{UNSPACED}]{{4}}|[{PICTURES}][\s\ufe0f\u200d]*[{PICTURES}]")
#: A column of words has so many different ones, in so many of its different cells.
_FEWEST_WORDS, _SHARE_OF_CELLS = 5, 0.5
_LOOKED_AT, _LONGEST_LOOKED_AT = 2000, 200
#: Of free texts half differ, or, of very many, nearly all but for stock phrases that a twentieth of the rows share.
_RARELY_REPEATED, _NEARLY_NEVER, _VERY_MANY, _STOCK_PHRASE = 0.5, 0.8, 100, 0.05


def has_words(text: str) -> bool:
    """Say whether a cell has several words, of which one at least is no code or number.

    Examples:
        >>> [has_words(text) for text in ("NO DAMAGE", "Pentium E5500", "很好的产品", "AB-12 34", "SW1A 1AA", "ok")]
        [True, True, True, False, False, False]
    """
    start = text[:_LONGEST_LOOKED_AT]
    return (len(start.split(None, 2)) > 1 and _WORD.search(start) is not None) or _RUN.search(start) is not None


def is_free_text(texts: Sequence[str], counts: Integers, fewest: int) -> bool:
    """Say whether a column is free text: at least ``fewest`` texts that rarely repeat, and most have several words."""
    rows = int(counts.sum())
    rare = counts <= max(_STOCK_PHRASE * rows, 1)
    if len(texts) < max(fewest, _RARELY_REPEATED * rows) and (
        rare.sum() < max(_VERY_MANY, _NEARLY_NEVER * counts[rare].sum())
    ):
        return False
    cells = texts[:_LOOKED_AT]
    several = [text for text in cells if has_words(text)]
    if len(several) < _SHARE_OF_CELLS * len(cells):
        return False
    # "Sample 12" and "Sample 13" number things.
    words = {word.lower() for text in several for word in _WORD.findall(text[:_LONGEST_LOOKED_AT])}
    return len(words) >= _FEWEST_WORDS or sum(_RUN.search(text) is not None for text in several) >= fewest
