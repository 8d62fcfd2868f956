"""Folds of a comparison: which rows train, which stop the training, which test; the same for every model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn import model_selection

from permgrad.base.checks import check_whole, is_whole
from permgrad.base.errors import InputError, keeping_warnings, shown
from permgrad.base.random import derive_seed
from permgrad.data.splitting import split_rows
from permgrad.models.estimators.inputs import held_out

Rows = npt.NDArray[np.int64]
Task = Literal["classification", "regression"]

#: Share of each training part that is held out for early stopping.
VALIDATION_SHARE = 0.15
#: What scikit-learn divides rows by.
LARGEST_SPLIT_SEED = 2**32 - 1


@dataclass(frozen=True)
class Fold:
    """One division of the rows; no row is in two parts.

    ``name`` is ``"3"``, or ``"2.3"`` for the third fold of the second repeat, or the seed of a split. ``train`` rows
    are fitted on, ``validation`` rows stop the training, ``test`` rows are scored and explained.
    """

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
        if not is_whole(seed):
            raise InputError(
                f"seeds of splits must be integers, however: splits has {shown(seed)}; pass for example 42"
            )
        if not 0 <= seed <= LARGEST_SPLIT_SEED:
            raise InputError(
                f"seeds of splits must be 0…{LARGEST_SPLIT_SEED}, however: splits has {seed}; pass for example 42"
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
