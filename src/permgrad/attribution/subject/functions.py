"""A function of images or other tensors that is no module, read as a network without
layers.

A function of a table is told from one of tensors by what X is: a frame or a matrix is a
table, and all else is tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from permgrad.attribution.model import Model
from permgrad.attribution.subject.calls import find_call, fitted_names
from permgrad.base.arrays import Array
from permgrad.base.checks import as_numbers
from permgrad.base.errors import InputError
from permgrad.base.late import is_frame, is_series

#: Dimensions of a table.
_MATRIX = 2
#: What helps where a function returns no numbers.
_NUMBERS = "Return a tensor or an array of numbers, a row for each row"


class FunctionOfTensors(nn.Module):
    """A function as a module: it gets rows in the user's own form.

    Args:
        function: it takes rows as the user would pass them, and returns tensors or
            arrays ``(rows, *)``, or a dict, list or tuple of such.
        named: what messages call it.
    """

    #: that in which arrays of NumPy are read: what the user passes is not rounded
    precision = torch.float64
    #: arrays and frames go to it as such, and not as tensors
    takes_arrays = True

    def __init__(self, function: Callable[..., Any], named: str) -> None:
        super().__init__()
        self.named = named
        owner = getattr(function, "__self__", None)
        if isinstance(owner, nn.Module):  # whose mode and state are restored, too
            self.owner = owner
        self.forward = _Called(function)


class _Called:
    """A function whose returned arrays become tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__signature__ = _signature_of(function)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return tree_map(_as_tensor, _as_one(self.function(*arguments, **named)))


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature, that of one argument where Python knows none."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # compiled functions
        parameter_kind = inspect.Parameter.POSITIONAL_ONLY
        return inspect.Signature([inspect.Parameter("x", parameter_kind)])


def _as_one(returned: Any) -> Any:
    """Return lists of numbers, frames and columns as arrays, and all else as it is."""
    if is_frame(returned) or is_series(returned):
        return returned.to_numpy()
    cells = (int, float, str, np.generic)
    first = returned
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if isinstance(returned, list) and isinstance(first, cells):
        return np.asarray(returned)
    return returned


def _as_tensor(value: Any) -> Any:
    """Return numbers of a library as a tensor, apart from the user's memory."""
    if value is None or isinstance(value, Tensor):
        return value
    array: Array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        array = as_numbers("What the function returns", array, _NUMBERS, "PG032")
    return torch.from_numpy(np.array(array))


def no_network(method: str, named: str) -> InputError:
    """Return the error of a method that reads slopes or layers, which a function
    lacks.
    """
    problem = f"method={method!r} needs the gradient of a torch network, got a {named}"
    hint = "Choose 'permgrad', 'permutation', 'ablation', 'shapley' or 'lime'"
    return InputError(problem, hint=hint, code="PG034")


# ---- what is a table, and what a function of tensors ---------------------------------
def is_table(X: Any) -> bool:
    """Return whether rows are a table, of at most two dimensions, or else tensors."""
    if isinstance(X, Mapping) or hasattr(X, "_fields"):
        return False
    first = X
    depth = 0
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
        depth += 1
    return depth + len(getattr(first, "shape", ())) <= _MATRIX


def is_of_columns(model: Any) -> bool:
    """Return whether a model was fitted on the columns of a table, whatever X is."""
    owner = getattr(model, "__self__", model)
    fitted = hasattr(owner, "of_encoded") or hasattr(owner, "n_features_in_")
    return fitted or bool(fitted_names(model))


def is_exported_program(model: Any) -> bool:
    """Return whether a model is what ``torch.export.export`` returns."""
    model_class = type(model)
    return (model_class.__module__, model_class.__name__) == (
        "torch.export.exported_program",
        "ExportedProgram",
    )


def as_network(model: Model, X: Any) -> Model:
    """Return a model that is a network: of a function of tensors, or an exported
    program.

    Any other model is returned as it is.

    Raises:
        InputError: the model predicts labels of images, and no numbers.

    Args:
        model: The user's.
        X: The rows explained, in the user's form.
    """
    inside = model.model
    if isinstance(inside, nn.Module) or inside is None:
        return model
    exported = is_exported_program(inside)
    if not exported and (X is None or is_table(X) or is_of_columns(inside)):
        return model
    if "as network" not in model.found:
        if exported:
            network = _of_program(model)
        else:
            network = _of_function(model)
        model.found["as network"] = network
    network_model: Model = model.found["as network"]
    return network_model


def _of_program(model: Model) -> Model:
    return replace(model, model=model.model.module())


def _of_function(model: Model) -> Model:
    """Return a function of tensors as a network, with what is known of its outputs."""
    function_call = find_call(model.model)
    named = type(model.model).__name__
    if function_call.one_hot:
        problem = f"The {named} predicts labels, and X is no table"
        hint = "Pass a function of X that returns a probability for each class"
        raise InputError(problem, hint=hint, code="PG031")
    output_facts: dict[str, Any] = {
        "task": model.task or function_call.task,
        "returns": model.returns or function_call.kind,
    }
    return replace(
        model,
        **output_facts,
        model=FunctionOfTensors(function_call.function, named),
        class_names=function_call.classes
        if model.class_names is None
        else model.class_names,
    )
