"""Why a column is what it is: flags, each with its clause of the sentence that people
read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from permgrad.data.types.identifiers import LONGEST_READ

Flag: TypeAlias = Literal[
    "numbers",
    "binary",
    "whole_dates",
    "no_value",
    "one_value",
    "value_and_missing",
    "fused",
    "named",
    "counting",
    "names",
    "leading_zeros",
    "by_target",
    "also_levels",
    "date_type",
    "duration_type",
    "categorical_type",
    "ordered_type",
    "number_texts",
    "whole_texts",
    "written",
    "durations",
    "pair",
    "text_dates",
    "two_digit_years",
    "swapped",
    "text",
    "images",
    "odd_among_numbers",
    "free_text",
    "long_texts",
    "unique_texts",
    "spelled",
    "mistakes",
    "recognised",
    "declared",
]
"""What decided the kind of a column, and what else was found of it."""
FLAGS: tuple[Flag, ...] = get_args(Flag)

#: The clause of each flag. Its fields are those of the column's type, and its facts.
_CLAUSES: dict[Flag, str] = {
    "numbers": "numbers",
    "binary": "only 0 and 1",
    "whole_dates": "dates as whole numbers, read as {date_format}",
    "no_value": "no value at all",
    "one_value": "one value only",
    "value_and_missing": "one value, and missing",
    "fused": "numbers; {different:,} different values become {left:,} in float64",
    "named": "whole numbers, all different, with the name of an identifier",
    "counting": "whole numbers that count the rows",
    "names": "whole numbers that name things: {n_levels:,} different in {n_known:,} "
    "rows",
    "leading_zeros": ", with leading zeros",
    "by_target": ", whose neighbours are not alike in the target",
    "also_levels": "numbers, each also a level: {n_levels:,} different",
    "date_type": "date type",
    "duration_type": "durations, in seconds",
    "categorical_type": "categorical type",
    "ordered_type": "numbers of an ordered type",
    "number_texts": "numbers stored as text",
    "whole_texts": "whole numbers stored as text",
    "written": "{unit_said}, stored as text",
    "durations": "times of day or durations as text, in seconds",
    "pair": "{true_level} or {false_level}",
    "text_dates": "dates as text, read as {date_format}",
    "two_digit_years": ", years 1930 to 2029",
    "swapped": " (the day and the month could be swapped)",
    "text": "text",
    "images": "images, {n_levels:,} different ones in {n_known:,} rows",
    "odd_among_numbers": (
        "text; {share:.0%} are numbers, {odd!r} is not (if it means missing, declare "
        "it as a code)"
    ),
    "free_text": "free text, {n_levels:,} different cells in {n_known:,} rows",
    "long_texts": f"; the first {LONGEST_READ:,} signs of each are read",
    "unique_texts": "text, {n_levels} different values in {n_known} rows",
    "spelled": "; looks like {what} {how} {example!r}",
    "mistakes": (
        "; cells that cannot be read count as missing: {cells_unread:,}, such as "
        "{example!r}"
    ),
    "recognised": "{what}",
    "declared": "declared",
}


def reason_of(flags: Sequence[Flag], facts: Mapping[str, Any]) -> str:
    """Return the sentence of a column's flags.

    Examples:
        >>> reason_of(["text_dates", "swapped"], {"date_format": "%m/%d/%Y"})
        'dates as text, read as %m/%d/%Y (the day and the month could be swapped)'
    """
    return "".join(_CLAUSES[column_flag].format_map(facts) for column_flag in flags)
