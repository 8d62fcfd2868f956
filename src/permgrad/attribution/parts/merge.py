"""``merge``: from the sums of all parts to the explanation of the whole table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.parts.notes import say_once
from permgrad.attribution.parts.part import (
    BRANCHES,
    GAP,
    PartResult,
    part_name,
    unpack_branches,
    unpack_effects,
)
from permgrad.attribution.parts.plan import StreamPlan
from permgrad.attribution.parts.sums import SummedMoments, TargetSums, ValueSums, merge_all
from permgrad.attribution.replace.branch_weights import weigh_branches
from permgrad.attribution.replace.importance import tabulate
from permgrad.attribution.replace.moments import interval
from permgrad.base.errors import InputError
from permgrad.data.parts.partitions import Part


def merge(plan: StreamPlan, results: Iterable[PartResult]) -> Explanation:
    """Merge the parts of one explanation; one part is held at a time.

    Args:
        plan: the plan that all parts were computed by.
        results: one for each part. In the order of the parts the sums of the same results are identical, in
            whatever order these were computed; in another order they differ by rounding.

    Raises:
        InputError: no row was explained, or a part came twice.
    """
    merged = _Merged(plan)
    for result in results:
        merged.add(result)
    return merged.explanation()


def check_sums(plan: StreamPlan, result: PartResult, part: Part) -> None:
    """Refuse sums, read from a file, that are not those of a part, by taking them in alone.

    Raises:
        ValueError, KeyError, TypeError, IndexError, AttributeError: they are not.
    """
    if result.number != part.number or not 0 <= result.rows <= part.rows or not isinstance(result.seconds, float | int):
        raise ValueError(f"they are of part {result.number!r} with {result.rows!r} rows")
    if not all(isinstance(text, str) for text in result.warnings):
        raise ValueError("they warn of what is no text")
    if result.file is not None and result.file != f"{part_name(part.number)}.parquet":
        raise ValueError(f"they name the file {result.file!r}")
    if any(array.dtype.kind not in "fiu" for array in result.sums.values()):
        raise ValueError("they are no numbers")
    _Merged(plan).add(result)


def _nothing_explained(plan: StreamPlan) -> InputError:
    """Return why there is nothing to explain, where no part had a row for it."""
    if plan.weight is None:
        return InputError("an explanation needs at least one row, however: no part has one; check the table")
    drawn = plan.sample is not None
    return InputError(
        f"sample_weight must be above 0 for some row, however: {plan.weight!r} is 0 in every row "
        f"{'drawn' if drawn else 'explained'}; {'draw more rows' if drawn else 'name another column'}, or leave it out"
    )


class _Merged:
    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self.header: dict[str, Any] | None = None
        self.seen: set[int] = set()
        self.rows, self.seconds, self.gap = 0, 0.0, 0.0
        self.effects: dict[str, SummedMoments] = {}
        self.branches: dict[str, SummedMoments] = {}
        self.target: TargetSums | None = None
        self.values: ValueSums | None = None
        self.said: dict[str, int] = {}

    def add(self, result: PartResult) -> None:
        if result.number in self.seen:
            raise InputError(f"each part counts once, however: part {result.number} came twice; pass each result once")
        self.seen.add(result.number)
        self.seconds += result.seconds
        for text in result.warnings:
            self.said.setdefault(text, result.number)
        if result.header is None:
            return
        self.header = self.header or result.header
        self.rows += result.rows
        sums = result.sums
        if self.plan.scope == "local":
            own = ValueSums(sums["values/count"], sums["values/mean"], sums["values/spread"])
            self.values = own if self.values is None else self.values.merge(own)
            self.gap = max(self.gap, float(sums[GAP][0]))
            return
        merge_all(self.effects, unpack_effects(sums, result.header))
        merge_all(self.branches, unpack_branches(sums))
        if "target/weight" in sums:
            target = TargetSums(sums["target/weight"], sums["target/mean"], sums["target/spread"])
            self.target = target if self.target is None else self.target.merge(target)

    def explanation(self) -> Explanation:
        if self.header is None:
            raise _nothing_explained(self.plan)
        say_once(self.said)
        return self._of_rows(self.header) if self.plan.scope == "local" else self._of_losses(self.header)

    def _meta(self, header: dict[str, Any]) -> dict[str, Any]:
        facts = {"parts": len(self.seen), "sample": self.plan.sample, "table": self.plan.table, "key": self.plan.key}
        return {**header["meta"], "rows_explained": self.rows, "seconds": self.seconds, "streamed": facts}

    def _of_losses(self, header: dict[str, Any]) -> Explanation:
        names, quantities = tuple(header["names"]), header["quantities"]
        everything = tuple(header["all_outputs"])
        mean, std, low, high, p_values = tabulate(
            names, self.effects, everything, header["repeats"], len(quantities), self.plan.arguments["confidence"]
        )
        # The first output stands for all rows; a class may have its name.
        kept = [0, *(1 + everything[1:].index(name) for name in header["outputs"][1:])]
        branches = None
        if self.branches:
            branches = weigh_branches(
                self.branches[BRANCHES],
                header["paths"],
                self.plan.arguments["confidence"],
                "divergence" if self.target is None else "loss",
            )
        played = sum(header["repeats"].values()) * self.rows * header["coalitions"]
        meta = self._meta(header) | {
            "loss_scale": float("nan") if self.target is None else self.target.scale(header["loss"]),
            "model_rows": played,
        }
        return Explanation(
            values=mean[:, kept, 0],
            names=names,
            modality=tuple(header["modality"]),
            outputs=tuple(header["outputs"]),
            method=self.plan.method,
            scope="global",
            std=std[:, kept, 0],
            low=low[:, kept, 0],
            high=high[:, kept, 0],
            p_values=p_values[:, kept, 0],
            parts={name: mean[:, kept, place] for place, name in enumerate(quantities) if place},
            part_std={name: std[:, kept, place] for place, name in enumerate(quantities) if place},
            level=header["level"],
            groups=header["groups"],
            branches=branches,
            meta=meta,
        )

    def _of_rows(self, header: dict[str, Any]) -> Explanation:
        """Return the summary over rows that ``Explanation.to_global("mean_abs")`` gives."""
        assert self.values is not None
        mean, std = self.values.mean, self.values.std()
        low, high, p_values = interval(mean, std, self.rows, float(self.plan.arguments["confidence"]))
        return Explanation(
            values=np.asarray(mean),
            names=tuple(header["names"]),
            modality=tuple(header["modality"]),
            outputs=tuple(header["outputs"]),
            method=self.plan.method,
            scope="global",
            std=std,
            low=low,
            high=high,
            p_values=p_values,
            level=header["level"],
            groups=header["groups"],
            meta=self._meta(header)
            | {"summary": "mean_abs", "rows_summarised": self.rows}
            | ({GAP: self.gap} if GAP in header["meta"] else {}),
        )
