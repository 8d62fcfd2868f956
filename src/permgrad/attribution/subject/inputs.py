"""Inputs of any torch network: dict, tuple, list or one table, turned into one tensor
per input and back into a call.

Nothing about sizes is typed by hand: names come from the dict's keys or from the
forward's parameters, shapes from the data, and precision from the network's weights
where NumPy and pandas leave it open.
"""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from permgrad.attribution.subject.remedies import SETTING, of_lengths
from permgrad.base.arrays import Array
from permgrad.base.errors import Fault, InputError, listed, refusing, shown
from permgrad.base.late import is_frame, is_pandas, is_series, pd
from permgrad.base.sequences import values_at

#: Inputs that a message lists.
_LISTED = 5

Passing = Literal["keywords", "positions", "whole", "listed"]


@dataclass(frozen=True)
class Leaf:
    """One tensor among the inputs: its name, where it sits in the user's structure, and
    its columns if it was a frame.

    ``loose``: the precision was NumPy's or pandas' choice, not the user's. ``kind``:
    the type of an array's numbers (None: it was a tensor).
    """

    name: str
    place: tuple[Any, ...]
    columns: tuple[str, ...] | None
    loose: bool
    kind: np.dtype[Any] | None = None

    def as_passed(self, tensor: Tensor) -> Any:
        """Return rows in the user's own form: a tensor, an array or a frame."""
        if self.kind is None:
            return tensor
        array = tensor.detach().cpu().numpy()
        if self.kind.kind == "f" == array.dtype.kind:
            array = array.astype(self.kind)
        if self.columns is None:
            return array
        return pd.DataFrame(array, columns=list(self.columns))


