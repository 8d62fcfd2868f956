"""How permgrad's own methods and other packages' become contestants of a suite."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from permgrad.attribution import methods
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.base.arrays import Floats
from permgrad_benchmark.contestants import Contestant, Scores, enrol
from permgrad_benchmark.records import ANY


@dataclass(frozen=True)
class Entry:
    """One way to call a method: rows by what one costs, and arguments of ``pg.explain`` from the case.

    ``loss`` is a classification loss against the labels, for suites whose games are on the output. ``note`` is what a
    reader must know.
    """

    name: str
    label: str
    estimand: str
    rows: Literal["all", "some", "few"]
    options: Callable[[Any], Mapping[str, Any]] = field(default=lambda _: {})
    loss: str | None = None
    note: str = ""


def enrol_methods(
    suite: str, entries: Mapping[str, Sequence[Entry]], score: Callable[[Any, str, Entry], Scores]
) -> None:
    """Enrol every method of the registry: as its entries say, or in its defaults and without an estimand."""
    for method in sorted(methods, key=lambda name: name != "permgrad"):
        for entry in entries.get(method, (Entry(method, method.replace("_", " "), ANY, "some"),)):

            def run(case: Any, method: str = method, entry: Entry = entry) -> Scores:
                return score(case, method, entry)

            enrol(suite, Contestant(entry.name, entry.label, entry.estimand, "ours", run, note=entry.note))


def timed_explanation(model: Any, rows: Any, y: Any, **arguments: Any) -> tuple[Explanation, dict[str, Any]]:
    """Return an explanation, and the cost and gap of it as fields of ``Scores``."""
    started = time.perf_counter()
    explanation = explain(model, rows, y, progress=False, **arguments)
    seconds = time.perf_counter() - started
    gap = explanation.meta.get("completeness_gap")
    return explanation, {
        "seconds": seconds,
        "model_rows": explanation.meta.get("model_rows"),
        "completeness_gap": float(np.max(gap)) if gap is not None and np.size(gap) else None,
    }


def enrol_peer(
    suite: str,
    name: str,
    label: str,
    estimand: str,
    work: Callable[[Any], Floats | Scores],
    *,
    needs: tuple[str, ...],
    note: str = "",
) -> None:
    """Enrol another package's method: it gives importances or scores, and is timed, metered and kept apart."""

    def run(case: Any) -> Scores:
        before, started = case.meter.rows, time.perf_counter()
        with case.other_packages(name):
            answer = work(case)
        seconds = time.perf_counter() - started
        scores = answer if isinstance(answer, Scores) else Scores(np.asarray(answer, dtype=np.float64))
        return replace(scores, seconds=seconds, model_rows=case.meter.rows - before)

    enrol(suite, Contestant(name, label, estimand, "peer", run, needs, note))
