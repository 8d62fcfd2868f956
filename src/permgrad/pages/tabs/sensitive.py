"""The section For whom: rates, errors and reliance by the levels of columns, and what the features tell of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from permgrad.base.numerals import number, percent
from permgrad.evaluation.segments import FEWEST_ROWS
from permgrad.pages.sentences import level_words, no_level_words, told_words
from permgrad.pages.views import Column, SectionView, as_count, figures_of, intervals_of, names, table_of
from permgrad.pages.words import clean, listed, names_apart, p_text, shorten

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment

#: Measures by table.
_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")
_ERRORS = (
    *("mean_prediction", "observed_rate", "observed_mean", "excess", "mean_error"),
    *("accuracy", "log_loss", "rmse"),
)
_NUMBERS = ("log_loss", "rmse", "mean_error", "observed_mean")
_LABELS = {
    "excess": "mean prediction − observed rate",
    "mean_error": "mean error",
    "log_loss": "log loss",
    "rmse": "RMSE",
}


def sensitive(section: SectionView, content: Assessment, stored: Mapping[str, Any]) -> None:
    """The rates and errors of the model by the levels of the columns that the user names."""
    for facts in stored["columns"]:
        section.add("heading", f"By {shorten(facts['column'], 40)}")
        section.text(*(level_words(facts, stored["positive"]) or [no_level_words(facts)]))
        if facts["merged"]:
            small = listed(map(clean, facts["merged"]), 5)
            section.text(
                f"Levels with fewer than {FEWEST_ROWS} rows are one level, {facts['levels'][-1]['level']}: {small}."
            )
        _by_level(section, facts, _RATES, "Rates on the test rows by level, with 95\u00a0% intervals.")
        _by_level(
            section, facts, _ERRORS, "Predictions and errors on the test rows by level.", "Calibration and errors"
        )
        _differences(section, facts, content)
        _reliance(section, facts)
        section.text(told_words(facts))


def _by_level(
    section: SectionView, facts: Mapping[str, Any], measures: Sequence[str], caption: str, fold: str = ""
) -> None:
    """Add a table with a line for each level, if the model has such measures."""
    lines = facts["levels"]
    columns: list[Column] = []
    for measure in (one for one in measures if one in lines[0]):
        write = number if _is_number(facts, measure) else percent
        values, low, high = ([line[measure][end] for line in lines] for end in ("estimate", "low", "high"))
        columns += [figures_of(_label(measure), values, write), intervals_of(low, high, write)]
    if columns:
        level = names((line["level"] for line in lines), shorten(facts["column"], 40))
        rows = figures_of("rows", (line["rows"] for line in lines), as_count)
        section.table(table_of(caption, [level, rows, *columns]), fold)


def _differences(section: SectionView, facts: Mapping[str, Any], content: Assessment) -> None:
    """Add the table of differences and ratios, with those that fairlearn names first."""
    tests, fairness = facts["tests"], facts["fairness"]
    lines = [(clean(one["name"].replace("_", " ")), one["value"], one, None, False) for one in fairness]
    for test in tests:
        what = f"{_label(test['measure'])}: {clean(test['highest'])} − {clean(test['lowest'])}"
        lines.append((what, test["difference"], test, test["p_holm"], test["clear"]))
    if not lines:
        return
    columns = [
        names((line[0] for line in lines), "between levels", ["best" if line[4] else "" for line in lines]),
        figures_of("value", (line[1] for line in lines)),
        intervals_of((line[2]["low"] for line in lines), (line[2]["high"] for line in lines), number),
        figures_of("adjusted p", (line[3] for line in lines), lambda p: p_text(p) if p == p else ""),
    ]
    caption = "The largest differences between two levels. Intervals hold for all pairs of levels at once. "
    if fairness:
        caption += (
            "Demographic parity is of selection rates, equalized odds the worse of true and false positive rates. "
        )
    of_rows = "" if content.dependence is None else " Intervals and p allow for rows that depend on each other."
    section.table(table_of(f"{caption}Adjusted p: for all tests of this section. Bold: clear.{of_rows}", columns))


def _reliance(section: SectionView, facts: Mapping[str, Any]) -> None:
    """Add the importances by level of the features that clearly matter."""
    lines = facts["reliance"]
    if not lines:
        return
    show = names_apart(one["feature"] for one in lines)
    for one in (one for one in lines if one["clear"]):
        low, high = (
            f"{number(one['levels'][one[end]])} where {shorten(facts['column'], 40)} is {clean(one[end])}"
            for end in ("lowest", "highest")
        )
        ends = f"{number(one['low'])} to {number(one['high'])}"
        section.text(
            f"The model relies on {show(one['feature'])} differently: its importance is {low} and {high} (difference "
            f"{number(one['difference'])}, 95\u00a0% interval {ends})."
        )
    columns = [names((one["feature"] for one in lines), "feature", ["best" if one["clear"] else "" for one in lines])]
    columns += [figures_of(clean(level), (one["levels"][level] for one in lines)) for level in lines[0]["levels"]]
    columns += [
        figures_of("largest difference", (one["difference"] for one in lines)),
        intervals_of((one["low"] for one in lines), (one["high"] for one in lines)),
        figures_of("adjusted p", (one["p_holm"] for one in lines), p_text),
    ]
    section.table(
        table_of("Importance of features on the rows of each level. Bold: clearly differs.", columns),
        "Reliance by level",
    )


def _is_number(facts: Mapping[str, Any], measure: str) -> bool:
    """Return whether a measure is a number of the target's unit, not a share."""
    return measure in _NUMBERS or (measure == "mean_prediction" and "rmse" in facts["levels"][0])


def _label(measure: str) -> str:
    return _LABELS.get(measure, measure.replace("_", " "))
