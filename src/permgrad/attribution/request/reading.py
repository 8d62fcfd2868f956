"""``build_request`` reads a call of ``pg.explain``: its model, rows and features, what
is measured of a row, and which rows count together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from permgrad.attribution.request.arguments import REPEATS, Arguments
from permgrad.attribution.request.asked_outputs import AskedOutputs, read_outputs
from permgrad.attribution.request.measured_rows import read_measured
from permgrad.attribution.request.method_call import MethodCall, fields_of, read_call
from permgrad.attribution.request.method_registry import Method
from permgrad.attribution.request.read_estimator import read_estimator
from permgrad.attribution.request.read_network import read_network
from permgrad.attribution.request.read_predictor import read_predictor
from permgrad.attribution.request.related_rows import read_row_weights
from permgrad.attribution.request.request import Request
from permgrad.attribution.request.takes import kind_of_model
from permgrad.attribution.scopes import LOCAL
from permgrad.base.random import resolve_seed

#: What reads the model of a call, its rows and its features, by ``takes.MODELS``.
_READERS = {
    "network": read_network,
    "estimator": read_estimator,
    "predictor": read_predictor,
}


def build_request(
    arguments: Arguments,
    chosen_method: Method | None,
    name: str,
    *,
    caller_name: str = "",
    decided: bool = True,
) -> Request:
    """Check and resolve every argument of a call.

    Args:
        arguments: The user's.
        chosen_method: The method. None: what is asked needs none.
        name: What messages call the method.
        caller_name: Who asks, one of ``takes.CALLERS``, empty for ``pg.explain``.
        decided: Whether the share of errors is that of the classes a model decides for.

    Raises:
        InputError: Arguments do not fit each other, the model or the rows.
    """
    call = read_call(arguments, chosen_method, name, caller_name)
    read = _READERS[kind_of_model(call.arguments.model.model)](call)
    count = len(read.explained.inputs[0])
    requested = read_outputs(call, read.explained.subject, count, decided=decided)
    if requested.row_target is not None and call.may_be_by_row:
        by_row = replace(requested.arguments, scope=LOCAL)
        return build_request(by_row, chosen_method, name, decided=decided)
    call.tell_of_unread()
    measured = read_measured(call, read.explained, requested)
    draws = _draws(call.arguments)
    weights = read_row_weights(call.arguments, count)
    return Request(
        subject=measured.rows.subject,
        inputs=measured.rows.inputs,
        donors=measured.rows.donors,
        space=measured.rows.space,
        shapes=measured.rows.shapes,
        background_kind=read.background.kind,
        drawn_from=read.background.drawn_from,
        compared=read.background.compared,
        as_one=read.as_one,
        raw=read.raw,
        scope=call.scope,
        scale=requested.scale,
        scale_reason=_scale_reason(call, requested),
        targets=measured.targets,
        row_target=measured.row_target,
        loss=measured.loss,
        y=measured.y,
        classes=measured.classes,
        labels=measured.labels,
        positive=measured.positive,
        positive_by_y=measured.positive_by_y,
        sample_weight=weights.sample_weight,
        units=weights.units,
        found=call.arguments.model.found,
        **draws,
        **fields_of(chosen_method, call.options),
    )


def _scale_reason(call: MethodCall, requested: AskedOutputs) -> str:
    """Return why the method explains on the scale that it chose, if it did."""
    if requested.arguments.scale != "auto" or call.method is None:
        return ""
    return call.method.scale_reason


def _draws(arguments: Arguments) -> dict[str, Any]:
    """Return the fields of a request that are as the user says: how much is drawn, and
    how it is shown.
    """
    automatic = isinstance(arguments.n_repeats, str)
    if automatic:
        n_repeats = REPEATS
    else:
        n_repeats = int(arguments.n_repeats)
    return {
        "row_offset": arguments.row_offset or 0,
        "confidence": float(arguments.confidence),
        "n_repeats": n_repeats,
        "automatic": automatic,
        "seed": resolve_seed(arguments.random_state),
        "batch_size": arguments.model.batch_size,
        "level": arguments.level,
        "scoring": arguments.scoring,
        "progress": arguments.progress,
    }
