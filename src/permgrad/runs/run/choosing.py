"""Which model a run trains: ``--model``.

Nothing here loads torch before a model is fitted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.base.errors import Fault, InputError, error_in_words, refusing, turned
from permgrad.evaluation.baselines.fitting import (
    check_savable,
    check_skops,
    read_settings,
    try_settings,
)
from permgrad.models.onnx_model import check_onnx, read_onnx
from permgrad.runs.options import is_file

if TYPE_CHECKING:
    from permgrad.runs.requests import RunRequest


def check_model(request: RunRequest) -> None:
    """Refuse a model that a run cannot train, and options that do not apply to it."""
    model_name = request.model
    if request.preset.endswith(".json") and model_name != "auto":
        try_settings(
            read_settings(request.preset, model_name), model_name, request.preset
        )
    elif request.preset != "default":
        problem = (
            f"--preset {request.preset} is for permgrad's network, and --model "
            f"is {model_name}"
        )
        raise InputError(problem, hint="Leave one of them out.", code="PG006")
    if is_file(model_name):
        _check_file(request)
    elif ":" in model_name:
        check_skops(model_name)
        estimator_of(model_name)
    elif model_name != "auto":
        check_savable(model_name)


@refusing
def _check_file(request: RunRequest) -> Iterator[Fault]:
    """Refuse a file that holds no model that can be read."""
    model_name = request.model
    if request.refits is not None:
        problem = f"--refits fits the model again, and {model_name} is fitted already"
        yield problem, "Leave it out.", "PG006"
    check_onnx(Path(model_name))
    if not Path(model_name).is_file():
        yield (
            f"--model {model_name}: there is no such file",
            "Correct the path.",
            "PG010",
        )
    read_onnx(model_name)


@cache
def estimator_of(name: str) -> Any:
    """Return the unfitted estimator that ``module:function`` returns, also in a
    ``pg.Model``.

    The module may lie in this folder.

    Raises:
        InputError: there is no such module or function, it fails, or it returns
            something else.
    """
    module, _, function = name.partition(":")
    working_folder = str(Path.cwd())
    sys.path.insert(0, working_folder)

    def said(error: Exception) -> InputError:
        problem_hint = (
            "Name a function without arguments that returns an unfitted "
            "estimator, as module:function."
        )
        if isinstance(error, ModuleNotFoundError):
            problem_hint = f"Start permgrad where {module}.py is, or install it."
        return InputError(
            f"--model {name}: {error_in_words(error)}", hint=problem_hint, code="PG031"
        )

    try:
        with turned(said):
            made_estimator = getattr(import_module(module), function)()
    finally:
        sys.path.remove(working_folder)
    return _unfitted(name, made_estimator)


def _unfitted(name: str, made_estimator: Any) -> Any:
    """Return the estimator that a user's function has made, also in a ``pg.Model``."""
    from permgrad.attribution.model import Model, described  # which loads torch

    if isinstance(made_estimator, Model):
        estimator = made_estimator.model
    else:
        estimator = made_estimator
    if isinstance(made_estimator, Model) and (
        model_options := described(made_estimator)
    ):
        problem = (
            f"--model {name} returns a pg.Model with "
            f"{', '.join(f'{option_name}=' for option_name in model_options)}"
        )
        problem_hint = (
            "Of a run its options say this: return the estimator, and pass "
            "for example --task or --positive."
        )
        raise InputError(problem, hint=problem_hint, code="PG031")
    lacking = []
    for method in ("fit", "predict"):
        if not hasattr(estimator, method):
            lacking.append(method)
    if lacking or isinstance(estimator, type):
        if isinstance(estimator, type):
            missing_words = "a class"
        else:
            missing_words = f"no {' and no '.join(lacking)}"
        if isinstance(estimator, type):
            return_words = "returns"
        else:
            return_words = f"returns a {type(estimator).__name__}, which has"
        problem_hint = "Return an estimator of scikit-learn's kind, such as a pipeline."
        raise InputError(
            f"--model {name} {return_words} {missing_words}",
            hint=problem_hint,
            code="PG031",
        )
    return estimator


def trusted(request: RunRequest) -> list[str]:
    """Return the types of the user's estimator, which a run that resumes may load
    again.
    """
    if ":" not in request.model or is_file(request.model):
        return []
    from skops import io

    return list(io.get_untrusted_types(data=io.dumps(estimator_of(request.model))))
