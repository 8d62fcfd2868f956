"""The protocol of an attribution method, the registry of methods, and the options that
several of them have.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from functools import cache
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request.request import Request
from permgrad.attribution.scopes import GLOBAL, LOCAL, Scope, scopes
from permgrad.attribution.subject.scales import PROBABILITY, Scale
from permgrad.attribution.typed_options import as_typed
from permgrad.base.checks import check_choice, check_flag
from permgrad.base.errors import shown, warn_user
from permgrad.base.near_names import with_near_names
from permgrad.base.registry import Registry

#: Kinds of models.
MODELS = ("network", "estimator", "predictor")
#: Arguments of ``pg.explain`` that some methods do not read, or not in all scopes. A
#: method declares for example ``"global n_repeats"``. ``scale`` is none of them: of a
#: loss it changes nothing, and results say their unit.
READ_BY_SOME = (
    "n_repeats",
    "loss",
    "background",
    "confidence",
    "row_groups",
    "row_time",
)


def in_scopes(*names: str) -> frozenset[str]:
    """Return what a method declares that reads arguments in each of its scopes.

    Examples:
        >>> sorted(in_scopes("loss"))
        ['global loss', 'local loss']
    """
    return frozenset(f"{scope} {name}" for scope in scopes for name in names)


#: What a method may declare. ``parts``: rows in parts. ``global parts``: a global
#: importance of them, in which sums are merged. ``local order``, ``global order``:
#: interactions in single rows, and of the loss. ``lone modality``: groups of whole
#: modalities where there is one, which no method takes: there is nothing to share.
OF_METHODS = (
    *MODELS,
    "parts",
    "global parts",
    "refits",
    "scoring",
    "sample_weight",
    "row target",
    "local order",
    "global order",
    "lone modality",
    *sorted(in_scopes(*READ_BY_SOME)),
)
#: What methods of permgrad take unless they say otherwise.
USUAL = frozenset({*MODELS, "parts", "sample_weight", "row target"}) | in_scopes(
    "background", "confidence", "row_groups", "row_time"
)
#: What games take that measure what replacing a player does to a loss.
GAME = USUAL | {"global parts", "refits", "scoring", "global loss"}
#: Those that draw donors as often as ``n_repeats`` says.
DRAWN_GAME = GAME | in_scopes("n_repeats")


class Method(Protocol):
    """A method of attribution.

    Attributes:
        scopes: Its scopes, the default first.
        takes: What else of a call it takes, some of ``OF_METHODS``.
        scales: The scale on which outputs are explained, by scope. In other scopes a
            loss is measured.
        scale_reason: Why that scale is no probability, in a sentence.
    """

    scopes: ClassVar[tuple[Scope, ...]]
    takes: ClassVar[frozenset[str]]
    scales: ClassVar[Mapping[Scope, Scale]]
    scale_reason: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Return its options by name."""
        ...

    def __call__(self, request: Request) -> Explanation:
        """Return the explanation of a call.

        Args:
            request: The call, with the model, ``(rows, *)`` of each input and the
                background read. It must not be changed.
        """
        ...


methods: Registry[type[Method]] = Registry("method")


def setting(default: Any, *, init: Literal[False] = False) -> Any:
    """Return the default of a field that only permgrad's own pages and checks change,
    by ``tuned``.
    """
    return field(default=default, init=init)


class Condition(NamedTuple):
    """When a method reads an option that not all of its variants read.

    Attributes:
        option: Its name.
        is_read: Whether a method reads it in a scope.
        words: With what it is read, such as ``"order=2"``.
        other_options: Options of the method with which it is read, and their values.
        scope: The scope in which alone it is read.
    """

    option: str
    is_read: Callable[[Any, Scope], bool]
    words: str
    other_options: Mapping[str, Any] = {}
    scope: Scope | None = None


