"""Check the trees in files of other libraries before they are loaded: libraries follow any number that stands there.

With a child, a feature or a length that does not exist they read memory that is not theirs, which ends the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError

_MOST = 2**31 - 1
#: How UBJSON writes numbers and words.
_FORMS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_WORDS = {b"Z": None, b"N": None, b"T": True, b"F": False}


def _fit(*rules: object) -> None:
    if not all(rules):
        problem = "The model's file is damaged: numbers of its trees contradict each other"
        raise InputError(problem, hint="Save the model again.", code="PG031")


def _floats(values: Iterable[Any], count: int) -> None:
    _fit(len([float(one) for one in values]) == count)


def _whole(values: Iterable[Any], low: int, high: int, count: int | None = None) -> Integers:
    """Return whole numbers, also those of text, if each is within ``low`` and ``high``."""
    numbers = [int(one) for one in values]
    _fit(count in (None, len(numbers)), low <= min(numbers, default=low), max(numbers, default=high) <= high)
    return np.array(numbers, dtype=np.int64)


def _one(value: Any, low: int = 0, high: int = _MOST) -> int:
    return int(_whole(value if isinstance(value, list) else [value], low, high, 1)[0])


def _tree(children: Integers, nodes: int, lost: int = 0) -> None:
    """Refuse nodes with several parents, and a root with one: no cycle can be entered without them."""
    parents = np.bincount(children, minlength=nodes)
    _fit(parents[0] == 0, parents.max() <= 1, (parents == 0).sum() == 1 + lost)


def _parts(ends: Integers, parts: int, last: int) -> None:
    """Refuse ends of parts that are not in order, or not of everything."""
    _fit(len(ends) == parts + 1, ends[0] == 0, ends[-1] == last, (np.diff(ends) >= 0).all())


# ---- LightGBM --------------------------------------------------------------------------------------------------------
def check_lightgbm(content: bytes) -> None:
    """Refuse the text of a LightGBM file whose trees contradict themselves."""
    _fit(b"\0" not in content)  # where a text ends for LightGBM, which looks for the rest of a tree without end
    starts = [match.start() for match in re.finditer(rb"^Tree=", content, re.MULTILINE)]
    head = _fields(content[: [*starts, len(content)][0]])
    features, classes = _one(head["max_feature_idx"]) + 1, _one(head["num_class"], 1)
    class_counts = re.findall(r"num_class:(\S+)", " ".join(head.get("objective", [])))
    _whole([*head["num_tree_per_iteration"], *class_counts], classes, classes)
    _fit(len(starts) % classes == 0)
    if "tree_sizes" in head:
        sizes = _whole(head["tree_sizes"], 0, len(content), len(starts))
        _fit(np.array_equal(sizes[:-1], np.diff(starts)))
    before, sign, settings = content.decode().partition("\nparameters:")
    _fit(sign or "end of parameters" not in before)
    _fit(*(re.fullmatch(r"\[\w+: .*\]|\s*", line) for line in settings.partition("\nend of")[0].split("\n")))
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        _lightgbm_tree(_fields(content[start:end].partition(b"\n\n")[0]), features)


def _fields(text: bytes) -> dict[str, list[str]]:
    lines = (line.partition("=") for line in text.decode().splitlines())
    return {name: values.split() for name, sign, values in lines if sign}


def _lightgbm_tree(tree: Mapping[str, Sequence[str]], features: int) -> None:
    leaves, levels = _one(tree["num_leaves"], 1), _one(tree["num_cat"])
    counts, nodes = {"leaf_value": leaves, "shrinkage": 1}, leaves - 1
    if _whole(tree.get("is_linear", []), 0, 1).any():
        width = int(_whole(tree["num_features"], 0, features, leaves).sum())
        _whole(tree["leaf_features"], 0, features - 1, width)
        counts |= {"leaf_coeff": width, "leaf_const": leaves}
    if nodes:
        further = ("split_gain", "internal_value", "internal_weight", "internal_count", "leaf_weight", "leaf_count")
        counts |= {name: leaves if name.startswith("leaf") else nodes for name in further if name in tree}
        _whole(tree["split_feature"], 0, features - 1, nodes)
        sides = [_whole(tree[f"{side}_child"], -leaves, nodes - 1, nodes) for side in ("left", "right")]
        children = np.concatenate(sides)
        _tree(children[children >= 0], nodes)
        _fit(np.array_equal(np.sort(~children[children < 0]), np.arange(leaves)))
        kinds, at = _whole(tree["decision_type"], -128, 127, nodes), tree["threshold"]
        _floats(at, nodes)
        _whole((one for one, kind in zip(at, kinds, strict=True) if kind % 2), 0, levels - 1)
        if levels:
            _parts(_whole(tree["cat_boundaries"], 0, _MOST), levels, len(_whole(tree["cat_threshold"], 0, 2**32 - 1)))
    for name, count in counts.items():
        _floats(tree[name], count)


# ---- XGBoost ---------------------------------------------------------------------------------------------------------
def check_xgboost(content: Any) -> None:
    """Refuse the content of an XGBoost file, as of JSON, whose trees contradict themselves."""
    learner = content["learner"]
    facts, booster = learner["learner_model_param"], learner["gradient_booster"]
    model, features = booster.get("gbtree", booster)["model"], _one(facts["num_feature"])
    groups = max(1, *(_one(facts.get(name, 1)) for name in ("num_class", "num_target")))
    _fit(len(learner.get("feature_names") or []) in (0, features))
    if "weights" in model:
        _floats(model["weights"], (features + 1) * groups)
        return
    trees, cats = model["trees"], model.get("cats") or {}
    _one(model["gbtree_model_param"]["num_trees"], len(trees), len(trees))
    _whole(model["tree_info"], 0, groups - 1, len(trees))
    ends = _whole(model.get("iteration_indptr", [0, len(trees)]), 0, len(trees))
    _parts(ends, len(ends) - 1, len(trees))
    _floats(booster.get("weight_drop", trees and [1] * len(trees)), len(trees))
    if cats.get("enc"):  # the levels of columns, from 3.1 on
        ends, order = _whole(cats["feature_segments"], 0, _MOST), _whole(cats["sorted_idx"], 0, _MOST)
        _parts(ends, features, len(order))
        for levels, start, end in zip(cats["enc"], ends[:-1], ends[1:], strict=True):
            _fit(np.array_equal(np.sort(order[start:end]), np.arange(end - start)))
            if levels.get("offsets"):
                cuts, text = _whole(levels["offsets"], 0, _MOST), bytes(one % 256 for one in levels["values"])
                _parts(cuts, end - start, len(text))
                for begin, stop in pairwise(cuts.tolist()):
                    text[begin:stop].decode()
    for place, tree in enumerate(trees):
        _one(tree["id"], place, place)
        _xgboost_tree(tree, features, groups)


def _xgboost_tree(tree: Mapping[str, Any], features: int, groups: int) -> None:
    facts = {name: _one(value) for name, value in tree["tree_param"].items()}
    nodes, width = facts["num_nodes"], facts["size_leaf_vector"] or 1
    left = _whole(tree["left_children"], -1, nodes - 1, nodes)
    right, parents = (_whole(tree[name], -1, _MOST, nodes) for name in ("right_children", "parents"))
    inner = left >= 0
    leaves, children = int((~inner).sum()), np.concatenate([left[inner], right[inner]])
    _whole(children, 0, nodes - 1)
    _tree(children, nodes, facts["num_deleted"])
    _fit(width in (1, groups), parents[0] in (-1, _MOST))
    _fit(np.array_equal(parents[children], np.tile(np.flatnonzero(inner), 2)))
    _whole(tree["split_indices"], 0, max(features - 1, 0), nodes)
    counts = dict.fromkeys(("default_left", "split_conditions", "sum_hessian", "loss_changes"), nodes)
    if width > 1:
        _whole(right[~inner], 0, leaves - 1)
        counts["leaf_weights"] = leaves * width
    for name, count in (counts | {"base_weights": nodes * width}).items():
        _floats(tree[name], count)
    by_level = _whole(tree.get("split_type", [0] * nodes), 0, 1, nodes).astype(bool) & inner
    _fit(np.array_equal(_whole(tree.get("categories_nodes", []), 0, nodes), np.flatnonzero(by_level)))
    starts, sizes = (
        _whole(tree.get(f"categories_{key}", []), 0, _MOST, by_level.sum()) for key in ("segments", "sizes")
    )
    kept = _whole(tree.get("categories", []), 0, 2**24)  # XGBoost takes no more levels
    _fit((sizes > 0).all(), (starts + sizes <= len(kept)).all())


def read_ubj(data: bytes, at: int = 0, kind: bytes = b"") -> tuple[Any, int]:
    """Return the value at a place of a UBJSON file, as of JSON, and where it ends. ``kind``: its type, if known."""

    def take(count: int) -> bytes:
        nonlocal at
        _fit(0 <= count <= len(data) - at)
        at += count
        return data[at - count : at]

    def read(kind: bytes = b"") -> Any:
        nonlocal at
        value, at = read_ubj(data, at, kind)
        return value

    kind = kind or take(1)
    if kind in _FORMS:
        return np.frombuffer(take(np.dtype(_FORMS[kind]).itemsize), _FORMS[kind]).tolist()[0], at
    if kind in _WORDS:
        return _WORDS[kind], at
    if kind in (b"S", b"C"):
        return take(1 if kind == b"C" else read()).decode(errors="replace"), at
    _fit(kind in (b"[", b"{"))
    inside = take(2)[1:] if data[at : at + 1] == b"$" else b""
    count = read(take(2)[1:]) if data[at : at + 1] == b"#" else None
    if kind == b"[" and inside in _FORMS and count is not None:
        return np.frombuffer(take(count * np.dtype(_FORMS[inside]).itemsize), _FORMS[inside]).tolist(), at
    found: list[tuple[str, Any]] = []
    while len(found) != count and (count is not None or data[at : at + 1] not in (b"]", b"}")):
        found.append((take(read()).decode(errors="replace") if kind == b"{" else "", read(inside)))
    at += count is None
    return dict(found) if kind == b"{" else [value for _, value in found], at


# ---- CatBoost --------------------------------------------------------------------------------------------------------
def check_catboost(content: Any, numbers: int | None = None) -> None:
    """Refuse the content of a CatBoost file, as of JSON, where a leaf, a split or a feature is missing.

    ``numbers``: how many the leaves have in all, where the library knows it.
    """
    info, pair = content["features_info"], content["scale_and_bias"]
    _fit(isinstance(pair, list), len(pair) == 2)
    width = len(np.atleast_1d(pair[1]))
    _floats([pair[0], *np.atleast_1d(pair[1])], 1 + width)
    parts = [one for part in info.values() if isinstance(part, list) for one in part]
    places = sorted(one["flat_feature_index"] for one in parts if "flat_feature_index" in one)
    _fit(places == list(range(len(places))), all(isinstance(one.get("feature_id", ""), str) for one in parts))
    _fit(isinstance(content.get("model_info", {}), dict))
    splits: list[Any] = []
    leaves, below = [], list(content.get("trees", []))
    for tree in content.get("oblivious_trees", []):
        splits += tree.get("splits") or []
        count = 2 ** len(tree.get("splits") or [])
        _floats(tree.get("leaf_weights") or [0] * count, count)
        _floats(tree["leaf_values"], count * width)
        leaves += tree["leaf_values"]
    while below:  # trees of other shapes
        node = below.pop()
        if "split" in node:
            splits.append(node["split"])
            below += [node["left"], node["right"]]
        else:
            _floats(np.atleast_1d(node["value"]), width)
            leaves += [node["value"]] * width
    _fit(numbers in (None, len(leaves)))
    most = {"split_index": sum(len(one.get("borders") or one.get("values") or []) for one in parts)}
    most |= {"float_feature_index": len(info.get("float_features", []))}
    most |= {"cat_feature_index": len(info.get("categorical_features", []))}
    for name, count in most.items():
        _whole((split[name] for split in splits if name in split), 0, count - 1)
    _fit(content.get("ctr_data") or not info.get("ctrs"))
    for table in content.get("ctr_data", {}).values():
        _fit(len(table["hash_map"]) % _one(table["hash_stride"], 1) == 0)
