"""What must hold of any network: it is refused in one sentence, or explained rightly,
and left as it was.

Used by the quick set in the tests and by the long run,
``verification/verify_hostile.py``.
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
from replicates import twins_of
from untouched import state_of

import permgrad as pg
from permgrad.base.errors import PermgradError

#: Float32 networks against the slow recomputation, and one batch size against another,
#: as a share of the largest value.
TOLERANCE = 2e-4
HALF_TOLERANCE = 0.1
#: Said of a network whose rows get other outputs when they are asked again.
NAMED = ("different outputs each time", "the other rows of the batch")


def check_network(case: Case) -> str:
    """Explain a case; return "explained", "warned of …", or the refusal.

    The network, its rows and the process stay as they were; an answer is finite, whole,
    the same in batches of another size and that of the slow twin; a network whose rows
    depend on chance or on their neighbours is refused, or said to.
    """
    before = state_of(case.net, [case.inputs, case.background])
    warning_texts: list[str] = []
    try:
        explanation = explain(case, warning_texts)
    except PermgradError as error:
        _unchanged(case, before)
        return _refused(case, error)
    _unchanged(case, before)
    holds(case.must != "refuse" or _saturated(case), "it must be refused")
    _whole(case, explanation)
    if any(name in words for words in warning_texts for name in NAMED):
        return "warned of chance or neighbours"
    holds(
        case.rowwise or not _mixes(case),
        "rows that depend on chance or on their neighbours must be refused or named",
    )
    _other_batches(case, explanation)
    if case.twins:
        _twin(case, explanation, warning_texts)
    return "explained"


def _saturated(case: Case) -> bool:
    """Return whether outputs are infinite and what is explained of them is not:
    infinite logits are probabilities.
    """
    if case.options.get("output") != "probability" or case.last != "logits":
        return False
    outputs = Twin(case).base
    return outputs.shape[1] == 1 and not np.isnan(outputs).any()


def _mixes(case: Case) -> bool:
    """Return whether chance or neighbours change any output: a network may be deaf to
    the part that they get into.
    """
    twin = Twin(case)
    seen_outputs = [twin.predict(twin.rows), twin.predict(twin.rows)]
    with torch.no_grad():
        orders = [
            torch.roll(torch.arange(twin.count), turn) for turn in range(twin.count)
        ]
        for order in orders:
            returned = case.net(
                *(input_tensor[order].clone() for input_tensor in twin.rows)
            )
            seen_outputs.append(
                case.read(returned)
                .detach()
                .double()
                .reshape(twin.count, -1)[order.argsort()]
                .numpy()
            )
    rounding = 1e-6 * float(np.nanmax(np.abs(seen_outputs[0]), initial=0.0))
    return not all(
        np.allclose(
            seen_outputs[0], outputs_again, rtol=0, atol=rounding, equal_nan=True
        )
        for outputs_again in seen_outputs
    )


def explain(
    case: Case, warning_texts: list[str], **changed_options: Any
) -> pg.Explanation:
    """Explain, and keep what was warned of."""
    options = {**case.options, **changed_options}
    level = options.pop("level")
    scale = options.pop("output", "logit")
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
            warning_texts += [str(warning.message) for warning in caught]
            strange = [
                warning
                for warning in caught
                if not issubclass(warning.category, (pg.PermgradWarning, *_THEIRS))
            ]
            if strange:
                raise AssertionError(
                    f"a dependency's warning: {strange[0].category.__name__}: "
                    f"{strange[0].message}"
                )


#: Of torch's own making, about the user's own code.
_THEIRS = (DeprecationWarning, FutureWarning)


def _unchanged(case: Case, before: dict[str, Any]) -> None:
    after = state_of(case.net, [case.inputs, case.background])
    for name, value in before.items():
        if case.fills and name in ("hooks", "weights"):
            continue
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


def _whole(case: Case, explanation: pg.Explanation) -> None:
    """Finite numbers of the right shape; NaN only for classes without rows."""
    rows = len(case.tensors[0])
    shape = (len(explanation.names), len(explanation.outputs))
    holds(
        explanation.values.shape
        == ((rows, *shape) if explanation.scope == "local" else shape),
        "one value for each player and output",
    )
    holds(
        len(set(explanation.names))
        == len(explanation.names)
        == len(explanation.modality),
        "players have different names",
    )
    columns = explanation.values.reshape(-1, shape[1])
    for output_index, output in enumerate(explanation.outputs):
        output_values = columns[:, output_index]
        without = (
            explanation.scope == "global"
            and output != "all"
            and bool(np.isnan(output_values).all())
        )
        holds(
            without or np.isfinite(output_values).all(),
            f"values of output {output!r} are finite",
        )
        if without and case.twins:
            classes = Twin(case).classes()
            holds(
                classes is not None
                and output not in {str(class_label) for class_label in classes},
                f"class {output!r} has rows",
            )
    if explanation.low is not None and explanation.p_values is not None:
        defined_mask = ~np.isnan(explanation.low)
        holds(
            (explanation.low[defined_mask] <= explanation.high[defined_mask]).all(),
            "an interval's low end is below its high end",
        )
        holds(
            ((explanation.p_values >= 0) & (explanation.p_values <= 1))[
                ~np.isnan(explanation.p_values)
            ].all(),
            "p-values lie in 0 … 1",
        )
    explanation.to_frame()


def _other_batches(case: Case, explanation: pg.Explanation) -> None:
    if case.own_error:
        return
    again = explain(case, [], batch_size=3)
    _same(explanation.values, again.values, case, "in batches of another size")


def _same(
    computed_values: Any,
    expected_values: Any,
    case: Case,
    what: str,
    tolerance: float | None = None,
) -> None:
    holds(
        computed_values.shape == expected_values.shape,
        f"{what} the values have the same shape",
    )
    holds(
        (np.isnan(computed_values) == np.isnan(expected_values)).all(),
        f"{what} the same values are missing",
    )
    if not np.isfinite(expected_values).any():
        return
    half = (
        any(
            "16" in str(tensor.dtype)
            for tensor in [*case.tensors, *case.net.parameters()]
        )
        or "half" in case.kind
    )
    share = tolerance or (HALF_TOLERANCE if half else TOLERANCE)
    scale = max(float(np.nanmax(np.abs(expected_values))), 1e-300)
    # Effects are differences: what rounding does to them is a share of what they are
    # differences of.
    small = case.kind == "outputs_of_any_size" and case.last in ("logits", "values")
    size = scale if small else max(scale, _size(case))
    gap = float(np.nanmax(np.abs(computed_values - expected_values)))
    holds(
        gap <= share * size,
        f"{what} values differ by {gap:.3g} where the largest is {scale:.3g}",
    )


def _size(case: Case) -> float:
    """Return the size of the network's numbers."""
    if not case.twins:
        return 1.0
    return max(1.0, float(np.abs(Twin(case).base).max()))


