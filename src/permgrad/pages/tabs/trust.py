"""The tab Trust: all caveats, scores by segment, calibration, the order of the
features, other methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.assess.assessment import NOT_BRANCHES, titles_of
from permgrad.base.errors import counted
from permgrad.base.numerals import number, numbers, percent
from permgrad.base.sequences import values_at
from permgrad.evaluation.between_levels import FEWEST_EVENTS, FEWEST_ROWS
from permgrad.evaluation.ranking import spearman, usual_k
from permgrad.pages.charts import error_charts as charts
from permgrad.pages.content import PageContent
from permgrad.pages.facts.calibration_facts import calibration_facts, curves_of
from permgrad.pages.facts.group_facts import (
    level_sentences,
    never_of_two,
    worse,
    worst_groups,
)
from permgrad.pages.facts.score_facts import threshold_words
from permgrad.pages.findings import CALIBRATION, NOT_CHECKED, Writer, say
from permgrad.pages.sentences import told_words
from permgrad.pages.standing import Standing
from permgrad.pages.units import loss_without
from permgrad.pages.verdict import PARTS, verdict
from permgrad.pages.views import (
    Mark,
    SectionView,
    Tab,
    TableView,
    as_count,
    figures_of,
    intervals_of,
    names,
    table_of,
)
from permgrad.pages.words import (
    clean,
    confidence_words,
    listed,
    names_apart,
    p_text,
    quantity_of,
    rank_texts,
    shorten,
    training_text,
    training_words,
    unit_words,
)

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


#: A difference, and the ends of its interval.
_ENDS = ("value", "low", "high")


def groups(section: SectionView, content: PageContent) -> None:
    """The scores of groups of test rows, by every feature and by the columns that the
    user names.
    """
    if content.segments:
        _segments(section, content, content.segments)
    if content.sensitive:
        section.add("anchor", "sensitive")
        _levels(section, content, content.sensitive)


def _levels(
    section: SectionView, content: PageContent, stored: Mapping[str, Any]
) -> None:
    """Add the rates and errors of the model by the levels of the columns that the user
    names.
    """
    if (missed := content.ask(never_of_two)) is not None:
        section.text(
            f"At {missed['at']} the model predicts no row as {clean(missed['class'])}, "
            "so its rates say nothing of how it treats the levels. Choose a threshold: "
            "by what errors cost (--cost), or in the tab Decisions."
        )
    columns = zip(stored["columns"], content.ask(level_sentences), strict=True)
    for facts, sentences in columns:
        section.add("heading", f"By {(column_name := shorten(facts['column'], 40))}")
        section.text(*sentences)
        if facts["merged"]:
            merged_levels = listed(map(clean, facts["merged"]), 5)
            # The last level.
            joined_level = clean(list(facts["rows"])[-1])
            row_words = f"fewer than {FEWEST_ROWS} rows"
            if len(facts["merged"]) > 1:
                row_words += " each"
            section.text(
                f"“{joined_level}” stands for {merged_levels}, of {row_words}."
            )
        caption = (
            f"By level of {column_name}: estimate and 95\u00a0% interval. "
            "Difference: of the level that differs most from "
        )
        caption += (
            "all other rows, beyond what is expected of each. Interval and p "
            "allow for all tests of this section. "
        )
        caption += "Bold: clear."
        if stored["positive"] is not None and content.predictions is not None:
            caption += f" Rates are at {threshold_words(content.predictions)}."
        _table(section, facts["rows"], facts["measures"], caption)
        _other_thresholds(section, facts.get("thresholds", ()), stored["positive"])
        named = (
            (fairness_name.replace("_", " "), fairness_facts)
            for fairness_name, fairness_facts in facts["fairness"].items()
            if fairness_facts
        )
        section.items(
            [
                f"{fairness_words}: {_text(values_at(difference, _ENDS), number)}"
                for fairness_words, difference in named
            ]
        )
        section.text(told_words(facts))
        caption = (
            f"Importance of features on the rows of each level of {column_name}. Bold: "
            "it clearly differs."
        )
        _table(section, facts["rows"], facts["reliance"], caption, "Reliance by level")


#: Rates by level at a threshold, in words.
_RATES = {
    "selection_rate": "predicted",
    "true_positive_rate": "of the true ones found",
    "false_positive_rate": "of the others predicted",
}


def _other_thresholds(
    section: SectionView, lines: Sequence[Mapping[str, Any]], positive: object
) -> None:
    """Add a table of the rates of each level at several thresholds."""
    if not lines:
        return
    marks: list[Mark] = []
    for line in lines:
        marks.append("")
        if line["chosen"]:
            marks[-1] = "best"
    thresholds = [line["threshold"] for line in lines]
    columns = [
        figures_of("threshold", thresholds, number, marks),
        names((line["level"] for line in lines), "level", marks),
    ]
    for rate_name, heading in _RATES.items():
        rates = [line[rate_name] for line in lines]
        texts = [_text(ends, percent) for ends in rates]
        columns.append(figures_of(heading, (ends[0] for ends in rates), texts, marks))
    caption = (
        f"Rates of {clean(positive)} by level at several thresholds of its "
        "probability, with 95\u00a0% intervals. Bold: the threshold of this model. "
        "Nothing is tested here."
    )
    section.table(table_of(caption, columns), "What another threshold would do")


def _text(ends: Sequence[Any], write: Callable[[float], str]) -> str:
    if ends[0] is None:
        return "–"
    return f"{write(ends[0])} ({write(ends[1])} to {write(ends[2])})"


def _table(
    section: SectionView,
    rows: Mapping[str, int],
    lines: Sequence[Mapping[str, Any]],
    caption: str,
    fold: str = "",
) -> None:
    """Add a table with a line for each measure, and a column for each level."""
    marks: list[Mark] = []
    for measure_line in lines:
        if measure_line.get("clear"):
            marks.append("best")
        else:
            marks.append("")
    # Names of features stay as they are.
    measures = []
    for measure_line in lines:
        if fold:
            measures.append(measure_line["measure"])
        else:
            measures.append(measure_line["measure"].replace("_", " "))
    columns = [names(measures, "feature" if fold else "measure", marks)]
    triples = []
    for level, count in rows.items():
        triples.append(
            (
                f"{clean(level)} ({count:,} rows)",
                [measure_line["levels"][level] for measure_line in lines],
            )
        )
    triples.append(
        (
            "difference",
            [list(map(measure_line.get, _ENDS)) for measure_line in lines],
        )
    )
    for heading, cells in triples:
        written = []
        for cell_values, measure_line in zip(cells, lines, strict=True):
            written.append(
                _text(cell_values, percent if measure_line["share"] else number)
            )
        columns.append(
            figures_of(heading, (cell_values[0] for cell_values in cells), written)
        )
    columns.append(
        figures_of(
            "adjusted p",
            (measure_line.get("p_adjusted") for measure_line in lines),
            p_text,
        )
    )
    section.table(table_of(caption, columns), fold)


#: Features and groups of the page's segments, and lines of tables on paper.
MOST_FEATURES = 100
MOST_WORSE = 50
MOST_LINES = 40
#: Groups with the lowest coverage that are shown.
MOST_LOW = 10


# ---- caveats -------------------------------------------------------------------------
def _doubts(content: PageContent) -> list[str]:
    """Return everything that speaks against the numbers of this report."""
    doubts: list[str] = []
    for spoken_sentence in verdict(content):
        # Also that the model is no better than a constant, or worse for some rows.
        facts = spoken_sentence["facts"]
        lacks = not facts.get("learnt", True) or facts["kind"] == "worse"
        if facts["part"] in ("alarm", "caution", "trust") or lacks:
            doubts.append(str(spoken_sentence["sentence"]))
    row_count = (content.metrics or {}).get("rows", {}).get("test")
    if content.explanation is None:
        explained = None
    else:
        explained = content.explanation.meta.get("rows_explained")
    if (
        isinstance(row_count, int)
        and isinstance(explained, int)
        and explained < row_count
    ):
        doubts.append(
            f"The importances are of {explained:,} of the {row_count:,} test rows."
        )
    return [*doubts, *map(clean, content.warnings)]


def caveats(section: SectionView, content: PageContent) -> None:
    """All caveats in one list."""
    doubts_column, limits = section.columns()
    doubts_column.items(content.ask(_doubts))
    needs = content.table.unchecked
    if not doubts_column.blocks:
        if needs:
            check_words = "that were made"
        else:
            check_words = "for caveats"
        doubts_column.text(
            f"None of the checks {check_words} found a reason for doubt."
        )
    if needs and not any(
        spoken_entry["facts"]["kind"] == "nearly_perfect"
        for spoken_entry in verdict(content)
    ):
        doubts_column.text(NOT_CHECKED[needs])
    if content.related:
        doubts_column.add("link", ("Data: Columns that depend on others", "related"))
    limits.add("heading", "What no report can show")
    limits.add("terms", LIMITS.items())


# ---- segments ------------------------------------------------------------------------
def _segments(
    section: SectionView, content: PageContent, stored: Mapping[str, Any]
) -> None:
    """Add the scores of groups of test rows, those that are clearly worse first."""
    if not stored["features"]:
        return
    row_count = stored["rows"]
    tests = stored["tests"]
    worse_facts = content.ask(worse)
    if row_count == stored["all_rows"]:
        sample = ""
    else:
        sample = f" (a sample of {row_count:,} of them)"
    shares = stored["score"] == "accuracy"
    if shares:
        measure = "the accuracy"
    else:
        measure = "the mean absolute error"
    if shares:
        expected = "what its probabilities expect"
    else:
        expected = "what is usual there"
    few_words = f", with {FEWEST_EVENTS} of each class among both"
    if shares:
        least = few_words
    else:
        least = ""
    answer, rule = section.columns()
    answer.text(
        say("worse", worse_facts)
        if worse_facts
        else "No tested group of test rows is clearly worse than the others."
        * bool(tests),
        f"Every feature divides the test rows{sample} into groups: numbers in "
        f"quarters, all else by value. Each group is scored by {measure}. A model that "
        "is right errs more often where outcomes are uncertain, so that errors are "
        f"compared with {expected}, in the group and on all other rows.",
    )
    rule.text(
        "A group is clearly worse if its errors exceed that by at least 10\u00a0% more "
        "than on the other rows, and chance is an unlikely reason: its p-value, "
        f"adjusted for the {counted(tests, 'tested group')}, is below 0.05."
        if tests
        else f"No group is tested, because that takes {FEWEST_ROWS} rows in the group "
        f"and {FEWEST_ROWS} others{least}.",
    )
    section.live("segments")


def shown_segments(
    content: PageContent, stored: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the features of the page: those with clearly worse groups, the largest gap
    first, then by importance.
    """
    worst = content.ask(worst_groups)
    features = list(dict.fromkeys(worst_group["feature"] for worst_group in worst))
    ordered = dict.fromkeys([*features[:MOST_WORSE], *content.ranking])
    feature_ranks = {}
    for feature_rank, feature_name in enumerate(ordered):
        feature_ranks[feature_name] = feature_rank
    return sorted(
        stored["features"],
        key=lambda segment_feature: feature_ranks.get(
            segment_feature["feature"], len(feature_ranks)
        ),
    )[:MOST_FEATURES]


