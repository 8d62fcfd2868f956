"""``pg.explain`` with options in one dict, for tests that vary them: parted as users
say them.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

import permgrad as pg
from permgrad.attribution.explain import answer, find_method
from permgrad.attribution.explain_refits import refit
from permgrad.attribution.method.captum import CaptumMethod
from permgrad.attribution.parts.engines import LocalEngine
from permgrad.attribution.parts.plan import make_plan
from permgrad.attribution.parts.stream import stream
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.request import Configured, configured
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.takes import is_estimator
from permgrad.base.arrays import Integers

#: Arguments of ``pg.explain`` and what ``pg.Model`` says.
ARGUMENTS = set(inspect.signature(pg.explain).parameters)
#: Further arguments of ``pg.explain_stream``.
_OF_FILES: dict[str, Any] = {"out": None, "rows_per_part": "auto", "engine": None}
READING = set(inspect.signature(pg.Model).parameters) - {"model"}


def explain_with(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    row_offset: int | None = None,
    engine: Any = None,
    **options: Any,
) -> pg.Explanation:
    """Explain a model by arguments of ``pg.explain``, of ``pg.Model``, and options or
    inner settings of the method.

    ``row_offset``: the rows are a part of a longer table. ``engine``: of
    ``pg.explain_stream``. Outputs of networks are explained as they are returned, which
    slow twins compute, unless ``scale`` says otherwise.
    """
    if isinstance(model, nn.Module) or is_estimator(model):
        options = {"scale": "raw", **options}
    if isinstance(X, (str, os.PathLike)):
        return stream_with(model, X, y, engine=engine, **options)
    model, arguments = parted(model, options)
    if engine is not None:
        return pg.explain_stream(model, X, y, engine=engine, **arguments)
    if row_offset is not None:
        return answer(Arguments(model, X, y, row_offset=row_offset, **arguments))
    return pg.explain(model, X, y, **arguments)


def parted(model: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the model as options describe it, and the arguments of ``pg.explain`` with
    the method's own in it.
    """
    method: Any = options.get("method", "permgrad")
    method_object = None if isinstance(method, Mapping) else find_method(method)[0]
    method_options = (
        set()
        if not isinstance(method_object, Configured)
        else {*method_object.options, *method_object.inner}
    )
    read = {
        name: value
        for name, value in options.items()
        if name in READING and name not in method_options
    }
    other_options = {name: value for name, value in options.items() if name not in read}
    of_method = {
        name: value
        for name, value in other_options.items()
        if name not in ARGUMENTS or name in method_options
    }
    arguments = {
        name: value for name, value in other_options.items() if name not in of_method
    }
    if of_method and isinstance(method_object, CaptumMethod):
        arguments["method"] = (
            method_object.attribution,
            {**method_object.settings(), **of_method},
        )
    elif of_method:
        arguments["method"] = with_settings(method, **of_method)
    if read:
        given_model = model if isinstance(model, pg.Model) else pg.Model(model)
        read_options = {name: getattr(given_model, name) for name in READING}
        model = pg.Model(given_model.model, **{**read_options, **read})
    return model, arguments


def with_settings(method: Any, **settings: Any) -> Any:
    """Return a method with further options, or inner settings."""
    method_object, name = find_method(method)
    assert isinstance(method_object, Configured)
    return configured(name, {**method_object.settings(), **settings})


def stream_with(
    model: Any,
    table: Any,
    y: Any = None,
    *,
    overwrite: bool = False,
    na: Any = (),
    **options: Any,
) -> pg.Explanation:
    """Explain files as ``pg.explain_stream``, with options in one dict, or as the
    command does.
    """
    out, per_part, engine = (
        options.pop(name, usual) for name, usual in _OF_FILES.items()
    )
    model = load_read(model)
    model, arguments = parted(model, options)
    if not overwrite and not na:
        return pg.explain_stream(
            model, table, y, out=out, rows_per_part=per_part, engine=engine, **arguments
        )
    size = None if per_part == "auto" else per_part
    stream_arguments = Arguments(None, None, y, **arguments)
    return stream(
        model,
        table,
        stream_arguments,
        out=out,
        engine=LocalEngine(),
        rows_per_part=size,
        overwrite=overwrite,
        na=na,
    )


def load_read(model: Any) -> Any:
    """Return a model, loaded if it is a folder: what ``pg.Model`` says is said of a
    model.
    """
    return pg.load(model) if isinstance(model, (str, os.PathLike)) else model


def plan_with(model: Any, table: Any, y: Any = None, **options: Any) -> Any:
    """Return the plan of an explanation of files."""
    model, arguments = parted(model, options)
    return make_plan(
        pg.Model(model) if not isinstance(model, pg.Model) else model,
        table,
        Arguments(y=y, **arguments),
    )


def refit_with(
    estimator: Any, X: Any, y: Any, *, row_time: Any, **options: Any
) -> pg.Explanation:
    """Explain a training procedure as a run does, with times of rows."""
    sizes = {
        name: options.pop(name) for name in ("refits", "max_rows") if name in options
    }
    model, arguments = parted(estimator, options)
    refit_arguments = Arguments(model, X, y, row_time=row_time, **arguments)
    return refit(refit_arguments, **{"refits": 10, **sizes})


def donor_rows(
    seed: int, player: str, repeat: int, rows: Integers, donors: int, *, shared: bool
) -> Integers:
    """Return each row's donor where all others lend alike."""
    return Lenders(donors, shared).draw(seed, player, repeat, rows)