def in_scope(option: str, read_in: Scope) -> Condition:
    """Return the condition of an option that is read in one scope alone."""
    return Condition(
        option,
        lambda _, scope: scope == read_in,
        f"scope={str(read_in)!r}",
        scope=read_in,
    )


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(setting,)
)
class Configured:
    """A method whose options are the fields of its class, as in
    ``Shapley(max_permutations=200)``.

    A subclass declares each option with its type and default, and reads them as its
    fields. It becomes a frozen dataclass, and ``options`` is built from its fields.
    ``inner`` are those declared by ``setting``. What a type alone says is checked by
    it: one of several texts, True or False (``check_types``). ``takes`` are some of
    ``OF_METHODS``. ``scales``: the scale on which outputs are explained unless the user
    names one, for each scope that explains outputs. In the others a loss is measured.
    ``scale_reason`` says why, where it is no probability. ``by_output``: whether
    outputs are explained one by one, as slopes are taken. ``instead``: for arguments
    that it does not read, the option that says the same of it. ``conditions``: when
    options are read that not all variants read.
    """

    scopes: ClassVar[tuple[Scope, ...]]
    takes: ClassVar[frozenset[str]] = USUAL
    scales: ClassVar[Mapping[Scope, Scale]] = {LOCAL: PROBABILITY}
    scale_reason: ClassVar[str] = ""
    by_output: ClassVar[bool] = False
    #: whether values depend on an input only through its slopes, which may be undefined
    by_slopes: ClassVar[bool] = False
    #: why values are 0 although the model may use the input, in a sentence
    why_zero: ClassVar[str] = ""
    #: whether it warns of zeros itself
    tells_of_zeros: ClassVar[bool] = False
    instead: ClassVar[Mapping[str, str]] = {}
    conditions: ClassVar[tuple[Condition, ...]] = ()
    options: ClassVar[dict[str, Any]] = {}
    inner: ClassVar[dict[str, Any]] = {}
    #: whether words of texts are features, else tokens, of which each has a vector
    by_word: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        method_class: Any = with_near_names(
            dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)
        )
        cls.options = {}
        cls.inner = {}
        for entry in fields(method_class):
            entries = cls.options if entry.init else cls.inner
            entries[entry.name] = entry.default
            # An option left on the class could hide a function of the method, such as
            # ``game``.
            if entry.name in vars(cls):
                delattr(cls, entry.name)

    def __post_init__(self) -> None:
        for setting_name, default in self.inner.items():
            object.__setattr__(self, setting_name, default)

    def settings(self) -> dict[str, Any]:
        """Return the options and the inner settings by name."""
        names = (*self.inner, *self.options)
        return {name: getattr(self, name) for name in names}

    def taken(self) -> frozenset[str]:
        """Return what it takes with its options."""
        return self.takes

    def tell_of_unread(self, scope: Scope) -> None:
        """Warn of options that its variant, or its scope, does not read."""
        changed_settings = changed_options(self)
        for condition in self.conditions:
            name = condition.option
            if name in changed_settings and not condition.is_read(self, scope):
                option_text = f"{name}={shown(changed_settings[name])}"
                problem = (
                    f"method={name_of(self)!r} reads {option_text} only with "
                    f"{condition.words}"
                )
                hint = f"Leave {name} out."
                if condition.other_options:
                    typed = as_typed(
                        self,
                        **{name: changed_settings[name]},
                        **condition.other_options,
                    )
                    hint = f"Leave {name} out, or pass {typed}."
                elif condition.scope is not None:
                    hint = f"Leave {name} out, or pass {condition.words}."
                warn_user(f"{problem}. {hint}")

    def check_types(self) -> None:
        """Refuse what is none of a type's texts, or neither True nor False."""
        method_class: Any = type(self)
        for name, option_type in _types_of(method_class).items():
            value = getattr(self, name)
            if get_origin(option_type) is Literal:
                check_choice(name, value, get_args(option_type))
            elif option_type is bool:
                check_flag(name, value)
            elif option_type == bool | Literal["auto"]:
                check_flag(name, value, auto=True)

    @abstractmethod
    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""

    def __repr__(self) -> str:
        option_texts = []
        for option_name, value in changed_options(self).items():
            option_texts.append(f"{option_name}={value!r}")
        return f"{type(self).__name__}({', '.join(option_texts)})"


@cache
def _types_of(method_class: type[Configured]) -> dict[str, Any]:
    """Return the types of a method's options and settings by name."""
    types = get_type_hints(method_class)
    entries: Any = method_class
    return {entry.name: types[entry.name] for entry in fields(entries)}


class PlayedMethod(Configured):
    """Methods that play games with donors.

    ``incremental=False`` is the dense reference.
    """

    takes: ClassVar[frozenset[str]] = DRAWN_GAME
    incremental: bool = setting(default=True)


class PairedMethod(PlayedMethod):
    """The options of methods that also measure interactions of the loss.

    ``permgrad`` describes them.
    """

    takes: ClassVar[frozenset[str]] = DRAWN_GAME | {"global order"}
    conditions: ClassVar[tuple[Condition, ...]] = (in_scope("tolerance", GLOBAL),)

    sampling: Literal["marginal", "conditional"] = "marginal"
    order: int = 1
    pairs: int | Literal["auto", "all"] = "auto"
    tolerance: float | Literal["auto"] | None = "auto"


class OfSlopes(Configured):
    """A method of single rows whose values depend on an input only through the slopes
    of the outputs: one output after the other, and tokens, of which each has a vector.
    """

    scopes: ClassVar[tuple[Scope, ...]] = (LOCAL,)
    takes: ClassVar[frozenset[str]] = USUAL - {"predictor"}
    by_word: ClassVar[bool] = False
    by_output: ClassVar[bool] = True
    by_slopes: ClassVar[bool] = True


def tuned(method: Any, **settings: Any) -> Any:
    """Return a method with other inner settings: for permgrad's own pages, and for
    checks of its engines.
    """
    tuned_method = copy(method)
    if unknown := set(settings) - set(tuned_method.inner):
        raise TypeError(
            f"{type(tuned_method).__name__} has no inner setting "
            f"{', '.join(sorted(unknown))}"
        )
    for setting_name, value in settings.items():
        object.__setattr__(tuned_method, setting_name, value)
    return tuned_method


def changed_options(method: Configured) -> dict[str, Any]:
    """Return the settings of a method that differ from their defaults."""
    changed_settings = {}
    for option_name, default in {**method.inner, **method.options}.items():
        value = method.settings()[option_name]
        plain = isinstance(value, (str, int, float)) and type(value) is type(default)
        if value is not default and not (plain and value == default):
            changed_settings[option_name] = value
    return changed_settings


def configured(name: str, settings: Mapping[str, Any]) -> Any:
    """Return a registered method with options, and inner settings, by their names."""
    method_class: Any = methods.get(name)
    options = {key: settings[key] for key in settings if key in method_class.options}
    inner_settings = {key: settings[key] for key in settings if key not in options}
    return tuned(method_class(**options), **inner_settings)


def changed(method: Configured, **settings: Any) -> Any:
    """Return a method with some settings changed."""
    return configured(name_of(method), {**method.settings(), **settings})


def name_of(method: Configured) -> str:
    """Return the name under which a method is registered."""
    method_class: Any = type(method)
    return next(
        method_name for method_name, entry in methods.items() if entry is method_class
    )