# ---- intervals -----------------------------------------------------------------------
def intervals(section: SectionView, content: Assessment) -> None:
    """How often intervals or sets hold the truth of the test rows, overall and in
    groups.
    """
    scored = (content.metrics or {}).get("intervals")
    if not scored:
        return
    coverage = percent(scored["coverage"])
    interval_words = f"{percent(scored['low'])} to {percent(scored['high'])}"
    set_words, actual = (
        ("intervals", "truth") if "width" in scored else ("sets of classes", "class")
    )
    words = (
        f"The {set_words} are made to hold the {actual} of {coverage} of new rows. "
        f"They hold it for {percent(scored['covered'])} "
        f"of the {scored['rows']:,} test rows (95\u00a0% interval {interval_words}). "
    )
    if "width" in scored:
        words += f"Their mean width is {number(scored['width'])}."
    else:
        words += f"They have {number(scored['size'], 2)} classes on average."
        if scored["empty"]:
            words += (
                f" {percent(scored['empty'])} are empty: no class is probable "
                "enough for the share asked for."
            )
    section.text(words)
    if by_class := scored.get("by_class"):
        frame = pd.DataFrame(
            [
                {"class": clean(class_name), **class_facts}
                for class_name, class_facts in by_class.items()
            ]
        )
        missed = frame[frame["high"] < scored["coverage"]].sort_values(
            "covered", kind="stable"
        )["class"]
        if len(missed):
            section.text(
                f"Among the rows of {listed(missed, 5)} they hold it less often. "
                "In Python, model.predict_set(X, by_class=True) makes the share hold "
                "in each class."
            )
        caption = "How often the sets hold the class, by class."
        section.table(_lowest(frame, ["class"], MOST_LINES, caption), "By class")
    # The groups of test rows in which the fewest intervals or sets hold the truth.
    features = (content.segments or {}).get("features", ())
    frame = pd.DataFrame(
        [
            {"feature": feature_groups["feature"], **group}
            for feature_groups in features
            for group in feature_groups["groups"]
        ]
    )
    if "covered" not in frame:
        return
    frame = frame[frame["covered"].notna() & (frame["rows"] >= FEWEST_ROWS)]
    frame = frame.assign(low=frame["covered_low"], high=frame["covered_high"])
    if frame.empty:
        return
    below = int((frame["high"] < scored["coverage"]).sum())
    method_call = "predict_interval" if "width" in scored else "predict_set"
    section.text(
        f"{_below_words(below, len(frame))} {percent(scored['coverage'])}. By chance "
        f"alone, about {number(0.025 * len(frame), 2)} such groups are expected."
    )
    if not content.subject:  # models of other libraries have the same width for all
        column = clean(str(_lowest_group(frame)["feature"]))
        section.text(
            f"In Python, model.{method_call}(X, by={column!r}) makes the share hold in "
            f"each group of {column}."
        )
    caption = f"Groups of test rows whose {set_words} hold the {actual} least often."
    section.table(
        _lowest(frame, ["feature", "group"], MOST_LOW, caption), "Lowest groups"
    )


