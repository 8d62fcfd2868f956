"""Whole numbers that name or number the rows: they say nothing of other rows, and are not to be learned from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.base.late import pd

_IDENTIFIER_WORD = re.compile(
    r"(?:^|[_\W])(?:id|ids|index|idx|key|uuid|guid|rowid|rownames?|record|row|nr|no|number|nummer)$|"
    r"\w(?:nr|nummer|number)$|(?:patient|customer|client|user|case|order|item|sample|subject|person)id$|^unnamed",
    re.IGNORECASE,
)
_IDENTIFIER_CAMEL = re.compile(r"[a-z](?:Id|ID)$")
#: Columns that rightly rise by one from row to row: a table of years, days or steps.
_TIME_WORD = re.compile(
    r"(?:^|[_\W])(?:years?|yr|months?|weeks?|days?|hours?|minutes?|seconds?|dates?|time|t|ts|timestamp|quarters?|periods?|"
    r"epochs?|steps?|age|jahr|monat|woche|tag|stunde|datum|zeit|alter)(?:$|[_\W])",
    re.IGNORECASE,
)
YEARS = (1500, 2200)
FEWEST_FOR_IDENTIFIER = 20
#: A column that counts the rows needs no name to be taken for an identifier, but more rows.
_FEWEST_FOR_COUNT = 30
#: Reason of a column that is learned from, though its name and its values are those of an identifier.
SUSPECT = "numbers, all different, with the name of an identifier"
#: How the reason of numbers begins that are learned from as amounts, though they may be codes.
CODES = "numbers, maybe codes: "
#: Whole numbers of which nearly every row has another, in so many rows and of so many digits, are hardly amounts.
_NEARLY_ALL, _FEWEST_NEARLY, _DIGITS = 0.95, 50, 5
#: So many different values make codes a burden, and an order of them without meaning a pity.
MANY_CODES = 1000
#: Codes for missing that people write, and how many numbers at each end of a column may be such codes.
_CODE_FOR_MISSING = re.compile(r"-[789]|-?9+[789]|-?(77+|88+)|-999\.25|-?9999?\.99?|-32768|-?2147483647|-2147483648")
_CODES_LOOKED_AT = 6
_CODE_WORD = re.compile(
    r"(?:^|[_\W])(?:codes?|flights?|flt|parcels?|zip|zipcode|plz|postcode|postal|accounts?|acct|invoices?|tickets?|tracts?|"
    r"serial|sku|ean|isbn|upc|gtin|barcode|phone|tel|fips|naics|sic|route|train|store|product|article|vendor|supplier|"
    r"customer|employee|patient|polic(?:y|ies)|contract|pin|ssn|vin|imo|icao|mmsi)(?:$|[_\W])|(?:code|num)$",
    re.IGNORECASE,
)


#: Who or what has rows of its own, where the name says no more. Not amounts that one has, such as years of school.
_THING_WORD = re.compile(
    r"(?:subject|subj|participant|respondent|patient|person|individual|student|pupil|teacher|lecturer|classroom|hospital|"
    r"clinic|doctor|physician|rater|interviewer|household|employee|worker|firm|company|customer|client|user|store|shop|"
    r"vendor|supplier|merchant|restaurant|hotel|station|site|farm|herd|litter|animal|proband|kunde|filiale|"
    r"zip|zipcode|postcode|postalcode|postal|plz|postleitzahl)"
    r"(?:[_\W]?(?:nr|no|num|number|code))?",
    re.IGNORECASE,
)
_ENDS_IN_ID, _GLUED_ID = re.compile(r"(?:^|[_\W])(?:id|ID|Id)$|[a-z]I[dD]$"), re.compile(r"[a-z]id$", re.IGNORECASE)
#: How the reason of whole numbers begins that are categories.
NAMES = "whole numbers that name things: "
#: The same of numbers of which each is read as a level, too, because the target says so.
ALSO_LEVELS = "numbers, each also a level: "
#: The same of those that may name things, and are numbers.
MAYBE_NAMES = "numbers, maybe names: "
#: Fewer numbers may be counts or ratings, with names that say less.
_FEWEST_NAMED, _FEWEST_THINGS, _FEWEST_GLUED = 3, 6, 10
#: How unequal blocks of rows may be, as variance over mean, of which a random part was drawn.
_UNEQUAL = 0.6


def row_numbers(index: pd.Index[Any]) -> Integers:
    """Return the numbers that a frame's index gives its rows, else 0, 1, …: rows that were drawn keep their numbers."""
    if index.dtype.kind in "iu" and index.is_unique:
        return index.to_numpy(dtype=np.int64)
    return np.arange(len(index), dtype=np.int64)


def kind_of_distinct(name: str, values: Floats, rows: Integers) -> tuple[Literal["numeric", "identifier"], str | None]:
    """Tell what a column is whose whole numbers (NaN: missing) in ``rows`` are all different, and why or None."""
    present = ~np.isnan(values)
    named = named_like_identifier(name)
    steps = np.diff(values[present][np.argsort(rows[present])])
    if named and ((steps > 0).all() or (steps < 0).all()):
        return "identifier", "a running whole number, all different, with the name of an identifier"
    if counts_rows(name, values, rows):
        return "identifier", "whole numbers that count the rows one by one"
    return "numeric", SUSPECT if named and present.sum() >= _FEWEST_FOR_COUNT else None


