"""A DataLoader, a Dataset or a list of examples, gathered into the rows of one call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
)

from permgrad.attribution.subject.inputs import (
    as_plain,
    first_names,
    fits,
    parameters_of,
)
from permgrad.attribution.subject.tokens import LENGTHS, pad_of
from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError, counted, listed, warn_user
from permgrad.base.late import is_pandas, pd
from permgrad.base.random import seeded, uniform
from permgrad.base.sequences import values_at
from permgrad.models.undisturbed import undisturbed

#: Examples that are gathered where ``max_rows`` says nothing.
MOST = 2000
#: Keys of a dict under which examples have their target. Networks also take the first.
_TARGETS = ("labels", "label", "target", "targets", "y")
#: Values of targets at places that an example does not have.
VOID_PLACE = -100
#: Rows on which a network is asked whether a list holds its arguments.
_ASKED = 2
#: Dimensions of a batch of series, of which each row may have its own length.
_SERIES = 3
#: Entries of a list of lists that are looked at.
_LOOKED_AT = 5


@dataclass(frozen=True)
class Gathered:
    """Rows of a set of examples.

    Attributes:
        X: The rows drawn, as one batch.
        y: Their targets, if the set holds them.
        places: Their positions in the whole set. None: it has no length.
        count: The number of examples in the set. None: it has no length.
    """

    X: Any
    y: Any
    places: Integers | None
    count: int | None

    @property
    def facts(self) -> dict[str, int]:
        """How many rows were gathered, of how many where that is known."""
        row_count = _rows(self.X)
        if self.count is None:
            return {"rows": row_count}
        return {"rows": row_count, "of": self.count}

    @property
    def in_words(self) -> str:
        """How many examples were gathered, and how."""
        row_count = _rows(self.X)
        if self.count is None:
            return (
                f"the first {counted(row_count, 'example')} of a set without a length"
            )
        if row_count == self.count:
            return f"all {counted(row_count, 'example')}"
        return f"{row_count:,} of {counted(self.count, 'example')}, drawn at random"


def drawn_rows(rows: int, count: int, seed: int) -> Integers:
    """Return which rows are explained, in rising order, ``(count,)``.

    They depend only on the seed and their numbers.

    Args:
        rows: How many there are.
        count: How many are drawn.
        seed: Of the draw.
    """
    order = np.argsort(uniform(seed, ("receivers",), np.arange(rows)), kind="stable")
    return np.sort(order[:count])


def gathered(
    model: Any, X: Any, y: Any, *, most: int | None, seed: int, tokenizer: Any = None
) -> Gathered | None:
    """Return the rows of a DataLoader, a Dataset or a list of examples.

    Args:
        model: the model that takes them.
        X: what may be such a set. Anything else gives None.
        y: the targets of the whole set. None: those that its examples hold.
        most: at most so many examples, drawn over the whole set where that has a
            length, else the first ones. None: all.
        seed: the same seed draws the same examples.
        tokenizer: its id of padding fills examples of several lengths.

    Raises:
        InputError: The examples cannot be one batch of rows.
    """
    module = model if isinstance(model, nn.Module) else None
    source = _source(X, y, module)
    if source is None:
        return None
    row_positions = None
    if source.count is not None:
        drawn_count = source.count if most is None else min(most, source.count)
        row_positions = drawn_rows(source.count, drawn_count, seed)
    with seeded(), _kept_generators(X):
        pieces = _first(source, row_positions, most)
    if not pieces:
        raise InputError("X has no examples", "Pass the rows to explain", "PG013")
    forward = None if module is None else inspect.Signature(parameters_of(module))
    pairs = [_with_target(piece, forward) for piece in pieces]
    fill_value = 0 if module is None else pad_of(module, tokenizer) or 0
    joined = _Joined(batches=source.batches, fill=fill_value)
    inputs = joined.of([inputs for inputs, _ in pairs], "X")
    inputs = _in_form(inputs, forward, joined)
    if y is None:
        targets = [target for _, target in pairs]
        target_joiner = _Joined(batches=source.batches, fill=VOID_PLACE)
        y = None if targets[0] is None else target_joiner.of(targets, "y")
    elif row_positions is not None and len(y) == source.count:
        y = _some(y, row_positions)
    gathered_rows = Gathered(inputs, y, row_positions, source.count)
    if row_positions is None and most is not None and _rows(inputs) > most:
        return replace(gathered_rows, X=_cut(inputs, most), y=_cut(y, most))
    return gathered_rows


def may_be_examples(X: Any) -> bool:
    """Return whether X may be a set of examples, without a look at each."""
    return isinstance(X, (list, Dataset, DataLoader)) or hasattr(X, "with_format")


# ---- where examples come from --------------------------------------------------------
@dataclass(frozen=True)
class _Source:
    """A set of examples: ``pieces`` are examples or batches of some of them, or of all.

    ``count`` is None where the set has no length.
    """

    count: int | None
    pieces: Callable[[Any], Iterator[Any]]
    batches: bool = False


def _source(X: Any, y: Any, module: nn.Module | None) -> _Source | None:
    if isinstance(X, DataLoader):
        return _of_loader(X)
    # Hugging Face's sets are no class of torch's.
    if isinstance(X, Dataset) or hasattr(X, "with_format"):
        if isinstance(X, IterableDataset) or not hasattr(X, "__len__"):
            return _Source(None, lambda _: iter(X))
        return _indexed(X)
    if isinstance(X, list) and are_examples(X, y, module):
        return _indexed(X)
    return None


def _indexed(examples: Any) -> _Source:
    return _Source(
        len(examples),
        lambda row_positions: (examples[int(row_index)] for row_index in row_positions),
    )


def _of_loader(loader: DataLoader[Any]) -> _Source:
    """Return the set that a loader draws from, in batches as the loader makes them."""
    examples = loader.dataset
    makes = loader.batch_sampler
    unknown = isinstance(examples, IterableDataset) or not hasattr(examples, "__len__")
    if unknown or makes is None:
        return _Source(None, lambda _: iter(loader), batches=True)
    order = _order(loader)
    batch_rows = loader.batch_size or 32

    def pieces(row_positions: Integers) -> Iterator[Any]:
        numbers = order[row_positions].tolist()
        for start in range(0, len(numbers), batch_rows):
            batch_numbers = numbers[start : start + batch_rows]
            yield loader.collate_fn(values_at(examples, batch_numbers))

    return _Source(len(order), pieces, batches=True)


def _order(loader: DataLoader[Any]) -> Integers:
    """Return the numbers of a loader's examples in rising order, without the
    shuffle.
    """
    count = len(loader.dataset)  # type: ignore[arg-type]
    plain = type(loader.batch_sampler) is BatchSampler
    shuffled = _is_shuffle(loader.sampler, count)
    if plain and (shuffled or isinstance(loader.sampler, SequentialSampler)):
        return np.arange(count)
    with seeded(), _kept_generators(loader):
        numbers: Any = loader.sampler
        if not plain:
            numbers = chain.from_iterable(loader.batch_sampler or ())
        # A sampler may never end.
        return np.sort(np.array(list(islice(numbers, 2 * count)), dtype=np.int64))


def _is_shuffle(sampler: Any, count: int) -> bool:
    is_random = isinstance(sampler, torch.utils.data.RandomSampler)
    return is_random and not sampler.replacement and sampler.num_samples == count


@contextmanager
def _kept_generators(X: Any) -> Iterator[None]:
    """Leave the generators of a loader and its sampler in the state they have."""
    owners = (X, getattr(X, "sampler", None))
    generators = [getattr(owner, "generator", None) for owner in owners]
    states = []
    for random_generator in generators:
        if random_generator is not None:
            states.append((random_generator, random_generator.get_state()))
    try:
        yield
    finally:
        for loader_generator, state in states:
            loader_generator.set_state(state)


def _first(source: _Source, row_positions: Any, most: int | None) -> list[Any]:
    """Return the pieces, of a set without a length as many as hold ``most`` rows."""
    pieces = list[Any]()
    row_count = 0
    for piece in source.pieces(row_positions):
        pieces.append(piece)
        if source.batches:
            row_count += _rows(piece)
        else:
            row_count += 1
        if row_positions is None and most is not None and row_count >= most:
            break
    return pieces


# ---- whether a list holds examples or a network's arguments --------------------------
def are_examples(X: list[Any], y: Any, module: nn.Module | None) -> bool:
    """Return whether a list holds one row in each entry, not one input in each.

    Its entries say so by their lengths, ``y`` by its own, and else the network, which
    takes them as its arguments or does not.
    """
    if not X or isinstance(X[0], (str, bytes, Number)) or is_pandas(X[0]):
        return False
    if module is None:
        is_pair = isinstance(X[0], (tuple, list)) and len(X[0]) == 2
        return isinstance(X[0], Mapping) or (is_pair and np.ndim(_array(X[0][0])) > 0)
    if _is_numbers(X):
        return _array(X) is None
    return _are_of(module, X, y)


def _are_of(module: nn.Module, X: list[Any], y: Any) -> bool:
    """Return whether entries are rows, where a network could also take them all."""
    forms = list(map(_form, X))
    if any(entry_form != forms[0] for entry_form in forms):
        return False
    parameters = parameters_of(module)
    signature = inspect.Signature(parameters)
    required = []
    for parameter in parameters:
        if parameter.default is parameter.empty:
            required.append(parameter)
    lengths = set()
    for entry in X:
        for length in _lengths(entry):
            lengths.add(length)
    by_place = len(required) == len(X) and fits(signature, *X)
    if len(lengths) != 1 or None in lengths:  # no rows of several inputs
        return not by_place or len(X) == 1
    if y is not None and len(y) not in lengths:
        return len(y) == len(X)
    return not by_place and not _takes(module, signature, X)


def _takes(module: nn.Module, signature: inspect.Signature, X: list[Any]) -> bool:
    """Return whether a network takes the entries of a list as its arguments."""
    first_rows = [_cut(entry, _ASKED) for entry in X]
    for arguments in (first_rows, [first_rows]):
        if not fits(signature, *arguments):
            continue
        with suppress(Exception), torch.no_grad(), undisturbed(module):
            module(*arguments)
            return True
    return False


def _form(value: Any) -> Any:
    """Return what examples have in common: their structure, and how many dimensions."""
    if isinstance(value, Mapping):
        return {
            entry_key: _form(entry_value) for entry_key, entry_value in value.items()
        }
    if isinstance(value, (tuple, list)) and not _is_numbers(value):
        return list(map(_form, value))
    array = _array(value)
    if array is None:
        return type(value)
    return array.ndim


def _lengths(value: Any) -> list[int | None]:
    """Return the first sizes of the arrays in an entry, None for a single number."""
    if isinstance(value, Mapping):
        lengths: list[int | None] = []
        for entry_value in value.values():
            lengths.extend(_lengths(entry_value))
        return lengths
    if isinstance(value, (tuple, list)) and not _is_numbers(value):
        return [length for entry_value in value for length in _lengths(entry_value)]
    array = _array(value)
    return [None if array is None or not array.ndim else len(array)]


def _is_numbers(value: Any) -> bool:
    """Return whether a list holds numbers only, at any depth."""
    if isinstance(value, (tuple, list)):
        return all(map(_is_numbers, value[:_LOOKED_AT]))
    return isinstance(value, (Number, np.number))


def _array(value: Any) -> Any:
    """Return a tensor, or the array of numbers that a value is, or None."""
    if isinstance(value, Tensor):
        return as_plain(value)
    with suppress(ValueError, TypeError):
        array = np.asarray(value)
        if array.dtype.kind in "fiub":
            return array
        return None
    return None


# ---- inputs and target of an example -------------------------------------------------
def _with_target(piece: Any, forward: inspect.Signature | None) -> tuple[Any, Any]:
    """Return the inputs of an example or a batch, and its target or None."""
    if isinstance(piece, Mapping):
        target_key = _target_key(piece, forward)
        input_fields = {
            field_name: value
            for field_name, value in piece.items()
            if field_name != target_key
        }
        return input_fields, None if target_key is None else piece[target_key]
    if not isinstance(piece, (tuple, list)) or _is_numbers(piece):
        return piece, None
    if len(piece) == 1:
        return piece[0], None
    if _needs_all(forward, piece):
        return tuple(piece), None
    *inputs, target = piece
    if len(inputs) == 1:
        return inputs[0], target
    if forward is None or not fits(forward, *inputs):
        names = [] if forward is None else list(forward.parameters)
        forward_words = f", and the forward takes {first_names(names)}" if names else ""
        raise InputError(
            f"An example has {len(piece)} parts{forward_words}",
            hint="Let the Dataset return a pair: the inputs as one value, tuple or "
            "dict, and the target",
            code="PG007",
        )
    return tuple(inputs), target


def _target_key(
    piece: Mapping[Any, Any], forward: inspect.Signature | None
) -> str | None:
    """Return the key of the target: of a table's rows ``"labels"`` alone."""
    if _TARGETS[0] in piece or forward is None:
        if _TARGETS[0] in piece:
            return _TARGETS[0]
        return None
    takes = set(forward.parameters)
    target_keys = []
    for target_key in _TARGETS:
        if target_key in piece and target_key not in takes:
            target_keys.append(target_key)
    if target_keys:
        return target_keys[0]
    return None


