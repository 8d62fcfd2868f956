"""What is asked of a comparison, checked before any row is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from permgrad import __version__
from permgrad.base.checks import check_choice, check_flag, check_names, check_whole
from permgrad.base.errors import InputError, shown, suggest
from permgrad.evaluation.metrics import metrics, primary_metric
from permgrad.runs.compare.folds import Task, check_numbers
from permgrad.runs.compare.models import Model, parse_models, usual_absent, usual_models

#: What models may be explained by; permutation is for all of them, the others for networks.
METHODS = ("permutation", "permgrad", "ablation", "gradient", "integrated_gradients", "deeplift", "shapley")
USUAL_METHODS = ("permutation", "permgrad")
USUAL_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides what cells hold, checked.

    Attributes:
        models: Who takes part.
        folds, repeats, splits: How rows are divided.
        methods: How models are explained; empty: not at all.
        asked: Those of the methods that the user named.
        loss: ``"auto"`` or a registered loss.
        n_repeats: Donors per row and feature.
        most_rows: Test rows of a fold that are explained at most.
        seed: Of everything random but the seeds of ``splits``.
        absent: What is said of usual models that are not installed.
    """

    models: tuple[Model, ...]
    folds: int = USUAL_FOLDS
    repeats: int = 1
    splits: tuple[int, ...] = ()
    methods: tuple[str, ...] = USUAL_METHODS
    asked: tuple[str, ...] = ()
    loss: str = "auto"
    n_repeats: int = 5
    most_rows: int = 1000
    seed: int = 0
    absent: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user: which of the methods that were named some models cannot be explained by.

        Examples:
            >>> make_plan(["linear", "bagging"], methods=["gradient"]).notes
            ('gradient applies to networks only and was left out for logistic or ridge regression, bagging',)
        """
        own = [name for name in self.asked if name != "permutation"]
        others = [model.label for model in self.models if model.kind != "network"]
        if not own or not others:
            return self.absent
        words = ("applies", "was") if len(own) == 1 else ("apply", "were")
        return (
            *self.absent,
            f"{' and '.join(own)} {words[0]} to networks only and {words[1]} left out for {', '.join(others)}",
        )

    def configuration(self) -> dict[str, Any]:
        """Return it as JSON knows it; the order of models and methods changes nothing."""
        divided = {"splits": list(self.splits)} if self.splits else {"folds": self.folds, "repeats": self.repeats}
        explained = {"loss": self.loss, "donors": self.n_repeats, "rows explained": self.most_rows}
        return {
            "permgrad": __version__,
            "models": sorted((model.identity() for model in self.models), key=str),
            **divided,
            "explain": sorted(self.methods),
            **(explained if self.methods else {}),
            "seed": self.seed,
        }


def make_plan(
    models: Sequence[str],
    *,
    folds: int | None = None,
    repeats: int = 1,
    splits: Sequence[int] = (),
    explain: bool = True,
    methods: Sequence[str] = (),
    seed: int = 0,
    loss: str = "auto",
    n_repeats: int = 5,
    most_rows: int = 1000,
) -> Plan:
    """Check what is asked of a comparison, before any row is read.

    Raises:
        InputError: Unknown or repeated names, too few models or folds, or options that do not go together.
        EnvironmentProblem: A model's library is not installed.
    """
    check_flag("explain", explain)
    if not isinstance(splits, Iterable):
        raise InputError(
            f"splits must list seeds, however: splits={shown(splits)}; pass for example splits=[42, 43, 44]"
        )
    splits = tuple(splits)
    if splits and (folds is not None or repeats != 1):
        other = "folds" if folds is not None else "repeats"
        raise InputError(
            f"rows are divided by folds or by splits, however: splits and {other} are both given; leave one of them out"
        )
    methods = check_names("methods", methods, "pass for example methods=['permutation']")
    models = check_names("models", models, "pass for example models=['default', 'linear']")
    for name in methods:
        check_choice("method", name, METHODS)
    if methods and not explain:
        raise InputError("--method says how to explain, however: --no-explain is given as well; leave one of them out")
    check_numbers(folds=USUAL_FOLDS if folds is None else folds, repeats=repeats, splits=splits)
    return Plan(
        models=parse_models(models or usual_models()),
        folds=USUAL_FOLDS if folds is None else int(folds),
        repeats=int(repeats),
        splits=tuple(int(own) for own in splits),
        # Only permutation importance is defined for every model: agreement is measured on it.
        methods=tuple(dict.fromkeys(("permutation", *(methods or USUAL_METHODS)))) if explain else (),
        asked=tuple(dict.fromkeys(methods)),
        loss=loss,
        n_repeats=check_whole("n_repeats", n_repeats, "pass for example 5"),
        most_rows=check_whole("most_rows", most_rows, "pass for example 1000"),
        seed=seed,
        absent=() if models else usual_absent(),
    )


def check_task(plan: Plan, task: Task) -> None:
    """Refuse presets that are for the other task, once the table has told which it is.

    Raises:
        InputError: Such a preset.
    """
    from permgrad.models.estimators.settings import check_preset

    for model in plan.models:
        if model.kind == "network":
            check_preset(model.preset, task)


def check_metric(metric: str | None, task: str, n_classes: int) -> str:
    """Return the metric that decides: the one asked for, or the task's first.

    Raises:
        InputError: No metric of this task.
    """
    if metric is None:
        return primary_metric("regression" if task == "regression" else "classification", n_classes).name
    known = [name for name in metrics if metrics.get(name).task == task]
    if not isinstance(metric, str) or metric not in known:
        other = isinstance(metric, str) and metric in metrics
        what = f"{metric!r} is one for {metrics.get(metric).task}" if other else f"metric={shown(metric)}"
        raise InputError(
            f"metric must be one of {', '.join(known)} for {task}, however: {what}{suggest(metric, known)}"
        )
    return metric
