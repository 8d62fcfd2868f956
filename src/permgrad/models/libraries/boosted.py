"""A model of boosted trees of any library: its trees as arrays, and what turns their sums into predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from scipy.special import expit, softmax

from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError
from permgrad.models.reading_trees import read_trees
from permgrad.models.trees import Trees

#: What is done with the sums: they are numbers, logarithms of counts, or logits, of two classes the second's.
Link = Literal["identity", "exp", "sigmoid", "softmax"]
#: Training rows by which trees are compared with their library. Some libraries add up in float32.
_COMPARED, _APART = 200, 1e-4


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """Boosted trees as an estimator of encoded rows."""

    trees: Trees
    link: Link

    @classmethod
    def of(cls, model: Any, rows: Any, *, classify: bool, counts: bool) -> Self:
        """Return the trees of a model that a library fitted on rows.

        Raises:
            InputError: It is no sum of trees with numeric splits, or one with another link.
        """
        found = f"A model of {type(model).__name__} with these settings"
        hint = "Leave out the settings that change what its trees are."
        try:
            trees = read_trees(model)
        except NotImplementedError as error:
            raise InputError(
                f"{found} cannot be read as trees: {error}", hint=hint, code="PG032"
            ) from error
        one = cls(trees, link_of(trees, classify=classify, counts=counts))
        few = np.ascontiguousarray(np.asarray(rows[:_COMPARED]), dtype=np.float32)
        expected = (
            model.predict_proba(few) if classify else np.ravel(model.predict(few))
        )
        said = one.predict_proba(few) if classify else one.predict(few)
        if said.shape != expected.shape or not np.allclose(
            said, expected, rtol=_APART, atol=_APART
        ):
            raise InputError(
                f"{found} predicts something else than the sum of its trees",
                hint=hint,
                code="PG032",
            )
        return one

    def shifted(self, by: float) -> Self:
        """Return trees whose sums are larger by a number."""
        return replace(self, trees=replace(self.trees, base=self.trees.base + by))

    def first(self, rounds: int) -> Self:
        """Return the trees of the first rounds."""
        return replace(self, trees=self.trees.first(rounds))

    def predict(self, rows: Array) -> Floats:
        """Return predicted numbers ``(rows,)``."""
        [*_, sums] = self.trees(rows).T
        return np.exp(sums) if self.link == "exp" else sums

    def predict_proba(self, rows: Array) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        sums = self.trees(rows)
        if self.link == "softmax":
            return np.asarray(softmax(sums, axis=1))
        second = expit(sums[:, 0])
        return np.column_stack([1 - second, second])


def link_of(trees: Trees, *, classify: bool, counts: bool) -> Link:
    """Return how the sums of trees are read in a task."""
    if classify:
        return "sigmoid" if len(trees.base) == 1 else "softmax"
    return "exp" if counts else "identity"
