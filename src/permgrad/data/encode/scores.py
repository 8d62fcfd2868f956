"""What a penalised linear model says of wide columns: one score per output for each
cell, cross-fitted for training.

A column of text, or of hundreds of levels, is too wide to enter a network cell by cell.
One linear model of all columns together is fitted on the training rows, and what it
adds to each output for a cell is the cell's *score*. A training row's scores come from
a model that was fitted without it, so that a network learns how far scores are right.
The penalty of each design of each column is chosen by the loss on rows left out:
designs that do not help get no score, and levels are pulled towards the mean the more,
the fewer rows they have, as by a mixed model (Henderson 1975).
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, starmap
from operator import attrgetter
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import sparse

from permgrad.base.arrays import Array, Booleans, Floats, Floats32, Integers
from permgrad.base.errors import InputError, must
from permgrad.base.random import generator
from permgrad.data.encode.designs import Cells, Design, Matrix, designs
from permgrad.data.encode.level_slopes import Slope, find_centred, find_slopes
from permgrad.data.tasks import tasks
from permgrad.data.types.identifiers import LONGEST_READ

#: Parts of which each is predicted by a model of the others, for numbers and for
#: classes. Scores of numbers come from finer parts: a model that lacks a tenth of the
#: few rows of a level says less than the last one, and is trusted less.
_FOLDS = 10
_CLASS_FOLDS = 5
_FINE_FOLDS = 30
#: Strength of the other columns, steps between tried strengths, and how often one may
#: be moved.
_OTHER = 0.7
_STEP = 2.0
_MOST_MOVES = 6
#: Cells of the other columns up to which they take part. In a large table, the least
#: gain that counts, of the loss.
_MOST_CELLS = 20_000_000
_LEAST_GAIN = 0.001
#: Filled cells times outputs up to which strengths are chosen by all folds, up to which
#: such a model is fitted on all its rows, and up to which the last one is.
_SMALL = 2_000_000
_MOST_CHOOSING = 40_000_000
_MOST_FITTED = 200_000_000
#: Columns up to which the products of columns are kept: of a small table, if these are
#: at most so many times its filled cells. How exactly a model of them is solved, and
#: one that reads the rows in each step.
_MOST_PRODUCTS = 5000
_DENSER = 4
_EXACT = 1e-7
_NEAR = 1e-5
#: Filled cells up to which steps that read the rows are taken in float64, how near to
#: the solution those in float32 come at least, and how many are taken at most.
_MOST_EXACT = 20_000_000
_ROUGH = 1e-3
_MOST_STEPS = 300
#: More classes share so many outputs, see ``Target``.
_MOST_OUTPUTS = 32
#: Standard errors by which a design must help, and the share of a constant's loss.
_CLEAR = 1.645
_LEAST_HELP = 0.002
#: The same for slopes, whose residuals say already that they differ.
_CLEAR_SLOPES = 1.0
#: Share of rows with a level that others have, from which numbers are centred within
#: it.
_SHARED = 0.5


@dataclass(frozen=True)
class Target:
    """What scores are learned from: class indexes or standardised numbers ``y
    (rows,)``, and what goes with them.

    ``classes``: how many, 0 for numbers. ``units (rows,)``: rows of one number are
    never on both sides of a division. ``judging``: how many of the last rows judge what
    is learned from the scores of the others. More than 32 classes are predicted by 32
    numbers, random signs of each class (Allwein et al. 2000), so that a column does not
    get hundreds of scores.
    """

    y: Array
    classes: int
    weights: Floats
    seed: int
    units: Integers | None = None
    judging: int = 0

    @classmethod
    def of(
        cls,
        y: Array,
        task: str,
        seed: int,
        weights: Floats | None = None,
        units: Integers | None = None,
        held_out_count: int = 0,
    ) -> Target:
        """Return the target of labels, or of numbers in their own units,
        ``(rows,)``.
        """
        labels, coded = (
            np.unique(y, return_inverse=True)
            if tasks.get(task).has_classes
            else (y[:0], np.asarray(y, float))
        )
        if not len(labels):
            coded = (coded - coded.mean()) / (coded.std() or 1.0)
        return cls(
            coded,
            len(labels),
            np.ones(len(y)) if weights is None else weights,
            seed,
            units,
            held_out_count,
        )

    @property
    def outputs(self) -> int:
        """Scores per cell: one for numbers and two classes, else one per class, at most
        32.
        """
        if self.classes > 2:
            return min(self.classes, _MOST_OUTPUTS)
        return 1

    def first(self, rows: int) -> Self:
        """Return the target of the first rows."""
        if self.units is None:
            units = None
        else:
            units = self.units[:rows]
        held_out_count = max(self.judging + rows - len(self.y), 0)
        return replace(
            self,
            y=self.y[:rows],
            weights=self.weights[:rows],
            units=units,
            judging=held_out_count,
        )

    def coded(self) -> Self:
        """Return the same target with numbers ``(rows, 32)`` in the place of too many
        classes.
        """
        if self.classes <= _MOST_OUTPUTS:
            return self
        signs = (
            generator(self.seed, "signs of classes").integers(
                0, 2, (self.classes, _MOST_OUTPUTS)
            )
            * 2.0
            - 1
        )
        return replace(self, y=signs[self.y], classes=0)

    def folds(self, count: int = _FOLDS) -> Integers:
        """Return one of ``count`` folds for each row ``(rows,)``.

        Of classes it is one of five, drawn within them.

        Rows that judge are one more. What is learned from the others knows nothing of
        their labels, as of new rows. Where a level is known from another column, its
        scores would tell: without a row it is lower, the higher the row is.
        """
        folds = self._drawn(_CLASS_FOLDS if self.classes else count)
        folds[len(folds) - self.judging :] = count
        return folds

    def _drawn(self, count: int) -> Integers:
        random_draw = generator(self.seed, "folds of scores")
        if self.units is not None:
            units, unit_indices = np.unique(self.units, return_inverse=True)
            return np.asarray(
                (random_draw.permutation(len(units)) % count)[unit_indices]
            )
        order = random_draw.permutation(len(self.y))
        if self.classes:
            judged = len(order) - self.judging
            order = order[
                np.argsort(
                    np.where(order < judged, self.y[order], self.classes), kind="stable"
                )
            ]
        folds = np.empty(len(order), dtype=np.int64)
        folds[order] = np.arange(len(order)) % count
        return folds


@dataclass
class Block:
    """One design of one column: rows of its different cells, and which of them each row
    has (−1: none).
    """

    name: str
    kind: str
    design: Design
    matrix: Matrix
    index: Integers
    place: slice = field(default_factory=lambda: slice(0))
    slope: Slope | None = None

    @property
    def cells(self) -> Matrix:
        """The design's rows for all rows of the table.

        A missing cell is a row of zeros.
        """
        blank = sparse.csr_matrix((1, self.matrix.shape[1]), dtype=np.float32)
        return sparse.vstack([self.matrix, blank], format="csr")[self.index]

    def is_shared(self, folds: Integers) -> bool:
        """Return whether these are levels, and most rows have one that rows of other
        folds have, too.
        """
        if self.kind != "levels":
            return False
        by_fold = self.cells.T @ sparse.csr_matrix(
            (np.ones(len(folds)), (np.arange(len(folds)), folds))
        )
        return bool(self.spread((by_fold.getnnz(axis=1) > 1)[:, None]).mean() > _SHARED)

    def spread(self, numbers: Array) -> Array:
        """Return what the cell of each row has of numbers ``(levels, …)``: 0 of a
        missing cell.
        """
        return np.pad(self.matrix @ numbers, ((0, 1), (0, 0)))[self.index]

    @property
    def rows(self) -> Matrix:
        """What the model reads."""
        if self.slope is None:
            return self.cells
        return sparse.diags(self.slope.inside) @ self.cells


@dataclass
class Scores:
    """Fitted scores: of each column its designs with their weights ``(entries,
    outputs)``, and their means.

    Scores are differences from the mean. A missing cell has score 0, and so has one
    with nothing that is known. ``slopes``: on which other columns levels have slopes.
    Behind the score of a cell lie, for each of them, minus the slope times the level's
    mean of the number, and the slope. ``centred``: which other columns are read less
    their mean within a level. The same two numbers lie behind those of slopes, for a
    slope that is one over the deviation within.

    Examples:
        >>> texts = ["a good film", "a bad film", "so good", "so bad"] * 10
        >>> index, different = np.arange(40) % 4, texts[:4]
        >>> target = Target(np.arange(40) % 2, 2, np.ones(40), seed=0)
        >>> cells = {"review": (different, index)}
        >>> scores, crossed = Scores.fit(cells, np.zeros((40, 0)), target)
        >>> neither = scores.of("review", ["good", "bad", "neither"])[2, 0]
        >>> float(neither.round(1)), crossed["review"].shape
        (0.0, (40, 1))
        >>> outer = scores.of("review", ["so good", "so bad"])[:, 0]
        >>> bool(outer[0] < 0 < outer[1])
        True
    """

    outputs: int
    columns: dict[str, list[tuple[str, Design, Floats32]]] = field(default_factory=dict)
    means: dict[str, Floats32] = field(default_factory=dict)
    slopes: dict[str, list[int]] = field(default_factory=dict)
    centred: dict[str, list[int]] = field(default_factory=dict)
    #: turns texts into the vectors that are read beside their words
    vectors: Callable[[Sequence[str]], Floats32] | None = None

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, tuple[Cells, Integers]],
        other_columns: Array,
        target: Target,
        vectors: Mapping[str, Floats32] | None = None,
        numbers: Mapping[str, Any] | None = None,
    ) -> tuple[Self, dict[str, Floats32]]:
        """Return fitted scores, and those of the training rows ``(rows, outputs)`` from
        models of other rows.

        Of a text the first 20,000 signs are read. Of very many rows or words a random
        part is learned from.

        ``columns``: of each its different cells and which of them each row has (−1:
        missing). ``other_columns (rows, …)``: the other columns, encoded. ``vectors``:
        those of the cells of some columns of text. ``numbers``: of the columns whose
        levels may have slopes, which of the other columns these may be on.
        """
        fitted_scores = cls(target.outputs)
        folds = target.folds()
        numbers = numbers or {}
        blocks = _blocks_of_cells(columns)
        first = len(blocks)
        blocks += _blocks_of_vectors(columns, vectors or {})
        if not blocks:
            return fitted_scores, {}
        context_columns = other_columns
        if other_columns.size > _MOST_CELLS:
            context_columns = other_columns[:, :0]
        model = _Model.of(blocks, context_columns, target)
        strengths = _chosen_strengths(model, blocks, first, folds)
        if not any(strengths[1:]):
            return fitted_scores, {}
        model, strengths, helping = model.with_slopes(
            strengths, folds, blocks, other_columns, numbers
        )
        if not model.is_large:
            folds = target.folds(_FINE_FOLDS)
        block_scores, centres = model.crossed(strengths, folds, helping)
        crossed, score_unit = _by_column(helping, block_scores)
        weights = model.fit(strengths, np.ones(len(folds), dtype=bool))
        crossed = {
            crossed_name: scores / score_unit
            for crossed_name, scores in crossed.items()
        }
        for block, centre, block_score in zip(
            helping, centres, block_scores, strict=True
        ):
            if block.name not in crossed:
                continue
            slopes = (weights[block.place] / score_unit).astype(np.float32)
            if block.slope is None:
                fitted_scores._add_block(block, slopes, centre)
            else:
                fitted_scores._take(
                    block, block.slope, slopes, crossed, block_score / score_unit
                )
                fitted_scores.slopes.setdefault(block.name, []).append(
                    block.slope.number
                )
        if not target.classes:
            sloped = set(numbers) & set(crossed)
            shared = _shared_of(blocks, sloped, folds)
            cells = dict(map(attrgetter("name", "cells"), shared))
            fitted_scores._centre(
                shared,
                find_centred(cells, other_columns, numbers, target.weights),
                crossed,
            )
        return fitted_scores, crossed

    def _add_block(self, block: Block, weights: Floats32, centre: Array) -> None:
        """Add the weights of a block, and what they give at its centre."""
        self.means[block.name] = np.asarray(
            self.means.get(block.name, 0) + centre @ weights, dtype=np.float32
        )
        self.columns.setdefault(block.name, []).append(
            (block.kind, block.design, weights)
        )

    def _centre(
        self,
        blocks: list[Block],
        centred_slopes: Mapping[str, list[Slope]],
        crossed: dict[str, Floats32],
    ) -> None:
        """Put numbers less their mean within levels behind the scores, as a slope of 1
        that is known of all levels.
        """
        for block in blocks:
            for slope in centred_slopes[block.name]:
                unit_weights = np.ones((block.matrix.shape[1], 1), dtype=np.float32)
                self._take(
                    block, slope, unit_weights, crossed, block.spread(unit_weights)
                )
                self.centred.setdefault(block.name, []).append(slope.number)

    def _take(
        self,
        block: Block,
        slope: Slope,
        weights: Floats32,
        crossed: dict[str, Floats32],
        block_score: Array,
    ) -> None:
        """Put slopes, and what they are at the levels' means, behind the scores of a
        column and of its cells.
        """
        column_name = block.name
        means = slope.means[:, None] / slope.scale
        designs_by_kind = {}
        for design_kind, design, design_weights in self.columns[column_name]:
            designs_by_kind[design_kind] = (design, design_weights)
        own_weights = (
            designs_by_kind[block.kind][1]
            if block.kind in designs_by_kind
            else np.zeros_like(weights)
        )  # words may say what levels do
        joined_weights: list[Array] = [
            own_weights,
            -weights * means,
            weights / slope.scale,
        ]
        designs_by_kind[block.kind] = (
            block.design,
            np.concatenate(joined_weights, axis=1, dtype=np.float32),
        )
        self.columns[column_name] = [
            (block_kind, *design_entry)
            for block_kind, design_entry in designs_by_kind.items()
        ]
        scores = [
            crossed[column_name],
            -block_score * block.spread(means),
            block_score / slope.scale,
        ]
        crossed[column_name] = np.concatenate(scores, axis=1, dtype=np.float32)
        self.means[column_name] = np.pad(self.means[column_name], (0, 2))

    def of(self, name: str, cells: Cells) -> Floats32:
        """Return the scores of cells ``(cells, outputs)``, and what there is of slopes
        behind them.
        """
        cells = _read(cells)
        design_matrices = []
        for _, design, weights in self.columns[name]:
            design_matrices.append(
                (design.matrix(self._as_read(cells, design)), weights)
            )
        is_known = (
            np.sum(
                [np.diff(design_matrix.indptr) for design_matrix, _ in design_matrices],
                axis=0,
            )[:, None]
            > 0
        )
        width = self.width(name)
        mean_scores = is_known * self.means.get(name, np.zeros(width, dtype=np.float32))
        design_scores = []
        for text_matrix, weights in design_matrices:
            design_scores.append(
                np.pad(text_matrix @ weights, ((0, 0), (0, width - weights.shape[1])))
            )
        return np.asarray(np.sum(design_scores, axis=0) - mean_scores, dtype=np.float32)

    def knows(self, name: str, cells: Cells) -> Booleans:
        """Return of which cells a design of the column knows anything ``(cells,)``."""
        design_matrices = []
        for _, design, _ in self.columns[name]:
            design_matrices.append(design.matrix(self._as_read(_read(cells), design)))
        return np.asarray(
            np.sum(
                [np.diff(design_matrix.indptr) for design_matrix in design_matrices],
                axis=0,
            )
            > 0
        )

    def width(self, name: str) -> int:
        """Return how many numbers a cell of a column is."""
        return max(weights.shape[1] for _, _, weights in self.columns[name])

    def _as_read(self, cells: Cells, design: Design) -> Cells:
        if design.reads == "texts" or isinstance(cells, np.ndarray):
            return cells
        if self.vectors is None:
            raise InputError(
                "Nothing here turns texts into vectors",
                hint="Use the model.",
                code="PG030",
            )
        return self.vectors(cells)

    def check_columns(self, columns: Mapping[str, int]) -> None:
        """Raise ``ValueError`` if other columns have scores, or one has another number
        of them.
        """
        score_widths = {}
        for column_name in self.columns:
            score_widths[column_name] = self.width(column_name)
        must(
            dict(columns) == score_widths,
            f"{self.outputs} scores of {list(score_widths)} for {dict(columns)}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form. Weights are float32 as base64."""
        columns = {}
        for column_name, column_designs in self.columns.items():
            columns[column_name] = [
                {
                    "kind": design_kind,
                    "design": design.to_dict(),
                    "weights": base64.b64encode(weights.tobytes()).decode(),
                }
                | (
                    {"width": weights.shape[1]}
                    if weights.shape[1] > self.outputs
                    else {}
                )
                for design_kind, design, weights in column_designs
            ]
        means = {}
        for column_name, mean_scores in self.means.items():
            means[column_name] = mean_scores.tolist()
        return {"outputs": self.outputs, "columns": columns, "means": means}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read back what ``to_dict`` wrote.

        ``KeyError``, ``TypeError`` or ``ValueError``: something else.
        """
        restored_scores = cls(int(content["outputs"]))
        for column_name, stored_designs in content["columns"].items():
            for stored_design in stored_designs:
                design = designs.get(stored_design["kind"]).from_dict(
                    stored_design["design"]
                )
                weights = np.frombuffer(
                    base64.b64decode(stored_design["weights"], validate=True),
                    dtype=np.float32,
                )
                width = int(stored_design.get("width", restored_scores.outputs))
                weights = weights.reshape(len(design.entries), width)
                must(
                    width >= 1 and np.isfinite(weights).all(),
                    f"weights of {column_name!r:.60} are not finite",
                )
                restored_scores.columns.setdefault(column_name, []).append(
                    (stored_design["kind"], design, weights)
                )
        for mean_name, stored_mean in content.get("means", {}).items():
            restored_scores.means[mean_name] = np.asarray(stored_mean, dtype=np.float32)
            has_valid_means = (
                restored_scores.means[mean_name].shape
                == (restored_scores.width(mean_name),)
                and np.isfinite(restored_scores.means[mean_name]).all()
            )
            must(
                has_valid_means,
                f"means of {mean_name!r:.60} are not "
                f"{restored_scores.width(mean_name)} numbers",
            )
        return restored_scores


def _read(cells: Cells) -> Cells:
    if isinstance(cells, np.ndarray):
        return cells
    return [cell_text[:LONGEST_READ] for cell_text in cells]


def _blocks_of_cells(columns: Mapping[str, tuple[Cells, Integers]]) -> list[Block]:
    """Return the blocks of the cells of all columns, which are all read first."""
    read_columns = []
    for column_name, (cells, index) in columns.items():
        read_columns.append((column_name, _read(cells), index))
    return list(chain.from_iterable(starmap(_blocks, read_columns)))


def _blocks_of_vectors(
    columns: Mapping[str, tuple[Cells, Integers]], vectors: Mapping[str, Floats32]
) -> list[Block]:
    """Return the blocks of the vectors of cells."""
    blocks: list[Block] = []
    for column_name, cells in vectors.items():
        blocks += _blocks(column_name, cells, columns[column_name][1])
    return blocks


def _shared_of(
    blocks: Iterable[Block], names: Collection[str], folds: Integers
) -> list[Block]:
    """Return the blocks of some columns whose entries several folds have."""
    return [block for block in blocks if block.name in names and block.is_shared(folds)]


def _blocks(name: str, cells: Cells, index: Integers) -> Iterator[Block]:
    counts = np.bincount(index[index >= 0], minlength=len(cells))
    if isinstance(cells, np.ndarray):
        reads = "vectors"
    else:
        reads = "texts"
    for design_kind, maker in designs.items():
        if maker.reads == reads:
            design = maker.fit(cells, counts)
        else:
            design = None
        if design is not None:
            yield Block(name, design_kind, design, design.matrix(cells), index)


class _SlopedModel(NamedTuple):
    """A model with the slopes of levels that help.

    Attributes:
        model: The model.
        strengths: How strongly each block is shrunk.
        helping: The blocks that help.
    """

    model: _Model
    strengths: list[float]
    helping: list[Block]


class _Model:
    """A linear model of blocks of columns, each multiplied by a strength before one
    penalty for all.
    """

    def __init__(self, joined: Matrix, widths: Sequence[int], target: Target) -> None:
        self.joined = joined
        self.widths = list(widths)
        self.outputs = target.outputs
        self.target = target.coded()
        self.order = generator(target.seed, "rows of scores").permutation(len(target.y))
        self.is_large = joined.nnz * target.outputs > _SMALL
        if self.is_large:
            column_limit = _MOST_PRODUCTS
        else:
            column_limit = (_DENSER * joined.nnz) ** 0.5
        self.multiplies = joined.shape[1] <= column_limit
        self._products: dict[bytes, tuple[Any, ...]] = {}

    @classmethod
    def of(cls, blocks: Sequence[Block], other_columns: Array, target: Target) -> Self:
        """Return the model of other columns ``(rows, …)`` and, behind them, blocks,
        which learn their place in it.
        """
        column_matrices = [
            sparse.csr_matrix(other_columns.astype(np.float32)),
            *(block.rows for block in blocks),
        ]
        widths = [column_matrix.shape[1] for column_matrix in column_matrices]
        for block, block_end in zip(
            blocks, np.cumsum(widths)[1:].tolist(), strict=True
        ):
            block.place = slice(block_end - block.matrix.shape[1], block_end)
        return cls(sparse.hstack(column_matrices, format="csr"), widths, target)

    def fit(self, strengths: Sequence[float], rows: Array) -> Floats:
        """Return weights ``(columns, outputs)`` on the blocks as they are."""
        return self._solve(strengths, rows)[0]

    def crossed(
        self, strengths: Sequence[float], folds: Integers, blocks: Sequence[Block]
    ) -> tuple[list[Floats], list[Floats]]:
        """Return what each block adds for each row ``(rows, outputs)``, or its slopes,
        by the model of the other folds.

        Rows that judge are in none of the models. It is the difference from the mean,
        as the means of models differ where a text of any words adds much. Each block's
        mean row is returned, too.
        """
        block_scores = [np.zeros((len(folds), self.outputs)) for _ in blocks]
        known_rows = {
            block.name: np.zeros((len(folds), 1), dtype=bool) for block in blocks
        }
        for block in blocks:
            known_rows[block.name] |= (
                np.diff(self.joined[:, block.place].indptr)[:, None] > 0
            )
        centres = [
            np.asarray(
                self.joined[known_rows[block.name][:, 0]][:, block.place].mean(axis=0)
            ).ravel()
            for block in blocks
        ]
        cells = {
            block_index: block.cells
            for block_index, block in enumerate(blocks)
            if block.slope is not None
        }
        learned = np.arange(len(folds)) < len(folds) - self.target.judging
        for fold_number in np.unique(folds):
            weights = self.fit(strengths, learned & (folds != fold_number))
            held_out_rows = np.flatnonzero(folds == fold_number)
            held_out_matrix = self.joined[held_out_rows]
            for block_position, (block, centre, block_score) in enumerate(
                zip(blocks, centres, block_scores, strict=True)
            ):
                block_weights = weights[block.place]
                if block_position in cells:
                    block_score[held_out_rows] = (
                        cells[block_position][held_out_rows] @ block_weights
                    )
                else:
                    block_score[held_out_rows] = held_out_matrix[
                        :, block.place
                    ] @ block_weights - known_rows[block.name][held_out_rows] * (
                        centre @ block_weights
                    )
        return block_scores, centres

    def _residuals(self, strengths: list[float]) -> Array:
        """Return what the model with these strengths leaves of the numbers to
        predict.
        """
        everyone = np.ones(self.joined.shape[0], dtype=bool)
        weights, intercept = self._solve(strengths, everyone)
        return self.target.y - (self.joined @ weights + intercept)[:, 0]

    def with_slopes(
        self,
        strengths: list[float],
        folds: Integers,
        blocks: Sequence[Block],
        other_columns: Array,
        numbers: Mapping[str, Any],
    ) -> _SlopedModel:
        """Return this model, its strengths and what helps in it, with the slopes of
        levels that help beside these.
        """
        sloped = list[Block]()
        helping = [
            block
            for block, strength in zip(blocks, strengths[1:], strict=True)
            if strength > 0
        ]
        names = {block.name for block in helping} & set(numbers)
        levels = [
            block for block in blocks if block.kind == "levels" and block.name in names
        ]
        # Classes have no residuals, and neither have the signs that stand for many of
        # them.
        if (
            levels
            and self.widths[0]
            and not self.target.classes
            and self.target.y.ndim == 1
        ):
            residuals = self._residuals(strengths)
            for block in levels:
                slopes = find_slopes(
                    block.cells,
                    other_columns,
                    numbers[block.name],
                    residuals,
                    self.target.weights,
                )
                sloped += [replace(block, slope=slope) for slope in slopes]
        if sloped:
            blocks = [
                *map(replace, helping),
                *sloped,
            ]  # copies: each has its place in one model
            model = _Model.of(blocks, other_columns, self.target)
            settled = [strengths[0], *filter(None, strengths[1:])]
            scales = [
                block.slope.strength for block in sloped if block.slope is not None
            ]
            tried = model.add(
                [*settled, *[0.0] * len(sloped)], scales, folds, _CLEAR_SLOPES
            )
            if any(tried[len(settled) :]):
                return _SlopedModel(
                    model,
                    tried,
                    [
                        block
                        for block, strength in zip(blocks, tried[1:], strict=True)
                        if strength > 0
                    ],
                )
        return _SlopedModel(self, strengths, helping)

    def _drawn(self, rows: Array, most: int) -> Integers:
        """Return which of these rows a model is fitted on: those with a weight, and of
        too many a random part.
        """
        cells = self.joined.nnz * self.outputs / max(len(self.order), 1)
        weighty = self.order[rows[self.order] & (self.target.weights[self.order] > 0)]
        return np.asarray(np.sort(weighty[: int(most / max(cells, 1))]))

    def _solve(
        self,
        strengths: Sequence[float],
        rows: Array,
        steps: int = 200,
        most: int = _MOST_FITTED,
    ) -> tuple[Floats, Floats]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        scale = np.repeat(np.asarray(strengths, dtype=np.float32), self.widths)
        rows = self._drawn(rows, most)
        target = self.target
        weights = np.zeros((len(scale), self.outputs))
        intercept = np.zeros(self.outputs)
        if len(np.unique(target.y[rows])) < 2 and (target.classes or not len(rows)):
            return (
                weights,
                intercept,
            )  # of one class, or of no row, there is nothing to learn
        if not target.classes:
            if self.multiplies:
                return self._solve_products(scale, rows)
            return self._solve_steps(scale, rows)
        model = LogisticRegression(C=1.0, max_iter=steps, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(
                self.joined[rows] @ sparse.diags(scale),
                target.y[rows],
                sample_weight=target.weights[rows],
            )
        coefficients = np.atleast_2d(model.coef_)
        # A class without a row among these has no weights. It keeps zeros, and an
        # intercept that rules it out.
        if target.classes > 2:
            intercept[:] = -30.0
            weights[:, model.classes_] = coefficients.T
            intercept[model.classes_] = model.intercept_
            if len(model.classes_) == 2:
                weights[:, model.classes_] = coefficients.T / 2 * [-1, 1]
        else:
            weights = coefficients.T
            intercept = np.atleast_1d(model.intercept_)
        return weights * scale[:, None], np.asarray(intercept, dtype=np.float64)

    def _sums(self, rows: Integers) -> tuple[Any, ...]:
        """Return weighted sums over rows: of products of columns, of columns, of
        columns by y, of y, and of weights.
        """
        w = self.target.weights[rows]
        y = self.target.y.reshape(len(self.order), -1)[rows]
        design = self.joined[rows].astype(np.float64)
        weighted = design.T.multiply(w).tocsr()
        return (
            (weighted @ design).tocsr(),
            weighted @ np.ones(len(rows)),
            weighted @ y,
            w @ y,
            w.sum(),
        )

    @cached_property
    def _whole(self) -> tuple[Any, ...]:
        return self._sums(np.sort(self.order))

    def _solve_products(self, scale: Floats32, rows: Integers) -> tuple[Floats, Floats]:
        """Return weights and intercepts for numbers, by the products of columns: one
        step takes no time of rows.

        A model of 150,000 rows and 4,000 columns takes a twentieth of the time of steps
        on the rows, one of 9,000 rows and 450 columns a tenth.
        """
        rows_key = rows.tobytes()
        if rows_key not in self._products:
            # Those of the folds by which strengths are chosen, and of the rows that
            # judge: two of a large table.
            while len(self._products) >= (2 if self.is_large else _FOLDS + 1):
                self._products.pop(next(iter(self._products)))
            # The rows that a fold leaves are fewer to read than its own.
            left_rows = np.setdiff1d(self.order, rows, assume_unique=True)
            product_sums = self._sums(left_rows if len(left_rows) < len(rows) else rows)
            if len(left_rows) < len(rows):
                product_sums = tuple(
                    total_sum - left_sum
                    for total_sum, left_sum in zip(
                        self._whole, product_sums, strict=True
                    )
                )
            self._products[rows_key] = product_sums
        products, means, with_y, centre, total = self._products[rows_key]
        means = means / total
        centre = centre / total
        spread = 1 / (scale**2 * (products.diagonal() - total * means**2) + 1)

        def times(vector: Floats) -> Floats:
            scaled = scale * vector.ravel()
            return np.asarray(
                scale * (products @ scaled - total * means * (means @ scaled))
                + vector.ravel()
            )

        sides = (scale[:, None] * (with_y - total * np.outer(means, centre))).T
        weights = scale[:, None] * _solved(times, spread, sides, _EXACT)
        return weights, np.asarray(centre - means @ weights)

    def _solve_steps(self, scale: Floats32, rows: Integers) -> tuple[Floats, Floats]:
        """Return weights and intercepts for numbers, by steps that read the rows.

        As scikit-learn's ``Ridge`` does, which turns and checks the rows in each step,
        and in float32 takes steps without end.
        """
        exact = self.joined.nnz <= _MOST_EXACT
        kind = np.float64 if exact else np.float32
        w = self.target.weights[rows]
        y = self.target.y.reshape(len(self.order), -1)[rows]
        design = (self.joined[rows] @ sparse.diags(scale)).astype(kind)
        weighted = design.T.multiply(w).tocsr().astype(kind)
        total = w.sum()
        means = weighted @ np.ones(len(rows), kind) / total
        centre = w @ y / total
        squares = np.asarray(weighted.multiply(design.T).sum(axis=1)).ravel()
        spread = 1 / (squares - total * means**2 + 1)

        def times(vector: Floats) -> Floats:
            flat = vector.ravel()
            products = weighted @ (design @ flat.astype(kind))
            return np.asarray(products - total * means * (means @ flat) + flat)

        sides = (weighted @ y - total * np.outer(means, centre)).T
        near = _NEAR if exact else _ROUGH
        solved = _solved(times, spread, sides, near, most=_MOST_STEPS)
        weights = scale[:, None] * solved
        return weights, np.asarray(centre - means @ solved, dtype=np.float64)

    def losses(self, strengths: Sequence[float], folds: Integers) -> Floats:
        """Return the weighted losses of rows, each predicted by a model of others.

        Two folds of a large table do.
        """
        target = self.target
        fold_losses = list[Floats]()
        for fold_number in np.unique(folds)[: 2 if self.is_large else None]:
            weights, intercept = self._solve(
                strengths, folds != fold_number, steps=60, most=_MOST_CHOOSING
            )
            held_out_rows = np.flatnonzero(folds == fold_number)
            predictions = self.joined[held_out_rows] @ weights + intercept
            y = target.y[held_out_rows]
            w = target.weights[held_out_rows]
            if not target.classes:
                losses = ((predictions - y.reshape(predictions.shape)) ** 2).mean(
                    axis=1
                )
            else:
                if target.classes == 2:
                    predictions = np.concatenate(
                        [np.zeros_like(predictions), predictions], axis=1
                    )
                highest_output = predictions.max(axis=1)
                losses = (
                    np.log(np.exp(predictions - highest_output[:, None]).sum(axis=1))
                    + highest_output
                    - predictions[np.arange(len(y)), y]
                )
            fold_losses.append(w * losses)
        return np.concatenate(fold_losses)

    def choose(self, strengths: Sequence[float], folds: Integers) -> list[float]:
        """Return the strength of each block: moved while the loss falls, and 0 where it
        does not help beside others.
        """
        best_strengths = list(map(float, strengths))
        current_losses = self.losses(strengths, folds)
        needed = set[int]()
        least = _LEAST_GAIN if self.is_large else 0.0
        # Where the rest tells nearly all, any gain may be certain and none matters.
        floor = _LEAST_HELP * float(
            self.losses([0.0] * len(best_strengths), folds).mean()
        )
        for block in range(1, len(best_strengths)):
            for step_factor in (1 / _STEP, _STEP):
                moved = False
                for _ in range(_MOST_MOVES):
                    tried = [
                        *best_strengths[:block],
                        best_strengths[block] * step_factor,
                        *best_strengths[block + 1 :],
                    ]
                    losses = self.losses(tried, folds)
                    if losses.sum() >= current_losses.sum() * (1 - least):
                        if step_factor < 1 and _clearly(losses - current_losses, floor):
                            needed.add(block)  # half of it is missed already
                        break
                    best_strengths = tried
                    current_losses = losses
                    moved = True
                if moved:
                    break
        for block in set(range(1, len(best_strengths))) - needed:
            without = [*best_strengths[:block], 0.0, *best_strengths[block + 1 :]]
            if not self.widths[0] and not any(without[1:]):
                continue  # there would be nothing to learn from
            losses = self.losses(without, folds)
            if not _clearly(losses - current_losses, floor):
                best_strengths = without
                current_losses = losses
        return best_strengths

    def add(
        self,
        strengths: Sequence[float],
        scales: Sequence[float],
        folds: Integers,
        clear: float = _CLEAR,
    ) -> list[float]:
        """Return the strengths with those of the last blocks, one for each of
        ``scales``, where these help clearly.
        """
        best_strengths = list(strengths)
        current_losses = self.losses(strengths, folds)
        floor = _LEAST_HELP * float(
            self.losses([0.0] * len(best_strengths), folds).mean()
        )
        for block, scale in enumerate(scales, start=len(best_strengths) - len(scales)):
            lowest_losses = current_losses
            chosen_strengths = best_strengths
            for move_number in range(_MOST_MOVES):
                tried = [
                    *best_strengths[:block],
                    scale * _STEP**move_number,
                    *best_strengths[block + 1 :],
                ]
                losses = self.losses(tried, folds)
                if losses.sum() >= lowest_losses.sum():
                    break
                lowest_losses = losses
                chosen_strengths = tried
            if _clearly(current_losses - lowest_losses, floor, clear):
                best_strengths = chosen_strengths
                current_losses = lowest_losses
        return best_strengths


def _solved(
    times: Callable[[Floats], Floats],
    spread: Floats,
    sides: Floats,
    exact: float,
    most: int | None = None,
) -> Floats:
    """Return the solutions of a linear system ``(columns, sides)``, by conjugate
    gradients of at most so many steps.
    """
    shape = (len(spread), len(spread))
    from scipy.sparse.linalg import LinearOperator, cg  # which encoding does not take

    system = LinearOperator(shape, times)
    nearly = LinearOperator(shape, lambda vector: spread * vector.ravel())
    return np.column_stack(
        [cg(system, side, rtol=exact, maxiter=most, M=nearly)[0] for side in sides]
    )


def _chosen_strengths(
    model: _Model, blocks: Sequence[Block], first: int, folds: Integers
) -> list[float]:
    """Return the strengths of the other columns and of the blocks, of which the vectors
    of texts come last.
    """
    scales = [block.design.scale for block in blocks]
    unread = [0.0] * (len(blocks) - first)
    strengths = model.choose([_OTHER, *scales[:first], *unread], folds)
    if unread:  # what is settled without the vectors of texts stays
        strengths = model.add(strengths, scales[first:], folds)
    return strengths


def _by_column(
    blocks: Sequence[Block], block_scores: Sequence[Floats]
) -> tuple[dict[str, Floats32], Floats32]:
    """Return the scores of each column that has any, and one unit for all: what is said
    has the deviation 1 in it.
    """
    crossed = {
        block.name: np.zeros(block_scores[0].shape, dtype=np.float32)
        for block in blocks
    }
    for block, block_score in zip(blocks, block_scores, strict=True):
        if block.slope is None:
            crossed[block.name] += block_score
    # A cell of a level that only its own group has scores 0 in each of the divisions,
    # as any new one will.
    crossed = {
        column_name: scores for column_name, scores in crossed.items() if scores.any()
    }
    total = np.zeros(block_scores[0].shape)
    for scores in crossed.values():
        total += scores
    for block, sloped_score in zip(blocks, block_scores, strict=True):
        if block.slope is not None and block.name in crossed:
            total += sloped_score * block.slope.inside[:, None]
    return crossed, np.where(total.std(axis=0) > 1e-9, total.std(axis=0), 1.0).astype(
        np.float32
    )


def _clearly(gains: Floats, floor: float, clear: float = _CLEAR) -> bool:
    """Whether the mean of gains is above a floor, and above 0 by more than chance, at a
    level of 5 % on one side.
    """
    error = gains.std() / np.sqrt(max(len(gains), 1))
    return bool(gains.mean() > max(clear * error, floor)) and bool(error > 0)
