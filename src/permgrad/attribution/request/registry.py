"""The protocol of an attribution method, the registry of methods, and the options that several of them have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, dataclass_transform

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request.request import Request, Scope
from permgrad.base.errors import InputError
from permgrad.base.registry import Registry


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