def _below_words(below: int, groups: int) -> str:
    """Say in how many groups the truth is inside less often than it should be."""
    share = "the 95\u00a0% interval of this share"
    if groups == 1:
        negation = " not" * (not below)
        group = f"the one group of {FEWEST_ROWS} or more rows"
        return f"In {group}, {share} is{negation} below"
    if below:
        return f"In {below:,} of the {groups:,} groups, {share} is below"
    return f"In none of the {groups:,} groups is {share} below"


def _lowest_group(frame: pd.DataFrame) -> Mapping[str, Any]:
    """Return the group of rows whose truth is inside least often."""
    return dict(frame.iloc[int(np.argmin(frame["covered"].to_numpy()))])


def _lowest(
    frame: pd.DataFrame, named: list[str], most: int, caption: str
) -> TableView:
    """List the groups of rows whose truth is inside least often."""
    lowest_rows = frame.sort_values("covered", kind="stable")[:most]
    columns = [
        *(names(lowest_rows[column_name], column_name) for column_name in named),
        figures_of("rows", lowest_rows["rows"], as_count),
        figures_of("inside", lowest_rows["covered"], percent),
        intervals_of(lowest_rows["low"], lowest_rows["high"], percent),
    ]
    return table_of(caption, columns)


# ---- calibration ---------------------------------------------------------------------
def calibration(section: SectionView, content: PageContent) -> None:
    """How far predicted probabilities are from observed shares."""
    scored = content.predictions
    curves = content.ask(curves_of)
    facts = content.ask(calibration_facts)
    if scored is None or facts is None:
        return
    answer = {
        "not clearly": f"No clear error in {curves[0].curve.rows.sum():,} rows.",
        "little": "Nearly: they are off, but by little.",
        "clearly": "No, they are off.",
    }[facts["off"]]
    words = Writer(facts).sentence(CALIBRATION)
    section.text(f"{answer} {words}")
    if scored.before_calibration is not None:
        errors = []
        for class_curve in curves:
            assert class_curve.earlier is not None
            errors.append((class_curve.earlier.error, class_curve.curve.error))
        earlier, after = np.mean(errors, axis=0).tolist()
        section.text(
            "Calibration on the validation rows changed the error from "
            f"{number(earlier, 2)} to {number(after, 2)}."
        )
    class_words = "each class versus the rest"
    if len(curves) > charts.MOST_CALIBRATION_PANELS:
        class_words += " (the nine classes with the most rows)"
    if len(curves) == 1:
        class_words = clean(curves[0].label)
    section.figure(
        charts.calibration(curves),
        f"Observed share of {class_words} by predicted probability, on test rows. On "
        "the diagonal, predicted probabilities "
        "are exactly right. Bars: number of rows by probability.",
    )


