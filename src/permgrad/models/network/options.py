"""What may be chosen about a network, with its rules: the schema behind ``network={...}``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, shown, suggest
from permgrad.models.network.blocks import ACTIVATIONS, INITIALIZERS, NORMALIZATIONS

#: Of one layer; a square layer of so many would take terabytes.
MOST_UNITS = 1_000_000
NUMERIC_EMBEDDINGS: tuple[str, ...] = ("none", "periodic")


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The sizes and choices of a ``HybridNetwork``; the defaults are preset ``paper``'s.

    Attributes:
        dense_units: widths of the table branch's dense blocks.
        conv_filters: filters of the image branch's convolution blocks.
        fusion_units: widths of the head's dense blocks; may be empty.
        image_units: widths of dense blocks after the convolutions; may be empty.
        dropout: share of activations dropped in each block while training, 0 to below 1.
        activation: name of the nonlinearity.
        initializer: how weights are drawn; ``"torch"`` keeps torch's own way.
        normalization: of dense blocks.
        conv_normalization: of convolution blocks.
        kernel_size: of the convolutions, an odd number of pixels.
        pooling: max-pooling window of each convolution block, 1 for none; the last entry goes on for further blocks.
        numeric_embedding: ``"none"`` or ``"periodic"``, how continuous columns enter the table branch.
        embedding_size: numbers per embedded column.
        embedding_frequencies: cosines per embedded column.
        embedding_scale: standard deviation of the first frequencies; larger fits rougher functions.
        level_embedding_size: numbers per embedded category: a categorical column with at least 50 encoded levels enters
            the table branch through a learned embedding of this size; 0: as it is, one-hot, like all others.
        single_logit: whether two classes share one output, the log odds of the second, instead of one output each;
            more than two classes always have one each.
        members: how many networks share nearly all weights and predict their mean, see ``members``; 1: a single one.
        image_channels: equal channels of the rendered image.
        image_scale: value of a pixel whose feature stands at its training maximum.

    Examples:
        >>> NetworkOptions.from_mapping({"dense_units": 64}).dense_units
        (64,)
        >>> NetworkOptions.from_mapping({"dropuot": 2})
        Traceback (most recent call last):
        permgrad.InputError: network options must be known, however: 'dropuot' is not (did you mean...
    """

    dense_units: tuple[int, ...] = (128, 128)
    conv_filters: tuple[int, ...] = (32, 64)
    fusion_units: tuple[int, ...] = (128, 128)
    image_units: tuple[int, ...] = ()
    dropout: float = 0.1
    activation: str = "relu"
    initializer: str = "he_normal"
    normalization: str = "batch"
    conv_normalization: str = "batch"
    kernel_size: int = 3
    pooling: tuple[int, ...] = (2,)
    numeric_embedding: str = "none"
    embedding_size: int = 4
    embedding_frequencies: int = 16
    embedding_scale: float = 0.1
    level_embedding_size: int = 0
    single_logit: bool = False
    members: int = 1
    image_channels: int = 3
    image_scale: float = 255.0

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all options."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def from_mapping(cls, changes: Mapping[str, Any], base: NetworkOptions | None = None) -> NetworkOptions:
        """Return ``base`` (preset ``paper``'s network if None) with the given options in place of its own."""
        values, faults = check_network(changes)
        if faults:
            raise InputError("; ".join(faults))
        return dataclasses.replace(base if base is not None else cls(), **values)

    def check(self) -> None:
        """Refuse options that exclude each other."""
        if self.members > 1 and self.normalization == "batch":
            raise InputError(
                "several members go with normalization 'none' or 'layer', "
                f"however: members={self.members}, normalization='batch'; set one of the two"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON knows."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }


def _sizes(least: int, *, may_be_empty: bool) -> Callable[[Any], Any]:
    """Return a converter of a size or a list of sizes to a tuple."""
    fix = (
        f"one or more whole numbers from {least} to {MOST_UNITS:,}"
        if not may_be_empty
        else (f"a list of whole numbers from {least} to {MOST_UNITS:,}, which may be empty")
    )

    def convert(value: Any) -> tuple[int, ...]:
        items = [value] if is_whole(value) else value
        listed = isinstance(items, Sequence) and not isinstance(items, str)
        if not listed or not all(is_whole(item) and least <= item <= MOST_UNITS for item in items):
            raise ValueError(fix)
        if not items and not may_be_empty:
            raise ValueError(fix)
        return tuple(int(item) for item in items)

    return convert


def _number(rule: str, holds: Callable[[float], bool], *, integer: bool = False) -> Callable[[Any], Any]:
    """Return a converter of a number that must obey a rule."""

    def convert(value: Any) -> float | int:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(rule) from None
        if isinstance(value, (bool, str)) or (integer and not is_whole(value)) or not holds(number):
            raise ValueError(rule)
        return int(value) if integer else number

    return convert


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")  # noqa: TRY004 — every converter's error is a ValueError with the rule
    return value


def _choice(choices: Sequence[str]) -> Callable[[Any], Any]:
    """Return a converter of a name in a list."""

    def convert(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError("one of " + ", ".join(map(repr, choices)) + suggest(str(value), choices))
        return str(value)

    return convert


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "dense_units": _sizes(1, may_be_empty=False),
    "conv_filters": _sizes(1, may_be_empty=False),
    "fusion_units": _sizes(1, may_be_empty=True),
    "image_units": _sizes(1, may_be_empty=True),
    "dropout": _number("a number from 0 to below 1", lambda x: 0 <= x < 1),
    "activation": _choice(tuple(ACTIVATIONS)),
    "initializer": _choice(INITIALIZERS),
    "normalization": _choice(NORMALIZATIONS),
    "conv_normalization": _choice(NORMALIZATIONS),
    "kernel_size": _number("an odd whole number of at least 1", lambda x: x >= 1 and x % 2 == 1, whole=True),
    "pooling": _sizes(1, may_be_empty=False),
    "numeric_embedding": _choice(NUMERIC_EMBEDDINGS),
    "embedding_size": _number("a whole number of at least 2", lambda x: x >= 2, whole=True),
    "embedding_frequencies": _number("a whole number of at least 1", lambda x: x >= 1, whole=True),
    "embedding_scale": _number("a number above 0", lambda x: 0 < x < float("inf")),
    "level_embedding_size": _number("a whole number of at least 0", lambda x: x >= 0, whole=True),
    "single_logit": _truth,
    "members": _number("a whole number of at least 1", lambda x: x >= 1, whole=True),
    "image_channels": _number("a whole number of at least 1", lambda x: x >= 1, whole=True),
    "image_scale": _number("a number above 0", lambda x: 0 < x < float("inf")),
}


def check_network(network: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the converted options and a list of faults, one sentence part each."""
    if network is None:
        return {}, []
    if not isinstance(network, Mapping):
        fault = f"network must be None or a mapping of options, however: network={shown(network)}"
        return {}, [f"{fault}; pass for example network={{'dropout': 0.2}}"]
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in network.items():
        if name not in _CONVERTERS:
            guess = suggest(str(name), _CONVERTERS)
            names = ", ".join(_CONVERTERS)
            faults.append(f"network options must be known, however: {name!r} is not{guess}; known: {names}")
            continue
        try:
            values[str(name)] = _CONVERTERS[name](value)
        except ValueError as error:
            faults.append(f"network option {name} must be {error}, however: {name}={value!r}")
    return values, faults
