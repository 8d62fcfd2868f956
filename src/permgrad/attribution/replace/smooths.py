"""Smooth regression of one number on many columns: lines, curves, and surfaces over two columns, where they show.

What a mean misses stays in the residual, goes to other rows with it, and looks like an effect: trees are too coarse.
Each block of coefficients has a penalty chosen by the marginal likelihood (MacKay 1992): what does not help is free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from permgrad.base.arrays import Booleans, Floats, Integers

#: A column of fewer distinct values gets a line only.
DISTINCT = 8
#: Most knots of a curve by quantiles and by distance, and rows per knot.
_KNOTS, _ROWS_PER_KNOT = 20, 20
#: Curves, surfaces and functions of three columns that are fitted at most, and the columns up to which of three.
_CURVES, _SURFACES, TRIPLES = 12, 6, 12
#: Functions of each column that are combined in pairs and in threes.
_RANKS = {2: 6, 3: 3}
#: Clearness from which on a curve is tried, about a normal deviate, and functions of a column that pairs are tried by.
_CURVE_Z, WAVES = 1.5, 3
_ROUNDS = 20
#: Penalty, as a multiple of the rows, from which on a block is left out.
_LEFT_OUT = 1e4


class Curve:
    """Functions of one column that bend: a cubic spline's basis without its line, smoothest functions first."""

    def __init__(self, values: Floats) -> None:
        from scipy.interpolate import BSpline

        number = int(np.clip(len(values) // _ROWS_PER_KNOT, 4, _KNOTS))
        low, high = np.quantile(values, [0.01, 0.99])
        inner = np.concatenate([np.quantile(values, np.linspace(0, 1, number)[1:-1]), np.linspace(low, high, number)])
        self.low, self.high = float(values.min()), float(values.max())
        inner = np.unique(inner[(inner > self.low) & (inner < self.high)][::1])
        gap = (self.high - self.low) / (20 * number)
        knots_kept = [self.low]
        for knot in inner:
            if knot - knots_kept[-1] > gap and self.high - knot > gap:
                knots_kept.append(float(knot))
        knots = np.concatenate([[self.low] * 4, knots_kept[1:], [self.high] * 4])
        size = len(knots) - 4
        # Second divided differences at the basis functions' own places: 0 for lines, large for what bends much.
        places = np.array([knots[at + 1 : at + 4].mean() for at in range(size)]) / (self.high - self.low)
        bends = np.zeros((size - 2, size))
        for at in range(size - 2):
            first, second = places[at + 1] - places[at], places[at + 2] - places[at + 1]
            width = np.sqrt((first + second) / 2)
            bends[at, at : at + 3] = width / first, -width * (1 / first + 1 / second), width / second
            bends[at] /= (first + second) / 2
        self._spline = BSpline(knots, np.linalg.pinv(bends), 3)
        self._slope = self._spline.derivative()
        raw = self._raw(values)
        line = np.stack([np.ones_like(values), values], axis=1)
        self._line = np.linalg.lstsq(line, raw, rcond=None)[0]
        left = raw - line @ self._line
        _, sizes, turn = np.linalg.svd(left, full_matrices=False)
        largest = float(sizes[0]) if len(sizes) else 0.0
        self.width = int((sizes > 1e-4 * largest).sum()) if largest > 0 else 0  # number of functions
        self._turn = turn[: self.width].T * (np.sqrt(len(values)) / largest if largest > 0 else 0.0)

    def _raw(self, values: Floats) -> Floats:
        inside = np.clip(values, self.low, self.high)
        beyond = (values - inside)[:, None]
        curves: Floats = self._spline(inside)
        return curves + beyond * self._slope(inside) if beyond.any() else curves

    def __call__(self, values: Floats) -> Floats:
        """Return the functions at ``values``, ``(rows, functions)``, linear outside the range fitted."""
        line = np.stack([np.ones_like(values), values], axis=1)
        return (self._raw(values) - line @ self._line) @ self._turn


@dataclass
class Columns:
    """The predicting columns, scaled, with their curves. Made once for all features predicted from some of them."""

    x: Floats  # background rows ``(rows, columns)``

    def __post_init__(self) -> None:
        self.centre, spread = self.x.mean(axis=0), self.x.std(axis=0)
        self.spread = np.where(spread > 0, spread, 1.0)
        self.varying = spread > 0
        self.z = (self.x - self.centre) / self.spread
        self._curves: dict[int, Curve | None] = {}
        self._waves: dict[int, Floats | None] = {}

    def curve(self, column: int) -> Curve | None:
        """Return the curve of a column, or None if its values allow only a line."""
        if column not in self._curves:
            values = self.z[:, column]
            curved = len(np.unique(values)) >= DISTINCT
            made = Curve(values) if curved else None
            self._curves[column] = made if made is not None and made.width else None
        return self._curves[column]

    def waves(self, column: int) -> Floats | None:
        """Return cosines of each background row's rank in a column ``(rows, waves)``, or None if it is constant."""
        if column not in self._waves:
            values = self.x[:, column]
            order = np.sort(values)
            place = (np.searchsorted(order, values) + np.searchsorted(order, values, side="right")) / (2 * len(values))
            cosines = np.cos(np.pi * place[:, None] * np.arange(1, WAVES + 1))
            self._waves[column] = cosines - cosines.mean(axis=0) if self.varying[column] else None
        return self._waves[column]

    def functions(self, column: int, values: Floats, count: int) -> Floats:
        """Return a few functions of a scaled column that surfaces are made of: its line, and the smoothest bends."""
        line = values[:, None]
        curve = self.curve(column)
        if curve is None:
            return line
        bends = curve(values)[:, : count - 1]
        return np.concatenate([line, bends], axis=1)


class SmoothModel:
    """A penalised sum that predicts a number: lines in every column, curves in some, surfaces over some pairs.

    The parts and their penalties are chosen once, on all rows. ``fit`` then solves for the coefficients on any of them.
    """

    def __init__(self, columns: Columns, predictors: list[int], rows: Integers, target: Floats) -> None:
        self.columns, self.predictors = columns, np.asarray(predictors, dtype=np.intp)
        self.rows, self.target = rows, target
        z = columns.z[rows][:, self.predictors]
        #: positions in ``predictors``: one for a curve, two for a surface, or three
        self.parts: list[tuple[int, ...]] = []
        self._basis: list[Floats] = [z]
        self._means: list[Floats] = [self._basis[0].mean(axis=0)]
        left = self._settle()
        richer = (self._more_curves, self._more_curves, self._more_surfaces, self._more_curves, self._more_of_three)
        for more in richer:
            if more(z, left):
                left = self._settle()
        self.design = self._centred(self._basis)
        self._basis = []

    # ---- which parts ---------------------------------------------------------------------------------------------
    def _add(self, part: Floats) -> None:
        self._basis.append(part)
        self._means.append(part.mean(axis=0))

    def _more_curves(self, z: Floats, left: Floats) -> bool:
        """Add the curves that explain most of the residuals. Return whether there were any."""
        candidates = []
        for at, column in enumerate(self.predictors):
            curve = self.columns.curve(int(column)) if (at,) not in self.parts else None
            if curve is None:
                continue
            bends = curve(z[:, at])
            few = bends[:, :8] - bends[:, :8].mean(axis=0)
            share = _explained(few, left)
            size = few.shape[1]
            # About a normal deviate: the F statistic's numerator under no effect is chi squared over its freedom.
            clear = (share * len(left) - size) / np.sqrt(2 * size)
            if clear > _CURVE_Z:
                candidates.append((clear, at, bends))
        candidates.sort(key=lambda entry: -entry[0])
        room = _CURVES - sum(len(part) == 1 for part in self.parts)
        for _, at, bends in candidates[:room]:
            self.parts.append((at,))
            self._add(bends)
        return bool(candidates[:room])

    def _waves(self) -> list[tuple[int, Floats]]:
        """Return the positions of the columns that vary, with bounded functions of each ``(rows, waves)``."""
        waves = [self.columns.waves(int(column)) for column in self.predictors]
        return [(at, wave[self.rows]) for at, wave in enumerate(waves) if wave is not None]

    def _more_surfaces(self, z: Floats, left: Floats) -> bool:
        """Add surfaces over the pairs of columns whose products explain the residuals."""
        waves = self._waves()
        if len(waves) < 2:
            return False
        both = np.concatenate([wave for _, wave in waves], axis=1)
        clear = clearness(both * (left - left.mean())[:, None], both)
        size = len(waves)
        clear = clear.reshape(size, WAVES, size, WAVES).max(axis=(1, 3))
        first, second = np.triu_indices(size, 1)
        pairs = [(waves[one][0], waves[two][0]) for one, two in zip(first, second, strict=True)]
        return self._add_clearest(z, pairs, clear[first, second], WAVES**2)

    def _more_of_three(self, z: Floats, left: Floats) -> bool:
        """Add functions of three columns whose products explain the residuals, if there are few columns."""
        waves = [(at, wave[:, 0]) for at, wave in self._waves()]
        if not 3 <= len(waves) <= TRIPLES:
            return False
        triples = list(combinations(range(len(waves)), 3))
        products = np.stack([np.prod([waves[one][1] for one in triple], axis=0) for triple in triples], axis=1)
        clear = clearness((left - left.mean())[:, None], products)[0]
        return self._add_clearest(z, [tuple(waves[one][0] for one in triple) for triple in triples], clear, 1)

    def _add_clearest(self, z: Floats, parts: Sequence[tuple[int, ...]], clear: Floats, tests: int) -> bool:
        """Add the parts that exceed the largest expected by chance in ``tests`` tests of each."""
        least = np.sqrt(2 * np.log(len(parts) * tests)) + 0.3
        chosen = [at for at in np.argsort(-clear, kind="stable")[:_SURFACES] if clear[at] > least]
        for at in chosen:
            self.parts.append(parts[at])
            for block in self._functions(z, parts[at]):
                self._add(block)
        return bool(chosen)

    def _functions(self, z: Floats, part: tuple[int, ...]) -> list[Floats]:
        """Return a part's functions, in blocks with a penalty each: of a surface, the product of its columns apart."""
        if len(part) == 1:
            curve = self.columns.curve(int(self.predictors[part[0]]))
            assert curve is not None
            return [curve(z[:, part[0]])]
        products = np.ones((len(z), 1))
        for at in part:
            functions = self.columns.functions(int(self.predictors[at]), z[:, at], _RANKS[len(part)])
            products = (products[:, :, None] * functions[:, None, :]).reshape(len(z), -1)
        return [products[:, :1], products[:, 1:]]

    def _settle(self) -> Floats:
        """Choose the penalties of all parts by the marginal likelihood. Return the residuals of the target."""
        design = self._centred(self._basis)
        sizes = [part.shape[1] for part in self._basis]
        self.penalty, coefficients = penalties(design, self.target - self.target.mean(), sizes)
        return self.target - self.target.mean() - design @ coefficients

    @property
    def bends(self) -> bool:
        """Whether there are curves or surfaces."""
        return bool(np.isfinite(self.penalty[len(self.predictors) :]).any())

    # ---- fitting and predicting ----------------------------------------------------------------------------------
    def _designed(self, x: Floats) -> Floats:
        columns, places = self.columns, self.predictors
        z = (x - columns.centre[places]) / columns.spread[places]
        return self._centred([z, *(block for part in self.parts for block in self._functions(z, part))])

    def _centred(self, parts: list[Floats]) -> Floats:
        return np.concatenate([part - mean for part, mean in zip(parts, self._means, strict=True)], axis=1)

    def scaled_design(self, x: Floats) -> Floats:
        """Return the parts at ``x`` ``(rows, predictors)``, scaled so that one penalty of 1 holds back all."""
        used = np.flatnonzero(np.isfinite(self.penalty))
        return self._designed(x)[:, used] / np.sqrt(self.penalty[used])

    def fit(self, chosen: Booleans) -> Callable[[Floats], Floats]:
        """Solve for the coefficients on the chosen rows. The predictor takes ``x`` ``(rows, predictors)``."""
        used = np.flatnonzero(np.isfinite(self.penalty))
        design, target = self.design[chosen][:, used], self.target[chosen]
        centre, level = design.mean(axis=0), float(target.mean())
        design = design - centre
        gram = design.T @ design + np.diag(self.penalty[used])
        coefficients = np.linalg.lstsq(gram, design.T @ (target - level), rcond=None)[0]

        def predict(x: Floats) -> Floats:
            return (self._designed(x)[:, used] - centre) @ coefficients + level

        return predict


def clearness(signals: Floats, functions: Floats) -> Floats:
    """Return the sums of products over rows, in their standard errors: ``(signals, functions)``."""
    squares = (signals**2).T @ functions**2
    return np.abs(signals.T @ functions) / np.sqrt(np.maximum(squares, 1e-300))


def _explained(design: Floats, target: Floats) -> float:
    """Return the share of the target's squares that least squares on a centred design explains."""
    total = float(target @ target)
    if total <= 0:
        return 0.0
    turned, sizes, _ = np.linalg.svd(design, full_matrices=False)
    turned = turned[:, sizes > 1e-8 * max(float(sizes[0]), 1e-300)]
    return float(((turned.T @ target) ** 2).sum() / total)


def penalties(design: Floats, target: Floats, sizes: list[int]) -> tuple[Floats, Floats]:
    """Return each coefficient's penalty, one for every block of columns, and the coefficients.

    MacKay's (1992) fixed point of the marginal likelihood of Gaussian blocks. An infinite penalty leaves a block out.
    """
    rows = len(target)
    block = np.repeat(np.arange(len(sizes)), sizes)
    gram, moment, squares = design.T @ design, design.T @ target, float(target @ target)
    penalty = np.full(len(sizes), 0.01 * rows)
    coefficients = np.zeros(len(block))
    if squares <= 0:
        return np.full(len(block), np.inf), coefficients
    for _ in range(_ROUNDS):
        used = np.flatnonzero(np.isfinite(penalty)[block])
        coefficients[:] = 0.0
        if not len(used):
            break
        blocks = block[used]
        inverse = np.linalg.inv(gram[np.ix_(used, used)] + np.diag(penalty[blocks]))
        solution = inverse @ moment[used]
        coefficients[used] = solution
        spent = np.bincount(blocks, weights=1 - penalty[blocks] * np.diag(inverse), minlength=len(sizes))
        spent = np.clip(spent, 1e-9, None)
        error = squares - 2 * float(solution @ moment[used]) + float(solution @ gram[np.ix_(used, used)] @ solution)
        noise = max(error, 1e-12 * squares) / max(rows - 1 - spent[np.unique(blocks)].sum(), 0.1 * rows)
        size = np.bincount(blocks, weights=solution**2, minlength=len(sizes))
        with np.errstate(divide="ignore"):
            new = np.where(np.isfinite(penalty), noise * spent / np.maximum(size, 1e-300), np.inf)
        new = np.where(new > _LEFT_OUT * rows, np.inf, np.maximum(new, 1e-9 * rows))
        both = np.isfinite(new) & np.isfinite(penalty)
        settled = bool((np.isfinite(new) == np.isfinite(penalty)).all()) and bool(
            (np.abs(np.log(new[both] / penalty[both])) < 0.1).all()
        )
        penalty = new
        if settled:
            break
    return penalty[block], coefficients
