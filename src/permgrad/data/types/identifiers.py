"""Whole numbers that name or number the rows: they say nothing of other rows, and are
not to be learned from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.late import pd

#: Names of columns that name who or what a row is of: an id or a number, or a thing
#: that may have several rows.
_NAME = re.compile(
    r"(?:.*[_\W])?(?:ids?|key|uuid|guid)|.*(?-i:[a-z]I[dD])|.*[_\W](?:no|nr)|unnamed.*|"
    r"(?P<thing>subject|participant|respondent|patient|person|individual|student|pupil|teacher|hospital|clinic|doctor|"
    r"household|employee|worker|firm|company|customer|client|user|store|shop|vendor|supplier|merchant|station|site|farm|"
    r"animal|kunden?|filiale|zip|zipcode|postcode|plz)(?:[_\W]?(?:id|no|nr|num|number|code))?",
    re.IGNORECASE,
)
#: Columns that rightly rise by one from row to row: a table of years, days or steps.
_TIME_WORD = re.compile(
    r"(?:^|[_\W])(?:years?|months?|weeks?|days?|hours?|minutes?|seconds?|dates?|time|t|quarters?|periods?|steps?|age)"
    r"(?:$|[_\W])",
    re.IGNORECASE,
)
#: Names of columns of numbers that may name rows, of which the numbers must tell, too:
#: all of them differ.
_MAY_NAME = re.compile(
    r"(?:.*[_\W])?(?:[a-z]*id(?:num|no|nr|number|code)|(?:p|s|u|h|hh|r|c|case|person|sub|subj|pat|rec|record|resp|cust|"
    r"mem|member|acc|account|order|trans|tx|emp|user|part|obs|row|seq|serial|house|fam|family|child|mother|study|sample|"
    r"device|loan|claim|policy|ticket|invoice)id|[a-z]*number|[a-z]*num|seqn|serial|record|rec|row|obs|case|mrn|ssn|idx|"
    r"index|code|phone|account|order|ticket|invoice)(?:[_\W]?(?:no|nr|num|number|code))?",
    re.IGNORECASE,
)
#: Names of numbers that differ because they are places in an order.
_RANK = re.compile(
    r"(?:^|[_\W])(?:rank(?:ing)?|pos(?:ition)?|place|order|percentile)", re.IGNORECASE
)
#: Names of columns that say how many cases a row stands for. A ``weight`` alone is one
#: of bodies.
_WEIGHS = re.compile(
    r"(?:.*[_\W])?(?:[pfai]w(?:eight|gt|t)s?|w(?:gh?)?ts?|(?:per|hh|final|fnl|fin|case|samp|svy|pop|person|design|survey|"
    r"sample|sampling|post|raking?|base|inv|ip)[_\W]?w(?:eight|gt|t)s?|wt(?:int|mec|fin|saf)\w*|weight(?:var|ing))",
    re.IGNORECASE,
)
#: So sure, as a power of e, that different whole numbers were not drawn as amounts are.
_SURELY_DIFFERENT = 10.0
YEARS = (1500, 2200)
FEWEST_FOR_IDENTIFIER = 20
#: A column that counts the rows needs no name to be taken for an identifier, but more
#: rows.
_FEWEST_FOR_COUNT = 30
#: Fewer different numbers may be counts or ratings, whatever they are called.
_FEWEST_THINGS = 6
#: Codes for missing that people write, and how many numbers at each end of a column may
#: be such codes.
_CODE_FOR_MISSING = re.compile(
    r"-[789]|-?9+[789]|-?(77+|88+)|-999\.25|-99\.99?|-?999+\.99?|-32768|-?2147483647|-2147483648|9999(1231|0101)"
)
_CODES_LOOKED_AT = 6


def flag_of_whole_numbers(
    name: str, values: Floats, index: pd.Index[Any]
) -> Literal["named", "counting", "names"] | None:
    """Return what whole numbers ``(rows,)`` (NaN: missing) are that are no amounts, or
    None.

    All different, they are identifiers: by their column's name, or because they rise by
    about one from row to row. Repeated ones, twice on average, are names of things by
    their column's name. The target may say so of others (``flag_by_target``).
    """
    present = values[~np.isnan(values)]
    levels = np.unique(present)
    if len(levels) == len(present):
        if names_things(name):
            return "named"
        if counts_rows(name, values, _row_numbers(index)):
            return "counting"
        return None
    repeat = len(present) >= 2 * len(levels) and len(levels) >= _FEWEST_THINGS
    match = _NAME.fullmatch(name)
    # So many doctors, 0 of some, are an amount.
    if match is not None and match["thing"]:
        least = 1
    else:
        least = 0
    if repeat and match is not None and levels[0] >= least:
        return "names"
    return None


def _row_numbers(index: pd.Index[Any]) -> Integers:
    """Return the numbers that a frame's index gives its rows, else 0, 1, …: rows that
    were drawn keep their numbers.
    """
    if index.dtype.kind in "iu" and index.is_unique:
        return index.to_numpy(dtype=np.int64)
    return np.arange(len(index), dtype=np.int64)


def maybe_missing(values: Floats) -> list[int | float]:
    """Return numbers of a column that may be codes for missing: -99, 88 or -999.25,
    apart from all others.

    Examples:
        >>> (
        ...     maybe_missing(np.array([31.0, 40.0, 99999999.0, 22.0, -9.0])),
        ...     maybe_missing(np.array([95.0, 97.0, 99.0])),
        ... )
        ([-9, 99999999], [])
    """
    levels = np.unique(values[np.isfinite(values)])
    extreme_levels = np.concatenate(
        [levels[:_CODES_LOOKED_AT], levels[-_CODES_LOOKED_AT:]]
    ).tolist()
    numbers = set()
    for extreme_level in extreme_levels:
        if extreme_level == int(extreme_level):
            numbers.add(int(extreme_level))
        else:
            numbers.add(extreme_level)
    codes = sorted(
        number for number in numbers if _CODE_FOR_MISSING.fullmatch(str(number))
    )
    other_levels = np.setdiff1d(levels, codes)
    if len(other_levels) < 2:
        return []
    lowest_level = float(other_levels[0])
    highest_level = float(other_levels[-1])
    width = highest_level - lowest_level
    return [
        candidate_code
        for candidate_code in codes
        if candidate_code > highest_level + width
        or candidate_code < lowest_level - width
        or candidate_code < 0 <= lowest_level
    ]


def names_things(name: str) -> bool:
    """Whether a column has the name of an identifier or of what may have several rows:
    ``id``, ``patient``, ``plz``.
    """
    return bool(_NAME.fullmatch(name))


def may_name_rows(name: str, values: Floats) -> bool:
    """Whether numbers ``(rows,)`` may only name the rows: all are whole and differ.

    Their column says so, or they are too dense to differ by chance: of n amounts that
    are drawn from R whole numbers, all differ with probability exp(-n² / 2R) at most.
    Then they lie evenly, too, and in no order, in which amounts may be, too.

    Examples:
        >>> may_name_rows("x", np.random.default_rng(0).permutation(900)[:300] + 7.0)
        True
        >>> (
        ...     may_name_rows("cents", np.arange(300.0) ** 2),
        ...     may_name_rows("pidnum", np.arange(300.0) ** 2),
        ... )
        (False, True)
    """
    present = values[~np.isnan(values)]
    if len(present) < _FEWEST_FOR_COUNT or not are_whole(present) or names_time(name):
        return False
    if len(np.unique(present)) < len(present) or _RANK.search(name):
        return False
    if _MAY_NAME.fullmatch(name) or names_things(name):
        return True
    steps = np.diff(present)
    is_dense = len(present) ** 2 / (2 * np.ptp(present)) > _SURELY_DIFFERENT
    is_sorted = bool((steps > 0).all() or (steps < 0).all())
    return bool(is_dense) and not is_sorted and _are_even(present)


def _are_even(numbers: Floats) -> bool:
    """Whether numbers lie evenly between their ends, by the test of Kolmogorov and
    Smirnov at 1 %.
    """
    shares = (np.sort(numbers) - numbers.min()) / np.ptp(numbers)
    count = len(numbers)
    distance = np.abs(shares - (np.arange(count) + 0.5) / count).max()
    return bool(distance < 1.63 / np.sqrt(count))


def may_weigh(name: str, values: Floats) -> bool:
    """Whether numbers ``(rows,)`` may say how many cases a row stands for: by their
    column's name.

    Examples:
        >>> [
        ...     may_weigh(name, np.array([0.5, 1.2, 3.0]))
        ...     for name in ("pweight", "perwt", "weight", "swt_kg")
        ... ]
        [True, True, False, False]
    """
    present = values[~np.isnan(values)]
    varies = len(np.unique(present)) > 2
    return bool(_WEIGHS.fullmatch(name)) and varies and bool((present >= 0).all())


def names_time(name: str) -> bool:
    """Whether a column has the name of a time: ``year``, ``day_of_week``, ``age``."""
    return bool(_TIME_WORD.search(name))


def counts_rows(name: str, values: Floats, rows: Integers) -> bool:
    """Return whether integers rise or fall with the rows' numbers, by less than two on
    average. Years and times may.
    """
    present = ~np.isnan(values)
    values = values[present]
    rows = rows[present]
    if len(values) < _FEWEST_FOR_COUNT or names_time(name) or not are_whole(values):
        return False
    if values.min() >= YEARS[0] and values.max() <= YEARS[1]:
        return False
    steps = np.diff(values[np.argsort(rows)])
    return bool(
        ((steps > 0).all() or (steps < 0).all()) and np.ptp(values) < 2 * np.ptp(rows)
    )


def are_whole(values: Floats) -> bool:
    """Return whether all numbers that are not missing are whole."""
    present = values[~np.isnan(values)]
    return bool((np.isfinite(present) & (present == np.floor(present))).all())


# ---- cells that are words that people wrote, in any script, or the codes and names of
#: Scripts whose words no space divides (Thai to Khmer, kana, Chinese), and pictures
#: that each are a word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
    "\U00020000-\U0003134f"
)
PICTURES = "\u2600-\u27bf\U0001f300-\U0001faff"
#: Signs over, under and behind letters, which belong to their word though they are no
#: letters: accents, vowels.
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0980-\u0dff"
#: What is read of a cell, in signs.
LONGEST_READ = 20_000
#: A word of letters that is no part of a code: not "AB-12", "SW1A" or the capitals of a
#: number plate.
_WORD = re.compile(
    rf"(?<!\w)(?<!\d[-/.])(?:(?:[^\W\d_]|[{MARKS}]){{3,}}|(?:[^\W\d_A-Z]|[{MARKS}]){{2,}})(?!\w|[-/.]\d)"
)
_RUN = re.compile(rf"[{UNSPACED}]{{4}}|[{PICTURES}][\s\ufe0f\u200d]*[{PICTURES}]")
#: A column of words has so many different ones, in so many of its different cells.
_FEWEST_WORDS = 5
_SHARE_OF_CELLS = 0.5
_LOOKED_AT = 2000
_LONGEST_LOOKED_AT = 200
#: Of free texts half differ, or, of very many, nearly all but for stock phrases that a
#: twentieth of the rows share.
_RARELY_REPEATED = 0.5
_NEARLY_NEVER = 0.8
_VERY_MANY = 100
_STOCK_PHRASE = 0.05


def has_words(text: str) -> bool:
    """Say whether a cell has several words, of which one at least is no code or number.

    Examples:
        >>> [
        ...     has_words(text)
        ...     for text in (
        ...         "NO DAMAGE",
        ...         "Pentium E5500",
        ...         "很好的产品",
        ...         "AB-12 34",
        ...         "SW1A 1AA",
        ...         "ok",
        ...     )
        ... ]
        [True, True, True, False, False, False]
    """
    start = text[:_LONGEST_LOOKED_AT]
    return (
        len(start.split(None, 2)) > 1 and _WORD.search(start) is not None
    ) or _RUN.search(start) is not None


def is_free_text(texts: Sequence[str], counts: Integers, fewest: int) -> bool:
    """Say whether a column is free text: at least ``fewest`` texts that rarely repeat,
    and most have several words.
    """
    row_count = int(counts.sum())
    is_rare = counts <= max(_STOCK_PHRASE * row_count, 1)
    if len(texts) < max(fewest, _RARELY_REPEATED * row_count) and (
        is_rare.sum() < max(_VERY_MANY, _NEARLY_NEVER * counts[is_rare].sum())
    ):
        return False
    cells = texts[:_LOOKED_AT]
    several = [cell_text for cell_text in cells if has_words(cell_text)]
    if len(several) < _SHARE_OF_CELLS * len(cells):
        return False
    # "Sample 12" and "Sample 13" number things.
    words = set()
    for several_text in several:
        for text_word in _WORD.findall(several_text[:_LONGEST_LOOKED_AT]):
            words.add(text_word.lower())
    return (
        len(words) >= _FEWEST_WORDS
        or sum(_RUN.search(wordy_text) is not None for wordy_text in several) >= fewest
    )


# ---- numbers that the target shows to be names ---------------------------------------
#: Fewer numbers do not show whether neighbours are alike. Names fill a stretch of
#: numbers at least so densely.
_FEWEST_LEVELS = 20
_SHARE_FILLED = 0.5
#: How surely, and what share of the target's variance at least, rows with the same
#: number have in common.
_SURELY = 1e-6
_LEAST_SHARED = 0.02
#: Share of this that neighbouring numbers of names have in common, with two standard
#: errors. Of amounts it is about 1.
_NEIGHBOURS_SHARE = 0.5
#: A grouping is finer with so many groups for each number, of so many rows on average.
_FINER = 1.2
_ROWS_OF_GROUP = 1.5
#: Levels times outputs up to which amounts are read as levels, too: so many a page can
#: set.
_MOST_SCORES = 20_000


def flag_by_target(
    name: str,
    values: Floats,
    y: Array,
    classes: int,
    groupings: Iterable[Integers] = (),
) -> Literal["names", "also_levels"] | None:
    """Return whether the target says that numbers are names, or amounts that are
    levels, too.

    Names are whole numbers, each of several rows, of which equal ones are alike in the
    target and neighbours are not. Amounts of which equal ones have more in common than
    neighbours do say what they belong to: the length of a route, the code of a trade.

    Args:
        name: of the column. Times are neither.
        values: its numbers in the training rows ``(rows,)``, NaN where missing.
        y: target ``(rows,)``: class indexes, or numbers where ``classes`` is 0.
        classes: how many classes there are.
        groupings: other columns that may say whose rows these are ``(rows,)``, −1 where
            missing. What is constant within a customer is tested by customers: their
            rows are alike, whatever it says.
    """
    present = ~np.isnan(values)
    values = values[present]
    y = y[present]
    levels = len(np.unique(values))
    if (
        not _FEWEST_LEVELS <= levels <= len(values) / 2
        or not are_whole(values)
        or names_time(name)
    ):
        return None
    if values.min() < 0 or (values.min() >= YEARS[0] and values.max() <= YEARS[1]):
        return None
    outputs = _outputs(y, classes)
    if not classes:
        # The test supposes normal errors, which skewed targets have not.
        ranks = pd.Series(y).rank(pct=True)
        outputs = [np.asarray(ranks, dtype=np.float64)]
    shared_flag = _flag_of_shared(values, outputs)
    for codes in groupings if shared_flag is not None else ():
        whose = codes[present]
        if shared_flag is None or not _are_constant_within(values, whose):
            continue
        of_group = np.unique(whose[whose >= 0], return_index=True, return_inverse=True)
        _, first, member = of_group
        count = np.bincount(member)
        means = []
        for output_values in outputs:
            means.append(np.bincount(member, output_values[whose >= 0]) / count)
        of_groups = values[whose >= 0][first]
        is_repeated = len(np.unique(of_groups)) <= len(of_groups) / 2
        if is_repeated:
            shared_flag = _flag_of_shared(of_groups, means)
        else:
            shared_flag = None
    return shared_flag


def _flag_of_shared(
    values: Floats, outputs: Sequence[Floats]
) -> Literal["names", "also_levels"] | None:
    """Return what numbers are by what equal ones, and neighbours, have in common in the
    target.
    """
    levels = len(np.unique(values))
    own_share, neighbours = _shared(values, outputs)
    is_dense = levels >= _SHARE_FILLED * (np.ptp(values) + 1)
    if own_share and neighbours < _NEIGHBOURS_SHARE and is_dense:
        return "names"
    has_few_levels = levels * len(outputs) <= _MOST_SCORES
    if has_few_levels and own_share * (1 - neighbours) >= _LEAST_SHARED:
        return "also_levels"
    return None


def _are_constant_within(values: Floats, codes: Integers) -> bool:
    """Whether a finer grouping of the rows has one number in each group."""
    is_known = codes >= 0
    groups = len(np.unique(codes[is_known]))
    levels = len(np.unique(values[is_known]))
    if not _FINER * levels <= groups <= is_known.sum() / _ROWS_OF_GROUP:
        return False
    pairs = np.unique(np.stack([codes[is_known], values[is_known]]), axis=1)
    return bool(pairs.shape[1] == groups)


def shared_by_equal(values: Floats, y: Array, classes: int = 0) -> tuple[float, float]:
    """Return what share of the target's variance equal numbers have in common, and
    which share of it neighbours have.

    The first is 0 if it is not sure or hardly anything. The second has two standard
    errors added, which are large where levels have few rows. What rows of one number
    have in common is the variance between levels of a one-way model with random effects
    (Searle, Casella and McCulloch 1992, chapter 3.6), and is tested by its F ratio.
    Neighbours' share of it is the covariance of the means of adjacent levels, weighted
    by how exactly these are known.

    Args:
        values: whole numbers ``(rows,)``, none missing, some repeated.
        y: target ``(rows,)``: class indexes, or numbers where ``classes`` is 0.
        classes: how many classes there are.

    Examples:
        >>> shop = np.repeat(np.arange(1.0, 101), 10)
        >>> of_shop, noise = (
        ...     np.random.default_rng(0).normal(size=101),
        ...     np.random.default_rng(1).normal(size=1000),
        ... )
        >>> sales = of_shop[shop.astype(int)] + noise
        >>> [round(share, 1) for share in shared_by_equal(shop, sales)]
        [0.5, 0.4]
        >>> [round(share, 1) for share in shared_by_equal(shop, shop / 25 + noise)]
        [0.6, 1.2]
    """
    return _shared(values, _outputs(y, classes))


def _outputs(y: Array, classes: int) -> list[Floats]:
    """Return the target as numbers: one for each class."""
    if not classes:
        return [np.asarray(y, dtype=np.float64)]
    return [np.asarray(y == label, dtype=np.float64) for label in range(classes)]


def _shared(values: Floats, outputs: Sequence[Floats]) -> tuple[float, float]:
    """Return what ``shared_by_equal`` does, of the target as numbers ``(rows,)``."""
    from scipy.special import fdtrc

    _, level_index, counts = np.unique(values, return_inverse=True, return_counts=True)
    # Of each level, less the mean of all rows.
    means = np.stack(
        [
            np.bincount(level_index, output - output.mean(), len(counts)) / counts
            for output in outputs
        ]
    )
    total = sum(float(np.var(output)) for output in outputs) * len(values)
    between = float((counts * means**2).sum())
    row_count = len(values)
    levels = len(counts)
    noise = max(total - between, 1e-9 * total) / max(row_count - levels, 1)
    rows_each = (row_count - (counts**2).sum() / row_count) / (levels - 1)
    own_variance = (between / (levels - 1) - noise) / rows_each
    if own_variance <= 0 or own_variance < _LEAST_SHARED * (own_variance + noise):
        return 0.0, 1.0
    if fdtrc(levels - 1, row_count - levels, between / (levels - 1) / noise) > _SURELY:
        return 0.0, 1.0
    exact = np.sqrt(1 / (own_variance + noise / counts))
    pairs = exact[1:] * exact[:-1]
    covariance = float((pairs * means[:, 1:] * means[:, :-1]).sum() / pairs.sum())
    # The variance of each product, so weighted, is 1 where levels are unlike, less of
    # several classes.
    error = float(np.sqrt(len(pairs)) / pairs.sum())
    return float(own_variance / (own_variance + noise)), float(
        (covariance + 2 * error) / own_variance
    )
