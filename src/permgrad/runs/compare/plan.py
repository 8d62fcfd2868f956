"""What is asked of a comparison, checked before any row is read: its models, folds and explanations; the folds."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import model_selection

from permgrad import __version__
from permgrad.base.checks import check_choice, check_flag, check_names, check_whole, is_whole
from permgrad.base.errors import InputError, keeping_warnings, shown, suggest
from permgrad.base.random import derive_seed
from permgrad.data.splitting import split_rows
from permgrad.evaluation.comparison import ComparedModel
from permgrad.evaluation.competitors import check_available, competitors, why_absent
from permgrad.evaluation.metrics import Task
from permgrad.models.estimators.inputs import held_out
from permgrad.models.estimators.presets import get_preset, presets
from permgrad.models.estimators.settings import check_preset

#: What models may be explained by; permutation is for all of them, the others for networks.
METHODS = ("permutation", "permgrad", "ablation", "gradient", "integrated_gradients", "deeplift", "shapley")
USUAL_METHODS = ("permutation", "permgrad")
USUAL_FOLDS = 5
#: What may stand behind a preset's name: the branches of the network.
BRANCHES = {"tabular": "table only", "image": "image only"}
#: Models that are compared if none are named, as far as they are installed.
USUAL = ("default", "lightgbm", "random_forest", "linear")


# ---- models ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Model(ComparedModel):
    """A contestant with what is needed to fit it: a network's preset, by name or file, and its branches, if not all."""

    preset: str = ""
    branches: tuple[str, ...] | None = None

    def identity(self) -> Any:
        """Return what decides how it is fitted: a file's content in the place of its name."""
        if self.preset.endswith(".json"):
            return [self.name, get_preset(self.preset).to_dict()]
        return self.name


def parse_models(names: Sequence[str]) -> tuple[Model, ...]:
    """Return what names of models mean: presets or paths of preset files, also with a branch behind them; baselines."""
    models = tuple(_parse(name) for name in names)
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(f"a comparison names each model once, however: {name!r} is named twice; leave one out")
    if len(models) < 2:
        fact = f"only {names[0]!r} is named" if names else "none is named"
        raise InputError(
            f"a comparison needs at least 2 models, however: {fact}; name more, as in --models default,lightgbm"
        )
    check_available(model.name for model in models if model.kind == "baseline")
    return models


def usual_absent() -> dict[str, str]:
    """Return a sentence for each usual model that this installation lacks: which it is, and how to install it."""
    reasons = {name: why_absent(name) for name in USUAL if name in competitors}
    return {name: f"{name} is left out, because {why}" for name, why in reasons.items() if why}


def _parse(name: str) -> Model:
    preset, colon, branch = name.rpartition(":")
    if not colon or not (preset in presets or preset.endswith(".json")):
        preset, colon, branch = name, "", ""
    if colon and branch not in BRANCHES:
        raise InputError(
            f"behind a preset's name one of its branches may stand, {' or '.join(map(repr, BRANCHES))}, however: "
            f"{shown(name)}{suggest(branch, BRANCHES)}; leave {shown(':' + branch)} out for the whole network"
        )
    if preset in presets or preset.endswith(".json"):
        check_preset(preset)
        label = f"HyNN {Path(preset).stem if preset.endswith('.json') else preset}"
        if colon:
            return Model(name, f"{label} ({BRANCHES[branch]})", "network", preset, (branch,))
        return Model(name, label, "network", preset)
    if name in competitors:
        return Model(name, competitors.get(name).label, "baseline")
    names = [*presets.names(), *competitors.names()]
    raise InputError(
        f"a model must be a preset ({', '.join(presets.names())}, or a path ending in .json) or a baseline "
        f"({', '.join(competitors.names())}), however: {shown(name)}{suggest(name, names)}"
    )


