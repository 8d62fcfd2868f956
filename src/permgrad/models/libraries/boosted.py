"""A model of boosted trees of any library: its trees as arrays, and what turns their
sums into predictions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from scipy.special import expit, softmax

from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.models.reading_trees import AsTrees, ReadTrees, read_trees
from permgrad.models.trees import Trees

#: What is done with the sums: they are numbers, logarithms of counts, or logits, of two
#: classes the second's.
Link = Literal["identity", "exp", "sigmoid", "softmax"]
#: Training rows by which trees are compared with their library. Some libraries add up
#: in float32.
_COMPARED = 200
_APART = 1e-4


@dataclass(frozen=True, eq=False)
class BoostedTrees(AsTrees):
    """Boosted trees as an estimator of encoded rows."""

    trees: Trees
    link: Link

    @classmethod
    def of(cls, model: Any, rows: Any, *, classify: bool, counts: bool) -> Self:
        """Return the trees of a model that a library fitted on rows.

        Raises:
            InputError: It is no sum of trees with numeric splits, or one with another
                link.
        """
        model_description = f"A model of {type(model).__name__} with these settings"
        settings_hint = "Leave out the settings that change what its trees are."
        try:
            trees = read_trees(model)
        except NotImplementedError as error:
            raise InputError(
                f"{model_description} cannot be read as trees: {error}",
                hint=settings_hint,
                code="PG032",
            ) from error
        boosted_trees = cls(trees, link_of(trees, classify=classify, counts=counts))
        compared_rows = np.ascontiguousarray(
            np.asarray(rows[:_COMPARED]), dtype=np.float32
        )
        if classify:
            expected = model.predict_proba(compared_rows)
        else:
            expected = np.ravel(model.predict(compared_rows))
        if classify:
            tree_predictions = boosted_trees.predict_proba(compared_rows)
        else:
            tree_predictions = boosted_trees.predict(compared_rows)
        if tree_predictions.shape != expected.shape or not np.allclose(
            tree_predictions, expected, rtol=_APART, atol=_APART
        ):
            raise InputError(
                f"{model_description} predicts something else than the sum of "
                "its trees",
                hint=settings_hint,
                code="PG032",
            )
        return boosted_trees

    def questions(self) -> ReadTrees:
        """Return the trees, of encoded rows."""
        return ReadTrees(self.trees, np.float32)

    def shifted(self, increase: float) -> Self:
        """Return trees whose sums are larger by a number."""
        return replace(self, trees=replace(self.trees, base=self.trees.base + increase))

    def first(self, rounds: int) -> Self:
        """Return the trees of the first rounds."""
        return replace(self, trees=self.trees.first(rounds))

    def predict(self, rows: Array) -> Floats:
        """Return predicted numbers ``(rows,)``."""
        [*_, tree_sums] = self.trees(rows).T
        if self.link == "exp":
            return np.exp(tree_sums)
        return tree_sums

    def predict_proba(self, rows: Array) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        tree_sums = self.trees(rows)
        if self.link == "softmax":
            return np.asarray(softmax(tree_sums, axis=1))
        second = expit(tree_sums[:, 0])
        return np.column_stack([1 - second, second])


def link_of(trees: Trees, *, classify: bool, counts: bool) -> Link:
    """Return how the sums of trees are read in a task."""
    if classify:
        if len(trees.base) == 1:
            return "sigmoid"
        return "softmax"
    if counts:
        return "exp"
    return "identity"
