"""The models of a comparison: what their names mean, and what is done with one of them on one fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import EnvironmentProblem, InputError, shown, suggest
from permgrad.base.random import derive_seed, generator
from permgrad.data.read.cells import Code
from permgrad.data.types.column_types import Kind
from permgrad.evaluation.comparison import ComparedModel
from permgrad.runs.compare.folds import Fold, Task

Array = npt.NDArray[Any]

#: What may stand behind a preset's name: the branches of the network.
BRANCHES = {"tabular": "table only", "image": "image only"}
#: Models that are compared if none are named, as far as they are installed.
USUAL = ("default", "lightgbm", "random_forest", "linear")
#: Rows from which on the explained rows serve as their own donors, as in ``permgrad.explain``.
OWN_DONORS = 200
#: Training rows that donors come from where fewer rows are explained.
DONORS = 1000


@dataclass(frozen=True)
class Model(ComparedModel):
    """A contestant with what is needed to fit it.

    Attributes:
        preset: Name or file of a network's preset; empty for baselines.
        branches: The network's branches; None: the preset's.
    """

    preset: str = ""
    branches: tuple[str, ...] | None = None

    def identity(self) -> Any:
        """Return what decides how it is fitted: a file's content in the place of its name."""
        from permgrad.models.estimators.presets import get_preset

        if self.preset.endswith(".json"):
            return [self.name, get_preset(self.preset).to_dict()]
        return self.name


def parse_models(names: Sequence[str]) -> tuple[Model, ...]:
    """Return what names of models mean.

    A name is that of a preset or a path of a preset file (a permgrad network; ``:tabular`` or ``:image`` behind it
    takes one branch alone), or that of a baseline.

    Raises:
        InputError: Unknown or repeated names, or fewer than two.
        EnvironmentProblem: A baseline's library is not installed.

    Examples:
        >>> [model.label for model in parse_models(["fast:image", "extra_trees"])]
        ['HyNN fast (image only)', 'extra trees']
    """
    found = [_parse(name) for name in names]
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            raise InputError(f"a comparison names each model once, however: {name!r} is named twice; leave one out")
        seen[name] = None
    if len(found) < 2:
        given = f"only {names[0]!r} is named" if names else "none is named"
        raise InputError(
            f"a comparison needs at least 2 models, however: {given}; name more, as in --models default,lightgbm"
        )
    _check_installed(found)
    return tuple(found)


def usual_models() -> tuple[str, ...]:
    """Return the models that are compared if none are named: those of ``USUAL`` that this installation has."""
    from permgrad.evaluation.competitors import competitors

    ready = {name for name in competitors if competitors.get(name).available()}
    return tuple(name for name in USUAL if name == "default" or name in ready)


def usual_absent() -> tuple[str, ...]:
    """Return a sentence for each usual model that this installation lacks: which it is, and how to install it.

    Examples:
        >>> all("pip install" in said for said in usual_absent())
        True
    """
    from permgrad.evaluation.competitors import why_absent

    reasons = {name: why_absent(name) for name in USUAL if name != "default"}
    return tuple(f"{name} is left out, because {why}" for name, why in reasons.items() if why)


def _parse(name: str) -> Model:
    from permgrad.evaluation.competitors import competitors
    from permgrad.models.estimators.presets import presets
    from permgrad.models.estimators.settings import check_preset

    preset, colon, branch = name.rpartition(":")
    is_file = (preset if colon else name).endswith(".json")
    if colon and (preset in presets or preset.endswith(".json")):
        if branch not in BRANCHES:
            raise InputError(
                f"behind a preset's name one of its branches may stand, {' or '.join(map(repr, BRANCHES))}, however: "
                f"{shown(name)}{suggest(branch, BRANCHES)}; leave {shown(':' + branch)} out for the whole network"
            )
        check_preset(preset)
        label = Path(preset).stem if is_file else preset
        return Model(name, f"HyNN {label} ({BRANCHES[branch]})", "network", preset, (branch,))
    if name in presets or is_file:
        check_preset(name)
        return Model(name, f"HyNN {Path(name).stem if is_file else name}", "network", name)
    if name in competitors:
        return Model(name, competitors.get(name).label, "baseline")
    known = [*presets.names(), *competitors.names()]
    raise InputError(
        f"a model must be a preset ({', '.join(presets.names())}, or a path ending in .json) or a baseline "
        f"({', '.join(competitors.names())}), however: {shown(name)}{suggest(name, known)}"
    )


