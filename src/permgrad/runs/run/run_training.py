"""The estimator of a run, and the training of its network: how many epochs the time
allows, and what is said of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from permgrad.assess.budget import REPORT, Clock, expected_refits
from permgrad.base.arrays import Integers
from permgrad.base.errors import EnvironmentProblem, counted, keeping_warnings, listed
from permgrad.base.progress import readable
from permgrad.evaluation.baselines.fitting import (
    baselines,
    estimate_seconds,
    why_absent,
)
from permgrad.models.branches import branches, refuse_without_rows
from permgrad.models.decision import asked_decision
from permgrad.models.estimators.folds import units_of_folds
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.prepared import EncodedRows, Prepared
from permgrad.models.estimators.settings import resolve_settings
from permgrad.models.estimators.share import branch_words
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.models.network.network_summary import (
    measure_training_time,
    multiplications,
)
from permgrad.models.train.checkpoint import CHECKPOINT_NAME, read_checkpoint
from permgrad.models.train.guard import untouched
from permgrad.models.train.learner import EpochWatcher, mean_loss
from permgrad.models.train.training_rows import Rows
from permgrad.pages.sentences import raised_words
from permgrad.runs.options import is_file
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.beside_in_time import SHARE, Learned, branches_in_time
from permgrad.runs.run.choosing import estimator_of
from permgrad.runs.run.clock import (
    BESIDE_EPOCHS,
    EPOCH_ROWS,
    FEWER_MEMBERS,
    ROWS_SEEN,
    SLOW_BASELINE,
    USUAL_EPOCHS,
    plan_training,
    watch_epochs,
)
from permgrad.runs.run.run_inputs import Inputs
from permgrad.runs.run.run_splitting import PARTS
from permgrad.runs.run_folder import CHECKPOINT

if TYPE_CHECKING:
    from permgrad.runs.run.run_work import RunWork


def make_estimator(
    request: RunRequest, inputs: Inputs, name: str = "", *, preset: Any = None
) -> Any:
    """Return the unfitted estimator of a run: that of ``--model``, or of another
    ``name`` or ``preset``.

    ``preset``: a ``Preset`` of the network, or ``Settings`` of another model.
    """
    name = name or request.model
    encoders = {
        "text_encoder": request.text_encoder,
        "image_encoder": request.image_encoder,
    }
    options: dict[str, Any] = {
        "random_state": request.seed,
        "device": request.device,
        **encoders,
    }
    if inputs.counts:
        options |= {"loss": "poisson"}
    options |= decision_options(request, inputs)
    if name != "network":
        from permgrad.evaluation.baselines.fitting import read_settings
        from permgrad.evaluation.baselines.table_model import (
            table_model,
        )  # most runs train the network

        model: Any = name
        if preset is not None:
            options["settings"] = preset.settings
        elif request.network.endswith(".json"):
            options["settings"] = read_settings(request.network, name)
        if is_file(name):
            from permgrad.evaluation.baselines.file_model import (
                FileModel,
            )  # few runs are about one

            model = FileModel(name, inputs.task, target=inputs.target)
        elif ":" in name:
            model = estimator_of(name)
        threads = torch.get_num_threads()
        return table_model(
            inputs.task,
            model,
            encoding=inputs.encoder_options,
            threads=threads,
            **options,
        )
    is_default = preset is None and request.network == "default"
    has_many_rows = len(inputs.parts["train"]) > EPOCH_ROWS
    if is_default and has_many_rows and not request.thorough:
        options |= {"network": {"members": FEWER_MEMBERS}}
    estimator_type: Any
    if inputs.task.has_classes:
        estimator_type = HyNNClassifier
    else:
        estimator_type = HyNNRegressor
    options |= {"preset": preset or request.network}
    options |= {"branches": request.branches or "auto"}
    return estimator_type(**options, **inputs.encoder_options)


def decision_options(request: RunRequest, inputs: Inputs) -> dict[str, Any]:
    """Return the arguments that decide between two classes, which name the positive
    one.
    """
    if inputs.positive is None:
        return {}
    labels = np.unique(inputs.parts["train"].y).tolist()
    decision_arguments: dict[str, Any] = {
        "cost": request.cost,
        "threshold": request.threshold,
    }
    return asked_decision(labels, inputs.positive, **decision_arguments)


def fit_encoder(model: Any, inputs: Inputs) -> EncodedRows:
    """Return the training rows encoded as an estimator of ``make_estimator`` fits its
    encoder on them.
    """
    train = inputs.parts["train"]
    fit_arguments = {
        "y": train.y,
        "sample_weight": train.weights,
        "dependence": train.dependence,
    }
    encoded_rows: EncodedRows = model.fit_encoder(
        train.inputs, inputs.feature_types, **fit_arguments
    )
    return encoded_rows


def check_options(request: RunRequest, task: str) -> None:
    """Refuse a preset or a device that cannot be used, and rows that are left out of
    the saved model where a branch of the preset holds some.
    """
    if request.model == "network":
        preset = request.network
    else:
        preset = "default"
    arguments = {
        "preset": preset,
        "branches": request.branches or "auto",
        "device": request.device,
    }
    settings = resolve_settings(arguments, task)
    if request.model == "network" and not request.keep_rows:
        for branch_name in settings.beside:
            refuse_without_rows(branches[branch_name])


def dry_run(request: RunRequest, inputs: Inputs) -> None:
    """Do all steps that could be refused up to the first training step and to
    predictions of test rows.

    This takes about as long as the layout, so it is done only before another run is
    removed.
    """
    # Its warnings are shown when the step is really done. How rows are encoded, auto
    # does not change.
    with untouched(), keeping_warnings():
        model = make_estimator(
            request, inputs, "linear" if request.model == "auto" else request.model
        )
        train = fit_encoder(model, inputs)
        held_out_rows, _ = (
            model.encode_rows(inputs.parts[part_name].inputs) for part_name in PARTS[1:]
        )
        if request.model != "network":
            if is_file(request.model):
                # it is known at once whether its columns and classes are those of the
                # table
                model.fit(train, inputs.parts["train"].y)
            return
        row_indices = np.flatnonzero(inputs.learned)
        eval_set = (
            held_out_rows.take(row_indices),
            inputs.parts["validation"].y[row_indices],
        )
        model.prepare(train, inputs.parts["train"].y, eval_set=eval_set)


def expect_baselines(work: RunWork) -> float:
    """Report about how long the baselines will take, and which cannot be trained here
    and why. Return the seconds.
    """
    request = work.request
    reasons = {}
    for baseline_name in request.wanted_baselines:
        reasons[baseline_name] = why_absent(baseline_name)
    for absent_name, absent_reason in reasons.items():
        if absent_reason:
            work.say(f"note: {absent_name} is left out, because {absent_reason}")
    names = [baseline_name for baseline_name, reason in reasons.items() if not reason]
    quick = []
    for baseline_name in names:
        if not baselines.get(baseline_name).costly:
            quick.append(baseline_name)
    seconds = 0.0
    if quick:
        training_rows = BaselineRows(
            work.encoded["train"].encoded, work.inputs.parts["train"].y
        )
        seconds = estimate_seconds(
            work.inputs.task,
            training_rows,
            quick,
            seed=request.seed,
            threads=torch.get_num_threads(),
        )
        work.say(f"  baselines: about {readable(seconds)} for {listed(quick)}")
    if slow_baselines := [
        baseline_name for baseline_name in names if baseline_name not in quick
    ]:
        work.say(f"  baselines: minutes for {listed(slow_baselines)}")
    return seconds + SLOW_BASELINE * len(slow_baselines)


def judged_rows(work: RunWork, judging: npt.NDArray[np.int64]) -> tuple[Any, ...]:
    """Return the validation rows that stop a training, as an ``eval_set``."""
    held_out_rows = work.inputs.parts["validation"].take(judging)
    return (
        work.encoded["validation"].take(judging),
        held_out_rows.y,
        *(() if held_out_rows.weights is None else (held_out_rows.weights,)),
    )


def train_network(
    work: RunWork,
    model: Any,
    train: EncodedRows,
    judging: npt.NDArray[np.int64],
    baseline_seconds: float,
) -> None:
    """Train a network, or finish its training.

    ``judging``: validation rows. ``baseline_seconds``: seconds of other models.
    """
    rows_by_part = work.inputs.parts
    checkpoint = work.folder.path / CHECKPOINT
    checkpoint.mkdir(exist_ok=True)
    done_epochs = 0
    stored = checkpoint / CHECKPOINT_NAME
    with suppress(
        EnvironmentProblem, KeyError, TypeError
    ):  # one that cannot be read is begun anew
        if stored.exists():
            done_epochs = len(read_checkpoint(stored, torch.device("cpu"))["history"])
        else:
            done_epochs = 0
    if done_epochs:
        work.say(
            f"  training resumes from epoch {done_epochs + 1}: "
            f"{counted(done_epochs, 'epoch')} were done before"
        )
    order = getattr(model, "order_", None)
    ready = model.prepare(
        train,
        rows_by_part["train"].y,
        rows_by_part["train"].weights,
        eval_set=judged_rows(work, judging),
    )
    between = rows_by_part["validation"].dependence
    ready = replace(
        ready,
        dependence=None if between is None else between.take(judging),
        units=_units(work, model, judging),
    )
    if order is not None:
        model.order_ = order
    model.has_offset_ = work.request.offset is not None  # the rows are rates already
    branch_seconds = 0.0
    if work.request.time_limit is not None and ready.beside:
        learned = Learned(
            work.inputs.task,
            work.encoded["train"].encoded,
            rows_by_part["train"].y,
            work.request.seed,
        )
        branches, branch_seconds = branches_in_time(learned, ready, work.clock)
        ready = replace(ready, beside=branches)
    features = len(train.encoder.features())
    plan = _plan(work, ready, features, done_epochs, (baseline_seconds, branch_seconds))
    ready = ready.with_epochs(plan.epochs, plan.turns)
    with work.clock.whole.part("training"):
        model.train(ready, checkpoint_folder=checkpoint, on_epoch=plan.watch)
    for branch_name, facts in model.branches_.items():
        work.say(f"  {branch_words(branch_name, facts)}")
    if raised := getattr(model, "raised_", 0.0):
        work.say(f"  {raised_words(raised)}")


def _units(work: RunWork, model: Any, judging: Integers) -> Integers | None:
    """Return which training and then validation rows belong together, where both may
    teach branches.

    ``judging``: the validation rows that stop the training.
    """
    rows_by_part = work.inputs.parts
    training = np.arange(len(rows_by_part["train"]))
    stopping = len(training) + np.arange(len(judging))
    related = rows_by_part["train"].dependence
    between = rows_by_part["validation"].dependence
    if related is not None and between is not None:
        # A group has one number in all parts.
        codes = np.concatenate([related.codes, between.codes[judging]])
        related = replace(related, codes=codes)
    return units_of_folds(model.preprocessor_, related, training, stopping)


def _constant_loss(ready: Prepared, *, of_counts: bool) -> float:
    """Return the loss of a constant on held-out rows: how frequent the classes are, or
    the mean.
    """
    held_out_rows = cast("Rows", ready.job.validation_rows)
    if held_out_rows.y.is_floating_point():
        logits = held_out_rows.y.mean()[None]
    else:
        logits = torch.bincount(held_out_rows.y, held_out_rows.weight).log()
    if of_counts:
        logits = logits.clamp(min=1e-6)
    return mean_loss(
        logits.expand(len(held_out_rows), -1),
        held_out_rows,
        ready.job.options.loss,
        ready.job.units,
    )


def _plan_words(clock: Clock, expected: Mapping[str, float], at_most: str) -> str:
    """Return how long the stages will take, in seconds by name, and all of them."""
    texts = []
    for stage_name, seconds in expected.items():
        text = f"{stage_name} {readable(max(seconds, 1.0))}"
        if stage_name == "training":
            text += f" ({at_most})"
        texts.append(text)
    total = sum(expected.values())
    late = 0.0
    if not clock.left():
        late = total
    limit = clock.limit + expected.get("refits", 0.0) + late
    in_all = ""
    if not math.isinf(limit):
        in_all = f"; at most about {readable(limit)} in all"
    return f"about {readable(max(total, 1.0))} more, {', '.join(texts)}{in_all}"


class _Needs:
    """The seconds that the rest of a run needs behind the training, by the pace of the
    last epoch.
    """

    def __init__(self, work: RunWork, features: int, baselines: float) -> None:
        """``baselines``: seconds that are kept for them."""
        clock = work.clock
        training_targets = work.inputs.parts["train"].y
        self._work = work
        self._features = features
        self._baselines = baselines
        self._rows = len(work.inputs.parts["test"])
        self._outputs = (
            1 if work.inputs.task.numeric else len(np.unique(training_targets))
        )
        # An explanation adapts to the time that is left, and a network that was not
        # trained is of no use.
        self._most = SHARE * max(clock.left() - baselines, 0.0)
        # Where reading took the time, a network is still trained as long as reading
        # took: of one epoch it is of no use.
        self._trained_until = time.monotonic() + clock.least_training()

    def explanation(self) -> float:
        """Return those of the explanation, and of comparisons of levels: the ranking
        once more.
        """
        seconds = self._work.budget.expected(self._rows, self._features, self._outputs)
        if self._work.request.sensitive:
            seconds += self._work.budget.ranking(self._rows, self._features)
        return seconds

    def reserved(self) -> float:
        """Return all that the training leaves."""
        seconds = min(self.explanation() + REPORT, self._most) + self._baselines
        training = max(self._trained_until - time.monotonic(), 0.0)
        return min(seconds, self._work.clock.left() - training)


class _Plan(NamedTuple):
    """Epochs and parts of the training, and what watches its epochs."""

    epochs: int
    turns: int
    watch: EpochWatcher


def _plan(
    work: RunWork,
    ready: Prepared,
    features: int,
    done: int,
    further: tuple[float, float],
) -> _Plan:
    """Plan the rest of the run, and say so.

    ``further``: seconds of the baselines, and of the branches beside the network.
    """
    clock = work.clock
    options = ready.job.options
    row_count = len(ready.job.train_rows)
    planned = options.max_epochs
    turns = 1
    if not clock.thorough:
        max_rows_seen = ROWS_SEEN if work.request.network == "default" else math.inf
        planned, turns = plan_training(
            options,
            row_count,
            multiplications(ready.job.network),
            most_seen=max_rows_seen,
        )
    measured = measure_training_time(ready.job, ready.device)
    clock.per_row = measured.seconds_per_epoch / row_count
    # Baselines that were asked for count where a limit was asked for.
    later_stages = _Needs(
        work, features, sum(further) if work.request.time_limit is not None else 0.0
    )
    per_epoch = clock.per_row * row_count / turns
    epochs = max(planned - done, 0)
    beside_epochs = BESIDE_EPOCHS if ready.beside else 0
    usual = per_epoch * (min(epochs, USUAL_EPOCHS) + beside_epochs)
    expected = {
        "training": min(usual, max(clock.left() - later_stages.reserved(), per_epoch))
    }
    if further[0]:
        expected["baselines"] = further[0]
    expected |= {"explanation": later_stages.explanation(), "report": REPORT}
    if work.budget.refits is not None:
        expected["refits"] = expected_refits(
            work.budget.refits,
            expected["training"],
            len(work.inputs.parts["train"]),
            len(work.inputs.parts["validation"]),
        )
    most_seconds = per_epoch * (epochs + beside_epochs)
    at_most = f"at most {readable(max(most_seconds, 1.0))} for {epochs} epochs"
    work.say(f"  plan: {_plan_words(clock, expected, at_most)}")
    clock.whole.expect(**expected)
    epoch_watcher = watch_epochs(
        clock,
        replace(options, max_epochs=planned),
        math.ceil(row_count / turns),
        later_stages.reserved,
        _constant_loss(ready, of_counts=work.inputs.counts),
        beside_epochs,
    )
    return _Plan(planned, turns, epoch_watcher)
