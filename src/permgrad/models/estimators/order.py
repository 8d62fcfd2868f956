"""Whether the columns of a table have an order that a convolution can use, tested on training rows before training.

Two steps, the second only if the first finds something. The columns are put in a row on some rows, and neighbours must
be more alike on *others* than neighbours of shuffled columns. Then a quick model of fixed random kernels (ROCKET,
Dempster et al. 2020, arXiv 1910.13051) must predict held-out rows better in this order than in random ones, and not
worse than trees without any order. Columns that are alike because they share factors pass the first step only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.random import generator
from permgrad.imaging.assignment import standardised_sample
from permgrad.imaging.path import path_order

#: Fewer columns make no curve, fewer rows decide nothing.
FEWEST_COLUMNS, FEWEST_ROWS = 12, 60
_MOST_ROWS, _FOLDS, _CONTROLS = 1200, 3, 2
_KERNELS, _WIDTH, _SHARPNESS = 128, 9, 8.0
_SHUFFLES = 200
#: Neighbours of a curve are alike, |r|, and a gain is worth an image if it is as sure, and as large.
_ALIKE, _SURE, _LEAST_GAIN = 0.5, 0.001, 0.01
#: Trees that are better, and as surely, need no order. The quick model is linear: they may be as good by chance.
_SURELY_BEHIND = 0.95
_PENALTIES = 10.0 ** np.arange(-1, 6)


@dataclass(frozen=True)
class Order:
    """What the order test found.

    Attributes:
        found: whether the columns have an order that helps.
        columns: how many were looked at.
        alike, alike_by_chance: mean |correlation| of neighbours, and of shuffled columns, on held-out rows.
        gain: how much of the error of held-out rows the order saves in a quick model, over random orders or over
            trees, whichever is less: of wrong rows, or of the mean absolute error, as a share of rows or of the
            target's standard deviation. None: not measured.
        p_value: of the gain over random orders, or of the likeness where that was too small.
    """

    found: bool
    columns: int
    alike: float | None = None
    alike_by_chance: float | None = None
    gain: float | None = None
    p_value: float = 1.0

    def sentence(self, task: str) -> str:
        """Return what the test found, in words."""
        if not self.found:
            return f"no order among these {self.columns} columns: the network reads them as a table"
        gain = max(self.gain or 0.0, _LEAST_GAIN)
        size = f"{gain:.0%} of rows" if task == "classification" else f"{gain:.2f} standard deviations"
        about = "about" if gain == self.gain else "below"
        return f"the {self.columns} columns form a curve: image branch on, expected gain {about} {size}"


def find_order(encoded: Array, y: Array, task: str, seed: int) -> Order:
    """Test encoded training rows ``(rows, columns)`` of numbers, with their target, for an order of the columns."""
    rows, columns = encoded.shape
    if columns < FEWEST_COLUMNS or rows < FEWEST_ROWS:
        return Order(False, columns)
    rng = generator(seed, "order")
    chosen = rng.permutation(rows)[:_MOST_ROWS]
    table, y = np.asarray(encoded[chosen], dtype=np.float64), np.asarray(y)[chosen]
    fold = np.arange(len(table)) % _FOLDS
    order = path_order(table[fold > 0], seed)
    alike, by_chance, p_value = _likeness(table[fold == 0], order, rng, seed)
    first = Order(False, columns, alike, by_chance, None, p_value)
    if alike < _ALIKE or p_value > _SURE:
        return first
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    target = _Target.of(y, task)
    orders = [rng.permutation(columns) for _ in range(_CONTROLS)]
    kernels = _kernels(columns, rng)
    over_chance: list[Floats] = []
    over_trees: list[Floats] = []
    for number in range(_FOLDS):
        learned, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        own = order if number == 0 else path_order(table[learned], seed)
        errors = [_errors(table[:, one], kernels, target, learned, held) for one in (own, *orders)]
        over_chance.append(np.mean(errors[1:], axis=0) - errors[0])
        if over_chance[0].mean() < _LEAST_GAIN:  # most tables end here
            return first
        over_trees.append(_tree_errors(table, target, learned, held, seed) - errors[0])
    chance, trees = np.concatenate(over_chance), np.concatenate(over_trees)
    p_value = _p_value(chance)
    found = chance.mean() >= _LEAST_GAIN and p_value <= _SURE and _p_value(trees) <= _SURELY_BEHIND
    return Order(bool(found), columns, alike, by_chance, float(min(chance.mean(), trees.mean())), p_value)


def _likeness(held: Floats, order: Integers, rng: np.random.Generator, seed: int) -> tuple[float, float, float]:
    """Return how alike neighbours are on held-out rows, how alike shuffled columns, and the p-value of the first."""
    ordered = standardised_sample(held, seed)[:, order]
    alike = float(np.abs((ordered[:, 1:] * ordered[:, :-1]).sum(axis=0)).mean())
    chance = np.empty(_SHUFFLES)
    for number in range(_SHUFFLES):
        shuffled = rng.permutation(len(order))
        first, second = shuffled[:-1], shuffled[1:]
        some = slice(None, 256)  # pairs are enough of very many columns
        chance[number] = np.abs((ordered[:, first[some]] * ordered[:, second[some]]).sum(axis=0)).mean()
    spread = float(chance.std()) or 1e-12
    return alike, float(chance.mean()), _normal_tail((alike - float(chance.mean())) / spread)


def _normal_tail(deviations: float) -> float:
    return 0.5 * math.erfc(deviations / math.sqrt(2))


def _p_value(differences: Floats) -> float:
    """Return the one-sided p-value of a mean above 0, of paired differences."""
    spread = float(differences.std(ddof=1))
    return _normal_tail(float(differences.mean()) * math.sqrt(len(differences)) / spread) if spread > 0 else 1.0


@dataclass(frozen=True)
class _Target:
    """The target as numbers, one column for each class or one that is standardised, and the classes' indexes."""

    numbers: Floats
    codes: Integers | None

    @classmethod
    def of(cls, y: Array, task: str) -> _Target:
        if task == "classification":
            codes = np.unique(y, return_inverse=True)[1]
            return cls(np.eye(int(codes.max()) + 1)[codes], codes)
        numbers = y.astype(np.float64)
        return cls(((numbers - numbers.mean()) / (numbers.std() or 1.0))[:, None], None)

    def errors(self, predicted: Floats, rows: Integers) -> Floats:
        """Return each row's error: whether its class is wrong, or how far its number is away."""
        if self.codes is not None:
            return (predicted.argmax(axis=1) != self.codes[rows]).astype(np.float64)
        return np.abs(predicted[:, 0] - self.numbers[rows, 0])