def _needs_all(forward: inspect.Signature | None, piece: Sequence[Any]) -> bool:
    """Return whether a forward takes all parts of an example, and no fewer."""
    if forward is None or isinstance(piece[0], (Mapping, tuple, list)):
        return False
    return fits(forward, *piece) and not fits(forward, *piece[:-1])


def _in_form(inputs: Any, forward: inspect.Signature | None, joined: _Joined) -> Any:
    """Return inputs without what a forward does not take, with the mask it needs."""
    if forward is None:
        columns = isinstance(inputs, Mapping) and all(
            np.ndim(value) == 1 for value in inputs.values()
        )
        if columns:
            return pd.DataFrame(dict(inputs))
        return inputs
    if isinstance(inputs, Mapping):
        inputs = _taken_keys(inputs, forward)
    if not joined.lengths:
        return inputs
    names = list(forward.parameters)
    if not isinstance(inputs, Mapping):
        if isinstance(inputs, tuple):
            values = inputs
        else:
            values = (inputs,)
        inputs = dict(zip(names, values, strict=False))
    if any(_says_lengths(str(input_name)) for input_name in inputs):
        return inputs
    lengths = torch.as_tensor(next(iter(joined.lengths.values())))
    mask_name = next(
        (parameter_name for parameter_name in names if _says_lengths(parameter_name)),
        None,
    )
    if mask_name is None:
        least = int(lengths.min())
        longest = int(lengths.max())
        raise InputError(
            f"The examples have several lengths ({least} to {longest}), and the "
            "network's "
            "forward takes no mask or lengths, so padding would count as values",
            hint="Give its forward a parameter attention_mask or lengths, or cut the "
            "examples to one length",
            code="PG007",
        )
    return {**inputs, mask_name: _mask(mask_name, lengths)}


