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


def _sizes(*, may_be_empty: bool) -> Callable[[Any], Any]:
    """Return a converter of a size or a list of sizes to a tuple."""
    rule = f"one or more whole numbers from 1 to {MOST_UNITS:,}"
    if may_be_empty:
        rule = f"a list of whole numbers from 1 to {MOST_UNITS:,}, which may be empty"

    def convert(value: Any) -> tuple[int, ...]:
        items = [value] if is_whole(value) else value
        listed = isinstance(items, Sequence) and not isinstance(items, str)
        if not listed or not all(is_whole(item) and 1 <= item <= MOST_UNITS for item in items):
            raise ValueError(rule)
        if not items and not may_be_empty:
            raise ValueError(rule)
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


def _option(default: Any, convert: Callable[[Any], Any]) -> Any:
    """Return a field whose values are converted, or refused with a ValueError that holds the rule."""
    return dataclasses.field(default=default, metadata={"convert": convert})


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

    dense_units: tuple[int, ...] = _option((128, 128), _sizes(may_be_empty=False))
    conv_filters: tuple[int, ...] = _option((32, 64), _sizes(may_be_empty=False))
    fusion_units: tuple[int, ...] = _option((128, 128), _sizes(may_be_empty=True))
    image_units: tuple[int, ...] = _option((), _sizes(may_be_empty=True))
    dropout: float = _option(0.1, _number("a number from 0 to below 1", lambda x: 0 <= x < 1))
    activation: str = _option("relu", _choice(tuple(ACTIVATIONS)))
    initializer: str = _option("he_normal", _choice(INITIALIZERS))
    normalization: str = _option("batch", _choice(NORMALIZATIONS))
    conv_normalization: str = _option("batch", _choice(NORMALIZATIONS))
    kernel_size: int = _option(
        3, _number("an odd whole number of at least 1", lambda x: x >= 1 and x % 2 == 1, integer=True)
    )
    pooling: tuple[int, ...] = _option((2,), _sizes(may_be_empty=False))
    numeric_embedding: str = _option("none", _choice(NUMERIC_EMBEDDINGS))
    embedding_size: int = _option(4, _number("a whole number of at least 2", lambda x: x >= 2, integer=True))
    embedding_frequencies: int = _option(16, _number("a whole number of at least 1", lambda x: x >= 1, integer=True))
    embedding_scale: float = _option(0.1, _number("a number above 0", lambda x: 0 < x < float("inf")))
    level_embedding_size: int = _option(0, _number("a whole number of at least 0", lambda x: x >= 0, integer=True))
    single_logit: bool = _option(False, _truth)
    members: int = _option(1, _number("a whole number of at least 1", lambda x: x >= 1, integer=True))
    image_channels: int = _option(3, _number("a whole number of at least 1", lambda x: x >= 1, integer=True))
    image_scale: float = _option(255.0, _number("a number above 0", lambda x: 0 < x < float("inf")))

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


def check_network(network: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the converted options and a list of faults, one sentence part each."""
    if network is None:
        return {}, []
    if not isinstance(network, Mapping):
        fault = f"network must be None or a mapping of options, however: network={shown(network)}"
        return {}, [f"{fault}; pass for example network={{'dropout': 0.2}}"]
    values: dict[str, Any] = {}
    faults: list[str] = []
    options = {field.name: field.metadata["convert"] for field in dataclasses.fields(NetworkOptions)}
    for name, value in network.items():
        if name not in options:
            guess = suggest(str(name), options)
            faults.append(
                f"network options must be known, however: {name!r} is not{guess}; known: {', '.join(options)}"
            )
            continue
        try:
            values[str(name)] = options[name](value)
        except ValueError as error:
            faults.append(f"network option {name} must be {error}, however: {name}={value!r}")
    return values, faults
