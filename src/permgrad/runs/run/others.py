"""Models of other libraries that a run trains in the place of its network, and which of them is best (``auto``)."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from permgrad.assess.budget import PAIR, REPORT
from permgrad.assess.model import predictions_of_row
from permgrad.assess.rows import Rows
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import EnvironmentProblem, by_count, keeping_warnings, listed
from permgrad.base.numerals import number
from permgrad.base.progress import readable
from permgrad.base.random import generator
from permgrad.base.significance import LEVEL
from permgrad.evaluation.baselines.fitting import (
    baselines,
    check_savable,
    estimate_seconds,
)
from permgrad.evaluation.metrics import Task, metrics, primary_metric, scores_of
from permgrad.evaluation.skill import Predicted, paired
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.runs.options import is_file
from permgrad.runs.run.clock import MOST_HELD
from permgrad.runs.run.training import judged_rows, make_estimator

if TYPE_CHECKING:
    from permgrad.runs.run.work import RunWork

#: Rows on which the seconds of a prediction are measured.
_MEASURED = 1000
#: Training rows for which there is always time.
_FEWEST_ROWS = 1000
#: Models that ``auto`` tries, those that are fast and often good first. Parts and number of the training rows that it
#: tries them on, and the share of the time that it may take.
CANDIDATES = (
    "lightgbm",
    "linear",
    "xgboost",
    "catboost",
    "extra_trees",
    "random_forest",
    "network",
)
_PARTS, _MOST_ROWS, _SHARE = 3, 10_000, 0.4


def fit_other(work: RunWork, judging: Integers, others: float) -> None:
    """Train another model than the network. ``judging``: validation rows. ``others``: seconds of the baselines."""
    (model, train), parts, clock = work.untrained, work.inputs.parts, work.clock
    y, between, weights = (
        parts["train"].y,
        parts["validation"].dependence,
        parts["train"].weights,
    )
    rows, more = _rows_before_the_limit(work, others), dict[str, Any]()
    if rows < len(y):
        clock.cut.append(f"training: {rows:,} rows instead of {len(y):,}")
        chosen = generator(work.request.seed, "rows in time").permutation(len(y))[:rows]
        if work.inputs.task == "classification":  # every class is learned
            chosen = np.union1d(chosen, np.unique(y, return_index=True)[1])
        chosen = np.sort(chosen)
        train, y, weights = (
            train.take(chosen),
            y[chosen],
            None if weights is None else weights.iloc[chosen],
        )
    with clock.whole.part("training"):
        more |= {
            "weights": weights,
            "dependence": None if between is None else between.take(judging),
        }
        model.fit(train, y, judged_rows(work, judging), **more)
    if not is_file(work.request.model):
        work.say(f"  {model.label} was fitted in {readable(model.fitted_.seconds)}")
    work.model = model
    # As many rows as explanations predict together, so that a call's own cost does not count for each row.
    test = work.encoded["test"]
    test = test.take(np.resize(np.arange(len(test)), _MEASURED))
    started = time.perf_counter()
    model.predict_parts(test)
    # What an explanation takes is expected from it.
    clock.per_row = (time.perf_counter() - started) / len(test) / PAIR
    tested, features, outputs = (
        len(parts["test"]),
        len(model.feature_names_in_),
        len(getattr(model, "classes_", "1")),
    )
    explanation = work.budget.expected(tested, features, outputs)
    each = predictions_of_row(features)
    explanation += (
        clock.per_row * PAIR * min(tested, work.budget.swarm_rows(outputs, each)) * each
    )
    expected = {"baselines": others} if others else {}
    clock.whole.expect(**expected, explanation=explanation, report=REPORT)


def _rows_before_the_limit(work: RunWork, others: float) -> int:
    """Return on how many training rows a model is fitted in half of the time that ``--time-limit`` leaves."""
    model, count = work.untrained[0], len(work.inputs.parts["train"])
    if work.request.time_limit is None or not isinstance(model.model, str):
        return count
    seconds = _seconds(work, model.model)
    left = max(work.clock.left() - others - REPORT, 0.1 * work.clock.left()) / 2
    return (
        count
        if seconds <= left
        else max(min(count, _FEWEST_ROWS), int(count * left / seconds))
    )


def _seconds(work: RunWork, name: str) -> float:
    """Return an estimate of the seconds that a model takes on all training rows."""
    rows = BaselineRows(work.untrained[1].encoded, work.inputs.parts["train"].y)
    return estimate_seconds(
        work.inputs.task,
        rows,
        [name],
        seed=work.request.seed,
        threads=torch.get_num_threads(),
    )


# ---- the best of all -------------------------------------------------------------------------------------------------
def choose(work: RunWork) -> dict[str, Any]:
    """Return the best model by its cross-fitted loss on training rows: ``model``, ``losses`` by name, ``sentence``.

    Each part of the rows is predicted by a model of the other parts, which validation rows stop early.
    """
    inputs, seed, train = work.inputs, work.request.seed, work.inputs.parts["train"]
    train = train.take(
        np.sort(generator(seed, "rows of auto").permutation(len(train))[:_MOST_ROWS])
    )
    classes = np.unique(train.y) if inputs.task == "classification" else None
    metric = (
        primary_metric("regression", counts=inputs.counts)
        if classes is None
        else metrics.get("log_loss")
    )
    truth = (
        np.asarray(train.y, dtype=np.float64)
        if classes is None
        else np.searchsorted(classes, train.y)
    )
    part = _parts(train.y, inputs.task, seed, train.dependence)
    tried, losses, late = dict[str, Predicted](), dict[str, float](), list[str]()
    end, labels = time.monotonic() + _SHARE * work.clock.left(), _candidates(work)
    for name, label in labels.items():
        started = time.monotonic()
        guess = _crossed(
            work, name, train, part, classes, end=end if tried else math.inf
        )
        if guess is None:
            late.append(label)
            continue
        tried[name] = Predicted(truth, guess, counts=inputs.counts)
        known = () if classes is None else classes.tolist()
        further: dict[str, Any] = {"counts": True} if inputs.counts else {}
        losses[name] = float(
            scores_of(inputs.task, train.y, guess, classes=known, **further)[
                metric.name
            ]
            or np.inf
        )
        seconds = time.monotonic() - started
        work.say(
            f"  {label}: {metric.label} {number(losses[name])} on training rows ({seconds:.1f} s)"
        )
    if late:
        work.clock.cut.append(
            f"choice of the model: {listed(late)} {by_count(len(late), 'was', 'were')} not tried"
        )
    best, *behind = sorted(losses, key=lambda name: losses[name])
    sentence = (
        f"--model auto chose {labels[best]}: on {len(train):,} training rows, each predicted by a model of other rows, "
        f"its {metric.label} is {number(losses[best])}"
    )
    if behind:
        sentence += f", against {listed([f'{labels[name]} {number(losses[name])}' for name in behind], 9)}"
        test = paired(
            metric.name,
            tried[best],
            tried[behind[0]],
            seed=seed,
            dependence=train.dependence,
        )
        if test is not None:
            ends = " to ".join(number(test[end]) for end in ("ci_low", "ci_high"))
            sentence += f". The first two differ by {number(test['difference'])} (95 % interval {ends})"
            clear = test["difference"] > 0 and test["p_value"] < LEVEL
            sentence += "" if clear else ", which may be chance"
    return {"model": best, "losses": losses, "sentence": f"{sentence}."}


def _candidates(work: RunWork) -> dict[str, str]:
    """Return the models that can be trained here by name, with what they are called, and say which are left out."""
    labels = {}
    for name in CANDIDATES:
        try:
            if name != "network":
                check_savable(name)
        except EnvironmentProblem as error:
            work.say(f"note: auto leaves {name} out: {error}")
        else:
            network = name == "network"
            labels[name] = (
                "permgrad's network"
                if network
                else baselines.get(name).label_for(
                    work.inputs.task, counts=work.inputs.counts
                )
            )
    return labels


def _parts(y: Array, task: Task, seed: int, dependence: Dependence | None) -> Integers:
    """Return the part of each row: drawn within classes, groups together, or stretches of time."""
    draw = generator(seed, "parts of auto")
    if dependence is not None:
        codes = np.unique(dependence.codes, return_inverse=True)[1]
        count = int(codes.max()) + 1
        return (
            np.arange(count) * _PARTS // count
            if dependence.timed
            else draw.permutation(count) % _PARTS
        )[codes]
    order = draw.permutation(len(y))
    if task == "classification":
        order = order[
            np.argsort(np.unique(y, return_inverse=True)[1][order], kind="stable")
        ]
    part = np.empty(len(y), dtype=np.int64)
    part[order] = np.arange(len(y)) % _PARTS
    return part


def _crossed(
    work: RunWork,
    name: str,
    train: Rows,
    part: Integers,
    classes: Array | None,
    *,
    end: float,
) -> Floats | None:
    """Return the predictions of a model for each part, fitted on the others: ``(rows,)``, or of classes.

    None: its fits would not be done at ``end``.
    """
    inputs, held = work.inputs, work.inputs.parts["validation"]
    guess = np.zeros(len(train) if classes is None else (len(train), len(classes)))
    started = time.monotonic()
    for done, number_of in enumerate(np.unique(part)):
        if (
            time.monotonic()
            + (time.monotonic() - started) / max(done, 1) * (_PARTS - done)
            > end
        ):
            return None
        fitted, left = (
            train.take(np.flatnonzero(part != number_of)),
            np.flatnonzero(part == number_of),
        )
        judging = (
            np.arange(len(held))
            if classes is None
            else np.flatnonzero(np.isin(held.y, fitted.y))
        )
        stopping = held.take(judging[:MOST_HELD])
        model = make_estimator(work.request, inputs, name)
        if name == "network":
            model.set_params(progress=False)
        with keeping_warnings():
            model.fit(
                fitted.frame,
                fitted.y,
                eval_set=(stopping.frame, stopping.y) if len(stopping) else None,
            )
        rows = train.frame.iloc[left]
        if classes is None:
            guess[left] = model.predict(rows)
        else:
            guess[np.ix_(left, np.searchsorted(classes, model.classes_))] = (
                model.predict_proba(rows)
            )
    return guess
