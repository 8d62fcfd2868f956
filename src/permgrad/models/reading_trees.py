"""The trees of fitted models of four libraries as arrays, whose sums are what the
library says before its link: of boosted trees, and of single trees and forests.

What these arrays have no place for is refused: categories that are split as such,
values that count as missing, and trees that are not simply added.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.models.trees import Trees

#: Feature, threshold, left and right of the inner nodes of a tree, and the values of
#: all nodes, inner ones first.
_Tree = tuple[Any, Any, Any, Any, Any]


class _Sum(NamedTuple):
    """The trees of a model, and what their sums begin with ``(outputs,)``."""

    trees: Iterable[_Tree]
    base: Any


def read_trees(model: Any) -> Trees:
    """Return the trees of a fitted model: of scikit-learn's histogram boosting,
    LightGBM, XGBoost or CatBoost, or of scikit-learn's trees and forests.

    A model that stopped early has the trees that its library predicts by.

    Raises:
        NotImplementedError: Its trees are none that are known. The text says which, as
            a clause.
    """
    return Trees.of(*_library_of(model)(model))


@dataclass(frozen=True, eq=False)
class ReadTrees:
    """The trees of a fitted model with its own thresholds, for cells as its library
    reads them.

    Attributes:
        trees: for rows of ``as_library_reads``.
        cells: the type to which the library rounds cells before it compares them.
    """

    trees: Trees
    cells: type[np.floating[Any]]

    def as_library_reads(self, rows: Floats) -> Floats:
        """Return cells as the library reads them, in float64."""
        return rows.astype(self.cells).astype(np.float64)

    def sources(self, rows: Floats) -> Integers:
        """Return the column of a table of which each column of the trees is made
        ``(columns,)``.
        """
        return np.arange(rows.shape[1], dtype=np.int64)


class AsTrees:
    """A model of permgrad around another one, which says itself what its trees are."""

    def questions(self) -> ReadTrees:
        """Return the trees of rows as this model reads them. Their sums may begin with
        another number than what it predicts.

        Raises:
            NotImplementedError: As ``read_trees``.
        """
        raise NotImplementedError(f"it is no model of trees, but {type(self).__name__}")


def read_questions(model: Any) -> ReadTrees:
    """Return the trees of a fitted model, as ``read_trees``, with thresholds that are
    not rounded.

    Raises:
        NotImplementedError: As ``read_trees``.
    """
    if isinstance(model, AsTrees):
        return model.questions()
    trees = Trees.of(*_library_of(model)(model), rounded=False)
    is_double = type(model).__module__.startswith("lightgbm") or hasattr(
        model, "_predictors"
    )
    if is_double:
        return ReadTrees(trees, np.float64)
    return ReadTrees(trees, np.float32)


def _library_of(model: Any) -> Callable[[Any], _Sum]:
    library = type(model).__module__.partition(".")[0]
    library_reader = _LIBRARIES.get(library)
    if library_reader is None:
        raise NotImplementedError(
            f"it is no model of boosted trees, but {type(model).__name__}"
        )
    return library_reader


def _refuse_if(is_so: Any, what: str) -> None:
    if is_so:
        raise NotImplementedError(what)


def _sorted(
    is_leaf: Array,
    feature: Array,
    threshold: Array,
    left: Array,
    right: Array,
    values: Array,
) -> _Tree:
    """Return a tree whose nodes stand in any order, root first, with its inner nodes
    first.
    """
    if is_leaf[0]:
        return [], [], [], [], values[:1]
    inner = np.flatnonzero(~is_leaf)
    leaves = np.flatnonzero(is_leaf)
    order = np.concatenate([inner, leaves])
    sorted_positions = np.empty(len(order), dtype=np.int64)
    sorted_positions[order] = np.arange(len(order))
    return (
        feature[inner],
        threshold[inner],
        sorted_positions[left[inner]],
        sorted_positions[right[inner]],
        values[order],
    )


# ---- scikit-learn --------------------------------------------------------------------
def _scikit_learn(model: Any) -> _Sum:
    if hasattr(model, "_predictors"):
        return _histogram_boosting(model)
    module = type(model).__module__
    if module.startswith("sklearn.tree.") and hasattr(model, "tree_"):
        return _mean_of_trees([model])
    if module == "sklearn.ensemble._forest" and hasattr(model, "estimators_"):
        return _mean_of_trees(model.estimators_)
    if module == "sklearn.ensemble._gb" and hasattr(model, "estimators_"):
        return _gradient_boosting(model)
    raise NotImplementedError(
        f"it is no histogram boosting, but {type(model).__name__}"
    )


def _histogram_boosting(model: Any) -> _Sum:
    base_prediction, rounds = np.ravel(model._baseline_prediction), model._predictors  # noqa: SLF001 — there is no public way
    return _Sum(
        (_of_nodes(round_tree.nodes) for trees in rounds for round_tree in trees),
        base_prediction,
    )


def _mean_of_trees(estimators: Any) -> _Sum:
    """Return the trees of a forest: of classes, each leaf holds shares of them."""
    first = estimators[0].tree_
    _refuse_if(first.n_outputs > 1, "it has several targets")
    share = 1 / len(estimators)
    return _Sum(
        (_of_tree(estimator.tree_, share) for estimator in estimators),
        np.zeros(first.value.shape[2]),
    )


def _gradient_boosting(model: Any) -> _Sum:
    stages = model.estimators_
    rate = model.learning_rate
    return _Sum(
        (_of_tree(estimator.tree_, rate) for stage in stages for estimator in stage),
        np.zeros(stages.shape[1]),
    )


def _of_tree(tree: Any, factor: float) -> _Tree:
    values = tree.value[:, 0]
    if values.shape[1] > 1:  # of classes: shares, or how many rows there were of each
        values = values / values.sum(axis=1, keepdims=True)
    return _sorted(
        tree.children_left < 0,
        tree.feature,
        tree.threshold,
        tree.children_left,
        tree.children_right,
        values * factor,
    )


def _of_nodes(nodes: Array) -> _Tree:
    is_leaf = nodes["is_leaf"].astype(bool)
    _refuse_if(nodes["is_categorical"][~is_leaf].any(), "its trees split categories")
    sides = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    return _sorted(
        is_leaf,
        nodes["feature_idx"],
        nodes["num_threshold"],
        *sides,
        nodes["value"][:, None],
    )


# ---- LightGBM ------------------------------------------------------------------------
#: Bits of LightGBM's decision_type: a split of categories, and zeros that count as
#: missing.
_CATEGORIES = 1
_MISSING = 12
_ZERO_IS_MISSING = 4
#: LightGBM takes smaller numbers, and these, for 0.
_ZERO = np.float32(1e-35)


def _lightgbm(model: Any) -> _Sum:
    booster = getattr(model, "booster_", model)
    model_header, *trees = (
        booster.model_to_string().partition("\nend of trees")[0].split("\nTree=")
    )
    facts = _fields(model_header)
    _refuse_if("average_output" in model_header.split(), "its trees are averaged")
    outputs = int(facts["num_tree_per_iteration"])
    return _Sum(
        (_of_text(_fields(tree_text)) for tree_text in trees), np.zeros(outputs)
    )


def _fields(text: str) -> dict[str, str]:
    """Return the ``name=value`` lines of a part of LightGBM's text."""
    fields: dict[str, str] = {}
    for field_name, separator, value in (
        text_line.partition("=") for text_line in text.splitlines()
    ):
        if separator:
            fields[field_name] = value
    return fields


