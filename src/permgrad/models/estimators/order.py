"""Whether the columns of a table have an order that a convolution can use, tested on
training rows before training.

Two steps, the second only if the first finds something. The columns are put in a row,
on a grid, or in channels if their names tell such, on some rows, and neighbours must be
more alike on *others* than neighbours of shuffled columns. Then a quick model of fixed
random kernels (ROCKET, Dempster et al. 2020, arXiv 1910.13051) must predict held-out
rows better in this order than in random ones, and not worse than trees without any
order. Of few rows its mean with the trees may be as good as these instead. Columns that
are alike because they share factors pass the first step only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.random import generator
from permgrad.base.sequences import values_at
from permgrad.data.tasks import tasks
from permgrad.imaging.assignment import standardised_sample
from permgrad.imaging.layout import Positions, named_places
from permgrad.imaging.path import lattice_positions, path_positions
from permgrad.models.estimators.learned import ridge
from permgrad.models.fast.kernels import FoldedKernels
from permgrad.models.network.blocks import RandomKernels

#: Fewer columns make no curve, fewer rows decide nothing.
FEWEST_COLUMNS = 12
FEWEST_ROWS = 60
_FEWEST_OF_A_PICTURE = 36
_MOST_ROWS = 1200
_FOLDS = 3
_CONTROLS = 2
_KERNELS = 128
#: Up to so many rows are read by several draws of the kernels, because one draw adds as
#: much noise as the rows, and in more folds, because a model of two thirds of them
#: shows too little.
_FEW = 300
_DRAWS = 4
_FEW_FOLDS = 10
_SHUFFLES = 200
#: A gain is worth an image if it is as sure, and as large.
_SURE = 0.001
_LEAST_GAIN = 0.01
#: Trees that are better, and as surely, need no order. The quick model is linear: they
#: may be as good by chance.
_SURELY_BEHIND = 0.95
_PENALTIES: Floats = np.logspace(-1, 5, 7)


@dataclass(frozen=True)
class _Shape:
    """What columns may form.

    Attributes:
        noun: what the columns are said to form.
        alike: mean |r| of neighbours, below which nothing is tried.
        sure: p-value of a gain that few rows must show. On a grid, blocks of like
            columns look like an order, too.
    """

    noun: str
    alike: float
    sure: float = _SURE


#: Returns places of columns, and the shape of their grid, from rows and a seed.
_Placed = tuple[Positions, tuple[int, ...]]
_Placing = Callable[[Floats, int], _Placed]
#: By the name of the layout. Columns form a picture only if that predicts better than a
#: curve for certain.
_SHAPES = {
    "path": _Shape("a curve", 0.5),
    "lattice": _Shape("a picture", 0.3, 0.0001),
    "given": _Shape("channels with the same places, as their names say", 0.3),
}
_SURELY_BETTER = 0.05


@dataclass(frozen=True)
class Order:
    """What the order test found.

    Attributes:
        found: whether the columns have an order that helps.
        columns: how many were looked at.
        alike, alike_by_chance: mean |correlation| of neighbours, and of shuffled
            columns, on held-out rows.
        gain: how much of the error of held-out rows the order saves in a quick model,
            over random orders or over trees, whichever is less: of wrong rows, or of
            the mean absolute error, as a share of rows or of the target's standard
            deviation. None: not measured, because the first of both is too small.
        p_value: of the gain over random orders, or of the likeness where that was too
            small.
        layout: that the columns are drawn in if an order was found: ``"path"``, a
            curve, ``"lattice"``, a picture, or ``"given"``, channels that names tell.
    """

    found: bool
    columns: int
    alike: float | None = None
    alike_by_chance: float | None = None
    gain: float | None = None
    p_value: float = 1.0
    layout: str = "path"

    def sentence(self, task: str) -> str:
        """Return what the test found, in words."""
        if not self.found and self.columns == 1:
            return "a single column has no order: the network reads it as a table"
        if not self.found:
            return (
                f"no order among these {self.columns} columns: the network reads "
                "them as a table"
            )
        shown_gain = max(self.gain or 0.0, _LEAST_GAIN)
        if tasks.get(task).has_classes:
            gain_text = f"{shown_gain:.0%} of rows"
        else:
            gain_text = f"{shown_gain:.2f} standard deviations"
        if shown_gain == self.gain:
            about = "about"
        else:
            about = "below"
        shape_noun = _SHAPES[self.layout].noun
        return (
            f"the {self.columns} columns form {shape_noun}: image branch on, "
            f"expected gain {about} {gain_text}"
        )


def find_order(
    encoded: Array, y: Array, task: str, seed: int, names: Sequence[str] = ()
) -> Order:
    """Test encoded training rows ``(rows, columns)`` of numbers, with their target, for
    an order of the columns.

    Where ``names`` tell channels, their order is tested first, and others only if it
    does not help.
    """
    row_count, columns = encoded.shape
    if columns < FEWEST_COLUMNS or row_count < FEWEST_ROWS:
        return Order(False, columns)
    sampled_rows = generator(seed, "order").permutation(row_count)[:_MOST_ROWS]
    table = np.asarray(encoded[sampled_rows], dtype=np.float64)
    y = np.asarray(y)[sampled_rows]
    target = _Target.of(y, task)
    named = named_places(names)
    if named is not None and len(named[1]) > 2:
        channels, _ = _test(table, target, "given", lambda *_: named, seed)
        if channels.found:
            return channels
    path_order, in_a_row = _test(table, target, "path", path_positions, seed)
    if columns < _FEWEST_OF_A_PICTURE:
        return path_order
    lattice_order, on_a_grid = _test(table, target, "lattice", lattice_positions, seed)
    if lattice_order.found and not len(in_a_row):
        in_a_row = _test(table, target, "path", path_positions, seed, to_the_end=True)[
            1
        ]
    if lattice_order.found and _p_value(in_a_row - on_a_grid) <= _SURELY_BETTER:
        return lattice_order
    return path_order


def _test(
    table: Floats,
    target: _Target,
    name: str,
    place_columns: _Placing,
    seed: int,
    *,
    to_the_end: bool = False,
) -> tuple[Order, Floats]:
    """Test the columns of some rows for one shape.

    Return also each row's error in it, unless it failed before.
    """
    columns = table.shape[1]
    shape_rule = _SHAPES[name]
    random_generator = generator(seed, "order", name)
    row_folds = np.arange(len(table)) % _FOLDS
    placed = place_columns(table[row_folds > 0], seed)
    alike, by_chance, p_value = _likeness(
        table[row_folds == 0], placed[0], random_generator, seed
    )
    first = Order(False, columns, alike, by_chance, None, p_value, name)
    if not to_the_end and (alike < shape_rule.alike or p_value > _SURE):
        return first, np.zeros(0)
    table = _standardised(table)
    trial_design = _design(table, placed, place_columns, random_generator, seed)
    in_order: list[Floats] = []
    errors: list[Floats] = []
    for predicted, held_out_rows in _predictions(table, target, trial_design):
        in_order.append(predicted[:, 0])
        errors.append(target.errors(predicted, held_out_rows).mean(axis=1))
        if (
            not trial_design.has_few_rows
            and not to_the_end
            and _over_chance(errors)[0].mean() < _LEAST_GAIN
        ):  # most tables end here
            return first, np.zeros(0)
    chance, sharper = _over_chance(errors)
    significance_level = _SURE
    p_value = _p_value(chance)
    if trial_design.has_few_rows:
        significance_level = shape_rule.sure
        p_value = _p_value(sharper)
    of_rows = np.concatenate(
        [fold_errors[int(trial_design.has_few_rows), 0] for fold_errors in errors]
    )
    if chance.mean() < _LEAST_GAIN or p_value > significance_level:
        return replace(first, p_value=p_value), of_rows
    trees, beside_trees = _over_trees(table, target, trial_design.folds, in_order, seed)
    is_found = _p_value(trees) <= _SURELY_BEHIND or bool(
        trial_design.has_few_rows and beside_trees.mean() >= 0
    )
    expected_gain = float(min(chance.mean(), trees.mean()))
    return replace(first, found=is_found, gain=expected_gain, p_value=p_value), of_rows


def _standardised(table: Floats) -> Floats:
    """Return columns with mean 0 and standard deviation 1, constant ones with 0."""
    spread = table.std(axis=0)
    return (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


@dataclass(frozen=True)
class _Design:
    """How an order is tried on rows.

    Attributes:
        has_few_rows: Whether they are few, and show less.
        folds: Rows that a model learns from, and those that are held out.
        draws: Random kernels, and random orders of the columns.
        placings: Of the columns in each fold, or in the first alone, which then are
            those of all.
    """

    has_few_rows: bool
    folds: list[tuple[Integers, Integers]]
    draws: list[tuple[FoldedKernels, list[Integers]]]
    placings: Iterator[_Placed]


def _design(
    table: Floats,
    placed: _Placed,
    place_columns: _Placing,
    rng: np.random.Generator,
    seed: int,
) -> _Design:
    """Return how an order is tried on some rows, whose first fold is ``placed``."""
    has_few_rows = len(table) <= _FEW
    row_folds = np.arange(len(table)) % (_FEW_FOLDS if has_few_rows else _FOLDS)
    folds = []
    for number in range(row_folds.max() + 1):
        folds.append(
            (np.flatnonzero(row_folds != number), np.flatnonzero(row_folds == number))
        )
    placings = chain(
        [placed], (place_columns(table[learned], seed) for learned, _ in folds[1:])
    )
    draw_count = 1
    if has_few_rows:
        placed = place_columns(table, seed)
        placings = chain([placed])
        draw_count = _DRAWS
    draws = [_draw(rng, table.shape[1], placed[1]) for _ in range(draw_count)]
    return _Design(has_few_rows, folds, draws, placings)


def _predictions(
    table: Floats, target: _Target, design: _Design
) -> Iterator[tuple[Floats, Integers]]:
    """Yield what is predicted of each fold's held rows ``(draws, orders, rows, …)``,
    the order first, and these rows.
    """
    fold_features: list[list[Floats]] = []
    for learned, held_out_rows in design.folds:
        for positions, picture_shape in islice(design.placings, 1):
            fold_features = []
            for kernels, shuffles in design.draws:
                fold_features.append(
                    [
                        _seen(table, placed_positions, picture_shape, kernels)
                        for placed_positions in (
                            positions,
                            *values_at(positions, shuffles),
                        )
                    ]
                )
        yield (
            np.array(
                [
                    [
                        _predicted(features, target, learned, held_out_rows)
                        for features in draw_features
                    ]
                    for draw_features in fold_features
                ]
            ),
            held_out_rows,
        )


def _draw(
    rng: np.random.Generator, columns: int, size: tuple[int, ...]
) -> tuple[FoldedKernels, list[Integers]]:
    """Return random kernels for pictures of this size, and random orders of the
    columns.
    """
    shuffles = [rng.permutation(columns) for _ in range(_CONTROLS)]
    picture_height, picture_width, *depth = size
    kernels = RandomKernels(
        (depth[0] if depth else 1, picture_height, picture_width), _KERNELS
    )
    kernels.draw(rng)
    return FoldedKernels(kernels), shuffles


def _likeness(
    held_out_rows: Floats, positions: Positions, rng: np.random.Generator, seed: int
) -> tuple[float, float, float]:
    """Return how alike neighbours are on held-out rows, how alike shuffled columns, and
    the p-value of the first.
    """
    table = standardised_sample(held_out_rows, seed)
    column_at = dict(
        zip(map(tuple, positions.tolist()), range(len(positions)), strict=True)
    )
    neighbour_pairs = []
    for (grid_row, grid_column, *channel), column in column_at.items():
        for neighbour_position in (
            (grid_row, grid_column + 1, *channel),
            (grid_row + 1, grid_column, *channel),
        ):
            if neighbour_position in column_at:
                neighbour_pairs.append((column, column_at[neighbour_position]))
    if not neighbour_pairs:  # as of the dark squares of a chessboard
        return 0.0, 0.0, 1.0
    first_columns, second_columns = np.array(neighbour_pairs, dtype=np.int64).T
    alike = float(
        np.abs((table[:, first_columns] * table[:, second_columns]).sum(axis=0)).mean()
    )
    chance = np.empty(_SHUFFLES)
    sampled_pairs = slice(None, 256)  # pairs are enough of very many columns
    for number in range(_SHUFFLES):
        shuffled = rng.permutation(len(positions))
        first = shuffled[first_columns[sampled_pairs]]
        second = shuffled[second_columns[sampled_pairs]]
        chance[number] = np.abs((table[:, first] * table[:, second]).sum(axis=0)).mean()
    spread = float(chance.std()) or 1e-12
    return (
        alike,
        float(chance.mean()),
        _normal_tail((alike - float(chance.mean())) / spread),
    )


def _normal_tail(deviations: float) -> float:
    return 0.5 * math.erfc(deviations / math.sqrt(2))


def _p_value(differences: Floats) -> float:
    """Return the one-sided p-value of a mean above 0, of paired differences."""
    spread = float(differences.std(ddof=1))
    if spread > 0:
        return _normal_tail(
            float(differences.mean()) * math.sqrt(len(differences)) / spread
        )
    return 1.0


@dataclass(frozen=True)
class _Target:
    """The target as numbers, one column for each class or one that is standardised, and
    the classes' indexes.
    """

    numbers: Floats
    codes: Integers | None

    @classmethod
    def of(cls, y: Array, task: str) -> _Target:
        if tasks.get(task).has_classes:
            codes = np.unique(y, return_inverse=True)[1]
            return cls(np.eye(int(codes.max()) + 1)[codes], codes)
        numbers = y.astype(np.float64)
        return cls(((numbers - numbers.mean()) / (numbers.std() or 1.0))[:, None], None)

    def errors(self, predicted: Floats, rows: Integers) -> Floats:
        """Return two errors of each row ``(2, ..., rows)``: whether its class is wrong,
        or how far its number is away.

        Of classes the second is the squared distance: few rows show a gain in it that
        the count of wrong rows hides. Many rows show in it what likeness without an
        order is worth.
        """
        if self.codes is None:
            return np.stack([np.abs(predicted[..., 0] - self.numbers[rows, 0])] * 2)
        wrong = predicted.argmax(axis=-1) != self.codes[rows]
        return np.stack([wrong, ((predicted - self.numbers[rows]) ** 2).sum(axis=-1)])


@torch.no_grad()
def _seen(
    table: Floats, positions: Positions, size: tuple[int, ...], kernels: FoldedKernels
) -> Floats:
    """Return the columns themselves and what kernels see of them in these places."""
    pixel_rows, pixel_columns, *channel = positions.T
    pictures = torch.zeros(len(table), *(size[2:] or (1,)), *size[:2])
    pictures[:, channel[0] if channel else 0, pixel_rows, pixel_columns] = (
        torch.from_numpy(table).float()
    )
    return np.concatenate([table, kernels.see(pictures).double().numpy()], axis=1)


def _predicted(
    features: Floats, target: _Target, learned: Integers, held_out_rows: Integers
) -> Floats:
    """Return what a ridge of these features predicts of held rows."""
    spread = features[learned].std(axis=0)
    features = (features - features[learned].mean(axis=0)) / (spread + 1e-6)
    mean_numbers = target.numbers[learned].mean(axis=0)
    matrix, _ = ridge(
        features[learned], target.numbers[learned] - mean_numbers, _PENALTIES
    )
    return features[held_out_rows] @ matrix + mean_numbers


def _over_chance(errors: Sequence[Floats]) -> Floats:
    """Return how much larger both errors of each row are in random orders ``(2,
    rows)``, from those of each fold.
    """
    return np.concatenate(
        [fold_errors[:, 1:].mean(axis=1) - fold_errors[:, 0] for fold_errors in errors],
        axis=1,
    )


def _over_trees(
    table: Floats,
    target: _Target,
    folds: Sequence[tuple[Integers, Integers]],
    in_order: Sequence[Floats],
    seed: int,
) -> tuple[Floats, Floats]:
    """Return how much larger the error of each row is by trees than in order, and than
    by the mean of both.
    """
    over_order = []
    over_both = []
    for (learned, held_out_rows), predicted in zip(folds, in_order, strict=True):
        by_trees = _by_trees(table, target, learned, held_out_rows, seed)
        alone = target.errors(by_trees, held_out_rows)[0]
        over_order.append(
            alone - target.errors(predicted, held_out_rows)[0].mean(axis=0)
        )
        over_both.append(
            alone
            - target.errors((predicted + by_trees) / 2, held_out_rows)[0].mean(axis=0)
        )
    return np.concatenate(over_order), np.concatenate(over_both)


def _by_trees(
    table: Floats,
    target: _Target,
    learned: Integers,
    held_out_rows: Integers,
    seed: int,
) -> Floats:
    """Return what trees predict of held rows, which know no order."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    options: dict[str, Any] = {"n_estimators": 100, "random_state": seed % 2**32}
    if target.codes is None:
        trees: Any = ExtraTreesRegressor(**options).fit(
            table[learned], target.numbers[learned, 0]
        )
        return trees.predict(table[held_out_rows])[:, None]
    trees = ExtraTreesClassifier(**options).fit(table[learned], target.codes[learned])
    predicted = np.zeros((len(held_out_rows), target.numbers.shape[1]))
    predicted[:, trees.classes_] = trees.predict_proba(table[held_out_rows])
    return predicted