class TokenRows(Protocol):
    """How the rows of a network with tokens are held, where places belong to nobody or
    words are moved.
    """

    def tensors(self, rows: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the network's tensors, ``(rows, *)`` each.

        Args:
            rows: Rows as they are held, ``(rows, *)`` for each input.
        """
        ...

    def read(
        self, inputs: Any, read: Callable[[Any], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Return further rows as they are held, ``(rows, *)`` for each input.

        Args:
            inputs: Rows in the user's form.
            read: Reads the network's tensors, ``(rows, *)`` each.
        """
        ...

    def ordinary(self, rows: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return rows as they are held, without what never comes from another row.

        Args:
            rows: Rows as they are held, ``(rows, *)`` for each input.
        """
        ...


@dataclass(frozen=True)
class InputForm:
    """How inputs are laid out for one network, so that other rows (a background) are
    read in the same way.
    """

    leaves: tuple[Leaf, ...]  # one for each tensor
    # by name, by place, or as one argument: the whole structure, or a list of its
    # values
    passing: Passing
    structure: (
        Any  # the user's structure without its tensors. None in it is passed on as None
    )
    whole: str = ""  # name of the parameter that takes all as one argument, or empty
    tokens: TokenRows | None = (
        None  # how rows are held, where that is not as the network's tensors
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, one for each tensor."""
        return tuple(form_leaf.name for form_leaf in self.leaves)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Key or position of each argument, in the order of the user's structure,
        including those that are None.
        """
        return tuple(
            self.structure
            if isinstance(self.structure, dict)
            else range(len(self.structure))
        )

    def call(self, function: Callable[..., Any], tensors: Sequence[Tensor]) -> Any:
        """Call the network with tensors in the place of the user's inputs."""
        if self.tokens is not None:
            tensors = self.tokens.tensors(tensors)
        passed: Sequence[Any] = tensors
        if getattr(function, "takes_arrays", False):
            passed = []
            for form_leaf, tensor in zip(self.leaves, tensors, strict=True):
                passed.append(form_leaf.as_passed(tensor))
        filled = _fill(self.structure, iter(passed))
        if self.passing == "keywords":
            return function(**filled)
        if self.passing == "whole":
            data_class = getattr(filled, "made_of", None)  # a dataclass
            return function(
                filled if data_class is None else data_class(**filled._asdict())
            )
        if self.passing == "listed":
            return function(list(filled.values()))
        return function(*(filled.values() if isinstance(filled, dict) else filled))

    def read(self, inputs: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return further rows in this form as tensors."""
        if self.tokens is not None:
            return self.tokens.read(
                inputs, partial(replace(self, tokens=None).read, dtype=dtype)
            )
        inputs = _with_fields(inputs)
        if isinstance(self.structure, dict) and hasattr(inputs, "_fields"):
            inputs = inputs._asdict()
        leaves, read_tensors, _ = _flatten(
            [inputs] if _is_leaf(inputs) else inputs, self.names, dtype
        )
        pairs = {
            form_leaf.place: (form_leaf, tensor)
            for form_leaf, tensor in zip(leaves, read_tensors, strict=True)
        }
        expected_paths = [form_leaf.place for form_leaf in self.leaves]
        if pairs.keys() != set(expected_paths):
            expected, shown = (
                first_names(key_path[0] for key_path in key_paths)
                for key_paths in (expected_paths, pairs)
            )
            problem = (
                "Further rows must have the structure of the inputs "
                f"({expected}), got {shown or 'nothing'}"
            )
            raise InputError(
                problem, hint="Pass the same dict, tuple or table", code="PG038"
            )
        # A dict may name its parts in any order.
        ordered = values_at(pairs, expected_paths)
        for own_leaf, (theirs, tensor) in zip(self.leaves, ordered, strict=True):
            if (
                own_leaf.columns is not None
                and theirs.columns is not None
                and own_leaf.columns != theirs.columns
            ):
                problem = (
                    f"Further rows of {own_leaf.name!r} must have the columns of the "
                    "inputs in the same order "
                    f"({list(own_leaf.columns[:5])}), got {list(theirs.columns[:5])}"
                )
                raise InputError(problem, hint="Reorder the columns", code="PG038")
            if tensor.ndim == 0 or len(tensor) == 0:
                problem = (
                    "Background and baseline need at least one row, got "
                    f"{'a single number' if tensor.ndim == 0 else 'none'}"
                )
                raise InputError(
                    problem, hint="Pass rows with the shape of the inputs", code="PG038"
                )
        tensors = tuple(tensor for _, tensor in ordered)
        check_rows(self.names, tensors)
        return tensors


def read_forms(
    module: nn.Module, inputs: Any, dtype: torch.dtype
) -> tuple[tuple[InputForm, ...], tuple[Tensor, ...]]:
    """Return the ways in which inputs may be meant by a network's forward, the
    likeliest first, and their tensors.

    The keys of a dict are names of the forward's parameters. If none is, the values are
    passed in order, or the dict itself, or else a list of its values, is passed to a
    forward that needs no other argument.
    """
    parameters = parameters_of(module)
    inputs = _with_fields(inputs)
    if inputs is not None and not _has_values(inputs):
        problem = "The inputs hold no tensor, array or table"
        raise InputError(
            problem, hint="Pass the arguments of the forward", code="PG001"
        )
    # One tensor, array or frame (a list of numbers is one array): the forward's first
    # argument.
    alone = _is_leaf(inputs)
    first = parameters[0].name if parameters else "input0"
    if inputs is None:
        problem = (
            "Inputs must be tensors, arrays or tables of numbers, got None for "
            f"{first!r}"
        )
        raise InputError(problem, hint="Pass rows", code="PG001")
    if alone:
        inputs = [inputs]
    named = getattr(inputs, "_fields", ())
    if named and fits(inspect.Signature(parameters), **dict.fromkeys(named)):
        inputs = (
            inputs._asdict()
        )  # the names of a named tuple are those of the parameters
    # Whoever makes a module of torch.export decides which inputs it takes by place.
    by_place = is_exported(module) or any(
        parameter.kind is inspect.Parameter.POSITIONAL_ONLY for parameter in parameters
    )
    if isinstance(inputs, Mapping):
        inputs = _in_order_of(parameters, inputs, named=by_place)
    forms = []
    count = len(inputs)
    for passing_way in _ways(parameters, inputs, by_place=by_place):
        if alone:
            name_hints = [first]
        else:
            name_hints = _names_by_position(parameters, count)
        if passing_way == "whole":
            name_hints = [f"{first}.{field_name}" for field_name in named] or [
                f"{first}[{k}]" for k in range(count)
            ]
        leaves, tensors, structure = _flatten(inputs, name_hints, dtype)
        forms.append(
            InputForm(
                leaves,
                passing_way,
                structure,
                first if passing_way in ("whole", "listed") else "",
            )
        )
    names = forms[0].names
    doubled = [input_name for input_name in names if names.count(input_name) > 1]
    if doubled:
        raise InputError(
            f"Two inputs have the name {doubled[0]!r}",
            hint="Pass a dict with other keys",
            code="PG008",
        )
    check_rows(names, tensors)
    return tuple(forms), tensors


@refusing
def check_rows(names: Sequence[str], tensors: Sequence[Tensor]) -> Iterator[Fault]:
    """Refuse inputs of different lengths, without rows, or without a row dimension."""
    for checked_input, tensor in zip(names, tensors, strict=True):
        if tensor.ndim == 0:
            problem = (
                "Every input must have one entry per row, got a single number "
                f"for {checked_input!r}"
            )
            setting = SETTING.format(
                f"{checked_input.rpartition('.')[2]}={tensor.item()}"
            )
            hint = (
                "Pass an array (rows, …), or leave a setting of the forward out: "
                f"{setting}"
            )
            yield problem, hint, "PG007"
    lengths = {
        input_name: len(tensor)
        for input_name, tensor in zip(names, tensors, strict=True)
    }
    if len(set(lengths.values())) > 1:
        words = first_names(
            f"{input_name} {length}" for input_name, length in lengths.items()
        )
        problem = f"All inputs must have the same number of rows, got {words}"
        hint = of_lengths(names, tensors)
        yield problem, hint, "PG007"
    if 0 in lengths.values():
        yield "The inputs have no rows", "Pass the rows to explain", "PG013"


def first_names(names: Iterable[Any]) -> str:
    """Return at most five names of inputs, and how many more there are."""
    return listed(list(names), _LISTED)


def shapes_in_words(names: Sequence[str], tensors: Sequence[Tensor]) -> str:
    """Return names, shapes and types of inputs, for error messages. It never fails.

    Args:
        names: Of the inputs.
        tensors: Their rows.
    """
    words = []
    for input_index, tensor in enumerate(tensors):
        if input_index < len(names):
            input_name = names[input_index]
        else:
            input_name = f"input {input_index}"
        type_name = str(tensor.dtype).removeprefix("torch.")
        words.append(f"{input_name} {tuple(tensor.shape)} {type_name}")
    return first_names(words) or "no inputs"


def in_type_of(name: str, like: Tensor, further_rows: Tensor) -> Tensor:
    """Return further rows in the type of the rows explained.

    Fractions are refused, never cut off.
    """
    cast_rows = further_rows.to(like.dtype)
    lost_mask = cast_rows.to(further_rows.dtype) != further_rows
    if not like.is_floating_point() and bool(lost_mask.any()):
        type_name = str(like.dtype).removeprefix("torch.")
        raise InputError(
            f"Further rows of {name!r} hold {further_rows[lost_mask][0].item():.7g}, "
            f"which does not fit the type of the rows explained ({type_name})",
            hint="Pass the rows explained as floats, or further rows of whole numbers "
            "within that type",
            code="PG038",
        )
    return cast_rows


# ---- the forward's parameters --------------------------------------------------------
def parameters_of(module: nn.Module) -> list[inspect.Parameter]:
    """Return the parameters of a network's forward, or none if Python does not know
    them.
    """
    stored = "forward" in vars(module)
    forward = module.forward
    try:
        schema = getattr(forward, "schema", None)
        if schema is not None:  # a method of TorchScript, of which Python may know none
            parameter_kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            empty = inspect.Parameter.empty
            pairs = []
            for schema_argument in schema.arguments:
                pairs.append(
                    (
                        schema_argument.name,
                        schema_argument.default_value
                        if schema_argument.has_default_value()
                        else empty,
                    )
                )
            return [
                inspect.Parameter(parameter_name, parameter_kind, default=default)
                for parameter_name, default in pairs[1:]
            ]
        return [
            parameter
            for parameter in inspect.signature(forward).parameters.values()
            if parameter.name != "self"
        ]
    except (TypeError, ValueError):
        return []
    finally:
        if not stored:  # as TorchScript does
            vars(module).pop("forward", None)


def _names_by_position(
    parameters: Sequence[inspect.Parameter], count: int
) -> list[str]:
    """Return names for inputs passed in order, with numbers for those of
    ``*inputs``.
    """
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return names + [
                f"{parameter.name}[{index}]" for index in range(count - len(names))
            ]
        names.append(parameter.name)
    return names


def fits(signature: inspect.Signature, /, *arguments: Any, **named: Any) -> bool:
    """Return whether a function accepts these arguments."""
    try:
        return bool(signature.bind(*arguments, **named))
    except TypeError:
        return False


def is_exported(module: nn.Module) -> bool:
    """Return whether a network has a part that ``torch.export`` made."""
    return any(
        isinstance(submodule, fx.GraphModule) and "eval" in vars(submodule)
        for submodule in module.modules()
    )


def _ways(
    parameters: Sequence[inspect.Parameter], inputs: Any, *, by_place: bool
) -> list[Passing]:
    """Return how a dict, tuple or list may be meant: as arguments, or as the only one,
    as in ``forward(x, y=None)``.
    """
    takes = partial(fits, inspect.Signature(parameters))
    takes_one = takes(None) and all(
        parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        for parameter in parameters
    )
    if isinstance(inputs, Mapping):
        input_keys = list(map(str, inputs))
        named = (
            by_place
            and input_keys
            == [parameter.name for parameter in parameters][: len(input_keys)]
            and takes(*input_keys)
        )
        if named and not takes(**dict.fromkeys(input_keys)):
            return ["positions"]
        return (
            _ways_of_keys(parameters, input_keys, takes_one=takes_one)
            + ["positions"] * named
        )
    if len(inputs) < 2 or not takes_one:
        return ["positions"]
    if takes(*inputs):
        return ["positions", "whole"]
    return ["whole"]


def _ways_of_keys(
    parameters: Sequence[inspect.Parameter], keys: list[str], *, takes_one: bool
) -> list[Passing]:
    """Return how a dict with these keys may be meant.

    Refuse one that the forward cannot be called with.
    """
    signature = inspect.Signature(parameters)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = {
        parameter.name: parameter.default is inspect.Parameter.empty
        for parameter in parameters
        if parameter.kind not in several
    }
    strange = [input_key for input_key in keys if input_key not in names]
    missing = [
        parameter_name
        for parameter_name, required in names.items()
        if required and parameter_name not in keys
    ]
    in_order = len(strange) == len(keys) and (not parameters or fits(signature, *keys))
    if fits(signature, **dict.fromkeys(keys)):
        return ["keywords", "positions"] if in_order else ["keywords"]
    passing_ways: list[Passing] = []
    # The dict itself is the argument, unless it holds that.
    if takes_one and (missing or len(strange) == len(keys)):
        passing_ways.append("whole")
    if in_order:
        passing_ways.append("positions")
    if "whole" in passing_ways and len(strange) == len(keys) > 1:
        passing_ways.append("listed")
    if not passing_ways:
        raise _unfit_keys(keys, list(names), strange, missing)
    return passing_ways


def _unfit_keys(
    keys: list[str], names: list[str], strange: list[str], missing: list[str]
) -> InputError:
    """Return the error of keys that the forward cannot be called with."""
    fault = (
        f"The keys of the inputs ({first_names(keys)}) do not match the forward's "
        "parameters"
    )
    fault = f"{fault} ({first_names(names) or 'none'})"
    hint = "Rename the keys"
    if strange and not missing:
        fault = (
            f"The forward takes no {first_names(strange)}, only {first_names(names)}"
        )
        hint = "Leave that out"
    elif missing and not strange:
        fault = f"The forward also needs {first_names(missing)}"
        hint = "Add it to the inputs"
    return InputError(fault, hint=hint, code="PG007")


def _places_of(parameters: Sequence[inspect.Parameter], keys: Any) -> list[int | None]:
    """Return the place of the parameter that each key names, in capitals or small
    letters, or None.
    """
    names = {}
    for parameter_index, parameter in enumerate(parameters):
        names[parameter.name.casefold()] = parameter_index
    return [names.get(str(input_key).casefold()) for input_key in keys]


def _in_order_of(
    parameters: Sequence[inspect.Parameter], inputs: Mapping[Any, Any], *, named: bool
) -> Mapping[Any, Any]:
    """Return a dict whose keys name the forward's parameters but for capitals, or also
    in full, in their order.
    """
    parameter_indices = _places_of(parameters, inputs)
    names = [parameter.name for parameter in parameters]
    placed = []
    for parameter_index, input_item in zip(
        parameter_indices, inputs.items(), strict=True
    ):
        if parameter_index is not None:
            placed.append((parameter_index, *input_item))
    if len(names) < len(parameter_indices) or (
        not named and set(map(str, inputs)) & set(names)
    ):
        return inputs
    if sorted(parameter_index for parameter_index, *_ in placed) == list(
        range(len(parameter_indices))
    ):
        return {
            input_key: value
            for _, input_key, value in sorted(
                placed, key=lambda placed_item: placed_item[0]
            )
        }
    if not named and any(
        parameter_index not in (None, number)
        for number, parameter_index in enumerate(parameter_indices)
    ):
        problem = (
            f"The keys of the inputs ({first_names(inputs)}) are not the names of the "
            f"forward's parameters ({first_names(names)})"
        )
        raise InputError(
            problem,
            hint="Rename the keys, also in capitals and small letters",
            code="PG007",
        )
    return inputs


def in_doubt(
    module: nn.Module, form: InputForm, tensors: Sequence[Tensor]
) -> list[tuple[str, str]]:
    """Return keys that name no parameter of the forward, with those they are passed as,
    if that could be confused.
    """
    names = []
    for parameter in parameters_of(module):
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            names.append(parameter)
    if form.passing == "positions" and len(names) > 1:
        passed_names = [parameter.name for parameter in names]
    else:
        passed_names = []
    if form.passing == "listed":
        passed_names = []
        for list_index in range(len(form.structure)):
            passed_names.append(f"{form.whole}[{list_index}]")
    if (
        not passed_names
        or not isinstance(form.structure, dict)
        or set(_places_of(names, form.structure)) != {None}
    ):
        return []
    alike = len({tensor.shape[1:] for tensor in tensors}) < len(tensors)
    if alike:
        return list(zip(map(str, form.structure), passed_names, strict=False))
    return []


# ---- the user's structure ------------------------------------------------------------
class _Slot:
    """Marks a tensor's place in the structure."""


def _with_fields(value: Any) -> Any:
    """Return a dataclass as a named tuple that knows its class, and anything else as it
    is.
    """
    if not is_dataclass(value) or isinstance(value, type):
        return value
    data_class = type(value)
    names = [data_field.name for data_field in fields(value) if data_field.init]
    create: Any = namedtuple  # noqa: PYI024
    bases = (create("Fields", names),)
    named = type(data_class.__name__, bases, {"made_of": data_class})
    return named(*(getattr(value, field_name) for field_name in names))


def _is_leaf(value: Any) -> bool:
    """Return whether a value is one tensor.

    A list is, if it holds only numbers at any depth.
    """
    if isinstance(value, (tuple, list)):
        return not any(map(_holds_tensors, value))
    return not isinstance(value, Mapping)


def _has_values(value: Any) -> bool:
    """Return whether a structure holds anything but None."""
    if isinstance(value, (Mapping, tuple, list)):
        # Of a table of a million lists the first number says so.
        return any(
            map(_has_values, value.values() if isinstance(value, Mapping) else value)
        )
    return value is not None


def _holds_tensors(value: Any) -> bool:
    """Return whether a value is not a number.

    Of a list only the first entry is read: a table may have a million.
    """
    if isinstance(value, (tuple, list)):
        return _holds_tensors(
            next((inner_item for inner_item in value if inner_item is not None), None)
        )
    return isinstance(value, (Tensor, np.ndarray, Mapping)) or is_pandas(value)


class _Flattened(NamedTuple):
    """A nested structure of inputs, in order.

    Attributes:
        leaves: What each tensor was.
        tensors: ``(rows, *)`` each.
        structure: The structure, with a mark for each tensor.
    """

    leaves: tuple[Leaf, ...]
    tensors: tuple[Tensor, ...]
    structure: Any


def _flatten(inputs: Any, hint: Sequence[str], dtype: torch.dtype) -> _Flattened:
    leaves: list[Leaf] = []
    tensors: list[Tensor] = []

    def walk(value: Any, name: str, key_path: tuple[Any, ...]) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            return {
                inner_key: walk(
                    inner_item, f"{name}.{inner_key}", (*key_path, inner_key)
                )
                for inner_key, inner_item in value.items()
            }
        if not _is_leaf(value):
            named = getattr(value, "_fields", None)
            if named:
                name_endings = [f".{field_name}" for field_name in named]
            else:
                name_endings = [f"[{index}]" for index in range(len(value))]
            pairs = enumerate(zip(value, name_endings, strict=True))
            return _like(
                value,
                [
                    walk(inner_item, f"{name}{name_ending}", (*key_path, index))
                    for index, (inner_item, name_ending) in pairs
                ],
            )
        if isinstance(inputs, Mapping):
            first_key = str(key_path[0])
        else:
            first_key = name
        tensor, columns, array_dtype = _tensor(value, name, dtype, first_key)
        leaves.append(
            Leaf(name, key_path, columns, array_dtype is not None, array_dtype)
        )
        tensors.append(tensor)
        return _Slot

    structure: Any
    if isinstance(inputs, Mapping):
        structure = {
            input_key: walk(value, str(input_key), (input_key,))
            for input_key, value in inputs.items()
        }
    else:
        names = []
        for index in range(len(inputs)):
            if index < len(hint):
                names.append(hint[index])
            else:
                names.append(f"input{index}")
        walked = [
            walk(value, input_name, (index,))
            for index, (input_name, value) in enumerate(zip(names, inputs, strict=True))
        ]
        structure = _like(inputs, walked)
    return _Flattened(tuple(leaves), tuple(tensors), structure)


def _fill(structure: Any, tensors: Any) -> Any:
    if structure is _Slot:
        return next(tensors)
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {
            inner_key: _fill(value, tensors) for inner_key, value in structure.items()
        }
    return _like(structure, [_fill(value, tensors) for value in structure])


def _like(value: Any, items: list[Any]) -> Any:
    """Return items as the named tuple that a value is, or as a list."""
    if hasattr(value, "_fields"):
        return type(value)(*items)
    return items


class _ReadTensor(NamedTuple):
    """An input as a tensor.

    Attributes:
        tensor: ``(rows, *)``.
        columns: Those of a frame.
        array_dtype: The type of an array. None: a tensor.
    """

    tensor: Tensor
    columns: tuple[str, ...] | None
    array_dtype: np.dtype[Any] | None


def _tensor(value: Any, name: str, dtype: torch.dtype, key: str) -> _ReadTensor:
    """Return the tensor, a frame's columns, and an array's type (None: a tensor).

    ``key``: what is left out of X where it is no input.
    """
    if isinstance(value, Tensor):
        return _ReadTensor(_dense(value, name), None, None)
    columns = None
    if is_frame(value):
        columns = tuple(map(str, value.columns))
        value = _numbers_of_frame(value, columns, name)
    array = np.zeros(0, dtype=object)
    entry_words = "entries that differ in shape"
    with suppress(ValueError):
        if is_series(value):
            array = value.to_numpy()
        else:
            array = np.asarray(value)
        entry_words = str(array.dtype)
    if array.dtype.kind not in "fiub":
        raise InputError(
            "Inputs must be tensors, arrays or tables of numbers, got "
            f"{type(value).__name__} of {entry_words} for {name!r}",
            hint=f"Pass its numbers, or leave {key} out if it is no input of the "
            "network" + ", or is a setting of its forward: "
            f"{SETTING.format(f'{name}={shown(value)}')}"
            * (isinstance(value, str) and key == name),
            code="PG001",
        )
    array_dtype = array.dtype
    if (
        not array.flags.writeable
        or not array.flags.c_contiguous
        or array.dtype.byteorder == ">"
    ):
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if (
        array.dtype.kind == "f" and array.dtype.itemsize > 8
    ):  # NumPy's long numbers, which torch does not know
        array = array.astype(np.float64)
    tensor = torch.from_numpy(array)
    return _ReadTensor(
        (tensor.to(dtype) if tensor.dtype == torch.float64 else tensor),
        columns,
        array_dtype,
    )


def _numbers_of_frame(
    frame: pd.DataFrame, columns: tuple[str, ...], name: str
) -> Array:
    if len(set(columns)) < len(columns):
        raise InputError(
            f"Two columns of {name!r} have the same name",
            hint="Rename one of them",
            code="PG008",
        )
    for column, column_type in zip(columns, frame.dtypes, strict=True):
        if not pd.api.types.is_numeric_dtype(
            column_type
        ) or pd.api.types.is_complex_dtype(column_type):
            problem = (
                f"Column {column!r} of {name!r} does not hold numbers ({column_type})"
            )
            raise InputError(
                problem, hint="Encode it as the network expects it", code="PG001"
            )
    integers = all(
        pd.api.types.is_integer_dtype(column_type) for column_type in frame.dtypes
    ) and not frame.isna().any(axis=None)
    if integers:
        return frame.to_numpy(np.int64, na_value=0)
    return frame.to_numpy(np.float64, na_value=np.nan)


def as_plain(value: Tensor) -> Tensor:
    """Return a tensor without the subclass that a library made of it, such as
    ``MetaTensor`` of MONAI.

    Those that only wrap others have no numbers of their own, and stay.
    """
    if type(value) is Tensor or is_traceable_wrapper_subclass(value):
        return value
    with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 — the documented way
        return value.as_subclass(Tensor)


def _dense(value: Tensor, name: str) -> Tensor:
    """Return a user's tensor detached from its graph.

    Refuse complex and sparse ones.
    """
    value = as_plain(value)
    for is_refused, fault_words, instead in (
        (value.is_complex(), "complex", "its real and imaginary parts"),
        (value.is_meta, "on the meta device", "its rows"),
        (value.is_quantized, "quantised", f"{name}.dequantize()"),
        (
            value.is_nested,
            "nested",
            f"{name}.to_padded_tensor(0.0), with lengths or a mask as a further input",
        ),
        (value.layout != torch.strided, value.layout, f"{name}.to_dense()"),
    ):
        if is_refused:
            problem = (
                "Inputs must be dense tensors of real or whole numbers, but "
                f"{name!r} is {fault_words}"
            )
            raise InputError(problem, hint=f"Pass {instead}", code="PG001")
    return value.detach()
