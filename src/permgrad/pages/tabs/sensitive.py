"""The section For whom: rates, errors and reliance by the levels of columns, and what the features tell of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from permgrad.base.numerals import number, percent
from permgrad.evaluation.segments import FEWEST_ROWS
from permgrad.pages.sentences import level_words, told_words
from permgrad.pages.views import Mark, SectionView, figures_of, names, table_of
from permgrad.pages.words import clean, listed, p_text, shorten

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment

#: A difference, and the ends of its interval.
_ENDS = ("value", "low", "high")


def sensitive(section: SectionView, _: Assessment, stored: Mapping[str, Any]) -> None:
    """The rates and errors of the model by the levels of the columns that the user names."""
    for facts in stored["columns"]:
        section.add("heading", f"By {(name := shorten(facts['column'], 40))}")
        section.text(*level_words(facts, stored["positive"]))
        if facts["merged"]:
            few = listed(map(clean, facts["merged"]), 5)
            section.text(f"With fewer than {FEWEST_ROWS} rows each, one level is made of {few}.")
        caption = f"By level of {name}: estimate and 95\u00a0% interval. Difference: the largest of two levels, whose "
        caption += "interval and p allow for all pairs. p is adjusted for all tests of this section. Bold: clear."
        _table(section, facts["rows"], facts["measures"], caption)
        named = ((key.replace("_", " "), one) for key, one in facts["fairness"].items() if one)
        section.items([f"{key}: {_text([one[end] for end in _ENDS], number)}" for key, one in named])
        section.text(told_words(facts))
        caption = f"Importance of features on the rows of each level of {name}. Bold: it clearly differs."
        _table(section, facts["rows"], facts["reliance"], caption, "Reliance by level")


def _text(ends: Sequence[Any], write: Callable[[float], str]) -> str:
    return "–" if ends[0] is None else f"{write(ends[0])} ({write(ends[1])} to {write(ends[2])})"


def _table(
    section: SectionView, rows: Mapping[str, int], lines: Sequence[Mapping[str, Any]], caption: str, fold: str = ""
) -> None:
    """Add a table with a line for each measure, and a column for each level."""
    marks: list[Mark] = ["best" if line.get("clear") else "" for line in lines]
    # Names of features stay as they are.
    measures = [line["measure"] if fold else line["measure"].replace("_", " ") for line in lines]
    columns = [names(measures, "feature" if fold else "measure", marks)]
    triples = [
        (f"{clean(level)} ({count:,} rows)", [line["levels"][level] for line in lines]) for level, count in rows.items()
    ]
    triples.append(("difference", [[line.get(end) for end in _ENDS] for line in lines]))
    for heading, cells in triples:
        written = [_text(one, percent if line["share"] else number) for one, line in zip(cells, lines, strict=True)]
        columns.append(figures_of(heading, (one[0] for one in cells), written))
    columns.append(figures_of("adjusted p", (line.get("p_holm") for line in lines), p_text))
    section.table(table_of(caption, columns), fold)