LIMITS = {
    "Not a cause": (
        "The numbers show what this model uses, not what would happen in the world if "
        "a feature were changed."
    ),
    "Related features": (
        "Replacing one value at a time can make rows that do not exist. Features that "
        "carry the same information share importance. Sampling each given the others, "
        "or explaining them as one group, shows it."
    ),
    "A poor model": "If the test metrics are poor, what the model relies on says "
    "little about the data.",
}
INTERVAL = (
    "If other rows had been drawn from the same source, the interval would cover the "
    "true effect in about {confidence} of the cases. It is for this trained {noun}. "
    "Another training run can give other numbers."
)
P_VALUE = (
    "How often chance alone would give an effect at least this far from 0. With many "
    "features some small p are expected by chance. The adjusted p allows for all of "
    "them (Holm 1979). A feature clearly matters if its importance is above 0 and its "
    "adjusted p below 0.05."
)


def paths_words(path_names: Iterable[str]) -> str:
    """Say what the parts by path are.

    Examples:
        >>> paths_words(["tabular", "image", "interaction"])[:66]
        'The model reads each row in 2 ways: table branch and image branch.'
    """
    readings = []
    for path_key, title in titles_of(list(path_names)).items():
        if path_key not in NOT_BRANCHES:
            readings.append(clean(title))
    if len(readings) == 2:
        quantifier = "both"
    else:
        quantifier = "all"
    return (
        f"The model reads each row in {len(readings)} ways: {listed(readings)}. The "
        "coloured parts add up to the total effect. The interaction is how far the "
        f"effect of {quantifier} together differs from the sum of each alone."
    )