def _taken_keys(inputs: Mapping[Any, Any], forward: inspect.Signature) -> Any:
    """Return the keys that a forward takes, or all where it names none of them."""
    kinds = {parameter.kind for parameter in forward.parameters.values()}
    by_name = []
    for input_key in inputs:
        if str(input_key) in forward.parameters:
            by_name.append(input_key)
    numbers = []
    for input_key, value in inputs.items():
        if not isinstance(value, list):
            numbers.append(input_key)
    taken_keys = numbers
    if by_name and inspect.Parameter.VAR_KEYWORD not in kinds:
        taken_keys = by_name
    left_out_keys = []
    for input_key in inputs:
        if input_key not in taken_keys:
            left_out_keys.append(str(input_key))
    if left_out_keys and taken_keys:
        warn_user(
            f"{first_names(left_out_keys)} of the examples "
            f"{'is no input' if len(left_out_keys) == 1 else 'are no inputs'} of the "
            "network and left out."
        )
    if taken_keys:
        return {input_key: inputs[input_key] for input_key in taken_keys}
    return inputs


def _says_lengths(name: str) -> bool:
    return name.lower() in LENGTHS or name.lower().endswith("mask")


def _mask(name: str, lengths: Tensor) -> Tensor:
    """Return lengths, or a mask of them: torch's masks of padding are True there."""
    if name.lower() in LENGTHS:
        return lengths
    inside = torch.arange(int(lengths.max())) < lengths[:, None]
    if "pad" in name.lower():
        return ~inside
    if name.lower() == "attention_mask":
        return inside.long()
    return inside