#: Kernels ``(kernels, 1, width)`` of one dilation, and their biases.
_Kernels = list[tuple[int, torch.Tensor, torch.Tensor]]


def _kernels(columns: int, rng: np.random.Generator) -> _Kernels:
    most = max(0, int(math.log2(max(1, (columns - 1) // (_WIDTH - 1)))))
    made: _Kernels = []
    for dilation in range(most + 1):
        count = math.ceil(_KERNELS / (most + 1))
        weight = rng.normal(size=(count, 1, _WIDTH))
        weight -= weight.mean(axis=2, keepdims=True)
        weight /= np.sqrt((weight**2).sum(axis=2, keepdims=True))
        bias = torch.from_numpy(rng.uniform(-1, 1, size=count))
        made.append((2**dilation, torch.from_numpy(weight).float(), bias.float()))
    return made


@torch.no_grad()
def _errors(table: Floats, kernels: _Kernels, target: _Target, learned: Integers, held: Integers) -> Floats:
    """Return the errors of held rows, predicted by a ridge of what the kernels see, and of the columns themselves."""
    curves = torch.from_numpy(table).float().unsqueeze(1)
    parts: list[Floats] = [table]
    for dilation, weight, bias in kernels:
        seen = functional.conv1d(curves, weight, bias, padding=dilation * (_WIDTH // 2), dilation=dilation)
        parts += [torch.sigmoid(_SHARPNESS * seen).mean(dim=2).double().numpy(), seen.amax(dim=2).double().numpy()]
    features = np.concatenate(parts, axis=1)
    spread = features[learned].std(axis=0)
    features = (features - features[learned].mean(axis=0)) / (spread + 1e-6)
    mean = target.numbers[learned].mean(axis=0)
    near, truth = features[learned], target.numbers[learned] - mean
    narrow = near.shape[1] < len(near)
    values, vectors = np.linalg.eigh(near.T @ near if narrow else near @ near.T)
    usable = values > values[-1] * 1e-9  # without the constant, which is the mean's
    values, vectors = values[usable], vectors[:, usable]
    turned = near @ vectors / np.sqrt(values) if narrow else vectors
    along, squares = turned.T @ truth, turned**2
    best, chosen = math.inf, truth
    for penalty in _PENALTIES:  # by errors of rows left out one at a time, in closed form
        share = values / (values + penalty)
        left_out = (truth - (turned * share) @ along) / (1 - 1 / len(near) - squares @ share)[:, None]
        error = float((left_out**2).mean())
        if error < best:
            best, chosen = error, (turned / (values + penalty)) @ along
    return target.errors(features[held] @ (near.T @ chosen) + mean, held)


def _tree_errors(table: Floats, target: _Target, learned: Integers, held: Integers, seed: int) -> Floats:
    """Return the errors of held rows by trees, which know no order."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    options: dict[str, Any] = {"n_estimators": 100, "random_state": seed % 2**32}
    if target.codes is None:
        trees: Any = ExtraTreesRegressor(**options).fit(table[learned], target.numbers[learned, 0])
        return target.errors(trees.predict(table[held])[:, None], held)
    trees = ExtraTreesClassifier(**options).fit(table[learned], target.codes[learned])
    return (trees.predict(table[held]) != target.codes[held]).astype(np.float64)
