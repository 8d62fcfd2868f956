"""The tab Decisions: thresholds and their costs, errors along the predictions, and
where the model errs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import mean_widening
from permgrad.base.numerals import fixed, number, percent
from permgrad.base.sequences import values_at
from permgrad.base.significance import NORMAL_95
from permgrad.evaluation.calibration import covering, error_bands, per_class, wilson
from permgrad.evaluation.thresholds import (
    choose_threshold,
    metrics_at,
    operating_points,
    top_rows,
)
from permgrad.models.decision import HALF, Decision
from permgrad.pages.charts import error_charts as charts
from permgrad.pages.content import PageContent
from permgrad.pages.sentences import raised_words
from permgrad.pages.views import (
    SectionView,
    Tab,
    TableView,
    as_count,
    figures_of,
    intervals_of,
    names,
    packed,
    table_of,
)
from permgrad.pages.words import clean, names_apart, shorten, texts_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment


#: Classes whose thresholds can be tried, those with the most rows, and points of each.
MOST_CLASSES = 30
POINTS = 300
POINTS_OF_MANY = 120
#: Test rows from which errors over time are drawn.
FEWEST_IN_TIME = 40
#: Per cents of the rows, those with the highest probability, whose positives are
#: counted, and test rows that are fewest for that.
TOP_PERCENTS = (1, 5, 10, 20, 30, 50)
FEWEST_ON_TOP = 10


# ---- thresholds and costs ------------------------------------------------------------
def thresholds(section: SectionView, content: PageContent) -> None:
    """What each threshold of the probability finds and misses, and what it costs."""
    scored = content.ask(_probabilities)
    if scored is None:
        return
    truth, table, classes = scored
    if len(classes) > 2:
        section.text(
            "Choose a class and the probability from which a row counts as it. The "
            "class is compared with all others."
        )
        section.live("threshold")
        return
    class_code = content.positive_place(classes)
    member = truth == classes[class_code]
    scores = table[:, class_code]
    positive = names_apart(classes)(classes[class_code])
    if content.predictions is None:
        decision = None
    else:
        decision = content.predictions.decision
    if decision is None:
        threshold = HALF
    else:
        threshold = decision.of(class_code)
    words_side, counted_side = section.columns()
    words_side.text(
        f"A row is predicted as {positive} if its probability of {positive} is at "
        f"least the threshold{_chosen_by(decision, class_code)}. A lower threshold "
        "finds more of them, with more false alarms. The right one depends on what "
        "each error costs."
    )
    if member.any() and not member.all():
        best_threshold = choose_threshold(member, scores, positive=True)
        usual = metrics_at(member, scores, threshold, positive=True)
        sentences = []
        for measured in (usual, best_threshold.metrics):
            sentences.append(
                f"the model finds {percent(measured['recall'])} of the {positive} rows"
            )
            if measured["precision"] is not None:
                sentences[-1] += (
                    f", and {percent(measured['precision'])} of those it predicts are "
                    "right"
                )
        words = f"With a threshold of {threshold:.3g}, {sentences[0]}."
        if best_threshold.metrics["confusion_matrix"] != usual[
            "confusion_matrix"
        ] and math.isfinite(best_threshold.value):
            words += (
                " The F1 score is largest with "
                f"{number(best_threshold.value, 2)}: there, {sentences[1]}."
            )
        scored_by = content.predictions
        if scored_by is not None and decision is None and scored_by.called is not None:
            words += (
                " The model decides otherwise: scores and confusion matrix are "
                "those of the classes it predicts."
            )
        words_side.text(words)
        counted_side.table(_top_rows(content, member, scores, positive))
    section.live("threshold")
    section.text(
        "A threshold chosen on these test rows looks a little better here than on new "
        "rows."
    )


def _top_rows(
    content: PageContent, member: Array, scores: Floats, positive: str
) -> TableView | None:
    """Return precision and recall of the rows with the highest probability, where
    they are enough.
    """
    lines = []
    for line in top_rows(member, scores, TOP_PERCENTS):
        if line["rows"] >= FEWEST_ON_TOP:
            lines.append(line)
    if not lines:
        return None
    # Rows that depend on each other say as much as fewer others.
    wider = max(mean_widening(content.dependence, member - scores), 1.0)
    row_counts = np.array([line["rows"] for line in lines])
    precision = np.array([line["precision"] for line in lines])
    low, high = wilson(precision, row_counts / wider**2)
    columns = [
        names(
            (f"{line['percent']}\u00a0%" for line in lines), "top rows", kind="short"
        ),
        figures_of("rows", row_counts, as_count),
        figures_of("precision", precision, percent),
        intervals_of(low, high, percent),
        figures_of("recall", (line["recall"] for line in lines), percent),
    ]
    caption = (
        f"If only so many rows can be looked at, those with the highest probability of "
        f"{positive}. Precision: the share of them that are {positive}. Recall: the "
        f"share of all {int(member.sum()):,} {positive} rows that is among them."
    )
    return table_of(caption, columns, sortable=False)


def _chosen_by(decision: Decision | None, class_index: int) -> str:
    """Say what a model's threshold is for a class, and where it is from."""
    if decision is None:
        return ""
    words = f", which is {decision.of(class_index):.3g} in this model"
    if decision.cost is None:
        return words
    if class_index == decision.positive:
        prices = decision.cost
    else:
        prices = decision.cost[::-1]
    alarm, miss_cost = (f"{price:g}" for price in prices)
    if decision.rows:
        where = f" on {decision.rows:,} rows held out of training"
    else:
        where = ""
    return (
        f"{words}: the cheapest{where} where a false alarm costs {alarm} and a miss "
        f"{miss_cost}"
    )