# ---- one batch of many pieces --------------------------------------------------------
class _Joined:
    """Examples, or batches, one below the other.

    ``fill``: what shorter ones end with.
    """

    def __init__(self, *, batches: bool, fill: int) -> None:
        self.batches = batches
        self.fill = fill
        #: of inputs that are padded, the length of each row
        self.lengths: dict[str, list[int]] = {}

    def of(self, pieces: Sequence[Any], name: str) -> Any:
        """Return pieces of one structure as one batch of that structure."""
        first = pieces[0]
        if isinstance(first, Mapping):
            return {
                field_key: self.of(_each(pieces, field_key), str(field_key))
                for field_key in first
            }
        if first is None:
            return None
        if isinstance(first, str):
            return list(pieces)
        if isinstance(first, (tuple, list)) and not _is_numbers(first):
            if self.batches and isinstance(first[0], str):
                return list(chain.from_iterable(pieces))
            joined_parts = []
            for k in range(len(first)):
                joined_parts.append(self.of(_each(pieces, k), f"{name}[{k}]"))
            return tuple(joined_parts)
        return self._stacked(pieces, name)

    def _stacked(self, pieces: Sequence[Any], name: str) -> Any:
        arrays = list(map(_array, pieces))
        strange = next(
            (k for k, piece_array in enumerate(arrays) if piece_array is None), None
        )
        if strange is not None:
            raise InputError(
                f"An example holds {type(pieces[strange]).__name__} for {name}, which "
                "is no tensor or number",
                hint="Convert it in the Dataset, as transform=ToTensor() does of "
                "images",
                code="PG001",
            )
        tensors = [torch.as_tensor(piece_array).detach() for piece_array in arrays]
        if not self.batches:
            tensors = [piece_tensor[None] for piece_tensor in tensors]
        joined = torch.cat(self._of_one_length(tensors, name))
        # The precision of NumPy's numbers is not the user's choice.
        loose = not any(isinstance(piece, Tensor) for piece in pieces)
        if loose:
            return joined.numpy()
        return joined

    def _of_one_length(self, tensors: list[Tensor], name: str) -> list[Tensor]:
        shapes = {tuple(piece_tensor.shape[1:]) for piece_tensor in tensors}
        if len(shapes) == 1:
            return tensors
        sizes: list[set[int]] = []
        if len(set(map(len, shapes))) == 1:
            sizes = list(map(set, zip(*shapes, strict=True)))
        several = [
            dimension
            for dimension, dimension_sizes in enumerate(sizes)
            if len(dimension_sizes) > 1
        ]
        # Of images of several sizes no network takes a mask.
        if len(several) != 1 or tensors[0].ndim > _SERIES:
            shape_words = listed(sorted(shapes), 3)
            raise InputError(
                f"The examples of {name} have several shapes: {shape_words}",
                hint="Bring them to one shape in the Dataset, as a transform that "
                "resizes images does",
                code="PG007",
            )
        axis = several[0] + 1
        longest = max(sizes[several[0]])
        self.lengths[name] = [
            piece_tensor.shape[axis] for piece_tensor in tensors for _ in piece_tensor
        ]
        return [
            self._padded(piece_tensor, axis, longest, name) for piece_tensor in tensors
        ]

    def _padded(self, tensor: Tensor, axis: int, most: int, name: str) -> Tensor:
        fill_value = self.fill
        if self.fill >= 0 and (tensor.is_floating_point() or _says_lengths(name)):
            fill_value = int("pad" in name.lower() and _says_lengths(name))
        shape = list(tensor.shape)
        shape[axis] = most - shape[axis]
        return torch.cat([tensor, tensor.new_full(shape, fill_value)], dim=axis)