def _check_installed(models: Sequence[Model]) -> None:
    from permgrad.evaluation.competitors import competitors

    absent = [
        competitors.get(model.name)
        for model in models
        if model.kind == "baseline" and not competitors.get(model.name).available()
    ]
    if absent:
        packages = ", ".join(dict.fromkeys(baseline.package for baseline in absent))
        extras = ",".join(dict.fromkeys(baseline.extra for baseline in absent if baseline.extra))
        raise EnvironmentProblem(
            f"models need their libraries, however: {packages} for {', '.join(repr(one.name) for one in absent)} "
            f"cannot be imported; install the extra with: pip install 'permgrad[{extras}]', or leave the model out"
        )


# ---- one model on one fold -------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Table:
    """What models are compared on.

    Attributes:
        X: Features.
        y: Target; classes, or float64.
        task: What it asks for.
        variables: Columns that act as one feature.
        na_codes: Codes that mean missing: a list, or one for each column.
        kinds: Columns whose kind is known.
        positive: Of two classes the positive one; None: there are more, or none.
    """

    X: pd.DataFrame
    y: Array
    task: Task
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    na_codes: Sequence[Code] | Mapping[str, Sequence[Code] | Code] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    positive: Any = None


@dataclass(frozen=True, kw_only=True)
class Explaining:
    """How models are explained; nothing is where ``methods`` is empty.

    Attributes:
        methods: ``"permutation"`` for every model, and methods of ``permgrad.explain`` for networks.
        loss: Of the games, a registered name.
        n_repeats: Donors per row and feature.
        most_rows: Test rows of a fold that are explained at most.
    """

    methods: tuple[str, ...] = ()
    loss: str = ""
    n_repeats: int = 5
    most_rows: int = 1000