def _probabilities(content: Assessment) -> tuple[Any, Any, Any] | None:
    """Return truth, probabilities and classes as texts, if the test rows have several
    classes.
    """
    if content.weights:
        scored = None
    else:
        scored = content.predictions
    if (
        scored is None
        or scored.probabilities is None
        or len(np.unique(texts_of(scored.truth))) < 2
    ):
        return None
    table = np.clip(np.asarray(scored.probabilities, dtype=np.float64), 0, 1)
    if np.isfinite(table).all():
        return (texts_of(scored.truth), table, texts_of(scored.classes))
    return None


# ---- errors along the predictions ----------------------------------------------------
def tolerance(section: SectionView, content: Assessment, _: Floats) -> None:
    """How large errors are at each predicted number, and how many rows are within a
    tolerance.
    """
    bands = _bands(content)
    if bands is None:
        return
    typical = covering(bands["sizes"], 0.5)
    nine_tenths = covering(bands["sizes"], 0.9)
    section.text(
        f"Half of the test rows are predicted to within {number(typical)}, nine in ten "
        f"to within {number(nine_tenths)} (in units of {shorten(content.target, 40)}). "
        "Choose the error that you can accept to see how many predictions are good "
        "enough, and where."
    )
    section.live("tolerance")


def _bands(content: Assessment) -> dict[str, Any] | None:
    if content.weights:
        scored = None
    else:
        scored = content.predictions
    if scored is None or scored.predictions is None:
        return None
    bands = error_bands(scored.truth, scored.predictions)
    if bands["rows"] > 1:
        return bands
    return None


# ---- where it errs -------------------------------------------------------------------
def errors(section: SectionView, content: PageContent) -> None:
    """Where the model errs: the confusion matrix, ROC curves and single classes, or the
    errors of numbers.
    """
    if content.task.numeric:
        _residuals(section, content)
        return
    scored = content.predictions
    matrix, labels = content.ask(confusion)
    # Half of the page is too narrow for those of many classes.
    fits_side_by_side = len(labels) <= 8
    if len(matrix) and len(labels) <= 60:
        figure = charts.confusion_matrix(matrix, labels)
        section.figure(
            figure,
            "Confusion matrix: rows are the true classes, colour is the share of each.",
            side_by_side=fits_side_by_side,
        )
    if scored is None or scored.probabilities is None or content.weights:
        return
    class_index = content.positive_place(scored.classes)
    truth = texts_of(scored.truth)
    classes = texts_of(scored.classes)
    probabilities = np.asarray(scored.probabilities, dtype=np.float64)
    roc_chart = charts.roc_curves(
        scored.truth, probabilities, list(scored.classes), positive=class_index
    )
    if len(classes) == 2:
        versus = ""
    else:
        versus = ", each class versus the rest"
    worst = f" The {charts.MOST_ROC_CURVES} classes with the smallest areas." * (
        len(classes) > charts.MOST_ROC_CURVES
    )
    section.figure(
        roc_chart,
        f"ROC curves{versus}.{worst} The diagonal is guessing.",
        side_by_side=fits_side_by_side,
    )
    if len(classes) == 2:
        member = (truth == classes[class_index]).astype(np.float64)
        _over_time(
            section,
            content,
            member,
            probabilities[:, class_index],
            f"share of {names_apart(classes)(classes[class_index])}",
        )
    if len(truth):
        section.add("heading", "Each class")
        frame = per_class(truth, probabilities, classes, scored.called)
        headings = {
            "precision": "precision",
            "recall": "recall",
            "f1": "F1",
            "roc_auc": "ROC\u2011AUC",
        }
        headings |= {
            "average_precision": "average precision",
            "calibration_error": "calibration error",
        }
        columns = [
            names(frame["class"], "class"),
            figures_of("rows", frame["rows"], as_count),
            figures_of("predicted", frame["predicted"], as_count),
            *(
                figures_of(words, frame[metric_name], fixed)
                for metric_name, words in headings.items()
            ),
        ]
        caption = (
            "Test rows by class. Precision: of the rows predicted as the class, the "
            "share that really are. Recall: of the class's rows, the share predicted "
            "as it. The last three columns compare the class with all others."
        )
        section.table(table_of(caption, columns))