def codes_reason(name: str, values: Floats) -> str | None:
    """Return why integers may be codes, or None.

    Nearly all differ and are about equally long or fill a stretch of numbers, or there are many, and a code's name.
    """
    present = values[~np.isnan(values)]
    if len(present) < _FEWEST_NEARLY or not are_whole(present) or names_time(name):
        return None
    different = np.unique(present)
    reason = f"{CODES}{len(different):,} different whole numbers in {len(present):,} rows"
    if len(different) >= MANY_CODES and (_CODE_WORD.search(name) or named_like_identifier(name)):
        return reason
    if len(different) < _NEARLY_ALL * len(present):
        return None
    low, high = np.quantile(different, (0.05, 0.95))
    alike = low > 0 and high >= 10 ** (_DIGITS - 1) and len(str(int(high))) - len(str(int(low))) <= 1
    is_dense = different[-1] - different[0] < len(present) / _NEARLY_ALL
    return reason if alike or is_dense else None


def names_reason(name: str, values: Floats, rows: Integers) -> str | None:
    """Return why repeated whole numbers (NaN: missing) in ``rows`` name things, or may (``MAYBE_NAMES``), or None.

    They do by their column's name. They may if each stands for one block of rows, the blocks are about equally long,
    and the numbers rise from block to block in unequal steps: the subjects 308, 309, 310, 330, 331, …
    """
    present = values[np.argsort(rows)]
    present = present[~np.isnan(present)]
    levels, counts = np.unique(present, return_counts=True)
    if len(levels) < _FEWEST_NAMED or len(present) < 2 * len(levels) or levels[0] < 0 or names_time(name):
        return None
    how_many = f"{len(levels):,} different in {len(present):,} rows"
    is_thing = len(levels) >= _FEWEST_THINGS and levels[0] > 0 and _THING_WORD.fullmatch(name)
    if _ENDS_IN_ID.search(name) or is_thing or (len(levels) >= _FEWEST_GLUED and _GLUED_ID.search(name)):
        return f"{NAMES}{how_many}"
    in_blocks = len(levels) >= _FEWEST_GLUED and (np.diff(present) >= 0).all() and len(np.unique(np.diff(levels))) > 2
    return f"{MAYBE_NAMES}in blocks, {how_many}" if in_blocks and counts.var() <= _UNEQUAL * counts.mean() else None


def maybe_missing(values: Floats) -> list[int | float]:
    """Return numbers of a column that may be codes for missing: -99, 88 or -999.25, apart from all others.

    Examples:
        >>> maybe_missing(np.array([31.0, 40.0, 99999999.0, 22.0, -9.0])), maybe_missing(np.array([95.0, 97.0, 99.0]))
        ([-9, 99999999], [])
    """
    levels = np.unique(values[np.isfinite(values)])
    ends = np.concatenate([levels[:_CODES_LOOKED_AT], levels[-_CODES_LOOKED_AT:]]).tolist()
    numbers = {int(end) if end == int(end) else end for end in ends}
    codes = sorted(number for number in numbers if _CODE_FOR_MISSING.fullmatch(str(number)))
    others = np.setdiff1d(levels, codes)
    if len(others) < 2:
        return []
    low, high = float(others[0]), float(others[-1])
    width = high - low
    return [code for code in codes if code > high + width or code < low - width or code < 0 <= low]


def named_like_identifier(name: str) -> bool:
    """Whether a column has the name of an identifier: ``id``, ``customer_no``, ``Kundennr``."""
    return bool(_IDENTIFIER_WORD.search(name) or _IDENTIFIER_CAMEL.search(name))


def names_things(name: str) -> bool:
    """Whether a column has the name of an identifier or of what has several rows: ``patient``, ``store``, ``plz``."""
    return named_like_identifier(name) or bool(_CODE_WORD.search(name))


def names_time(name: str) -> bool:
    """Whether a column has the name of a time: ``year``, ``day_of_week``, ``age``."""
    return bool(_TIME_WORD.search(name))


def counts_rows(name: str, values: Floats, rows: Integers) -> bool:
    """Return whether integers rise by one from row to row. Years may."""
    present = ~np.isnan(values)
    values, rows = values[present], rows[present]
    if len(values) < _FEWEST_FOR_COUNT or names_time(name) or not are_whole(values):
        return False
    if values.min() >= YEARS[0] and values.max() <= YEARS[1] and not named_like_identifier(name):
        return False
    return bool((values - rows == values[0] - rows[0]).all() or (np.diff(values[np.argsort(rows)]) == 1).all())


def are_whole(values: Floats) -> bool:
    """Return whether all numbers that are not missing are whole."""
    present = values[~np.isnan(values)]
    return bool((np.isfinite(present) & (present == np.floor(present))).all())


def is_running(name: str, pieces: Sequence[Floats]) -> bool | None:
    """Return whether integers named like an identifier rise or fall within each piece of a table, or None."""
    pieces = [piece[~np.isnan(piece)] for piece in pieces]
    values = np.concatenate(pieces)
    if len(values) < FEWEST_FOR_IDENTIFIER or not named_like_identifier(name):
        return False
    if not are_whole(values) or len(np.unique(values)) < len(values):
        return False
    steps = [np.diff(piece) for piece in pieces]
    is_ordered = sum(map(len, steps)) >= len(values) / 2
    rise_or_fall = all((step > 0).all() for step in steps) or all((step < 0).all() for step in steps)
    return True if is_ordered and rise_or_fall else None


# ---- cells that are words that people wrote, in any script, or the codes and names of things -------------------------
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