def _of_text(tree: Mapping[str, str]) -> _Tree:
    _refuse_if(tree.get("is_linear", "0") != "0", "its leaves are linear models")
    values = np.array(tree["leaf_value"].split(), dtype=np.float64)[:, None]
    if int(tree["num_leaves"]) == 1:
        return [], [], [], [], values
    kinds = np.array(tree["decision_type"].split(), dtype=np.int64)
    _refuse_if((kinds & _CATEGORIES).any(), "its trees split categories")
    _refuse_if(((kinds & _MISSING) == _ZERO_IS_MISSING).any(), "zeros count as missing")
    inner = len(kinds)
    left_children = np.array(tree["left_child"].split(), dtype=np.int64)
    right = np.array(tree["right_child"].split(), dtype=np.int64)
    left_children = np.where(left_children >= 0, left_children, inner + ~left_children)
    right = np.where(right >= 0, right, inner + ~right)  # leaf k is written as ~k
    feature = np.array(tree["split_feature"].split(), dtype=np.int32)
    threshold = np.array(tree["threshold"].split(), dtype=np.float64)
    around = np.where(threshold < 0, np.nextafter(-_ZERO, np.float32(-1)), _ZERO)
    threshold = np.where(np.abs(threshold) <= _ZERO, around, threshold)
    return (
        feature,
        threshold,
        left_children,
        right,
        np.concatenate([np.zeros((inner, 1)), values]),
    )


# ---- XGBoost -------------------------------------------------------------------------
#: How XGBoost's base score is turned into what its trees are added to.
_LINKS: dict[str, Callable[[Array], Array]] = {
    "binary:logistic": lambda chance: np.log(chance / (1 - chance)),
    "count:poisson": np.log,
    "reg:squarederror": np.asarray,
    "multi:softprob": np.asarray,
}


def _xgboost(model: Any) -> _Sum:
    if hasattr(model, "get_booster"):
        booster = model.get_booster()
    else:
        booster = model
    learner = json.loads(bytes(booster.save_raw(raw_format="json")))["learner"]
    boosting = learner["gradient_booster"]
    facts = learner["learner_model_param"]
    objective = learner["objective"]["name"]
    _refuse_if(boosting["name"] != "gbtree", f"its booster is {boosting['name']}")
    _refuse_if(objective not in _LINKS, f"its objective is {objective}")
    trees = boosting["model"]["trees"]
    outputs = max(1, int(facts["num_class"]))
    _refuse_if(int(facts.get("num_target", 1)) > 1, "it has several targets")
    _refuse_if(
        int(boosting["model"]["gbtree_model_param"].get("num_parallel_tree", 1)) > 1,
        "it boosts forests",
    )
    base_scores = np.array(facts["base_score"].strip("[]").split(","), dtype=np.float64)
    if (
        model is not booster and booster.attr("best_iteration") is not None
    ):  # a booster itself predicts by all
        trees = trees[: (model.best_iteration + 1) * outputs]
    return _Sum(
        map(_of_json, trees),
        np.broadcast_to(_LINKS[objective](base_scores), outputs).copy(),
    )


