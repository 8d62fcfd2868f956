"""What is predicted: classes, labels, numbers or counts, and what follows from it.

A task is its name, as arguments and files have it, with its facts. Other code asks the
facts and never compares the name, so that a new task is one more record here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from permgrad.base.registry import Named, Registry


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Task(Named):
    """What a model predicts: a name with its facts.

    Attributes:
        has_classes: Each row has exactly one of several classes.
        labels_overlap: A row may have several labels, or none.
        numeric: Each row has numbers in units of the target. Otherwise probabilities.
        of_counts: The numbers count something: they are at least 0.
        fitted_as: Name of the task of the models that are fitted for it.
        stratified: Whether parts of the rows get the same share of each value.
        bounded_loss: A proper loss that is finite for every model of the task.
        main_metric: The metric that comes first.
        binary_metric: The metric that comes first for two classes.
        proper_metric: The metric by which models are chosen.
        skill: The metric that is 1 without errors, and 0 for a constant or by chance.
        estimator: What scikit-learn calls models of the task.
        constant: What the best prediction without features is called.
        output: What stands before the number of an output.
        scored: The part of predictions that metrics are computed from.

    Examples:
        >>> task = tasks.get("counts")
        >>> task == "counts", task.numeric, task.fitted.name
        (True, True, 'regression')
    """

    has_classes: bool
    labels_overlap: bool
    numeric: bool
    of_counts: bool
    fitted_as: str
    stratified: bool
    bounded_loss: str
    main_metric: str
    binary_metric: str
    proper_metric: str
    skill: str
    estimator: Literal["classifier", "regressor"]
    constant: str
    output: str
    scored: Literal["prediction", "probabilities"]

    @property
    def fitted(self) -> Task:
        """The task of the models that are fitted for it."""
        return tasks.get(self.fitted_as)

    def metric(self, classes: int) -> str:
        """Return the name of the metric that comes first for a number of classes."""
        if classes == 2:
            return self.binary_metric
        return self.main_metric


#: Every task by its name, as arguments and files have it.
tasks: Registry[Task] = Registry("task")


def register(task: Task) -> Task:
    """Register a task by its name, and return it."""
    return tasks.register(task.name)(task)


def task_of(facts: Mapping[str, Any]) -> Task | None:
    """Return the task that the facts of an explanation or of a file state, if any."""
    if facts.get("task") is None:
        return None
    return tasks.get(facts["task"])


def of_counts(name: str) -> bool:
    """Return whether a task, or ``"auto"``, is stated to be of counts."""
    return name in tasks and tasks[name].of_counts


CLASSIFICATION = register(
    Task(
        "classification",
        has_classes=True,
        labels_overlap=False,
        numeric=False,
        of_counts=False,
        fitted_as="classification",
        stratified=True,
        bounded_loss="brier",
        main_metric="accuracy",
        binary_metric="roc_auc",
        proper_metric="log_loss",
        skill="balanced_accuracy",
        estimator="classifier",
        constant="always the most frequent class",
        output="class",
        scored="probabilities",
    )
)
REGRESSION = register(
    Task(
        "regression",
        has_classes=False,
        labels_overlap=False,
        numeric=True,
        of_counts=False,
        fitted_as="regression",
        stratified=False,
        bounded_loss="squared_error",
        main_metric="rmse",
        binary_metric="rmse",
        proper_metric="rmse",
        skill="r2",
        estimator="regressor",
        constant="always the mean",
        output="output",
        scored="prediction",
    )
)
#: Of outputs alone: each label is reported as two classes.
MULTILABEL = register(
    replace(
        CLASSIFICATION,
        name="multilabel",
        has_classes=False,
        labels_overlap=True,
        stratified=False,
        main_metric="roc_auc",
        output="output",
    )
)
#: Counts, and rates where rows have an offset. Models are fitted for a regression.
COUNTS = register(
    replace(
        REGRESSION,
        name="counts",
        of_counts=True,
        main_metric="poisson_deviance",
        binary_metric="poisson_deviance",
        proper_metric="poisson_deviance",
    )
)
#: The tasks that models are fitted and reported for.
FITTED = (CLASSIFICATION, REGRESSION)
#: The tasks that runs can be asked for.
OF_RUNS = (CLASSIFICATION, REGRESSION, COUNTS)
#: The tasks that outputs of any model may have.
OF_OUTPUTS = (CLASSIFICATION, REGRESSION, MULTILABEL)
