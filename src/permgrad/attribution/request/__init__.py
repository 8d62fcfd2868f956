"""A call of ``pg.explain`` as a ``Request``, the protocol and the registry of methods, and their common options."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, dataclass_transform

from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.players.segments import ImageShape
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.subject.row_target import RowTarget
from permgrad.attribution.subject.subject import Subject
from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.base.registry import Registry
from permgrad.models.losses import OtherLoss


class Method(Protocol):
    """A registered method: its options with their defaults, and its scopes, the default first."""

    scopes: ClassVar[tuple[Scope, ...]]
    options: ClassVar[Mapping[str, Any]]

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        ...


methods: Registry[type[Method]] = Registry("method")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Configured:
    """A method whose options are the fields of its class, as in ``Shapley(max_permutations=200)``.

    A subclass declares each option with its type and default. It becomes a frozen dataclass, and ``options`` is built
    from its fields.
    """

    options: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        kind: Any = dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)
        cls.options = {option.name: option.default for option in fields(kind)}
        # An option left on the class could hide a function of the method, such as ``game``.
        for name in set(cls.options) & set(vars(cls)):
            delattr(cls, name)

    def check(self, request: Request) -> None:
        """Refuse options of a request before any work. Reports call this first."""

    def __repr__(self) -> str:
        changed = changed_options(self)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


class PlayedMethod(Configured):
    """The options of methods that play games with donors. ``permgrad`` describes them."""

    tolerance: float | None = None
    ensure_top: int | None = None
    max_repeats: int = 128
    incremental: bool = True
    workers: int = 1


class PairedMethod(PlayedMethod):
    """The options of methods that also measure interactions of the loss.

    ``interactions=2`` adds all pairs after the features. ``pairs`` is how many are measured on all rows after a pilot.
    """

    interactions: int = 1
    pairs: int | Literal["auto", "all"] = "auto"


def changed_options(method: Method | Configured) -> dict[str, Any]:
    """Return the options of a method that differ from their defaults."""
    options = {name: getattr(method, name, default) for name, default in method.options.items()}

    def unchanged(value: Any, default: Any) -> bool:
        same_type = isinstance(value, (str, int, float)) and type(value) is type(default)
        return value is default or (same_type and value == default)

    return {name: value for name, value in options.items() if not unchanged(value, method.options[name])}


def with_options(method: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the name of a registered method, and its options with those of a call. Other methods stay unchanged."""
    kind = method if isinstance(method, type) else type(method)
    name = next((name for name in methods if methods.get(name) is kind), None)
    if name is None:
        return method, dict(options)
    held = {} if isinstance(method, type) else changed_options(method)
    for option in options:
        if option in held:
            hint = f"Pass it to {kind.__name__}(...) or to the call, not to both."
            raise InputError(f"{option} is passed twice", hint=hint, code="PG006")
    return name, {**held, **options}


def refuse_conditional(
    request: Request,
    name: str,
    does: str = "draws no values that could fit the rest of a row",
    fix: str = "leave sampling out, or choose method='permgrad' or 'permutation'",
) -> None:
    """Refuse ``sampling="conditional"`` for a method that draws no such values."""
    if request.sampling != "marginal":
        problem = f"{name} does not support sampling={request.sampling!r}, because it {does}"
        raise InputError(problem, hint=fix, code="PG004")


def refuse_interactions(options: Mapping[str, Any], argument: str) -> None:
    """Refuse interactions together with an argument that works without them."""
    if options.get("interactions", 1) != 1:
        problem = f"interactions={options['interactions']!r} cannot be used with {argument}"
        raise InputError(problem, hint="Leave one of them out.", code="PG006")


Scope = Literal["global", "local"]


class RowNumbers:
    """Numbers of rows that do not follow each other: added to positions they give the rows' numbers.

    It stands where ``row_offset`` does, so that rows picked out of a longer table draw the donors they draw in it.
    """

    # NumPy then leaves the sum to this class.
    __array_ufunc__ = None

    def __init__(self, numbers: Integers) -> None:
        self.numbers = numbers

    def __radd__(self, positions: Integers) -> Integers:
        return self.numbers[positions]


@dataclass(frozen=True)
class Request:
    """One call of ``pg.explain`` with every argument checked and resolved.

    ``inputs`` are the rows explained, one tensor per input of the network, rows first. They must not be changed.
    ``donors`` is the background in the same form, or ``inputs`` itself where the rows are their own background.
    ``raw`` are the user's rows, or None where no table has an encoder. ``y`` holds class indexes, numbers in y's units,
    or the targets that a loss takes. In the last case ``classes`` holds the class indexes, if there are any. ``labels``
    are the classes as the user's y holds them, ``fields`` is a structured y as passed, for scorers.
    ``shapes`` say how inputs are read as images or volumes. ``engine`` plays a loss game in parts, as ``play_losses``
    does. ``kept`` stores whatever is fitted on the background for the next rows of a longer table, and ``row_offset``
    is the number of its first row.
    """

    subject: Subject
    inputs: tuple[Tensor, ...]
    donors: tuple[Tensor, ...]
    space: PlayerSpace
    background_kind: str
    scope: Scope
    targets: tuple[int, ...]
    y: Any = None
    classes: Integers | None = None
    labels: Array | None = None
    fields: Array | None = None
    raw: pd.DataFrame | None = None
    shapes: tuple[ImageShape | None, ...] = ()
    output: Literal["logit", "probability"] = "logit"
    level: str = "feature"
    sampling: Literal["marginal", "conditional"] = "marginal"
    loss: str | OtherLoss = "auto"
    scoring: Any = None
    sample_weight: Floats | None = None
    units: Dependence | None = None
    confidence: float = 0.95
    n_repeats: int = 10
    batch_size: int | Literal["auto"] = "auto"
    seed: int = 0
    progress: Any = "auto"
    row_offset: int | RowNumbers = 0
    options: dict[str, Any] = field(default_factory=dict)
    engine: Any = None
    positive: str | None = None
    positive_by_y: bool = False
    row_target: RowTarget | None = None
    kept: dict[str, Any] | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def count(self) -> int:
        """Number of rows explained."""
        return len(self.inputs[0])

    @property
    def shared(self) -> bool:
        """Whether the background is the rows explained."""
        return self.donors is self.inputs

    @cached_property
    def encoded(self) -> Floats32:
        """The rows explained as the network sees them, ``(rows, encoded)``."""
        return self.inputs[0].detach().cpu().numpy()
