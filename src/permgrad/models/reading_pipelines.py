"""The trees at the end of a pipeline of scikit-learn, for cells as its other steps
encode them.

Steps that make each of their columns of one column of the table are known by name.
Others, such as principal components and neighbours that fill in what is missing, may
make one of several, so that no column of the trees has one feature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from permgrad.base.arrays import Floats, Integers
from permgrad.models.reading_trees import ReadTrees, read_questions

#: Classes of scikit-learn that make each column of one column.
_BY_COLUMN = frozenset(
    (
        "Binarizer",
        "KBinsDiscretizer",
        "MaxAbsScaler",
        "MinMaxScaler",
        "MissingIndicator",
        "OneHotEncoder",
        "OrdinalEncoder",
        "PowerTransformer",
        "QuantileTransformer",
        "RobustScaler",
        "SelectFromModel",
        "SelectKBest",
        "SelectPercentile",
        "SimpleImputer",
        "SplineTransformer",
        "StandardScaler",
        "TargetEncoder",
        "VarianceThreshold",
    )
)
_LEFT_AS_IT_IS = ("passthrough", "drop", None)


@dataclass(frozen=True, eq=False)
class PipelineTrees(ReadTrees):
    """Trees whose cells are made of a table's.

    Attributes:
        encode: returns the trees' cells ``(rows, encoded)`` of rows ``(rows,
            columns)``.
    """

    encode: Callable[[Floats], Floats]

    def as_library_reads(self, rows: Floats) -> Floats:
        """Return cells as the library reads them, encoded."""
        return super().as_library_reads(self.encode(rows))

    def sources(self, rows: Floats) -> Integers:
        """Return the column of which each encoded one is made ``(encoded,)``: it
        changes where that column's cells change places. One that is the same in all
        rows is of any.
        """
        cells = self.encode(rows)
        sources = np.zeros(cells.shape[1], dtype=np.int64)
        for column in range(rows.shape[1]):
            moved = rows.copy()
            moved[:, column] = np.roll(rows[:, column], 1)
            moved_cells = self.encode(moved)
            both_missing = np.isnan(moved_cells) & np.isnan(cells)
            is_moved = (moved_cells != cells) & ~both_missing
            sources[is_moved.any(axis=0)] = column
        return sources


def read_pipeline(
    pipeline: Any, write: Callable[[Floats], Any]
) -> PipelineTrees | None:
    """Return the trees at the end of a fitted pipeline, or None where it has none or
    where steps before make a column of several.

    Args:
        pipeline: The model.
        write: Returns rows ``(rows, columns)`` as the table that the model takes.
    """
    if not _is_of_sklearn(pipeline, "Pipeline") or len(pipeline.steps) < 2:
        return None
    encoder = pipeline[:-1]
    if not _is_by_column(encoder):
        return None
    try:
        trees = read_questions(pipeline[-1])
    except NotImplementedError:
        return None

    def encode(rows: Floats) -> Floats:
        cells = encoder.transform(write(rows))
        if hasattr(cells, "toarray"):
            cells = cells.toarray()
        return np.asarray(cells, dtype=np.float64)

    return PipelineTrees(trees.trees, trees.cells, encode)


def _is_of_sklearn(step: Any, name: str) -> bool:
    is_of_library = type(step).__module__.partition(".")[0] == "sklearn"
    return is_of_library and type(step).__name__ == name


def _is_by_column(step: Any) -> bool:
    """Return whether a fitted step makes each column of one column of its own."""
    if step is None or isinstance(step, str):
        return step in _LEFT_AS_IT_IS
    if _is_of_sklearn(step, "FunctionTransformer"):
        return step.func is None
    steps: list[Any] = []
    if _is_of_sklearn(step, "Pipeline"):
        steps = [inner_step for _, inner_step in step.steps]
    elif _is_of_sklearn(step, "FeatureUnion"):
        steps = [inner_step for _, inner_step in step.transformer_list]
    elif _is_of_sklearn(step, "ColumnTransformer"):
        steps = [inner_step for _, inner_step, _ in step.transformers_]
    else:
        return _is_of_sklearn(step, type(step).__name__) and (
            type(step).__name__ in _BY_COLUMN
        )
    return all(map(_is_by_column, steps))