# ---- slow twins ----------------------------------------------------------------------


def _twin(case: Case, explanation: pg.Explanation, warning_texts: list[str]) -> None:
    """Compare with the method written again slowly."""
    if case.options.get("layer") is not None:
        return
    twin = Twin(case)
    case.options["scope"] = explanation.scope
    names = list(twin.players)
    if explanation.method != "gradcam":
        holds(
            list(explanation.names) == names,
            f"the players are {names}, not {list(explanation.names)}",
        )
    if explanation.predictions is not None:
        _same(explanation.predictions, twin.readout(twin.base), case, "predictions:")
    expected_values = _slow(twin, explanation)
    if expected_values is not None:
        _same(
            explanation.values,
            expected_values,
            case,
            f"beside the slow {explanation.method}",
        )
    if (
        explanation.method in ("integrated_gradients", "deeplift", "shapley")
        and explanation.predictions is not None
    ):
        _complete(case, explanation, warning_texts)
    if explanation.method == "aggregate":
        for name, shares in explanation.parts.items():
            sums = shares.sum(axis=0)
            holds(
                (np.isclose(sums, 1) | (sums == 0) | np.isnan(sums)).all(),
                f"shares of {name} add up to 1",
            )
        _same(
            explanation.values,
            np.mean(list(explanation.parts.values()), axis=0),
            case,
            "beside the mean of its members",
        )


def _slow(twin: Twin, explanation: pg.Explanation) -> Any:
    """Return the values by the slow twin, or None where it computes none."""
    slow = twins_of(Twin).get(explanation.method)
    return None if slow is None else slow(twin)


def _complete(
    case: Case, explanation: pg.Explanation, warning_texts: list[str]
) -> None:
    """Values add up to the difference from the baseline, unless it is said that they do
    not.
    """
    if any(
        phrase in words
        for words in warning_texts
        for phrase in ("add up", "settle", "not the slopes of its outputs")
    ):
        return
    missing = explanation.values.sum(axis=1) - (
        explanation.predictions - np.asarray(explanation.base_values)
    )
    spread = np.maximum(
        np.asarray(explanation.meta["output_range"]),
        np.abs(explanation.predictions).max(),
    )
    holds(
        (np.abs(missing) <= 0.02 * spread).all(),
        f"values add up, but {np.abs(missing).max():.3g} is missing",
    )