# ---- everything that is asked ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """Everything that decides what cells hold, checked: without ``methods`` nothing is explained.

    ``named_methods`` are those that the user named, ``absent`` sentences on usual models that are not installed.
    """

    models: tuple[Model, ...]
    folds: int = USUAL_FOLDS
    repeats: int = 1
    splits: tuple[int, ...] = ()
    methods: tuple[str, ...] = USUAL_METHODS
    named_methods: tuple[str, ...] = ()
    loss: str = "auto"
    n_repeats: int = 5
    most_rows: int = 1000
    seed: int = 0
    absent: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user: which of the methods that were named some models cannot be explained by."""
        methods = [name for name in self.named_methods if name != "permutation"]
        baselines = [model.label for model in self.models if model.kind != "network"]
        if not methods or not baselines:
            return self.absent
        words = ("applies", "was") if len(methods) == 1 else ("apply", "were")
        return (
            *self.absent,
            f"{' and '.join(methods)} {words[0]} to networks only and {words[1]} left out for {', '.join(baselines)}",
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
    explain: bool = True,
    methods: Sequence[str] = (),
    **options: Any,
) -> ComparisonPlan:
    """Check what is asked of a comparison, before any row is read; ``options`` are further fields of the plan."""
    check_flag("explain", explain)
    repeats, splits = options.pop("repeats", 1), options.pop("splits", ())
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
    folds = USUAL_FOLDS if folds is None else folds
    check_numbers(folds=folds, repeats=repeats, splits=splits)
    for name, example in (("n_repeats", 5), ("most_rows", 1000)):
        options[name] = check_whole(name, options.get(name, example), f"pass for example {example}")
    absent = usual_absent()
    return ComparisonPlan(
        models=parse_models(models or [name for name in USUAL if name not in absent]),
        folds=int(folds),
        repeats=int(repeats),
        splits=tuple(int(split) for split in splits),
        # Only permutation importance is defined for every model: agreement is measured on it.
        methods=tuple(dict.fromkeys(("permutation", *(methods or USUAL_METHODS)))) if explain else (),
        named_methods=tuple(dict.fromkeys(methods)),
        absent=() if models else tuple(absent.values()),
        **options,
    )


# ---- folds -----------------------------------------------------------------------------------------------------------
Rows = npt.NDArray[np.int64]

#: Share of each training part that is held out for early stopping.
VALIDATION_SHARE = 0.15
#: What scikit-learn divides rows by.
LARGEST_SPLIT_SEED = 2**32 - 1


@dataclass(frozen=True)
class Fold:
    """One division of the rows, named ``"3"``, or ``"2.3"`` in the second repeat, or by the seed of a split."""

    name: str
    train: Rows
    validation: Rows
    test: Rows


def make_folds(
    y: npt.NDArray[Any],
    task: Task,
    *,
    folds: int = 5,
    repeats: int = 1,
    splits: Sequence[int] = (),
    seed: int = 0,
    groups: npt.NDArray[Any] | None = None,
) -> list[Fold]:
    """Divide rows for a comparison, stratified by class; every row tests once per repeat; groups stay in one part.

    ``splits`` are seeds of splits in the place of folds: 60 % training, 20 % validation, 20 % test, those of
    ``permgrad run --split-seed``.
    """
    if splits:
        # That a class is too rare to be balanced is said once, by the command that reads the table.
        with keeping_warnings():
            made = {split: split_rows(len(y), y, task=task, seed=split, groups=groups) for split in splits}
        return [Fold(str(name), split.train, split.validation, split.test) for name, split in made.items()]
    _check_rows(y, task, folds, groups)
    divided = []
    for repeat in range(repeats):
        parts = _cross(y, task, folds, derive_seed(seed, "folds", repeat), groups)
        for number, (training, test) in enumerate(parts):
            name = f"{number + 1}" if repeats == 1 else f"{repeat + 1}.{number + 1}"
            train, validation = _hold_out(training, y, task, derive_seed(seed, "held out", repeat, number), groups)
            divided.append(Fold(name, train, validation, np.sort(test)))
    return divided