@dataclass
class Cell:
    """What one model did on one fold.

    Attributes:
        model: Name of the model.
        fold: Name of the fold.
        rows: Number of rows by part.
        metrics: Metrics on the test rows; empty if it failed.
        fit_seconds: Time of the fit by the clock on the wall, and ``processor_seconds`` on the processor.
        processor_seconds: See ``fit_seconds``.
        explain_seconds: Time of the explanations.
        importances: By method: ``names`` and, for each name, ``importance, std, ci_low, ci_high, p_value`` and parts.
        problem: Why it failed; empty if it did not.
    """

    model: str
    fold: str
    rows: dict[str, int]
    metrics: dict[str, float | None] = field(default_factory=dict)
    fit_seconds: float | None = None
    processor_seconds: float | None = None
    explain_seconds: float | None = None
    importances: dict[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Cell:
        """Read back what ``to_dict`` gave."""
        return cls(**content)


@dataclass(frozen=True)
class _Fitted:
    """A fitted model behind one face: predictions in the classes of the whole task, and its explanations."""

    predict: Callable[[pd.DataFrame], Array]
    explain: Callable[[str, pd.DataFrame, Array, Explaining, int], Any]
    seconds: float
    processor_seconds: float


def do_cell(
    model: Model, table: Table, fold: Fold, explaining: Explaining, *, seed: int, device: str, threads: int
) -> Cell:
    """Fit a model on a fold's training rows, score it on its test rows and explain it there.

    A model that fails is told of in the cell, with the reason; only an interruption by the user ends the comparison.
    """
    rows = {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}
    cell = Cell(model.name, fold.name, rows)
    own_seed = derive_seed(seed, "fold", fold.name) % 2**31
    try:
        fit = _fit_network if model.kind == "network" else _fit_baseline
        fitted = fit(model, table, fold, own_seed, device, threads)
        cell.fit_seconds, cell.processor_seconds = fitted.seconds, fitted.processor_seconds
        cell.metrics = _measure(table, table.y[fold.test], fitted.predict(table.X.iloc[fold.test]))
    except Exception as error:  # noqa: BLE001 — whatever a peer's library raises must not lose the other models
        cell.problem = _reason(error)
        return cell
    started = time.perf_counter()
    try:
        cell.importances = _explanations(model, fitted, table, fold, explaining, own_seed)
        cell.explain_seconds = time.perf_counter() - started if explaining.methods else None
    except Exception as error:  # noqa: BLE001 — as above; its scores stay
        cell.problem = f"it could not be explained: {_reason(error)}"
    return cell


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _classes(table: Table) -> Array:
    return np.unique(table.y) if table.task == "classification" else np.zeros(0)


def _measure(table: Table, y: Array, predicted: Array) -> dict[str, float | None]:
    from permgrad.evaluation.metrics import evaluate, metrics

    if table.task == "regression":
        found = evaluate("regression", y, predictions=predicted)
    else:
        found = evaluate("classification", y, probabilities=predicted, classes=_classes(table), positive=table.positive)
    return {name: value for name, value in found.items() if name in metrics}


def _stopping_rows(table: Table, fold: Fold) -> npt.NDArray[np.int64]:
    """Return the validation rows whose class is among the training rows: others cannot say when to stop."""
    if table.task == "regression":
        return fold.validation
    return fold.validation[np.isin(table.y[fold.validation], table.y[fold.train])]


def _fit_network(model: Model, table: Table, fold: Fold, seed: int, device: str, threads: int) -> _Fitted:  # noqa: ARG001 — torch's threads are the process's
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

    kind = HyNNClassifier if table.task == "classification" else HyNNRegressor
    network: Any = kind(
        preset=model.preset,
        branches=model.branches,
        random_state=seed,
        device=device,
        progress=False,
        na_codes=table.na_codes or None,
        variables={name: list(own) for name, own in table.variables.items()} or None,
        kinds=dict(table.kinds) or None,
        background_size=DONORS,
    )
    stop = _stopping_rows(table, fold)
    held = (table.X.iloc[stop], table.y[stop]) if len(stop) else None
    started, worked = time.perf_counter(), time.process_time()
    network.fit(table.X.iloc[fold.train], table.y[fold.train], eval_set=held)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    classes = _classes(table)

    def predict(rows: pd.DataFrame) -> Array:
        if table.task == "regression":
            return np.asarray(network.predict(rows))
        spread = np.zeros((len(rows), len(classes)))
        spread[:, np.isin(classes, network.classes_)] = network.predict_proba(rows)
        return spread

    def explain(method: str, rows: pd.DataFrame, y: Array, how: Explaining, own_seed: int) -> Any:
        from permgrad.attribution.explain import explain as explain_network
        from permgrad.attribution.method import methods

        options: dict[str, Any] = {"loss": how.loss, "n_repeats": how.n_repeats, "positive": table.positive}
        chosen = methods.get(method)
        options |= {name: False for name in ("branches", "direction") if name in chosen.options}
        found = explain_network(
            network, rows, y, method=method, random_state=own_seed, progress=False, background=None, **options
        )
        return found.to_global("mean_abs") if found.scope == "local" else found

    return _Fitted(predict, explain, seconds, worked)


def _fit_baseline(model: Model, table: Table, fold: Fold, seed: int, device: str, threads: int) -> _Fitted:  # noqa: ARG001 — baselines compute on the processor
    from permgrad.data.encode.encoding import TableEncoder
    from permgrad.evaluation.competitors import EncodedRows, competitors, fit_competitor, natural_table
    from permgrad.models.estimators.presets import get_preset

    # Models that take categories as they are get the table back from its encoding, as natural_table wants it.
    natural = competitors.get(model.name).takes_natural
    numeric: Any = "standard" if natural else get_preset("default").numeric
    variables = {name: list(own) for name, own in table.variables.items()}
    encoder = TableEncoder(
        numeric, na_codes=table.na_codes or None, variables=variables or None, kinds=table.kinds or None
    )
    encoder.fit(table.X.iloc[fold.train])

    def encode(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(encoder.transform(rows), dtype=np.float32)

    def part_of(encoded: Array, y: Array) -> EncodedRows:
        return EncodedRows(encoded, y, natural_table(encoder, encoded) if natural else None)

    def part(rows: npt.NDArray[np.int64]) -> EncodedRows:
        return part_of(encode(table.X.iloc[rows]), table.y[rows])

    classes, stop = _classes(table), _stopping_rows(table, fold)
    held = part(stop) if len(stop) else None
    fitted = fit_competitor(model.name, table.task, part(fold.train), held, classes=classes, seed=seed, threads=threads)

    def of_encoded(encoded: Array) -> Array:
        rows = part_of(encoded, np.zeros(len(encoded)))
        return fitted.predict_proba(rows) if len(classes) else np.asarray(fitted.predict(rows))

    def predict(rows: pd.DataFrame) -> Array:
        return of_encoded(encode(rows))

    def explain(method: str, rows: pd.DataFrame, y: Array, how: Explaining, own_seed: int) -> Any:
        from permgrad.evaluation.predictor import predictor_importance

        assert method == "permutation", "a predictor that is no network has one method"
        encoded = encode(rows)
        background = None
        if len(rows) < OWN_DONORS:
            chosen = generator(own_seed, "background").permutation(len(fold.train))[:DONORS]
            background = encode(table.X.iloc[fold.train[np.sort(chosen)]])
        return predictor_importance(
            of_encoded,
            encoded,
            np.searchsorted(classes, y).astype(np.int64) if len(classes) else y,
            encoder.features("feature"),
            loss=how.loss,
            class_names=[str(label) for label in classes.tolist()],
            background=background,
            n_repeats=how.n_repeats,
            seed=own_seed,
        )

    return _Fitted(predict, explain, fitted.seconds, fitted.processor_seconds)


# ---- explanations ----------------------------------------------------------------------------------------------------
def _explanations(
    model: Model, fitted: _Fitted, table: Table, fold: Fold, how: Explaining, seed: int
) -> dict[str, dict[str, Any]]:
    """Explain a fitted model by every method that it can be explained by; the same rows and donors for all models."""
    if not how.methods:
        return {}
    rows = explained_rows(table, fold, how, seed)
    X, y = table.X.iloc[rows], table.y[rows]
    found: dict[str, dict[str, Any]] = {}
    own = [name for name in how.methods if name != "permutation"] if model.kind == "network" else []
    for method in own:
        found[method] = _numbers(fitted.explain(method, X, y, how, seed))
    if "permutation" in how.methods:
        # The total effect of the path game is permutation importance, by the same donors: it is computed once.
        same = ("importance", "std", "ci_low", "ci_high", "p_value", "names")
        found["permutation"] = (
            {name: found["permgrad"][name] for name in same}
            if "permgrad" in found
            else _numbers(fitted.explain("permutation", X, y, how, seed))
        )
    for method, numbers in found.items():
        if not np.all(np.isfinite(numbers["importance"])):
            raise InputError(f"importances must be finite, however: {method} gives missing or infinite ones")
    return found


def explained_rows(table: Table, fold: Fold, how: Explaining, seed: int) -> npt.NDArray[np.int64]:
    """Choose the test rows that are explained: all, or as many as asked for, of classes that were trained on."""
    test = fold.test
    if table.task == "classification":
        test = test[np.isin(table.y[test], table.y[fold.train])]
    if len(test) <= how.most_rows:
        return test
    return np.sort(test[generator(seed, "rows explained").permutation(len(test))[: how.most_rows]])


def _numbers(explanation: Any) -> dict[str, Any]:
    """Return an explanation's numbers over all rows, or summed over the outputs where it has none for all rows."""
    from permgrad.attribution.explanation import positive_output

    low, high = explanation.ci()
    missing = np.full(explanation.values.shape, np.nan)
    arrays = {
        "importance": explanation.values,
        "std": missing if explanation.std is None else explanation.std,
        "ci_low": low,
        "ci_high": high,
        "p_value": missing if explanation.p_values is None else explanation.p_values,
        **dict(explanation.parts),
    }
    # Attributions to several outputs have no column for all: of two that of the positive class is taken, and of more
    # the mean over the outputs stands for all.
    outputs = explanation.outputs
    column: Any = 0 if outputs[0] == "all" else (positive_output(explanation) if len(outputs) == 2 else None)
    found: dict[str, Any] = {"names": list(explanation.names)}
    for name, array in arrays.items():
        own = array[:, column] if column is not None else np.mean(array, axis=1)
        if column is None and name in ("std", "ci_low", "ci_high", "p_value"):
            own = np.full(len(array), np.nan)
        found[name] = [float(value) for value in own]
    return found