def reading(section: SectionView, content: PageContent) -> None:
    """How to read the report."""
    explanation = content.explanation
    terms: dict[str, str] = {}
    if explanation is not None:
        quantity = quantity_of(explanation)
        meaning = (
            f"{quantity[:1].upper()}{quantity[1:]}. {unit_words(explanation)}".strip()
        )
        if content.loss is not None:
            meaning = (
                f"How much the {content.loss.label} grows when the feature is shuffled."
            )
        paths = len(explanation.parts) > 1 and content.parts_count
        alike = [
            "features",
            *["classes"] * (len(explanation.outputs) > 1),
            *["branches"] * paths,
        ]
        terms["Importance"] = (
            f"{meaning} Numbers of different {listed(alike)} can be compared."
        )
        if explanation.low is not None:
            terms["Interval"] = INTERVAL.format(
                confidence=confidence_words(explanation), noun=content.noun
            )
        if explanation.p_values is not None:
            terms["p"] = P_VALUE
        if paths:
            terms["Branches"] = paths_words(explanation.parts)
    section.add("terms", terms.items())


def _times(repeats: Collection[int]) -> str:
    """Return how often values are replaced, in words.

    A feature that cannot matter is not replaced at all.
    """
    fewest = min(filter(None, repeats), default=0)
    most_repeats = max(repeats, default=0)
    if fewest == most_repeats:
        return counted(most_repeats, "time")
    return f"{fewest} to {most_repeats} times"


