"""permgrad's own methods as contestants: every entry of the registry ``permgrad.attribution.methods`` takes part.

A method not named here enters in its defaults and without an estimand, so that a new one is in every table at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad.attribution import methods
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad_benchmark.contestants import Contestant, Scores, enrol
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.tabular.case import Case

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """One way to call a method.

    Attributes:
        name: Its name in the tables.
        label: Its name for people.
        estimand: The truth it estimates.
        rows: ``"all"`` fresh rows, ``"some"`` or ``"few"`` of them, by what a row costs.
        options: Arguments of ``pg.explain``, or a function of the case that gives them.
        note: What a reader must know.
    """

    name: str
    label: str
    estimand: str
    rows: Literal["all", "some", "few"]
    options: Callable[[Case], Mapping[str, Any]] = field(default=lambda _: {})
    note: str = ""


#: Shapley values at a moderate price: orders instead of all coalitions.
SAMPLED = {"exact": 0, "min_permutations": 20, "max_permutations": 40, "tolerance": 0.02}

#: The ways in which methods with an estimand, or with a price, are called. The rest is called in its defaults.
ENTRIES: dict[str, tuple[Entry, ...]] = {
    "permgrad": (
        Entry("permgrad", "permgrad", "total_effect", "all", lambda case: {"n_repeats": case.sizes.repeats}),
        Entry(
            "permgrad:conditional", "permgrad, conditional", "conditional_effect", "all",
            lambda case: {"n_repeats": case.sizes.repeats, "sampling": "conditional"},
        ),
    ),
    "permutation": (
        Entry("permutation", "permutation", "total_effect", "all", lambda case: {"n_repeats": case.sizes.repeats}),
        Entry(
            "permutation:conditional", "permutation, conditional", "conditional_effect", "all",
            lambda case: {"n_repeats": case.sizes.repeats, "sampling": "conditional"},
        ),
    ),
    "shapley": (
        Entry(
            "shapley", "Shapley values", "shapley", "few",
            lambda case: {"background": case.X_train.iloc[: case.sizes.references], **SAMPLED},
            note="of the output; mean absolute value over the rows",
        ),
        Entry(
            "shapley:loss", "Shapley values of the loss", "sage", "some",
            lambda case: {"scope": "global", "references": case.sizes.references, "exact": 0, "n_repeats": 2},
            note="SAGE's game, orders in pairs",
        ),
    ),
    "permgrad-paper": (Entry("permgrad-paper", "permgrad as published", ANY, "all"),),
    "ablation": (Entry("ablation", "ablation", ANY, "all", note="replaces by a fixed value"),),
    "lime": (Entry("lime", "LIME", ANY, "few"),),
    "aggregate": (
        Entry(
            "aggregate", "mean of normalised methods", ANY, "few",
            lambda case: {
                "background": case.X_train.iloc[: case.sizes.references],
                "members": {"gradient": {}, "permutation": {}, "lime": {}, "shapley": SAMPLED},
            },
            note="few rows and few background rows for all its members, because of the Shapley values among them",
        ),
    ),
}  # fmt: skip


def score(case: Case, method: str, entry: Entry) -> Scores:
    """Call a method and bring its answer to one number per feature.

    A local answer is summed up as the mean absolute value over rows. With two classes it is that of the difference of
    both classes' values, the attribution of the log-odds, if the method is additive, else the mean over both classes.
    """
    count = {"all": len(case.X), "some": case.sizes.some, "few": case.sizes.few}[entry.rows]
    X, y = case.X.iloc[:count], case.y[:count]
    target = y.astype(np.int64) if case.classify else y
    options = dict(entry.options(case))
    before = case.meter.rows
    started = time.perf_counter()
    explanation = explain(case.model, X, target, method=method, random_state=case.seed, progress=False, **options)
    seconds = time.perf_counter() - started
    rows = explanation.meta.get("model_rows")
    gap = explanation.meta.get("completeness_gap")
    parts = _local(explanation) if explanation.scope == "local" else _global(explanation)
    order = [explanation.names.index(name) for name in case.names]
    placed = {name: array[order] for name, array in parts.items()}
    return Scores(
        values=placed["values"],
        low=placed.get("low"),
        high=placed.get("high"),
        p_values=placed.get("p_values"),
        seconds=seconds,
        model_rows=case.meter.rows - before if rows is None and case.meter.rows > before else rows,
        completeness_gap=float(np.max(gap)) if gap is not None and np.size(gap) else None,
    )


def _local(explanation: Explanation) -> dict[str, Floats]:
    values = explanation.values
    if values.shape[2] == 2 and explanation.additive:
        values = values[:, :, 1:] - values[:, :, :1]
    sizes = np.abs(np.nan_to_num(values)).mean(axis=2)
    mean = sizes.mean(axis=0)
    if len(sizes) < 2:
        return {"values": mean}
    margin = 1.96 * sizes.std(axis=0, ddof=1) / np.sqrt(len(sizes))
    return {"values": mean, "low": mean - margin, "high": mean + margin}


def _global(explanation: Explanation) -> dict[str, Floats]:
    parts = {"values": np.nan_to_num(explanation.values[:, 0])}
    for name, array in (("low", explanation.low), ("high", explanation.high), ("p_values", explanation.p_values)):
        if array is not None and np.isfinite(array[:, 0]).any():
            parts[name] = array[:, 0]
    return parts


def entries() -> list[tuple[str, Entry]]:
    """Return every method of the registry with each way in which it is called."""
    pairs = []
    for method in methods:
        of_method = ENTRIES.get(method, (Entry(method, method.replace("_", " "), ANY, "some"),))
        pairs += [(method, entry) for entry in of_method]
    first = ["permgrad", "permgrad:conditional"]
    return sorted(pairs, key=lambda item: first.index(item[1].name) if item[1].name in first else len(first))


def _contestant(method: str, entry: Entry) -> Contestant:
    return Contestant(
        name=entry.name,
        label=entry.label,
        estimand=entry.estimand,
        kind="ours",
        score=lambda case: score(case, method, entry),
        note=entry.note,
    )


for _method, _entry in entries():
    enrol("tabular", _contestant(_method, _entry))