def _each(pieces: Sequence[Any], key: Any) -> list[Any]:
    """Return one part of each piece."""
    try:
        return [piece[key] for piece in pieces]
    except (KeyError, IndexError):
        raise InputError(
            f"Not all examples have {key!r}",
            hint="Let the Dataset return the same parts for each",
            code="PG007",
        ) from None


def _rows(value: Any) -> int:
    """Return the number of rows of a batch."""
    while isinstance(value, (Mapping, tuple, list)) and len(value):
        if isinstance(value, Mapping):
            first = next(iter(value.values()))
        else:
            first = value[0]
        if isinstance(first, (str, Number)):
            break
        value = first
    return len(value)


def _cut(value: Any, most: int) -> Any:
    """Return the first rows of a batch."""
    if isinstance(value, Mapping):
        return {
            field_key: _cut(field_value, most)
            for field_key, field_value in value.items()
        }
    if isinstance(value, tuple):
        return tuple(_cut(field_value, most) for field_value in value)
    if value is None:
        return None
    return value[:most]


def _some(y: Any, row_positions: Integers) -> Any:
    """Return the targets of some examples."""
    if hasattr(y, "iloc"):
        return y.iloc[row_positions]
    if hasattr(y, "shape"):
        return y[row_positions]
    return values_at(y, row_positions)


def warn_of_rest(gathered_rows: Gathered, most: int) -> None:
    """Say that a limit which nobody asked for leaves examples out.

    Args:
        gathered_rows: Those that are explained.
        most: The limit.
    """
    row_count = _rows(gathered_rows.X)
    if row_count == gathered_rows.count or (
        gathered_rows.count is None and row_count < most
    ):
        return
    warn_user(
        f"Explained are {gathered_rows.in_words}", "Pass max_rows= for another number"
    )