def check_numbers(*, folds: int, repeats: int, splits: Sequence[int] = ()) -> None:
    """Refuse numbers of folds and seeds of splits that mean nothing, before any row is read."""
    check_whole("folds", folds, "pass for example 5", least=None)
    check_whole("repeats", repeats, "pass for example 1", least=None)
    for seed in splits:
        if not is_whole(seed) or not 0 <= seed <= LARGEST_SPLIT_SEED:
            raise InputError(
                f"seeds of splits must be integers from 0 to {LARGEST_SPLIT_SEED}, however: splits has {shown(seed)}; "
                "pass for example 42"
            )
    if len(splits) != len(set(splits)):
        raise InputError(
            f"splits must differ, however: {', '.join(map(str, splits))}; name each seed once, as in --splits 42,43,44"
        )
    if len(splits) == 1:
        raise InputError(
            f"a comparison needs at least 2 splits, because one says nothing about chance, however: splits has "
            f"only {splits[0]}; add seeds, as in --splits 42,43,44"
        )
    if splits:
        return
    if folds < 2:
        raise InputError(f"a comparison needs at least 2 folds, however: folds={folds}; give for example --folds 5")
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, however: repeats={repeats}; leave --repeats out for one")


def _check_rows(y: npt.NDArray[Any], task: Task, folds: int, groups: npt.NDArray[Any] | None) -> None:
    """Refuse a table that cannot be divided into so many folds."""
    if groups is not None:
        count = len(set(np.asarray(groups).tolist()))
        if count < folds:
            raise InputError(
                f"there must be at least as many groups as folds, however: {count} groups and folds={folds}; "
                f"give --folds {max(count, 2)}, or leave --group out"
            )
    elif task == "classification":
        labels, counts = np.unique(y, return_counts=True)
        rarest = int(counts.argmin())
        if counts[rarest] < folds:
            few = int(counts[rarest])
            fix = f"give --folds {few}, join" if few >= 2 else "join"
            raise InputError(
                "each class must have at least as many rows as there are folds, however: class "
                f"{labels[rarest].item()!r} has {few} row{'s' * (few != 1)} and folds={folds}; "
                f"{fix} rare classes, or leave their rows out"
            )
    elif len(y) < 2 * folds:
        raise InputError(
            f"each fold must have at least 2 rows, however: {len(y)} rows and folds={folds}; give fewer folds"
        )


def _cross(
    y: npt.NDArray[Any], task: Task, folds: int, seed: int, groups: npt.NDArray[Any] | None
) -> list[tuple[Rows, Rows]]:
    kinds = {
        (False, "classification"): model_selection.StratifiedKFold,
        (False, "regression"): model_selection.KFold,
        (True, "classification"): model_selection.StratifiedGroupKFold,
        (True, "regression"): model_selection.GroupKFold,
    }
    maker: Any = kinds[groups is not None, task](n_splits=folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # A class within fewer groups than folds: such folds lack it, which is what groups ask for.
        warnings.filterwarnings("ignore", category=UserWarning)
        return [(training, test) for training, test in maker.split(np.zeros(len(y)), y, groups)]


def _hold_out(
    training: Rows, y: npt.NDArray[Any], task: Task, seed: int, groups: npt.NDArray[Any] | None
) -> tuple[Rows, Rows]:
    """Take the rows for early stopping off a training part; every class keeps a row to be fitted on."""
    if groups is not None and len(set(np.asarray(groups)[training].tolist())) > 1:
        maker = model_selection.GroupShuffleSplit(n_splits=1, test_size=VALIDATION_SHARE, random_state=seed % 2**32)
        fitted, stopping = next(maker.split(training, groups=np.asarray(groups)[training]))
        return np.sort(training[fitted]), np.sort(training[stopping])
    codes = np.unique(y[training], return_inverse=True)[1].astype(np.int64) if task == "classification" else None
    fitted, stopping = held_out(len(training), VALIDATION_SHARE, seed, codes)
    return np.sort(training[fitted]), np.sort(training[stopping])