def order(section: SectionView, content: PageContent, standing: Standing) -> None:
    """How sure the order of the features is, and what the intervals are of."""
    explanation = standing.explanation
    row_count = explanation.meta.get("rows_explained")
    repeats = explanation.meta.get("repeats")
    if isinstance(row_count, int):
        drawn = (
            f", in each of which a value is replaced {_times(repeats.values())}"
            if repeats
            else ""
        )
        section.text(
            f"The importances are of one trained {content.noun}, and means over "
            f"{counted(row_count, 'row')}{drawn}. Their intervals include the chance "
            f"of both, but not that of the training. Another {content.noun} can rely "
            "on other features."
        )
    ranks = standing.ranks
    level = confidence_words(explanation)
    if ranks is None:
        return
    first = [
        feature_name
        for feature_name, number in zip(ranks.names, ranks.sets, strict=True)
        if number == 1
    ]
    leading = listed(map(names_apart(explanation.names), first), 5)
    if len(first) == len(ranks.names):
        section.text("No feature is clearly more important than all others.")
    elif len(first) == 1:
        section.text(f"{leading} is clearly the most important feature.")
    else:
        section.text(f"{leading} come first, but their order is not certain.")
    columns = [
        names(ranks.names, explanation.level),
        figures_of("rank", range(1, len(ranks.names) + 1), as_count),
        figures_of(f"rank with {level} certainty", ranks.low, rank_texts(ranks)),
    ]
    section.table(
        table_of(
            f"Ranks that hold for all features at once with {level} certainty.", columns
        )
    )


def trainings(section: SectionView, content: Assessment, refits: Explanation) -> None:
    """What other trainings on other rows would say."""
    facts = refits.meta["refits"]
    shares = refits.meta["another_training"]["shares"]
    low_rows, most_rows = facts["trained"]
    section.text(
        training_words(refits),
        f"The same training was repeated {facts['fits']} times, with other seeds, on "
        f"{low_rows:,} to {most_rows:,} of {facts['rows']:,} rows. Each time the "
        "importances were measured on rows that it had not seen. The intervals include "
        "the chance of training, rows and replacements.",
    )
    standing = Standing(refits)
    order = list(map(refits.names.index, standing.names))
    mean_values, (lower_ends, upper_ends) = (
        refits.values[order, 0],
        (interval_ends[order, 0] for interval_ends in refits.ci()),
    )
    spread = refits.part_std["between"][order, 0]
    quantity = quantity_of(refits)
    if (known_loss := loss_without(refits.meta, content.metrics or {})) is not None:
        spread = (
            known_loss.growth(mean_values + spread)
            - known_loss.growth(mean_values - spread)
        ) / 2
        mean_values, lower_ends, upper_ends = map(
            known_loss.growth, (mean_values, lower_ends, upper_ends)
        )
        quantity = known_loss.grown
    ranked = values_at(refits.names, order)
    first = refits.meta["another_training"]["first"]

    def in_trainings(share: float | None) -> str:
        if share is None or not np.isfinite(share):
            return "–"
        return f"{training_text(share, facts['fits'])}\u00a0%"

    columns = [
        names(
            ranked,
            refits.level,
            [
                "best" if feature_name in standing.clear else ""
                for feature_name in ranked
            ],
        ),
        figures_of("importance", mean_values, numbers(mean_values)),
        intervals_of(lower_ends, upper_ends, level=confidence_words(refits)),
        figures_of("between trainings", spread, number),
        figures_of(
            f"among the first {first}",
            values_at(shares, ranked),
            in_trainings,
        ),
    ]
    caption = (
        f"Mean importance over trainings: {quantity}. Between trainings: its standard "
    )
    caption += "deviation. Bold: clearly matters."
    section.table(table_of(caption, columns))


def methods(section: SectionView, content: PageContent, standing: Standing) -> None:
    """How far other methods agree on the order of the features.

    Of local explanations it is that of their mean size.
    """
    explanation = standing.explanation
    if content.paper is None:
        compared = {}
    else:
        compared = {content.paper.method: content.paper}
    local = content.local
    if (
        local is not None
        and local.method not in compared
        and set(local.names) == set(explanation.names)
    ):
        compared[local.method] = local.to_global("mean_abs")
    if not compared:
        return
    orders = _orders(standing, compared)
    titles = {
        titled_method: _METHODS.get(titled_method, clean(titled_method))
        for titled_method in orders
    } | {explanation.method: "this report"}
    ranks = {}
    for ranked_method, order in orders.items():
        ranks[ranked_method] = pd.Series(range(1, len(order) + 1), order)
    lines = _agreements(standing, orders, ranks, titles)
    section.text(
        "Each method answers another question, so they need not agree. Where they do, "
        "the order is safer. They are compared with the ranking of this report. A rank "
        "correlation of 1 is the same order, 0 no relation."
    )
    section.items(lines)
    ranking = standing.names
    columns = [names(ranking, explanation.level)]
    for series_method, series in ranks.items():
        columns.append(
            figures_of(titles[series_method], series.reindex(ranking), as_count)
        )
    section.table(
        table_of("Rank of each feature by method (1 is the most important).", columns),
        "Ranks",
    )


