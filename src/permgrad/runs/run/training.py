"""The training of a run's network: which rows and epochs the time allows, and what the terminal says of it."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch

from permgrad.assess.budget import REPORT, expected_refits
from permgrad.base.errors import EnvironmentProblem, counted
from permgrad.base.files import write_json_atomic
from permgrad.base.progress import readable
from permgrad.base.random import generator
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.network.summary import TrainingTime, measure_training_time
from permgrad.models.train.checkpoint import CHECKPOINT_NAME, read_checkpoint
from permgrad.models.train.learner import EpochWatcher, mean_loss
from permgrad.models.train.rows import Rows
from permgrad.pages.sentences import raised_words
from permgrad.runs.folder.folder import CHECKPOINT, RECORD
from permgrad.runs.run.clock import ROWS_SEEN, USUAL_EPOCHS, TrainingPlan, plan_training, watch_epochs

if TYPE_CHECKING:
    from permgrad.runs.run.stages import RunWork


def train_network(work: RunWork, judging: npt.NDArray[np.int64], others: float) -> None:
    """Train the network, or finish its training. ``judging``: validation rows. ``others``: seconds of the baselines."""
    (model, train), parts, checkpoint = work.untrained, work.inputs.parts, work.folder.path / CHECKPOINT
    checkpoint.mkdir(exist_ok=True)
    done, stored = 0, checkpoint / CHECKPOINT_NAME
    with suppress(EnvironmentProblem, KeyError, TypeError):  # one that cannot be read is begun anew
        done = len(read_checkpoint(stored, torch.device("cpu"))["history"]) if stored.exists() else 0
    if done:
        work.say(f"  training resumes from epoch {done + 1}: {counted(done, 'epoch')} were done before")
    y, order = parts["train"].y, model.order_
    eval_set = work.encoded["validation"].take(judging), parts["validation"].y[judging]
    ready = model.prepare(train, y, eval_set=eval_set)
    model.order_ = order
    plan, watch = _plan(work, ready, len(train.encoder.features()), done, others)
    if plan.rows < len(y):
        chosen = rows_in_time(work, y, plan.rows)
        ready = model.prepare(train.take(chosen), y[chosen], eval_set=eval_set)
    between = parts["validation"].dependence
    ready = replace(ready.with_epochs(plan.epochs), dependence=None if between is None else between.take(judging))
    with work.clock.whole.part("training"):
        model.train(ready, checkpoint_folder=checkpoint, on_epoch=watch)
    if raised := getattr(model, "raised_", 0.0):
        work.say(f"  {raised_words(raised)}")


def rows_in_time(work: RunWork, y: npt.NDArray[Any], rows: int) -> npt.NDArray[np.int64]:
    """Draw so many training rows. Every class is learned."""
    drawn = generator(work.request.seed, "rows in time").permutation(len(y))[:rows]
    if work.inputs.task == "classification":
        drawn = np.union1d(drawn, np.unique(y, return_index=True)[1])
    return np.sort(drawn)


def _plan(work: RunWork, ready: Prepared, features: int, done: int, others: float) -> tuple[TrainingPlan, EpochWatcher]:
    """Plan the rest of the run, and say so. Return the plan of the training, and what watches its epochs."""
    clock, facts, rows = work.clock, work.folder.record["facts"], len(ready.job.train_rows)
    measured = measure_training_time(ready.job, ready.device)
    clock.per_row = measured.seconds_per_epoch / rows
    parts = work.inputs.parts
    tested, outputs = len(parts["test"]), 1 if work.inputs.task == "regression" else len(np.unique(parts["train"].y))
    explanation, refinement = work.budget.expected(tested, features, outputs)
    # Baselines that were asked for count where a limit was asked for.
    reserved = explanation + REPORT + (others if work.request.time_limit is not None else 0.0)
    plan = TrainingPlan(**facts["training"]) if done and "training" in facts else None
    if plan is None:
        usual = work.request.preset == "default" and not clock.thorough
        seconds = max(clock.left() - reserved, 0.1 * clock.left())
        plan = plan_training(ready.job.options, rows, measured, seconds, most_seen=ROWS_SEEN if usual else math.inf)
        facts["training"] = asdict(plan)
        write_json_atomic(work.folder.path / RECORD, work.folder.record)
    if plan.cut:
        clock.cut.append(plan.cut)
    per_epoch = clock.per_row * plan.rows
    epochs = max(plan.epochs - done, 0)
    left = TrainingTime(per_epoch, per_epoch * epochs, epochs)
    expected = {"training": per_epoch * min(epochs, USUAL_EPOCHS)}
    expected |= {"baselines": others} if others else {}
    expected |= {"explanation": explanation, **({"refinement": refinement} if refinement else {}), "report": REPORT}
    if work.budget.refits is not None:
        sizes = len(parts["train"]), len(parts["validation"])
        expected["refits"] = expected_refits(work.budget.refits, expected["training"], *sizes)
    words = {name: readable(max(seconds, 1.0)) for name, seconds in expected.items()}
    most = readable(max(left.seconds_at_most, 1.0))
    words["training"] += f" (at most {most} for {left.epochs_at_most} epochs)"
    limit = clock.limit + expected.get("refits", 0.0)
    whole = "" if math.isinf(limit) else f"; at most about {readable(limit)} in all"
    parts_said = ", ".join(f"{name} {text}" for name, text in words.items())
    work.say(f"  plan: about {readable(max(sum(expected.values()), 1.0))} more, {parts_said}{whole}")
    clock.whole.expect(**expected)
    held = cast("Rows", ready.job.validation_rows)
    # The loss of a constant prediction: how frequent the classes are, or the mean.
    logits = held.y.mean()[None] if held.y.is_floating_point() else torch.bincount(held.y, held.weight).log()
    constant = mean_loss(logits.expand(len(held), -1), held, ready.job.options.loss)
    options = replace(ready.job.options, max_epochs=plan.epochs)
    return plan, watch_epochs(clock, options, per_epoch, clock.started + clock.limit - reserved, constant)