def _of_json(tree: Mapping[str, Any]) -> _Tree:
    _refuse_if(any(tree["split_type"]), "its trees split categories")
    _refuse_if(
        int(tree["tree_param"]["size_leaf_vector"]) > 1, "it has several targets"
    )
    left_children = np.array(tree["left_children"], dtype=np.int64)
    right = np.array(tree["right_children"], dtype=np.int64)
    numbers = np.array(
        tree["split_conditions"], dtype=np.float32
    )  # of a leaf its value
    # XGBoost asks x < threshold.
    threshold = np.nextafter(numbers, np.float32(-np.inf))
    return _sorted(
        left_children < 0,
        np.array(tree["split_indices"]),
        threshold,
        left_children,
        right,
        numbers[:, None],
    )


# ---- CatBoost ------------------------------------------------------------------------
def _catboost(model: Any) -> _Sum:
    with tempfile.TemporaryDirectory() as folder:
        model_path = Path(folder) / "model.json"
        model.save_model(str(model_path), format="json")
        content = json.loads(model_path.read_text(encoding="utf-8"))
    factor, base_values = content["scale_and_bias"]
    features = content["features_info"]
    _refuse_if(
        features.keys() != {"float_features"},
        "its trees read other columns than numbers",
    )
    columns = np.array(
        [feature["flat_feature_index"] for feature in features["float_features"]]
    )
    outputs = len(np.atleast_1d(base_values))
    if "oblivious_trees" in content:
        trees: Iterator[_Tree] = (
            _of_levels(level_tree, columns, outputs, factor)
            for level_tree in content["oblivious_trees"]
        )
    else:
        trees = (
            _of_branches(branch_tree, columns, outputs, factor)
            for branch_tree in content["trees"]
        )
    return _Sum(trees, base_values)


def _of_levels(
    tree: Mapping[str, Any], columns: Array, outputs: int, factor: float
) -> _Tree:
    """Return a tree that asks the same in all nodes of a level.

    Bit k of a leaf's number answers question k.
    """
    splits = tree["splits"] or []
    _refuse_if(
        any(split["split_type"] != "FloatFeature" for split in splits),
        "its trees split categories",
    )
    depth = len(splits)
    values = np.reshape(tree["leaf_values"], (-1, outputs)) * factor
    inner = 2**depth - 1
    level = np.repeat(np.arange(depth), 2 ** np.arange(depth))
    if splits:
        feature = columns[[split["float_feature_index"] for split in splits]]
    else:
        feature = columns[:0]
    border = np.array([split["border"] for split in splits], dtype=np.float64)
    node_numbers = np.arange(inner)
    # Node k has the children 2k + 1 and 2k + 2: the bits of a leaf's number stand in
    # the order of the levels.
    leaf_positions = np.arange(2**depth)
    leaf_numbers = sum(
        (
            ((leaf_positions >> (depth - 1 - bit_number)) & 1) << bit_number
            for bit_number in range(depth)
        ),
        np.zeros_like(leaf_positions),
    )
    padded = np.concatenate([np.zeros((inner, outputs)), values[leaf_numbers]])
    return (
        feature[level],
        border[level],
        2 * node_numbers + 1,
        2 * node_numbers + 2,
        padded,
    )


def _of_branches(
    tree: Mapping[str, Any], columns: Array, outputs: int, factor: float
) -> _Tree:
    """Return a tree whose nodes hold each other."""
    nodes: list[Mapping[str, Any]] = [tree]
    facts = []
    values = []
    for tree_node in nodes:  # it grows meanwhile
        split: Mapping[str, Any] = tree_node.get(
            "split", {"float_feature_index": 0, "border": 0.0}
        )
        _refuse_if(
            split.get("split_type", "FloatFeature") != "FloatFeature",
            "its trees split categories",
        )
        column = columns[split["float_feature_index"]]
        facts.append(
            (
                "split" not in tree_node,
                column,
                split["border"],
                len(nodes),
                len(nodes) + 1,
            )
        )
        values.append(
            np.multiply(np.ravel(tree_node.get("value", np.zeros(outputs))), factor)
        )
        for child_side in ("left", "right"):
            if child_side in tree_node:
                nodes.append(tree_node[child_side])
    is_leaf, feature, border, left_children, right = map(
        np.array, zip(*facts, strict=True)
    )
    return _sorted(is_leaf, feature, border, left_children, right, np.array(values))


_LIBRARIES: dict[str, Callable[[Any], _Sum]] = {
    "sklearn": _scikit_learn,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "catboost": _catboost,
}