def _agreements(
    standing: Standing,
    orders: Mapping[str, Sequence[str]],
    ranks: Mapping[str, Any],
    titles: Mapping[str, str],
) -> list[str]:
    """Return in words how far each other method agrees."""
    top = usual_k(len(standing.names))
    leading = set(standing.names[:top])
    lines = []
    for name, names_of in list(orders.items())[1:]:
        joined_ranks = pd.concat(
            [ranks[standing.explanation.method], ranks[name]], axis=1, join="inner"
        )
        if len(joined_ranks):
            agreement = spearman(joined_ranks.iloc[:, 0], joined_ranks.iloc[:, 1])
        else:
            agreement = math.nan
        common = len(leading & set(names_of[:top]))
        lines.append(
            f"{titles[name]}: rank correlation {number(agreement, 2)}, {common} of the "
            f"{top} most important features in common."
        )
    return lines


def _orders(
    standing: Standing, compared: Mapping[str, Explanation]
) -> dict[str, list[str]]:
    """Return the order of the features by each method."""
    explanation = standing.explanation
    orders = {explanation.method: standing.names}
    for name, compared_explanation in compared.items():
        # By the output that is comparable with the first one of the ranking: the same,
        # or the mean size over outputs.
        if (first := explanation.outputs[0]) in compared_explanation.outputs:
            orders[name] = compared_explanation.ranking(first)
        else:
            sizes = np.abs(np.nan_to_num(compared_explanation.values)).mean(axis=1)
            orders[name] = values_at(
                compared_explanation.names, np.argsort(-sizes, kind="stable")
            )
    return orders


#: Methods of a run in plain words. The tab Details has their names.
_METHODS = {
    "permgrad_paper": "the published method",
    "integrated_gradients": "the parts of single predictions (mean size)",
}


# ---- the script ----------------------------------------------------------------------
def live_data(content: PageContent) -> Mapping[str, Any] | None:
    """Return what the script needs: the groups of the features shown."""
    stored: Mapping[str, Any] = content.segments or {}
    if not stored.get("features"):
        return None
    group_keys = (
        "group",
        "rows",
        "score",
        "low",
        "high",
        "rest",
        "p_adjusted",
        "worse",
    )
    features = []
    for segment_feature in shown_segments(content, stored):
        groups = []
        for group in segment_feature["groups"]:
            groups.append(
                {
                    group_key: group[group_key]
                    for group_key in (*group_keys, *_MORE)
                    if group_key in group
                }
            )
        features.append({"name": clean(segment_feature["feature"]), "groups": groups})
    positive = None
    if (
        content.task.has_classes
        and content.predictions is not None
        and len(content.predictions.classes) == 2
    ):
        classes = content.predictions.classes
        positive = clean(classes[content.positive_place(classes)])
    facts = {}
    for fact_name in ("score", "overall", "rows", "all_rows", "tests"):
        facts[fact_name] = stored[fact_name]
    return facts | {
        "features": features,
        "all": len(stored["features"]),
        "positive": positive,
        "target": clean(content.target),
    }


_MORE = ("observed", "predicted", "recall", "false_alarms", "same_as")


TAB = Tab(
    name="trust",
    title=lambda content: (
        "Trust & groups" if content.segments or content.sensitive else "Trust"
    ),
    sections=(
        ("caveats", "All caveats", caveats),
        ("segments", PARTS["groups"], groups),
        ("calibration", "Are its probabilities reliable?", calibration),
        ("intervals", "Do its intervals hold?", intervals),
        ("order", "How sure the order is", order, "standing"),
        ("trainings", "Would another training say the same?", trainings, "refits"),
        ("methods", "Other methods on the same model", methods, "standing"),
        ("reading", "How to read this", reading),
    ),
    halves=("calibration", "intervals", "order", "trainings", "methods", "reading"),
    alerts=lambda content: len(content.ask(_doubts)),
    data=live_data,
    scripts=("panels.js", "trust.js"),
)
