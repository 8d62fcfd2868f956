"""Inputs of any torch network: dict, tuple, list or one table, turned into one tensor per input and back into a call.

Nothing about sizes is typed by hand: names come from the dict's keys or from the forward's parameters, shapes from the
data, and precision from the network's weights where NumPy and pandas leave it open.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.base.errors import InputError

Passing = Literal["keywords", "positions", "whole"]


@dataclass(frozen=True)
class Leaf:
    """One tensor among the inputs: its name, where it sits in the user's structure, and its columns if it was a frame.

    ``loose``: the precision was NumPy's or pandas' choice, not the user's.
    """

    name: str
    place: tuple[Any, ...]
    columns: tuple[str, ...] | None
    loose: bool


@dataclass(frozen=True)
class InputForm:
    """How inputs are laid out for one network, so that other rows (a background) are read in the same way."""

    leaves: tuple[Leaf, ...]  # one for each tensor
    passing: Passing  # as keywords, as positional arguments, or the user's whole structure as one argument
    structure: Any  # the user's structure, with tensors' places left out; what is None in it is passed on as None
    whole: str = ""  # name of the parameter that takes the whole structure, where it is passed so; else empty

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, one for each tensor."""
        return tuple(leaf.name for leaf in self.leaves)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Key or position of each argument, in the order of the user's structure; of those that are None too."""
        return tuple(self.structure if isinstance(self.structure, dict) else range(len(self.structure)))

    def call(self, function: Callable[..., Any], tensors: Sequence[Tensor]) -> Any:
        """Call the network with tensors in the place of the user's inputs."""
        filled = _fill(self.structure, iter(tensors))
        if self.passing == "keywords":
            return function(**filled)
        if self.passing == "whole":
            return function(filled)
        return function(*(filled.values() if isinstance(filled, dict) else filled))

    def read(self, inputs: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Read further rows laid out like those the form was made from."""
        leaves: tuple[Leaf, ...]
        tensors: tuple[Tensor, ...]
        if _is_leaf(inputs):
            tensor, columns, loose = _tensor(inputs, self.names[0], dtype)
            leaves, tensors = (Leaf(self.names[0], (0,), columns, loose),), (tensor,)
        else:
            leaves, tensors, _ = _flatten(inputs, self.names, dtype)
        expected, other = [leaf.place for leaf in self.leaves], [leaf.place for leaf in leaves]
        if len(expected) != len(other) or any(place not in other for place in expected):
            shown = ", ".join(str(leaf.place[0]) for leaf in leaves) or "nothing"
            raise InputError(
                "further rows must be laid out like the inputs, as the same dict, tuple or table "
                f"({', '.join(str(leaf.place[0]) for leaf in self.leaves)}), however: they hold {shown}; pass the same "
                "structure"
            )
        # A dict may name its parts in any order.
        leaves = tuple(leaves[other.index(place)] for place in expected)
        tensors = tuple(tensors[other.index(place)] for place in expected)
        for mine, theirs in zip(self.leaves, leaves, strict=True):
            if mine.columns is not None and theirs.columns is not None and mine.columns != theirs.columns:
                raise InputError(
                    f"further rows of {mine.name!r} must have the columns of the inputs in the same order, however: "
                    f"{list(theirs.columns[:5])} is not {list(mine.columns[:5])}; reorder them"
                )
        if any(tensor.ndim == 0 for tensor in tensors):
            raise InputError(
                "background and baseline rows must have an axis of rows as the inputs have, however: there is a single "
                "number; pass rows like the inputs"
            )
        if len(tensors[0]) == 0:
            raise InputError(
                "background and baseline rows must be at least one, however: there is none; pass rows like the inputs"
            )
        check_rows(self.names, tensors)
        return tensors


def read_forms(module: nn.Module, inputs: Any, dtype: torch.dtype) -> tuple[tuple[InputForm, ...], tuple[Tensor, ...]]:
    """Match inputs to the network's forward."""
    parameters = _parameters(module)
    structured = isinstance(inputs, (Mapping, tuple, list))
    if structured and not _has_values(inputs):
        raise InputError("The inputs hold no tensor, array or table. Pass what the forward takes.")
    if _is_leaf(inputs):
        # A list of numbers is one array.
        form, tensors = _read_single(inputs, parameters, dtype)
        return (form,), tensors
    named = isinstance(inputs, Mapping)
    ways = _ways_of_keys([str(key) for key in inputs], parameters) if named else _ways_of_places(inputs, parameters)
    forms = []
    for way in ways:
        first = parameters[0][0] if way == "whole" else ""
        places = range(len(inputs))
        hint = [f"{first}[{place}]" for place in places] if first else _names_by_position(parameters, len(inputs))
        leaves, tensors, structure = _flatten(inputs, hint, dtype)
        forms.append(InputForm(leaves, way, structure, first))
    names = forms[0].names
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise InputError(f"inputs must have different names, however: {doubled[0]!r} occurs twice; pass a dict")
    check_rows(names, tensors)
    return tuple(forms), tensors


def _read_single(
    inputs: Any, parameters: list[tuple[str, inspect.Parameter]], dtype: torch.dtype
) -> tuple[InputForm, tuple[Tensor, ...]]:
    """Read one tensor, array or frame, the forward's first argument."""
    name = parameters[0][0] if parameters else "input0"
    tensor, columns, loose = _tensor(inputs, name, dtype)
    form = InputForm((Leaf(name, (0,), columns, loose),), "positions", [_Slot])
    check_rows(form.names, (tensor,))
    return form, (tensor,)


def check_rows(names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Refuse inputs of different lengths, without rows, or without a row dimension."""
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.ndim == 0:
            raise InputError(
                f"every input must have one entry per row, however: {name!r} is a single number; pass (rows, …)"
            )
    lengths = {name: len(tensor) for name, tensor in zip(names, tensors, strict=True)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"all inputs must have the same number of rows, however: {listed}; pass the same rows of each")
    if 0 in lengths.values():
        raise InputError("explain needs at least one row, however: inputs has none; pass the rows to explain")


def shapes_in_words(names: Sequence[str], tensors: Sequence[Tensor]) -> str:
    """Return what the network was given, for error messages."""
    return ", ".join(
        f"{name} {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in zip(names, tensors, strict=True)
    )


def in_type_of(name: str, like: Tensor, other: Tensor) -> Tensor:
    """Return further rows in the type of the rows explained; whole numbers are never made by cutting off."""
    if like.is_floating_point() or other.dtype == like.dtype:
        return other.to(like.dtype)
    numbers = other.double() if other.is_floating_point() else other.long()
    low, high = (0, 1) if like.dtype == torch.bool else (torch.iinfo(like.dtype).min, torch.iinfo(like.dtype).max)
    if other.is_floating_point():
        # The largest 64-bit numbers are no doubles; the next power of two is one.
        fits = (numbers >= low) & (numbers < high + 1) & (numbers == numbers.floor())
    else:
        fits = (numbers >= low) & (numbers <= min(high, torch.iinfo(torch.int64).max))
    if not bool(fits.all()):
        kind = str(like.dtype).removeprefix("torch.")
        raise InputError(
            f"further rows of {name!r} must be numbers that the type of the rows explained can hold ({kind}), "
            f"however: they hold {numbers[~fits][0].item():.7g}; pass the rows explained as floats too, or further "
            "rows of whole numbers within that type"
        )
    return other.to(like.dtype)


# ---- the forward's parameters ----------------------------------------------------------------------------------------


def _parameters(module: nn.Module) -> list[tuple[str, inspect.Parameter]]:
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return []
    return [(name, parameter) for name, parameter in signature.parameters.items() if name != "self"]


def _names_by_position(parameters: list[tuple[str, inspect.Parameter]], count: int) -> list[str]:
    """Return names for inputs passed in order; those of ``*inputs`` are numbered."""
    names: list[str] = []
    for name, parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return names + [f"{name}[{index}]" for index in range(count - len(names))]
        names.append(name)
    return names


def _positional(parameters: list[tuple[str, inspect.Parameter]]) -> list[str] | None:
    """Return the names that can be passed by position; None where any number can."""
    if not parameters or any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for _, parameter in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in parameters if parameter.kind in kinds]


def _required(parameters: list[tuple[str, inspect.Parameter]]) -> list[str]:
    """Return the names of parameters that must be passed."""
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in parameters
        if parameter.kind not in any_number and parameter.default is inspect.Parameter.empty
    ]


def _ways_of_places(inputs: Sequence[Any], parameters: list[tuple[str, inspect.Parameter]]) -> tuple[Passing, ...]:
    """Return how a tuple or list may be meant: as arguments, or as the only argument that the forward needs."""
    positional = _positional(parameters)
    if not positional or len(inputs) < 2 or not set(_required(parameters)) <= {positional[0]}:
        return ("positions",)
    return ("whole",) if len(inputs) > len(positional) else ("positions", "whole")


def _ways_of_keys(keys: list[str], parameters: list[tuple[str, inspect.Parameter]]) -> tuple[Passing, ...]:
    """Return how a dict with these keys may be meant."""
    any_keyword = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for _, parameter in parameters)
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [name for name, parameter in parameters if parameter.kind not in any_number]
    required, positional = _required(parameters), _positional(parameters)
    strange = [key for key in keys if key not in names]
    missing = [name for name in required if name not in keys]
    if not missing and (any_keyword or not strange):
        return ("keywords",)
    unknown = len(strange) == len(keys)
    ways: list[Passing] = []
    # forward(batch, y=None): the dict itself is the argument, unless it holds that.
    if positional and set(required) <= {positional[0]} and (unknown or missing):
        ways.append("whole")
    in_order = positional is None or (len(keys) <= len(positional) and set(missing) <= set(positional[: len(keys)]))
    if unknown and in_order:
        ways.append("positions")
    if ways:
        return tuple(ways)
    if not missing:
        raise InputError(f"The forward takes no {', '.join(strange)}, only {', '.join(names)}. Leave that out.")
    if not strange:
        raise InputError(f"The forward also needs {', '.join(missing)}. Add it to the inputs.")
    raise InputError(
        f"The keys of the inputs ({', '.join(keys)}) do not match the forward's parameters "
        f"({', '.join(names) or 'none'}). Rename the keys."
    )


# ---- the user's structure --------------------------------------------------------------------------------------------


class _Slot:
    """Marks a tensor's place in the structure."""


def _is_leaf(value: Any) -> bool:
    """Whether a value is one tensor: a list is, if at any depth it holds numbers alone."""
    if isinstance(value, Mapping):
        return False
    if isinstance(value, (tuple, list)):
        return not any(_holds_tensors(item) for item in value)
    return True


def _has_values(value: Any) -> bool:
    """Whether a structure holds anything but None."""
    if isinstance(value, Mapping):
        return any(_has_values(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        # Of a table of a million lists the first number says so.
        return any(_has_values(item) for item in value)
    return value is not None


def _holds_tensors(value: Any) -> bool:
    """Whether a value is no number: of a list the first entry says so, since a table may be a million lists."""
    if isinstance(value, (tuple, list)):
        return _holds_tensors(next((item for item in value if item is not None), None))
    return isinstance(value, (Tensor, np.ndarray, pd.DataFrame, pd.Series, Mapping))


def _flatten(inputs: Any, hint: Sequence[str], dtype: torch.dtype) -> tuple[tuple[Leaf, ...], tuple[Tensor, ...], Any]:
    leaves: list[Leaf] = []
    tensors: list[Tensor] = []

    def walk(value: Any, name: str, place: tuple[Any, ...]) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            return {key: walk(item, f"{name}.{key}", (*place, key)) for key, item in value.items()}
        if not _is_leaf(value):
            return [walk(item, f"{name}[{index}]", (*place, index)) for index, item in enumerate(value)]
        tensor, columns, loose = _tensor(value, name, dtype)
        leaves.append(Leaf(name, place, columns, loose))
        tensors.append(tensor)
        return _Slot

    structure: Any
    if isinstance(inputs, Mapping):
        structure = {key: walk(value, str(key), (key,)) for key, value in inputs.items()}
    else:
        names = [hint[index] if index < len(hint) else f"input{index}" for index in range(len(inputs))]
        structure = [walk(value, name, (index,)) for index, (name, value) in enumerate(zip(names, inputs, strict=True))]
    return tuple(leaves), tuple(tensors), structure


def _fill(structure: Any, tensors: Any) -> Any:
    if structure is _Slot:
        return next(tensors)
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {key: _fill(value, tensors) for key, value in structure.items()}
    return [_fill(value, tensors) for value in structure]


def _tensor(value: Any, name: str, dtype: torch.dtype) -> tuple[Tensor, tuple[str, ...] | None, bool]:
    """Return the tensor, the column names of a frame, and whether its precision is open."""
    if isinstance(value, Tensor):
        return _own_tensor(value, name), None, False
    columns = None
    if isinstance(value, pd.Series):
        value = value.to_numpy()
    if isinstance(value, pd.DataFrame):
        columns = tuple(str(column) for column in value.columns)
        if len(set(columns)) < len(columns):
            raise InputError(f"columns must have different names, however: {name!r} has one twice; rename it")
        for column, kind in zip(columns, value.dtypes, strict=True):
            if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_complex_dtype(kind):
                raise InputError(
                    f"a network's table must hold numbers, however: column {column!r} of {name!r} does not ({kind}); "
                    "encode it as the network expects it"
                )
        integers = all(pd.api.types.is_integer_dtype(kind) for kind in value.dtypes) and not value.isna().any(axis=None)
        value = value.to_numpy(dtype=np.int64, na_value=0) if integers else value.to_numpy(np.float64, na_value=np.nan)
    array = _array(value, name)
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"inputs must be tensors, arrays or tables of numbers, however: {name!r} is "
            f"{type(value).__name__} of {array.dtype}; pass its numbers"
        )
    if not array.flags.writeable or not array.flags.c_contiguous or array.dtype.byteorder == ">":
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    tensor = torch.from_numpy(array)
    return (tensor.to(dtype) if tensor.dtype == torch.float64 else tensor), columns, True


def _own_tensor(value: Tensor, name: str) -> Tensor:
    """Return a user's tensor apart from its graph; complex and sparse ones are refused."""
    if value.is_complex():
        raise InputError(f"inputs must be real numbers, however: {name!r} is complex; pass its parts")
    if value.is_meta:
        raise InputError(f"inputs must hold numbers, however: {name!r} is on the meta device; pass its rows")
    if value.layout != torch.strided or value.is_quantized:
        raise InputError(f"inputs must be dense, however: {name!r} is {value.layout}; pass {name}.to_dense()")
    return value.detach()


def _array(value: Any, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"inputs must be tensors, arrays or tables of numbers, however: {name!r} is {type(value).__name__}, whose "
            "entries differ in shape; pass its tensors"
        ) from error
