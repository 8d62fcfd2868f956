"""The tree branch: boosted trees beside the head, by the best library that is
installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from permgrad.models.branches.branch import (
    AddedBranch,
    Fitted,
    Store,
    Trial,
    register,
)

if TYPE_CHECKING:
    from permgrad.models.libraries.job import Job
    from permgrad.models.network.trees import TreeBranch

#: Classes that trees are tried for, at most: each has trees of its own.
_MOST_CLASSES = 30
#: What a library calls its rounds, where that is not ``n_estimators``.
_ROUND_OPTIONS = {"catboost": "iterations", "histogram_boosting": "max_iter"}
#: Trees of CatBoost times classes, where there are more than two.
_MOST_OF_CLASSES = 2000


def _fit(work: Job, outputs: int) -> Fitted:
    from permgrad.models.branches.as_outputs import as_outputs
    from permgrad.models.libraries.boosting import best_library
    from permgrad.models.network.trees import TreeBranch

    library = best_library()
    if library.name == "catboost" and work.n_classes > 2:
        # Its time grows with classes times thresholds. On gas drift (6 classes, 128
        # columns) this is a tenth of it.
        iterations = min(work.rounds, _rounds(library.name, work.n_classes))
        work = replace(work, options={"iterations": iterations, "border_count": 64})
    trees = library.train(work).trees
    base_outputs = as_outputs(trees.base[None], outputs)
    values = as_outputs(trees.values, outputs)
    trees = replace(trees, base=base_outputs[0], values=values)
    return Fitted(library.label, TreeBranch.of(trees, work.train.encoded.shape[1]))


def _rounds(library: str, classes: int) -> int:
    """Return about how many rounds the trees of a library have: rows that are held out
    stop them.
    """
    from permgrad.models.libraries.job import ROUNDS_WITHOUT_VALIDATION

    if library == "catboost" and classes > 2:
        return _MOST_OF_CLASSES // classes
    return ROUNDS_WITHOUT_VALIDATION


def _trial(classes: int) -> Trial:
    from permgrad.models.libraries.boosting import best_library

    library = best_library().name
    option = _ROUND_OPTIONS.get(library, "n_estimators")
    return Trial(library, option, _rounds(library, classes))


def _make(encoded: int, outputs: int, **sizes: int) -> TreeBranch:
    from permgrad.models.network.trees import TreeBranch

    return TreeBranch(encoded, **{**sizes, "outputs": outputs})


def _mean(fits: Sequence[TreeBranch]) -> TreeBranch:
    from permgrad.models.network.trees import TreeBranch
    from permgrad.models.trees import Trees

    return TreeBranch.of(Trees.mean([fit.trees() for fit in fits]), fits[0].encoded)


def _check(branch: TreeBranch) -> None:
    branch.check()


def _layer(branch: TreeBranch) -> str:
    return f"{len(branch.roots)} trees"


def _form(branch: TreeBranch, store: Store) -> dict[str, Any]:
    from permgrad.models.branches.tree_form import tree_form

    return tree_form(branch.trees(), store)


TREES = register(
    AddedBranch(
        name="trees",
        title="tree branch",
        colour="series-3",
        fit=_fit,
        make=_make,
        has_slopes=False,
        sizes=("nodes", "trees", "width"),
        check=_check,
        layer=_layer,
        form=_form,
        trial=_trial,
        most_classes=_MOST_CLASSES,
        mean=_mean,
    )
)