def confusion(content: Assessment) -> tuple[Array, list[Any]]:
    """Return the confusion matrix of the test rows, empty without one, and its classes:
    of two the positive last.
    """
    labels = content.test.get("labels") or ()
    if len(labels) == 2 and content.positive_place(labels) == 0:
        order = [1, 0]
    else:
        order = list(range(len(labels)))
    stored = content.test.get("confusion_matrix")
    return np.asarray(stored)[np.ix_(order, order)] if stored else np.zeros(
        (0, 0)
    ), values_at(labels, order)


def _over_time(
    section: SectionView, content: Assessment, truth: Floats, guess: Floats, what: str
) -> None:
    """Add the target and the error by time, if the test rows have one.

    ``what``: the target, in words.
    """
    between = None if content.weights else content.dependence
    defined = np.isfinite(truth) & np.isfinite(guess)
    if (
        between is None
        or between.times is None
        or len(between.times) != len(truth)
        or defined.sum() < FEWEST_IN_TIME
    ):
        return
    times = between.times[defined]
    truth = truth[defined]
    guess = guess[defined]
    order = np.argsort(times, kind="stable")
    numeric = content.task.numeric
    halves = np.array_split(((truth - guess) ** 2)[order], 2)
    first, second = (
        number(math.sqrt(half_errors.mean()) if numeric else float(half_errors.mean()))
        for half_errors in halves
    )
    score = (
        "root mean squared error"
        if numeric
        else "mean squared error of the probability (Brier score)"
    )
    time_name = shorten(between.name, 40)
    picture_side, words_side = section.columns()
    words_side.text(
        f"In the earlier half of the test rows by {time_name}, the {score} is {first}, "
        f"in the later half {second}."
    )
    if raised := (content.metrics or {}).get("raised"):
        words = raised_words(raised)
        words_side.text(f"{words[0].upper()}{words[1:]}.")
    points = (truth, truth - guess) if numeric and content.keep_rows else (None, None)
    picture_side.figure(
        charts.over_time(
            times,
            {
                what: (points[0], {"truth": truth, "prediction": guess}),
                "error": (points[1], {"mean error": truth - guess}),
            },
        ),
        f"Test rows by {clean(between.name)}. Above: {what}, true and predicted. "
        "Below: the error (truth − "
        "prediction). Lines are means of stretches of time with equal numbers of rows.",
    )


def _residuals(section: SectionView, content: Assessment) -> None:
    """Add predictions against true values, and the errors by the strongest features."""
    scored = content.predictions
    if scored is None or scored.predictions is None:
        return
    truth = np.asarray(scored.truth, dtype=np.float64)
    guess = np.asarray(scored.predictions, dtype=np.float64)
    error = truth - guess
    finite = error[np.isfinite(error)]
    mean_words = ""
    if len(finite) > 1 and not content.weights:
        mean_error = float(finite.mean())
        wider = mean_widening(content.dependence, error)
        doubt = wider * NORMAL_95 * float(finite.std(ddof=1)) / math.sqrt(len(finite))
        mean_words = (
            f"On average predictions are too {'low' if mean_error > 0 else 'high'} by "
            f"{number(abs(mean_error), 2)} "
        )
        mean_words += f"(± {number(doubt, 2)})."
        if abs(mean_error) <= doubt:
            mean_words = (
                f"On average errors cancel ({number(mean_error, 2)} ± "
                f"{number(doubt, 2)})."
            )
    _over_time(section, content, truth, guess, shorten(content.target, 40))
    if not content.keep_rows:  # each dot is a row
        section.text(mean_words)
        return
    picture_side, words_side = section.columns()
    words_side.text(mean_words)
    picture_side.figure(
        charts.residuals(truth, guess),
        "Predictions against true values, then the error (truth − prediction) by "
        "prediction, with its running median and middle half.",
    )
    features = content.residual_features
    if features is not None and features.shape[1] and len(features) == len(error):
        count = min(features.shape[1], 3)
        if count == 1:
            which = "strongest feature"
        else:
            which = f"{count} strongest features"
        section.figure(
            charts.residuals_by_feature(features, error),
            f"The error by the values of the {which}. Where the running median is away "
            "from 0, the model has not learned something about the feature.",
        )


