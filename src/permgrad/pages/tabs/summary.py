"""The tab Summary: the verdict with its pictures, and the scores of all models on the
same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.numerals import fixed, number
from permgrad.evaluation.class_order import metrics_in
from permgrad.models.estimators.share import branch_words
from permgrad.pages.charts import error_charts as errors
from permgrad.pages.charts import explained
from permgrad.pages.charts.chart import ASIDE, Chart
from permgrad.pages.content import PageContent
from permgrad.pages.sentences import baseline_label
from permgrad.pages.tabs.decisions import confusion
from permgrad.pages.views import (
    Mark,
    SectionView,
    Tab,
    TableView,
    figures_of,
    metric_heading,
    names,
    table_of,
)
from permgrad.pages.words import (
    clean,
    confidence_words,
    duration,
    listed,
    quantity_of,
    shorten,
)

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment

#: Name, metrics, and the mark of the name: quiet for figures that are not of the test
#: rows.
Measured = tuple[str, Mapping[str, Any], Mark]
#: What the scores mean, for a first reader.
MEANINGS = {
    "accuracy": "Share of the rows whose class is predicted correctly.",
    "quadratic_kappa": "Agreement of classes in an order: two classes off counts four "
    "times as much as one off. 1: all right, 0: as by chance.",
    "balanced_accuracy": "The same for each class, then the mean over classes: rare "
    "classes count as much as others.",
    "macro_f1": "Mean over classes of F1: high if few rows of a class are missed and "
    "few others are taken for it.",
    "roc_auc": "How often a row of the positive class gets a higher probability than "
    "another row. 0.5 is guessing. Of more than two classes: the mean over classes.",
    "average_precision": "Mean precision as more rows of the positive class are found. "
    "Guessing gives the share of the positive class.",
    "lift": "How much more frequent the positive class is among the tenth of the rows "
    "with its highest probabilities. 1 is guessing.",
    "log_loss": "Penalty for the probability of the true class: 0 for 100\u00a0%, 0.69 "
    "for 50\u00a0%, 1 for 37\u00a0%.",
    "rmse": "Root of the mean squared error, in the units of {target}. Large errors "
    "count more.",
    "mae": "Mean size of the errors, in the units of {target}.",
    "mse": "Mean of the squared errors: large errors count more.",
    "mape": "Mean size of the errors as a share of the true value: 0.1 is 10\u00a0%.",
    "poisson_deviance": "Twice the log likelihood of counts that is lost per row, or "
    "per unit of exposure, against a "
    "model that is right in every row. 0: nothing is lost.",
    "r2": "Share of the differences between rows that the model predicts. 0: no better "
    "than the mean.",
}


#: Most classes whose confusion matrix can be read beside the sentences.
_CELLS = 5


def picture_of(content: PageContent) -> Chart | None:
    """Return what the model relies on, as the page shows it beside its first
    sentences.
    """
    if content.standing is None or not content.learnt:
        return None
    return explained.leading(content.standing, content.loss)


def glance(section: SectionView, content: PageContent) -> None:
    """What the first sentences say as pictures: what the model relies on, and how good
    it is.
    """
    chart = content.ask(picture_of)
    if content.standing is not None and chart is not None:
        explanation = content.standing.explanation
        known_loss = content.loss
        quantity_words = quantity_of(explanation)
        if known_loss is not None:
            quantity_words = (
                f"the {known_loss.label} without each feature. With all "
                f"of them it is {number(known_loss.model)}, and without any "
                f"{number(known_loss.constant)}"
            )
        whiskers = (
            explanation.low is not None and np.isfinite(explanation.low[:, 0]).any()
        )
        lines = f" Lines: {confidence_words(explanation)} intervals." * bool(whiskers)
        unused = []
        for feature_index in content.standing.idle:
            unused.append(explanation.names[feature_index])
        if unused:
            idle_words = f" Not used by the model: {listed(map(clean, unused), 3)}."
        else:
            idle_words = ""
        grey_words = " Grey: does not clearly matter." * any(chart.data["quiet"])
        section.figure(
            chart,
            f"{quantity_words[:1].upper()}{quantity_words[1:]}.{lines}{grey_words}{idle_words}",
        )
    scored = content.predictions
    target = shorten(content.target, 40)
    if content.task.numeric:
        if (
            scored is not None and scored.predictions is not None and content.keep_rows
        ):  # each dot is a row
            caption = (
                f"Predicted against true {target}, a dot for each test row. On "
                "the line a prediction is exact."
            )
            section.figure(
                errors.predictions(scored.truth, scored.predictions), caption
            )
        return
    matrix, labels = content.ask(confusion)
    if 0 < len(matrix) <= _CELLS:
        figure = errors.confusion_matrix(matrix, labels, width=ASIDE)
        section.figure(
            figure,
            f"Test rows by their true and predicted {target}. Colour: share of each "
            "true class.",
        )
    elif len(matrix):
        caption = (
            f"Test rows whose {target} is predicted correctly, by class. The "
            "largest classes first."
        )
        section.figure(errors.found_by_class(matrix, labels), caption)


def scores(section: SectionView, content: Assessment) -> None:
    """Test metrics with those of the baselines, then where the model errs."""
    stored = content.metrics or {}
    if not content.test and content.predictions is None:
        return
    together = "All models had the same rows. " * bool(stored.get("baselines"))
    section.text(f"{together}The scores are of test rows.")
    section.table(_metrics_table(content))
    target = shorten(content.target, 40)
    shown = []
    for test_metric in metrics_in(content.test):
        if test_metric.name in MEANINGS:
            shown.append(test_metric)
    section.pairs(
        {
            test_metric.label: MEANINGS[test_metric.name].format(target=target)
            for test_metric in shown
        },
        "What the scores mean",
    )
    if content.task.has_classes and content.positive is not None:
        section.text(
            "Average precision, lift and curves are for the positive class "
            f"{clean(content.positive)}."
        )
    section.text(_constant_words(content))
    for branch_name, facts in stored.get("branches", {}).items():
        words = branch_words(branch_name, facts)
        section.text(f"{words[0].upper()}{words[1:]}.")


def _constant_words(content: Assessment) -> str:
    """Say what the constant predicts."""
    label = content.task.constant.capitalize()
    data_section = content.data
    predictions = content.predictions
    if data_section is None:
        part_name = "train"
    else:
        part_name = data_section.constant_from
    row_words = {
        "train": "the training rows",
        "test": "these test rows themselves",
    }.get(part_name, f"the {part_name} rows")
    if content.weights:
        return f"“{label}” weighs rows, too. It is learned from {row_words}."
    if (
        content.task.numeric
        and predictions is not None
        and predictions.training_mean is not None
    ):
        return (
            f"“{label}” predicts {number(predictions.training_mean, 4)}, the mean "
            f"of {row_words}."
        )
    if (
        content.task.numeric
        or data_section is None
        or data_section.class_counts is None
    ):
        return ""
    most_frequent = shorten(data_section.class_counts[part_name].idxmax(), 40)
    return (
        f"“{label}” predicts {most_frequent}. Its probabilities are the class "
        f"shares of {row_words}."
    )


def _metrics_table(content: Assessment) -> TableView | None:
    """List models by metrics: this model, its validation rows, baselines and the
    constant.
    """
    stored = content.metrics or {}
    test_scores = content.test
    if not test_scores:
        return None
    if content.subject:
        own_label = shorten(content.subject, 60)
    else:
        own_label = content.noun
    models: list[Measured] = [(own_label, test_scores, "own")]
    if stored.get("validation"):
        models.append((f"{own_label}, validation rows", stored["validation"], "quiet"))
    for baseline_name, entry in (stored.get("baselines") or {}).items():
        models.append(
            (
                baseline_label(baseline_name, content.task, counts=content.counts),
                entry,
                "",
            )
        )
    if content.constant:
        models += [(content.task.constant, content.constant, "")]
    seconds = [entry.get("fit_seconds") for _, entry, _ in models]
    if any(seconds) and seconds[0] is None and content.training is not None:
        seconds[0] = content.training.seconds
    return _listed(models, seconds)


def _listed(models: Sequence[Measured], seconds: Sequence[float | None]) -> TableView:
    """List models by the metrics that the first one has, and by the seconds that
    fitting took, where any are known.
    """
    labels, entries, marks = zip(*models, strict=True)
    rival = np.array([row_mark != "quiet" for row_mark in marks])
    columns = [names(labels, "model", marks)]
    for metric in metrics_in(entries[0]):
        values = pd.Series(
            [entry.get(metric.name) for entry in entries], dtype=np.float64
        )
        if metric.direction == "higher":
            best_value = values[rival].max()
        else:
            best_value = values[rival].min()
        leading: list[Mark] = np.where(
            rival & (values == best_value) & (rival.sum() > 1), "best", ""
        ).tolist()
        write = number if metric.task.numeric else fixed
        # A share of variance has no unit that could make it small: 3e-8 is 0.
        texts = []
        for value in values:
            texts.append(write(round(value, 4) if metric.name == "r2" else value))
        columns.append(figures_of(metric_heading(metric), values, texts, leading))
    if any(value is not None for value in seconds):
        columns.append(figures_of("time to fit", seconds, duration))
    return table_of(
        "Test metrics. ↑ higher is better, ↓ lower is better. Bold: the best on the "
        "test rows.",
        columns,
    )


TAB = Tab(name="summary", title="Summary", sections=(("scores", "All scores", scores),))
