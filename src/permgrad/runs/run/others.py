"""Models of other libraries that a run trains in the place of its network, and which of
them is best (``auto``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from permgrad.assess.assessed_model import predictions_of_row
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.budget import PAIR, REPORT
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import EnvironmentProblem, by_count, keeping_warnings, listed
from permgrad.base.numerals import number
from permgrad.base.progress import readable
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL
from permgrad.data.tasks import COUNTS, tasks
from permgrad.evaluation.baselines.fitting import (
    baselines,
    check_savable,
    estimate_seconds,
)
from permgrad.evaluation.metrics import Metric, metrics, scores_of
from permgrad.evaluation.skill import Predicted, paired
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.runs.options import is_file
from permgrad.runs.run.clock import MOST_HELD
from permgrad.runs.run.run_training import judged_rows, make_estimator

if TYPE_CHECKING:
    from permgrad.runs.run.run_work import RunWork

#: Rows on which the seconds of a prediction are measured.
_MEASURED = 1000
#: Training rows for which there is always time.
_FEWEST_ROWS = 1000
#: Models that ``auto`` tries, those that are fast and often good first. Parts and
#: number of the training rows that it tries them on, and the share of the time that it
#: may take.
CANDIDATES = (
    "lightgbm",
    "linear",
    "xgboost",
    "catboost",
    "extra_trees",
    "random_forest",
    "network",
)
_PARTS = 3
_MOST_ROWS = 10_000
_SHARE = 0.4


def fit_other(work: RunWork, judging: Integers, baseline_seconds: float) -> None:
    """Train another model than the network.

    ``judging``: validation rows. ``baseline_seconds``: seconds of the baselines.
    """
    (model, train), rows_by_part, clock = work.untrained, work.inputs.parts, work.clock
    y = rows_by_part["train"].y
    between = rows_by_part["validation"].dependence
    weights = rows_by_part["train"].weights
    row_count = _rows_before_the_limit(work, baseline_seconds)
    fit_options = dict[str, Any]()
    if row_count < len(y):
        clock.cut.append(f"training: {row_count:,} rows instead of {len(y):,}")
        training_indices = generator(work.request.seed, "rows in time").permutation(
            len(y)
        )[:row_count]
        if work.inputs.task.has_classes:  # every class is learned
            training_indices = np.union1d(
                training_indices, np.unique(y, return_index=True)[1]
            )
        training_indices = np.sort(training_indices)
        train = train.take(training_indices)
        y = y[training_indices]
        if weights is None:
            weights = None
        else:
            weights = weights.iloc[training_indices]
    with clock.whole.part("training"):
        fit_options |= {
            "weights": weights,
            "dependence": None if between is None else between.take(judging),
        }
        model.fit(train, y, judged_rows(work, judging), **fit_options)
    if not is_file(work.request.model):
        work.say(f"  {model.label} was fitted in {readable(model.fitted_.seconds)}")
    work.model = model
    # As many rows as explanations predict together, so that a call's own cost does not
    # count for each row.
    test_rows = work.encoded["test"]
    test_rows = test_rows.take(np.resize(np.arange(len(test_rows)), _MEASURED))
    started = time.perf_counter()
    model.predict_parts(test_rows)
    # What an explanation takes is expected from it.
    clock.per_row = (time.perf_counter() - started) / len(test_rows) / PAIR
    tested = len(rows_by_part["test"])
    features = len(model.feature_names_in_)
    outputs = len(getattr(model, "classes_", "1"))
    explanation = work.budget.expected(tested, features, outputs)
    predictions_by_row = predictions_of_row(features)
    explanation += (
        clock.per_row
        * PAIR
        * min(tested, work.budget.swarm_rows(outputs, predictions_by_row))
        * predictions_by_row
    )
    if baseline_seconds:
        expected = {"baselines": baseline_seconds}
    else:
        expected = {}
    clock.whole.expect(**expected, explanation=explanation, report=REPORT)


def _rows_before_the_limit(work: RunWork, baseline_seconds: float) -> int:
    """Return on how many training rows a model is fitted in half of the time that
    ``--time-limit`` leaves.
    """
    model = work.untrained[0]
    count = len(work.inputs.parts["train"])
    if work.request.time_limit is None or not isinstance(model.model, str):
        return count
    seconds = _seconds(work, model.model)
    seconds_left = (
        max(work.clock.left() - baseline_seconds - REPORT, 0.1 * work.clock.left()) / 2
    )
    if seconds <= seconds_left:
        return count
    return max(min(count, _FEWEST_ROWS), int(count * seconds_left / seconds))


def _seconds(work: RunWork, name: str) -> float:
    """Return an estimate of the seconds that a model takes on all training rows."""
    training_rows = BaselineRows(
        work.untrained[1].encoded, work.inputs.parts["train"].y
    )
    return estimate_seconds(
        work.inputs.task,
        training_rows,
        [name],
        seed=work.request.seed,
        threads=torch.get_num_threads(),
    )


# ---- the best of all -----------------------------------------------------------------
def choose(work: RunWork) -> dict[str, Any]:
    """Return the best model by its cross-fitted loss on training rows: ``model``,
    ``losses`` by name, ``sentence``.

    Each part of the rows is predicted by a model of the other parts, which validation
    rows stop early.
    """
    inputs = work.inputs
    random_seed = work.request.seed
    train = work.inputs.parts["train"]
    train = train.take(
        np.sort(
            generator(random_seed, "rows of auto").permutation(len(train))[:_MOST_ROWS]
        )
    )
    judged = inputs.task
    if inputs.counts:
        judged = COUNTS
    trial = _Trial(
        train,
        np.unique(train.y) if inputs.task.has_classes else None,
        _parts(train.y, inputs.task, random_seed, train.dependence),
        metrics.get(judged.proper_metric),
    )
    labels = _candidates(work)
    _try_each(work, trial, labels)
    losses = trial.losses
    metric = trial.metric
    best_model, *behind = sorted(losses, key=lambda name: losses[name])
    sentence = (
        f"--model auto chose {labels[best_model]}: on {len(train):,} training rows, "
        "each predicted by a model of other rows, "
        f"its {metric.label} is {number(losses[best_model])}"
    )
    if behind:
        behind_losses = []
        for behind_name in behind:
            behind_loss = number(losses[behind_name])
            behind_losses.append(f"{labels[behind_name]} {behind_loss}")
        sentence += f", against {listed(behind_losses, 9)}"
        sentence += _difference(trial, best_model, behind[0], random_seed)
    return {"model": best_model, "losses": losses, "sentence": f"{sentence}."}


@dataclass(frozen=True)
class _Trial:
    """What models are tried on, and what came out.

    Attributes:
        rows: The training rows of all models.
        classes: Their classes. None: numbers.
        part_codes: The part of each row, which models of the others predict.
        metric: What judges them.
        predicted: What each model predicts, by its name.
        losses: By the model's name.
    """

    rows: Rows
    classes: Array | None
    part_codes: Integers
    metric: Metric
    predicted: dict[str, Predicted] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


def _try_each(work: RunWork, trial: _Trial, labels: Mapping[str, str]) -> None:
    """Predict the rows by each model that time is left for, and say its loss."""
    inputs = work.inputs
    targets = trial.rows.y
    further: dict[str, Any] = {}
    if inputs.counts:
        further = {"counts": True}
    if trial.classes is None:
        truth = np.asarray(targets, dtype=np.float64)
    else:
        truth = np.searchsorted(trial.classes, targets)
        further["classes"] = trial.classes.tolist()
    late_labels = list[str]()
    end_time = time.monotonic() + _SHARE * work.clock.left()
    for model_name, label in labels.items():
        started = time.monotonic()
        guess = _crossed(
            work, trial, model_name, end=end_time if trial.losses else math.inf
        )
        if guess is None:
            late_labels.append(label)
            continue
        trial.predicted[model_name] = Predicted(truth, guess, counts=inputs.counts)
        model_scores = scores_of(inputs.task, targets, guess, **further)
        model_loss = float(model_scores[trial.metric.name] or np.inf)
        trial.losses[model_name] = model_loss
        seconds = time.monotonic() - started
        work.say(
            f"  {label}: {trial.metric.label} {number(model_loss)} on training rows "
            f"({seconds:.1f} s)"
        )
    if late_labels:
        work.clock.cut.append(
            f"choice of the model: {listed(late_labels)} "
            f"{by_count(len(late_labels), 'was', 'were')} not tried"
        )


def _difference(trial: _Trial, best_model: str, second: str, seed: int) -> str:
    """Return how far the best model is ahead of the second, in words."""
    paired_test = paired(
        trial.metric.name,
        trial.predicted[best_model],
        trial.predicted[second],
        seed=seed,
        dependence=trial.rows.dependence,
    )
    if paired_test is None:
        return ""
    interval_words = " to ".join(
        number(paired_test[end_name]) for end_name in ("ci_low", "ci_high")
    )
    words = (
        f". The first two differ by {number(paired_test['difference'])} (95 % "
        f"interval {interval_words})"
    )
    if paired_test["difference"] > 0 and paired_test["p_value"] < LEVEL:
        return words
    return f"{words}, which may be chance"


def _candidates(work: RunWork) -> dict[str, str]:
    """Return the models that can be trained here by name, with what they are called,
    and say which are left out.
    """
    labels = {}
    for model_name in CANDIDATES:
        try:
            if model_name != "network":
                check_savable(model_name)
        except EnvironmentProblem as error:
            work.say(f"note: auto leaves {model_name} out: {error}")
        else:
            network = model_name == "network"
            if network:
                labels[model_name] = "permgrad's network"
            else:
                labels[model_name] = baselines.get(model_name).label_for(
                    work.inputs.task, counts=work.inputs.counts
                )
    return labels


def _parts(y: Array, task: str, seed: int, dependence: Dependence | None) -> Integers:
    """Return the part of each row: drawn within classes, groups together, or stretches
    of time.
    """
    random_stream = generator(seed, "parts of auto")
    if dependence is not None:
        codes = np.unique(dependence.codes, return_inverse=True)[1]
        count = int(codes.max()) + 1
        return (
            np.arange(count) * _PARTS // count
            if dependence.timed
            else random_stream.permutation(count) % _PARTS
        )[codes]
    order = random_stream.permutation(len(y))
    if tasks.get(task).stratified:
        order = order[
            np.argsort(np.unique(y, return_inverse=True)[1][order], kind="stable")
        ]
    part_codes = np.empty(len(y), dtype=np.int64)
    part_codes[order] = np.arange(len(y)) % _PARTS
    return part_codes


def _crossed(work: RunWork, trial: _Trial, name: str, *, end: float) -> Floats | None:
    """Return the predictions of a model for each part, fitted on the others:
    ``(rows,)``, or of classes.

    None: its fits would not be done at ``end``.
    """
    train = trial.rows
    classes = trial.classes
    part_codes = trial.part_codes
    held_out_rows = work.inputs.parts["validation"]
    guess = np.zeros(len(train) if classes is None else (len(train), len(classes)))
    started = time.monotonic()
    for done_parts, number_of in enumerate(np.unique(part_codes)):
        if (
            time.monotonic()
            + (time.monotonic() - started) / max(done_parts, 1) * (_PARTS - done_parts)
            > end
        ):
            return None
        fitted = train.take(np.flatnonzero(part_codes != number_of))
        left_rows = np.flatnonzero(part_codes == number_of)
        if classes is None:
            judging = np.arange(len(held_out_rows))
        else:
            judging = np.flatnonzero(np.isin(held_out_rows.y, fitted.y))
        stopping = held_out_rows.take(judging[:MOST_HELD])
        model = make_estimator(work.request, work.inputs, name)
        if name == "network":
            model.set_params(progress=False)
        with keeping_warnings():
            model.fit(
                fitted.frame,
                fitted.y,
                eval_set=(stopping.frame, stopping.y) if len(stopping) else None,
            )
        left_frame = train.frame.iloc[left_rows]
        if classes is None:
            guess[left_rows] = model.predict(left_frame)
        else:
            guess[np.ix_(left_rows, np.searchsorted(classes, model.classes_))] = (
                model.predict_proba(left_frame)
            )
    return guess
