"""The request of a comparison, checked before any row is read: models, folds and
explanations. Then its table.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import model_selection

from permgrad.attribution.model import Model as ReadModel
from permgrad.attribution.model import as_model
from permgrad.base.arrays import Integers
from permgrad.base.checks import check_flag, check_names, check_rows, is_whole
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    counted,
    refusing,
    shown,
    unknown,
)
from permgrad.base.random import derive_seed
from permgrad.data.kinds.column import Kind
from permgrad.data.read.cells import Code, as_frame
from permgrad.data.tasks import Task, tasks
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.column_types import checked_kinds, infer_schema
from permgrad.data.types.findings import as_one_found, tell_of_other_order
from permgrad.evaluation.baselines.fitting import baselines, check_available, why_absent
from permgrad.evaluation.comparison import ComparedModel
from permgrad.evaluation.table_alarms import table_alarms
from permgrad.models.branches import title_of
from permgrad.models.decision import asked_decision
from permgrad.models.estimators.fit_inputs import held_out
from permgrad.models.estimators.presets import presets
from permgrad.models.estimators.settings import check_preset
from permgrad.models.onnx_model import is_onnx
from permgrad.pages.alarms import alarm_sentences
from permgrad.runs.options import split_preset, table_name
from permgrad.runs.requests import CompareRequest
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_splitting import (
    choose_task,
    doubt_on_task,
    positive_label,
    target_values,
)

#: Methods of explanation: permutation applies to all models, the other to networks.
METHODS = ("permutation", "permgrad")
USUAL_FOLDS = 5
#: Test rows of a fold that are explained at most.
MOST_ROWS = 1000
#: Models that are compared by default, if they are installed.
USUAL = ("default", "lightgbm", "random_forest", "linear")


def loss_of(task: str) -> str:
    """Return the registered name of the loss of explanations, which is finite for every
    kind of model.

    NOTE[DIFF]: networks are otherwise explained by their log loss. A forest may give
    the true class a probability of exactly 0, whose log loss is infinite. The Brier
    score (Brier 1950) is proper too, and bounded.
    """
    return tasks.get(task).bounded_loss


# ---- models --------------------------------------------------------------------------
@dataclass(frozen=True)
class Model(ComparedModel):
    """A model with what is needed to fit it: a network's preset, by name or file, and
    its branches, if not all.

    Or a user's ``estimator``, which is cloned and fitted on each fold, and how it is
    ``read``.
    """

    preset: str = ""
    branches: tuple[str, ...] | None = None
    estimator: Any = None
    read: ReadModel | None = None


def parse_models(entries: Sequence[Any]) -> tuple[Model, ...]:
    """Return the models of names: presets or preset files, also with a branch,
    baselines, and estimators.

    An estimator stands alone, or in a pair ``(name, estimator)``.
    """
    models = tuple(
        _parse(entry) if isinstance(entry, str) else _of_estimator(entry)
        for entry in entries
    )
    names = [model.name for model in models]
    for model_index, model_name in enumerate(names):
        if model_name in names[:model_index]:
            raise InputError(
                f"Model {model_name!r} is named twice",
                hint="Leave one out.",
                code="PG008",
            )
    if len(models) < 2:
        problem = (
            "A comparison needs at least 2 models, got "
            f"{repr(names[0]) if names else 'none'}"
        )
        raise InputError(
            problem, hint="Name more, such as default and lightgbm.", code="PG005"
        )
    check_available(
        model.name
        for model in models
        if model.kind == "baseline" and model.estimator is None
    )
    return models


def usual_absent() -> dict[str, str]:
    """Return a sentence for each default model that is not installed: which it is, and
    how to install it.
    """
    reasons = {}
    for model_name in USUAL:
        if model_name in baselines:
            reasons[model_name] = why_absent(model_name)
    return {
        model_name: f"{model_name} is left out, because {reason}"
        for model_name, reason in reasons.items()
        if reason
    }


def _of_estimator(entry: Any) -> Model:
    """Return the model of a user's estimator, named by its class, or by the name in the
    pair.
    """
    is_pair = isinstance(entry, tuple) and len(entry) == 2
    if is_pair:
        model = entry[1]
    else:
        model = entry
    if isinstance(model, ReadModel):
        estimator = model.model
    else:
        estimator = model
    if is_pair:
        model_name = entry[0]
    else:
        model_name = type(estimator).__name__
    has_methods = all(
        hasattr(estimator, method_name)
        for method_name in ("fit", "predict", "get_params")
    )
    if (
        not isinstance(model_name, str)
        or not model_name
        or not has_methods
        or isinstance(estimator, type)
    ):
        raise InputError(
            "An entry of models must be a name, an estimator of scikit-learn's kind or "
            f"a pair of both, got {shown(entry)}",
            hint="Each fold fits a copy of it.",
            code="PG031",
        )
    return Model(
        model_name, model_name, "baseline", estimator=estimator, read=as_model(model)
    )


def _parse(name: str) -> Model:
    if is_onnx(Path(name)):
        problem = (
            f"{name} holds a fitted model, which may have been fitted on the "
            "rows that it would be scored on"
        )
        problem_hint = (
            "Explain it with permgrad explain on new rows, or pass its "
            "estimator to permgrad.compare in Python."
        )
        raise InputError(problem, hint=problem_hint, code="PG031")
    preset, branches = split_preset(name)
    if preset in presets or preset.endswith(".json"):
        check_preset(preset)
        # The default network has the name that it has in a run.
        if preset == "default":
            about = []
        else:
            about = [Path(preset).stem if preset.endswith(".json") else preset]
        if branches:
            about += [f"{' and '.join(map(title_of, branches))} only"]
        if about:
            label = f"network ({', '.join(about)})"
        else:
            label = "network"
        return Model(name, label, "network", preset, branches or None)
    if name in baselines:
        return Model(name, baselines.get(name).label, "baseline")
    raise unknown("model", name, [*presets, *baselines], ["FILE.json"])


# ---- the complete request ------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """Everything that decides the content of cells, checked.

    Without ``methods`` nothing is explained.

    ``notes`` say which default models are not installed, and which methods do not apply
    to some models.
    """

    models: tuple[Model, ...]
    folds: int = USUAL_FOLDS
    repeats: int = 1
    methods: tuple[str, ...] = METHODS
    seed: int = 0
    notes: tuple[str, ...] = ()

    def for_task(self, task: Task) -> ComparisonPlan:
        """Return the plan whose baselines are called as what they are in a task."""
        models = []
        for model in self.models:
            if model.kind == "baseline" and model.estimator is None:
                label = baselines.get(model.name).label_for(task)
                models.append(replace(model, label=label))
            else:
                models.append(model)
        return replace(self, models=tuple(models))


def make_plan(
    models: Sequence[Any],
    *,
    cv: int | str = USUAL_FOLDS,
    explain: bool = True,
    seed: int = 0,
) -> ComparisonPlan:
    """Check the request of a comparison before any row is read."""
    check_flag("explain", explain)
    # A list with estimators is checked one by one.
    if not isinstance(models, (list, tuple)) or all(
        isinstance(entry, (str, bytes)) for entry in models
    ):
        models = check_names(
            "models", models, "pass for example models=['default', 'linear']"
        )
    folds, repeats = read_cv(cv)
    if models:
        absent = {}
    else:
        absent = usual_absent()
    return ComparisonPlan(
        models=parse_models(
            models or [model_name for model_name in USUAL if model_name not in absent]
        ),
        folds=folds,
        repeats=repeats,
        methods=METHODS if explain else (),
        seed=seed,
        notes=tuple(absent.values()),
    )


def read_cv(cv: int | str) -> tuple[int, int]:
    """Return the number of folds, and how often they are divided: ``5``, or ``"5x3"``.

    Examples:
        >>> read_cv(5), read_cv("5x3")
        ((5, 1), (5, 3))
    """
    if is_whole(cv) or isinstance(cv, str):
        written = re.fullmatch(r"(\d+)(?:x(\d+))?", str(cv))
    else:
        written = None
    folds, repeats = (
        (0, 0) if written is None else (int(written[1]), int(written[2] or 1))
    )
    if folds < 2 or repeats < 1:
        problem = f"cv must be at least 2 folds, as in 5 or 5x3, got {shown(cv)}"
        raise InputError(problem, hint="5x3 divides three times.", code="PG002")
    return folds, repeats


# ---- folds ---------------------------------------------------------------------------
#: Share of each training part that is held out for early stopping.
VALIDATION_SHARE = 0.15


@dataclass(frozen=True)
class Fold:
    """One division of the rows, named ``"3"``, or ``"2.3"`` in the second repeat."""

    name: str
    train: Integers
    validation: Integers
    test: Integers


def make_folds(
    y: npt.NDArray[Any],
    task: str,
    *,
    folds: int = USUAL_FOLDS,
    repeats: int = 1,
    seed: int = 0,
    row_groups: npt.NDArray[Any] | None = None,
) -> list[Fold]:
    """Divide rows for a comparison, stratified by class.

    Every row is tested once per repeat. Groups stay together.
    """
    task = tasks.get(task)
    _check_folds(y, task, folds, row_groups)
    divided = []
    for repeat in range(repeats):
        fold_parts = _cross(
            y, task, folds, derive_seed(seed, "folds", repeat), row_groups
        )
        for number, (training, test_rows) in enumerate(fold_parts):
            if repeats == 1:
                fold_name = f"{number + 1}"
            else:
                fold_name = f"{repeat + 1}.{number + 1}"
            train, validation = _hold_out(
                training,
                y,
                task,
                derive_seed(seed, "held out", repeat, number),
                row_groups,
            )
            divided.append(Fold(fold_name, train, validation, np.sort(test_rows)))
    return divided


@refusing
def _check_folds(
    y: npt.NDArray[Any], task: Task, folds: int, row_groups: npt.NDArray[Any] | None
) -> Iterator[Fault]:
    """Refuse a table that cannot be divided into this many folds."""
    if row_groups is not None:
        count = len(set(np.asarray(row_groups).tolist()))
        if count < folds:
            problem = (
                f"There are fewer groups than folds: {count} groups, {folds} folds"
            )
            yield (
                problem,
                f"Take {max(count, 2)} folds (cv), or leave the groups out.",
                "PG018",
            )
    elif task.stratified:
        labels, counts = np.unique(y, return_counts=True)
        rarest = int(counts.argmin())
        if counts[rarest] < folds:
            rarest_count = int(counts[rarest])
            if rarest_count >= 2:
                advice = f"Take {rarest_count} folds (cv), join"
            else:
                advice = "Join"
            problem = (
                f"Class {labels[rarest].item()!r} has fewer rows than folds: "
                f"{counted(rarest_count, 'row')}, {folds} folds"
            )
            yield problem, f"{advice} rare classes, or leave their rows out.", "PG013"
    elif len(y) < 2 * folds:
        problem = (
            f"Each fold needs at least 2 rows, got {len(y)} rows for {folds} folds"
        )
        yield problem, "Use fewer folds.", "PG013"


def _cross(
    y: npt.NDArray[Any],
    task: Task,
    folds: int,
    seed: int,
    groups: npt.NDArray[Any] | None,
) -> list[tuple[Integers, Integers]]:
    kinds = {
        (False, True): model_selection.StratifiedKFold,
        (False, False): model_selection.KFold,
        (True, True): model_selection.StratifiedGroupKFold,
        (True, False): model_selection.GroupKFold,
    }
    maker: Any = kinds[groups is not None, task.stratified](
        n_splits=folds, shuffle=True, random_state=seed % 2**32
    )
    with warnings.catch_warnings():
        # If a class is in fewer groups than folds, some folds lack it. That is what
        # groups mean.
        warnings.filterwarnings("ignore", category=UserWarning)
        cross: list[tuple[Integers, Integers]] = []
        for training, test_rows in maker.split(np.zeros(len(y)), y, groups):
            cross.append((training, test_rows))
        return cross


def _hold_out(
    training: Integers,
    y: npt.NDArray[Any],
    task: Task,
    seed: int,
    groups: npt.NDArray[Any] | None,
) -> tuple[Integers, Integers]:
    """Hold out rows of a training part for early stopping.

    Every class keeps a row to be fitted on.
    """
    if groups is not None and len(set(np.asarray(groups)[training].tolist())) > 1:
        maker = model_selection.GroupShuffleSplit(
            n_splits=1, test_size=VALIDATION_SHARE, random_state=seed % 2**32
        )
        fitted, stopping = next(
            maker.split(training, groups=np.asarray(groups)[training])
        )
    else:
        if task.stratified:
            codes = np.unique(y[training], return_inverse=True)[1].astype(np.int64)
        else:
            codes = None
        fitted, stopping = held_out(len(training), VALIDATION_SHARE, seed, codes)
    return np.sort(training[fitted]), np.sort(training[stopping])


# ---- the table -----------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class ComparedTable:
    """A checked table to compare models on: features, and the target ``(rows,)``,
    classes or float64.

    ``row_groups`` are labels of rows that stay together, ``groups`` columns that act as
    one feature. ``positive`` is the positive class of two, and ``notes`` are sentences
    for the user. ``cells`` say how odd cells were read, ``target_signs`` what is odd
    about the target, and ``together`` which rows may belong together. ``decides``: the
    arguments of an estimator that choose its threshold, empty where classes are the
    most probable ones.
    """

    name: str
    target: str
    X: pd.DataFrame
    y: npt.NDArray[Any]
    task: Task
    row_groups: npt.NDArray[Any] | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)
    na: Sequence[Code] | Mapping[str, Sequence[Code] | Code] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    positive: Any = None
    notes: tuple[str, ...] = ()
    cells: Sequence[Mapping[str, Any]] = ()
    target_signs: Sequence[Mapping[str, Any]] = ()
    together: Mapping[str, Any] | None = None
    decides: Mapping[str, Any] = field(default_factory=dict)

    def alarms(self, fold: Fold) -> tuple[str, ...]:
        """Return what is alarming about the table, as far as one division shows it."""
        held_rows = np.concatenate([fold.validation, fold.test])
        learned = self.X.iloc[fold.train], self.y[fold.train]
        held_out = self.X.iloc[held_rows], self.y[held_rows]
        alarms = table_alarms(
            learned,
            held_out,
            self.task,
            self.na,
            cells=self.cells,
            target_signs=self.target_signs,
            together=self.together,
        )
        return tuple(alarm_sentences(self.target, alarms))

    @property
    def classes(self) -> npt.NDArray[Any]:
        """The classes, sorted. Empty for regression."""
        if self.task.has_classes:
            return np.unique(self.y)
        return np.zeros(0)

    @property
    def encoding(self) -> dict[str, Any]:
        """The options of columns for encoders and networks."""
        # No groups: none is searched for in the rows of a fold.
        return {
            "na": self.na or None,
            "groups": self.groups,
            "kinds": self.kinds or None,
        }


def from_request(request: CompareRequest) -> ComparedTable:
    """Read and check the table of a request."""
    # Folds divide the rows, so columns must be valid over all rows, not over the split
    # of a run.
    inputs = load_inputs(request.run_request(), undivided=True)
    table_rows = inputs.parts["train"]
    shared = ("target", "task", "groups", "na", "kinds", "positive")
    decides: dict[str, Any] = {}
    if inputs.positive is not None:
        labels = np.unique(table_rows.y).tolist()
        decision_arguments: dict[str, Any] = {
            "cost": request.cost,
            "threshold": request.threshold,
        }
        decides = asked_decision(labels, inputs.positive, **decision_arguments)
    return ComparedTable(
        decides=decides,
        name=table_name(request.table),
        X=table_rows.frame.reset_index(drop=True),
        y=table_rows.y,
        row_groups=None
        if table_rows.dependence is None
        else table_rows.dependence.codes,
        notes=tuple(inputs.notes),
        cells=inputs.cells,
        target_signs=inputs.target_signs,
        together=inputs.together,
        **{field_name: getattr(inputs, field_name) for field_name in shared},
    )


def from_arrays(
    X: Any, y: Any, *, row_groups: Any = None, kinds: Any = None
) -> ComparedTable:
    """Check a table passed in Python."""
    tell_of_other_order(X, y=y, row_groups=row_groups)
    frame = as_frame(X).reset_index(drop=True)
    title = str(getattr(y, "name", None) or "y")
    target = _checked_target(y, len(frame))
    task, _ = choose_task(target, "auto", title)
    codes = None
    if row_groups is not None:
        labels = np.asarray(row_groups)
        problem_hint = (
            "For example: row_groups=frame['patient'], which keeps rows of "
            "one patient in one fold."
        )
        check_rows("row_groups", labels, len(frame), problem_hint)
        codes = pd.factorize(pd.Series(labels), use_na_sentinel=False)[0].astype(
            np.int64
        )
    declared = checked_kinds(kinds, list(frame.columns))
    # What the encoders of the folds would refuse is refused here, before anything is
    # computed.
    schema = infer_schema(frame, kinds=declared)
    if hasattr(X, "columns"):
        found_groups = columns_as_one(
            frame, schema.where(lambda kind: not kind.is_read)
        )
    else:
        found_groups = {}
    values = target_values(target, task, title)
    return ComparedTable(
        name="table",
        target=title,
        X=frame,
        y=values,
        task=task,
        row_groups=codes,
        kinds=declared,
        groups=found_groups,
        positive=positive_label(values, task, None),
        notes=(
            *(doubt_on_task(target, title, "y as text") if task.numeric else ()),
            *(
                replace(
                    group_finding,
                    facts={**group_finding.facts, "apart": "leave the others out"},
                ).text()
                for group_finding in as_one_found(found_groups)
            ),
        ),
    )


def _checked_target(y: Any, rows: int) -> pd.Series[Any]:
    """Return the targets as a column, one for each row of the table."""
    try:
        column = np.ndim(y) == 2 and np.shape(y)[1] == 1
        if column:
            target = pd.Series(np.asarray(y).ravel())
        else:
            target = pd.Series(y).reset_index(drop=True)
    except (ValueError, TypeError):
        problem = f"y must have one value per row, got {shown(y)}"
        raise InputError(
            problem, hint="Pass a list, an array or a column.", code="PG001"
        ) from None
    if len(target) != rows:
        problem = f"X and y must have equally many rows, got {rows} and {len(target)}"
        raise InputError(problem, hint="Pass one target per row.", code="PG007")
    if missing := int(target.isna().sum()):
        problem = (
            f"{missing:,} of {len(target):,} values of y "
            f"{by_count(missing, 'is', 'are')} missing"
        )
        raise InputError(
            problem,
            hint=f"Leave {by_count(missing, 'that row', 'those rows')} out.",
            code="PG015",
        )
    return target