def cuts(section: SectionView, _: Assessment, stored: Mapping[str, Any]) -> None:
    """The results on the test rows for several thresholds."""
    positive = clean(stored["positive"])
    weighted = any("class weight" in cut_line["cut"] for cut_line in stored["test"])
    reason = (
        "The loss in training was weighted, so both classes are not equally likely at "
        "a probability of 0.5. "
    )
    section.text(
        f"A row is predicted as {positive} if its probability of {positive} is at "
        f"least the threshold. {reason * weighted}The right threshold depends on the "
        "cost of each error.",
        f"Thresholds were chosen on {stored['held_out_rows']:,} rows held out of "
        f"training, never on test rows. {percent(stored['share_positive'])} of the "
        f"test rows are {positive}, so accuracy alone is not enough.",
    )
    lines = stored["test"]
    headings = {}
    for metric_name in ("accuracy", "balanced_accuracy", "precision", "recall"):
        headings[metric_name] = metric_name.replace("_", " ")
    columns = [
        names((cut_line["cut"] for cut_line in lines), "cut"),
        figures_of("threshold", (cut_line["threshold"] for cut_line in lines)),
    ]
    for metric_key, heading in {**headings, "f1": "F1"}.items():
        columns.append(
            figures_of(heading, (cut_line[metric_key] for cut_line in lines), fixed)
        )
    section.table(table_of("Results on the test rows by threshold.", columns))


# ---- the script ----------------------------------------------------------------------
def live_data(content: PageContent) -> Mapping[str, Any] | None:
    """Return what the script needs: counts at thresholds of each class, or errors by
    prediction.
    """
    if content.task.numeric:
        bands = _bands(content)
        if bands is None:
            return None
        lines = []
        for error_band in bands["bands"]:
            lines.append({**error_band, "sizes": packed(error_band["sizes"])})
        start = [covering(bands["sizes"], share) for share in (0.5, 0.99)]
        return {
            "target": clean(content.target),
            "exact": bands["exact"],
            "start": start,
            "bands": lines,
        }
    scored = content.ask(_probabilities)
    if scored is None:
        return None
    truth, table, classes = scored
    if len(classes) == 2:
        class_indices = [content.positive_place(classes)]
        max_points = POINTS
    else:
        counts = np.array([np.sum(truth == label) for label in classes])
        class_indices = np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist()
        max_points = POINTS_OF_MANY
    shown = []
    scored_by = content.predictions
    decision = None if scored_by is None else scored_by.decision
    if decision is None:
        threshold = HALF
    else:
        threshold = decision.of(class_indices[0])
    for class_index in class_indices:
        points = operating_points(
            truth == classes[class_index],
            table[:, class_index],
            max_points,
            start=threshold,
        )
        shown.append({"name": clean(classes[class_index]), **points})
    # The costs of a false alarm and of a miss that the model was given, perhaps for the
    # other class.
    decision_cost = None if decision is None else decision.cost
    if (
        decision_cost is not None
        and decision is not None
        and decision.positive != class_indices[0]
    ):
        decision_cost = decision_cost[::-1]
    return {
        "classes": shown,
        "all": len(classes),
        "threshold": threshold,
        "cost": None if decision_cost is None else list(decision_cost),
    }


TAB = Tab(
    name="decisions",
    title="Decisions",
    sections=(
        ("threshold", "Where to set the threshold", thresholds),
        ("tolerance", "How large errors are", tolerance, "predictions.predictions"),
        ("errors", "Where it errs", errors),
        ("cuts", "Thresholds compared", cuts, "cuts"),
    ),
    data=live_data,
    scripts=("panels.js", "decisions.js"),
)
