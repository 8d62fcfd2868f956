"""What may be chosen about a network, with its rules: the schema behind
``network={...}``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from permgrad.base.checks import is_finite_number, is_number, is_whole
from permgrad.base.errors import InputError, did_you_mean, shown

_LAYERS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.Tanh)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    layer.__name__.lower(): layer for layer in _LAYERS
}
INITIALIZERS: tuple[str, ...] = ("he_normal", "he_uniform", "glorot_uniform", "torch")
NORMALIZATIONS: tuple[str, ...] = ("batch", "layer", "none")
#: Of one layer. A square layer of so many would take terabytes.
MOST_UNITS = 1_000_000
NUMERIC_EMBEDDINGS: tuple[str, ...] = ("none", "periodic")
IMAGE_READOUTS: tuple[str, ...] = ("flat", "mean")


def _option(
    default: Any, words: str, holds: Callable[[Any], bool], choices: Sequence[str] = ()
) -> Any:
    """Return a field whose value must obey a rule.

    If the default is a tuple, one number becomes a tuple of one.
    """
    return dataclasses.field(
        default=default, metadata={"words": words, "holds": holds, "choices": choices}
    )


def _sizes(default: tuple[int, ...], *, may_be_empty: bool = False) -> Any:
    words = f"one or more whole numbers from 1 to {MOST_UNITS:,}"
    if may_be_empty:
        words = f"a list of whole numbers from 1 to {MOST_UNITS:,}, which may be empty"

    def holds(value: Any) -> bool:
        listed = (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and (may_be_empty or len(value) > 0)
        )
        return listed and all(
            is_whole(list_item) and 1 <= list_item <= MOST_UNITS for list_item in value
        )

    return _option(default, words, holds)


def _whole(default: int, least: int = 1) -> Any:
    return _option(
        default,
        f"a whole number of at least {least}",
        lambda value: is_whole(value) and value >= least,
    )


def _above_zero(default: float) -> Any:
    return _option(
        default, "a number above 0", lambda value: is_finite_number(value) and value > 0
    )


def _share(default: float) -> Any:
    return _option(
        default,
        "a number from 0 to below 1",
        lambda value: is_number(value) and 0 <= value < 1,
    )


def _choice(default: str, choices: Sequence[str]) -> Any:
    words = "one of " + ", ".join(map(repr, choices))
    return _option(
        default,
        words,
        lambda value: isinstance(value, str) and value in choices,
        choices,
    )


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The sizes and choices of a ``HybridNetwork``.

    The defaults are preset ``paper``'s.

    Attributes:
        dense_units, conv_filters: widths of the table branch's blocks, filters of the
            image branch's.
        fusion_units, image_units: widths of the head's dense blocks, and of those after
            the convolutions. May be empty.
        dropout: share of activations dropped in each block while training.
        initializer: how weights are drawn. ``"torch"`` keeps torch's own way.
        normalization, conv_normalization: of dense and of convolution blocks.
        kernel_size: of the convolutions, an odd number of pixels.
        image_readout: what the dense layers read of the last map: ``"flat"``, every
            place of it, or ``"mean"``, each channel's mean over places. Windows of the
            latter are cut to pictures with less height or width.
        image_shift: in training each image is moved at random by up to this share of
            its height and width.
        pooling: max-pooling window of each convolution block, 1 for none. The last
            entry also holds for further blocks.
        numeric_embedding: ``"none"`` or ``"periodic"``, how continuous columns enter
            the table branch.
        embedding_size, embedding_frequencies: numbers and cosines per embedded column.
        embedding_scale: standard deviation of the first frequencies. Larger fits
            rougher functions.
        level_embedding_size: numbers per embedded category: a categorical column with
            at least 50 encoded levels enters the table branch through a learned
            embedding of this size. 0: as it is, one-hot, like all others.
        random_kernels: how many fixed random kernels see the image beside the
            convolutions. What they see is fitted to the outputs after training, see
            ``RandomKernels``.
        single_logit: whether two classes share one output, the log odds of the second,
            instead of one output each.
        members: how many networks share nearly all weights and predict their mean, see
            ``members``. 1: a single one.
        image_channels: equal channels of the rendered image.
        image_scale: value of a pixel whose feature stands at its training maximum.

    Examples:
        >>> NetworkOptions.from_mapping({"dense_units": 64}).dense_units
        (64,)
        >>> NetworkOptions.from_mapping({"dropuot": 2})
        Traceback (most recent call last):
        permgrad.InputError: Network option 'dropuot' is unknown. Did you mean
        'dropout'? [PG003]
    """

    dense_units: tuple[int, ...] = _sizes((128, 128))
    conv_filters: tuple[int, ...] = _sizes((32, 64))
    fusion_units: tuple[int, ...] = _sizes((128, 128), may_be_empty=True)
    image_units: tuple[int, ...] = _sizes((), may_be_empty=True)
    dropout: float = _share(0.1)
    activation: str = _choice("relu", tuple(ACTIVATIONS))
    initializer: str = _choice("he_normal", INITIALIZERS)
    normalization: str = _choice("batch", NORMALIZATIONS)
    conv_normalization: str = _choice("batch", NORMALIZATIONS)
    kernel_size: int = _option(
        3,
        "an odd whole number of at least 1",
        lambda value: is_whole(value) and value >= 1 and value % 2 == 1,
    )
    pooling: tuple[int, ...] = _sizes((2,))
    image_readout: str = _choice("flat", IMAGE_READOUTS)
    image_shift: float = _share(0.0)
    numeric_embedding: str = _choice("none", NUMERIC_EMBEDDINGS)
    embedding_size: int = _whole(4, least=2)
    embedding_frequencies: int = _whole(16)
    embedding_scale: float = _above_zero(0.1)
    level_embedding_size: int = _whole(0, least=0)
    random_kernels: int = _whole(0, least=0)
    single_logit: bool = _option(
        False, "True or False", lambda value: isinstance(value, bool)
    )
    members: int = _whole(1)
    image_channels: int = _whole(3)
    image_scale: float = _above_zero(255.0)

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all options."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def from_mapping(cls, changes: Mapping[str, Any]) -> NetworkOptions:
        """Return preset ``paper``'s network with the given options replaced."""
        values, faults = check_network(changes)
        if faults:
            raise InputError(
                "; ".join(fault.message for fault in faults), code=faults[0].code
            )
        return cls(**values)

    def check(self) -> None:
        """Refuse options that exclude each other."""
        if self.members > 1 and self.normalization == "batch":
            problem = f"members={self.members} does not work with normalization='batch'"
            raise InputError(
                problem,
                hint="Set members=1, or normalization to 'none' or 'layer'.",
                code="PG006",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON knows."""
        return {
            option_name: list(value) if isinstance(value, tuple) else value
            for option_name, value in dataclasses.asdict(self).items()
        }


def check_network(network: Any) -> tuple[dict[str, Any], list[InputError]]:
    """Return the converted options and an error for each one that is wrong."""
    if network is None:
        return {}, []
    if not isinstance(network, Mapping):
        problem = f"network must be None or a mapping of options, got {shown(network)}"
        return {}, [
            InputError(
                problem, hint="Pass for example network={'dropout': 0.2}.", code="PG001"
            )
        ]
    values: dict[str, Any] = {}
    faults: list[InputError] = []
    options = {option.name: option for option in dataclasses.fields(NetworkOptions)}
    for option_name, value in network.items():
        if option_name not in options:
            choices = f"The options are {', '.join(options)}."
            option_hint = did_you_mean(option_name, options, choices)
            faults.append(
                InputError(
                    f"Network option {shown(option_name)} is unknown",
                    hint=option_hint,
                    code="PG003",
                )
            )
            continue
        option = options[option_name]
        option_rule = options[option_name].metadata
        option_type: Any = type(option.default)
        if option_type is tuple and is_whole(value):
            items = [value]
        else:
            items = value
        if option_rule["holds"](items):
            if option_type is tuple:
                values[option_name] = tuple(map(int, items))
            else:
                values[option_name] = option_type(items)
        else:
            if option_rule["choices"]:
                option_hint = did_you_mean(value, option_rule["choices"])
            else:
                option_hint = ""
            problem = (
                f"Network option {option_name} must be {option_rule['words']}, "
                f"got {value!r}"
            )
            faults.append(
                InputError(
                    problem,
                    hint=option_hint,
                    code="PG003" if option_rule["choices"] else "PG002",
                )
            )
    return values, faults
