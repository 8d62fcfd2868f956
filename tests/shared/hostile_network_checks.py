"""What must hold of any network: it is refused in one sentence, or explained rightly, and left as it was.

Used by the quick set in the tests and by the long run, ``verification/verify_hostile.py``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from explaining import explain_with
from hostile_checks import holds, refusal
from network_cases import Case
from network_twins import Twin
from untouched import state_of

import permgrad as pg
from permgrad.base.errors import PermgradError

#: Float32 networks against the slow recomputation, and one batch size against another, as a share of the largest value.
TOLERANCE, HALF_TOLERANCE = 2e-4, 0.1
#: Said of a network whose rows get other outputs when they are asked again.
NAMED = ("different outputs each time", "the other rows of the batch")


def check_network(case: Case) -> str:
    """Explain a case; return "explained", "warned of …", or the refusal.

    The network, its rows and the process stay as they were; an answer is finite, whole, the same in batches of another
    size and that of the slow twin; a network whose rows depend on chance or on their neighbours is refused, or said to.
    """
    before = state_of(case.net, [case.inputs, case.background])
    said: list[str] = []
    try:
        found = explain(case, said)
    except PermgradError as error:
        _unchanged(case, before)
        return _refused(case, error)
    _unchanged(case, before)
    holds(case.must != "refuse" or _saturated(case), "it must be refused")
    _whole(case, found)
    if any(name in words for words in said for name in NAMED):
        return "warned of chance or neighbours"
    holds(
        case.rowwise or not _mixes(case),
        "rows that depend on chance or on their neighbours must be refused or named",
    )
    _other_batches(case, found)
    if case.twins:
        _twin(case, found, said)
    return "explained"


def _saturated(case: Case) -> bool:
    """Return whether outputs are infinite and what is explained of them is not: infinite logits are probabilities."""
    if case.options.get("output") != "probability" or case.last != "logits":
        return False
    outputs = Twin(case).base
    return outputs.shape[1] == 1 and not np.isnan(outputs).any()


def _mixes(case: Case) -> bool:
    """Return whether chance or neighbours change any output: a network may be deaf to the part that they get into."""
    twin = Twin(case)
    seen = [twin.predict(twin.rows), twin.predict(twin.rows)]
    with torch.no_grad():
        orders = [
            torch.roll(torch.arange(twin.count), turn) for turn in range(twin.count)
        ]
        for order in orders:
            returned = case.net(*(own[order].clone() for own in twin.rows))
            seen.append(
                case.read(returned)
                .detach()
                .double()
                .reshape(twin.count, -1)[order.argsort()]
                .numpy()
            )
    rounding = 1e-6 * float(np.nanmax(np.abs(seen[0]), initial=0.0))
    return not all(
        np.allclose(seen[0], own, rtol=0, atol=rounding, equal_nan=True) for own in seen
    )


def explain(case: Case, said: list[str], **others: Any) -> pg.Explanation:
    """Explain, and keep what was warned of."""
    options = {**case.options, **others}
    level, scale = options.pop("level"), options.pop("output", "logit")
    options["groups"] = {"modality": "modality", "column": {}}.get(
        level, options.get("groups")
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return explain_with(
                case.net,
                case.inputs,
                case.y,
                background=case.background,
                scale=scale,
                **options,
            )
        finally:
            said += [str(one.message) for one in caught]
            strange = [
                one
                for one in caught
                if not issubclass(one.category, (pg.PermgradWarning, *_THEIRS))
            ]
            if strange:
                raise AssertionError(
                    f"a dependency's warning: {strange[0].category.__name__}: {strange[0].message}"
                )


#: Of torch's own making, about the user's own code.
_THEIRS = (DeprecationWarning, FutureWarning)


def _unchanged(case: Case, before: dict[str, Any]) -> None:
    after = state_of(case.net, [case.inputs, case.background])
    for name, value in before.items():
        holds(after[name] == value, f"{name} must stay as they were")


def _refused(case: Case, error: PermgradError) -> str:
    text = refusal(error)
    holds(case.must != "explain", f"it must be explained, but: {text!r}")
    if case.own_error and "raised" in text:
        holds(
            error.__cause__ is not None,
            f"the user's own error must be the cause of: {text!r}",
        )
    return text


def _whole(case: Case, found: pg.Explanation) -> None:
    """Finite numbers of the right shape; NaN only for classes without rows."""
    rows = len(case.tensors[0])
    shape = (len(found.names), len(found.outputs))
    holds(
        found.values.shape == ((rows, *shape) if found.scope == "local" else shape),
        "one value for each player and output",
    )
    holds(
        len(set(found.names)) == len(found.names) == len(found.modality),
        "players have different names",
    )
    columns = found.values.reshape(-1, shape[1])
    for place, output in enumerate(found.outputs):
        own = columns[:, place]
        without = (
            found.scope == "global" and output != "all" and bool(np.isnan(own).all())
        )
        holds(
            without or np.isfinite(own).all(), f"values of output {output!r} are finite"
        )
        if without and case.twins:
            classes = Twin(case).classes()
            holds(
                classes is not None and output not in {str(own) for own in classes},
                f"class {output!r} has rows",
            )
    if found.low is not None and found.p_values is not None:
        known = ~np.isnan(found.low)
        holds(
            (found.low[known] <= found.high[known]).all(),
            "an interval's low end is below its high end",
        )
        holds(
            ((found.p_values >= 0) & (found.p_values <= 1))[
                ~np.isnan(found.p_values)
            ].all(),
            "p-values lie in 0 … 1",
        )
    found.to_frame()


def _other_batches(case: Case, found: pg.Explanation) -> None:
    if case.own_error:
        return
    again = explain(case, [], batch_size=3)
    _same(found.values, again.values, case, "in batches of another size")


def _same(
    found: Any, wanted: Any, case: Case, what: str, tolerance: float | None = None
) -> None:
    holds(found.shape == wanted.shape, f"{what} the values have the same shape")
    holds(
        (np.isnan(found) == np.isnan(wanted)).all(),
        f"{what} the same values are missing",
    )
    if not np.isfinite(wanted).any():
        return
    half = (
        any("16" in str(own.dtype) for own in [*case.tensors, *case.net.parameters()])
        or "half" in case.kind
    )
    share = tolerance or (HALF_TOLERANCE if half else TOLERANCE)
    scale = max(float(np.nanmax(np.abs(wanted))), 1e-300)
    # Effects are differences: what rounding does to them is a share of what they are differences of.
    small = case.kind == "outputs_of_any_size" and case.last in ("logits", "values")
    size = scale if small else max(scale, _size(case))
    gap = float(np.nanmax(np.abs(found - wanted)))
    holds(
        gap <= share * size,
        f"{what} values differ by {gap:.3g} where the largest is {scale:.3g}",
    )


def _size(case: Case) -> float:
    """Return the size of the network's numbers."""
    if not case.twins:
        return 1.0
    return max(1.0, float(np.abs(Twin(case).base).max()))


