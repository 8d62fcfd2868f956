"""Tasks: names that carry facts, and each fact names what is registered elsewhere."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.data.tasks import (
    CLASSIFICATION,
    COUNTS,
    MULTILABEL,
    OF_OUTPUTS,
    REGRESSION,
    Task,
    of_counts,
    task_of,
    tasks,
)
from permgrad.evaluation.metrics import metrics, primary_metric
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.losses import losses
from permgrad.runs.options import TASKS


def test_a_task_is_its_name_and_carries_facts() -> None:
    task = tasks.get("counts")
    assert task == "counts"
    assert repr(task) == "'counts'"
    assert f"--task {task}" == "--task counts"
    assert json.dumps({"task": task}) == '{"task": "counts"}'
    assert {"counts": 1}[task] == 1
    assert task.of_counts
    assert task.fitted is REGRESSION


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies_of_a_task_have_its_facts(again) -> None:
    for task in tasks.values():
        copied = again(task)
        assert copied == task
        assert vars(copied) == vars(task)


def test_facts_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        REGRESSION.numeric = False  # type: ignore[misc]


@pytest.mark.parametrize("task", tasks.values())
def test_each_fact_names_what_is_registered(task: Task) -> None:
    assert tasks[task.name] is task
    assert task.fitted in tasks.values()
    # Exactly one of three forms that y may have.
    assert [task.has_classes, task.labels_overlap, task.numeric].count(True) == 1
    for metric_name in (task.main_metric, task.binary_metric, task.proper_metric):
        assert metrics[metric_name].task is task.fitted
    assert metrics[task.skill].range[1] == 1.0
    assert task.bounded_loss in losses
    assert losses.usual(task.fitted).tasks[0] == task.fitted


def test_metrics_are_of_tasks_that_models_are_fitted_for() -> None:
    assert {metric.task for metric in metrics.values()} == {CLASSIFICATION, REGRESSION}
    assert primary_metric("classification", 2).name == "roc_auc"
    assert primary_metric("classification", 3).name == "accuracy"
    assert primary_metric("regression", counts=True).name == COUNTS.main_metric


def test_tasks_of_arguments_options_and_losses_are_the_registered_ones() -> None:
    choices = get_args(get_args(get_type_hints(pg.Model)["task"])[0])
    assert set(choices) == set(OF_OUTPUTS)
    assert set(TASKS) == {"auto", *tasks} - {MULTILABEL}
    tasks_of_losses = {task for loss in losses.values() for task in loss.tasks}
    assert tasks_of_losses == set(OF_OUTPUTS)


def test_estimators_have_the_task_that_their_name_says() -> None:
    for estimator in (HyNNClassifier, HyNNRegressor):
        assert estimator.__name__.lower().endswith(estimator.task.estimator)
        assert losses.trained(estimator.task)


def test_a_task_is_read_from_facts_or_refused() -> None:
    assert task_of({}) is None
    assert task_of({"task": "multilabel"}) is MULTILABEL
    with pytest.raises(InputError, match="regression"):
        task_of({"task": "regresion"})
    assert of_counts("counts")
    assert not of_counts("auto")
    assert not of_counts("regression")


def test_a_new_task_states_every_fact() -> None:
    with pytest.raises(TypeError, match="has_classes"):
        Task("ranking")  # type: ignore[call-arg]
    ranking = replace(REGRESSION, name="ranking", stratified=True)
    assert ranking == "ranking"
    assert ranking.stratified
    assert not REGRESSION.stratified