# ---- slow twins ------------------------------------------------------------------------------------------------------


def _twin(case: Case, found: pg.Explanation, said: list[str]) -> None:
    """Compare with the method written again slowly."""
    if case.options.get("layer") is not None:
        return
    twin = Twin(case)
    case.options["scope"] = found.scope
    names = list(twin.players)
    if found.method != "gradcam":
        holds(
            list(found.names) == names,
            f"the players are {names}, not {list(found.names)}",
        )
    if found.predictions is not None:
        _same(found.predictions, twin.readout(twin.base), case, "predictions:")
    wanted = _slow(case, twin, found)
    if wanted is not None:
        _same(found.values, wanted, case, f"beside the slow {found.method}")
    if (
        found.method in ("integrated_gradients", "deeplift", "shapley")
        and found.predictions is not None
    ):
        _complete(case, found, said)
    if found.method == "aggregate":
        for name, shares in found.parts.items():
            sums = shares.sum(axis=0)
            holds(
                (np.isclose(sums, 1) | (sums == 0) | np.isnan(sums)).all(),
                f"shares of {name} add up to 1",
            )
        _same(
            found.values,
            np.mean(list(found.parts.values()), axis=0),
            case,
            "beside the mean of its members",
        )


def _slow(case: Case, twin: Twin, found: pg.Explanation) -> Any:
    whole = case.options["level"] == "modality" and len(twin.players) > 1
    if found.method == "permutation" or (found.method == "permgrad" and not whole):
        return twin.permutation()
    if found.method == "permgrad":
        return twin.modalities()
    if found.method == "ablation":
        return twin.ablation()
    if found.method == "gradient":
        return twin.gradient()
    if (
        found.method == "shapley"
        and found.scope == "local"
        and len(twin.players) <= case.options["exact"]
    ):
        return (
            twin.shapley()
            if case.options["references"] >= len(twin.donors[0])
            else None
        )
    return None


def _complete(case: Case, found: pg.Explanation, said: list[str]) -> None:
    """Values add up to the difference from the baseline, unless it is said that they do not."""
    if any(
        some in words
        for words in said
        for some in ("add up", "settle", "not the slopes of its outputs")
    ):
        return
    missing = found.values.sum(axis=1) - (
        found.predictions - np.asarray(found.base_values)
    )
    spread = np.maximum(
        np.asarray(found.meta["output_range"]), np.abs(found.predictions).max()
    )
    holds(
        (np.abs(missing) <= 0.02 * spread).all(),
        f"values add up, but {np.abs(missing).max():.3g} is missing",
    )
