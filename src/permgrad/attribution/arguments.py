"""The arguments of one call of ``pg.explain``, and the checks that are the same for every kind of model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad.attribution.method import Method, Scope
from permgrad.attribution.subject.subject import Subject
from permgrad.base.checks import check_choice, check_confidence, check_flag, check_number, check_whole, is_whole
from permgrad.base.errors import InputError, shown, suggest
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.models.losses import losses

SAMPLINGS = ("marginal", "conditional")
LEVELS = ("column", "feature", "group", "modality")


@dataclass(frozen=True)
class Arguments:
    """What the user passed, unchanged; see ``pg.explain`` for what each means."""

    model: Any = None
    inputs: Any = None
    y: Any = None
    method: Any = "permgrad"
    scope: Any = "auto"
    target: int | str | Iterable[int | str] | None = None
    output: Any = "logit"
    level: str = "feature"
    groups: Mapping[str, Iterable[str]] | None = None
    background: Any = None
    sampling: Any = "marginal"
    loss: str = "auto"
    scoring: Any = None
    sample_weight: Any = None
    confidence: float = 0.95
    n_repeats: int = 10
    batch_size: int | Literal["auto"] = "auto"
    random_state: Any = None
    progress: Any = "auto"
    positive: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be used with no model, before anything is read; groups that are given are the players."""
        check_choice("level", self.level, LEVELS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        check_choice("output", self.output, ("logit", "probability"))
        check_confidence(self.confidence)
        check_whole("n_repeats", self.n_repeats, "pass for example 10")
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        if not automatic and not (is_whole(self.batch_size) and self.batch_size >= 1):
            raise InputError(
                f"batch_size must be 'auto' or an integer of at least 1, however: batch_size={shown(self.batch_size)}; "
                "pass for example 'auto'"
            )
        groups: Any = self.groups
        if groups is not None and not isinstance(groups, Mapping):
            raise InputError(
                "groups must map names to lists of features, however: it is "
                f"{type(groups).__name__}; pass groups={{'name': ['feature', …]}}"
            )
        for name, members in (groups or {}).items():
            if not isinstance(members, Iterable) or isinstance(members, (bytes, Mapping)):
                raise InputError(
                    f"a group must list its features, however: group {name!r} is {shown(members)}; pass "
                    f"groups={{{name!r}: ['feature', …]}}"
                )
        if groups and self.level in ("column", "modality"):
            players = "each column a player" if self.level == "column" else "whole inputs players"
            raise InputError(
                f"groups= says which features are one player, however: level={self.level!r} makes {players}; leave one "
                "of them out"
            )
        if groups is not None and self.level == "feature":
            object.__setattr__(self, "level", "group")


def resolve_options(chosen: Method, method: str, options: dict[str, Any], *, hint: str = "") -> dict[str, Any]:
    """Return the method's options, the user's over its defaults; unknown ones are refused, with a hint at others.

    A method whose ``options`` hold ``"**"`` takes any: they are another library's.
    """
    if "**" in chosen.options:
        return dict(options)
    parameters = {each.name for each in fields(Arguments)} - {"model", "inputs", "y", "method", "options"}
    for name, value in options.items():
        if name not in chosen.options:
            listed = ", ".join(chosen.options) or "none"
            raise InputError(
                f"options of method={method!r} are: {listed}, however: {name}={shown(value)} is not one of them"
                f"{suggest(name, [*chosen.options, *sorted(parameters)])}; leave it out{hint}"
            )
    for name, default in chosen.options.items():
        if isinstance(default, bool) and name in options:
            check_flag(name, options[name])
    chosen_options = {**chosen.options, **options}
    if "workers" in chosen_options:
        if chosen_options.get("tolerance") is not None:
            check_number("tolerance", chosen_options["tolerance"], "pass for example 0.01, or None")
        check_whole("workers", chosen_options["workers"], "pass for example 2")
    return chosen_options


def resolve_scope(chosen: Method, method: str, scope: Literal["auto", "global", "local"]) -> Scope:
    """Return the scope, the method's first where it is left to it."""
    check_choice("scope", scope, ("auto", "global", "local"))
    if scope == "auto":
        return chosen.scopes[0]
    if scope not in chosen.scopes:
        hint = "; summarise it with .to_global()" if scope == "global" else "; leave it out"
        raise InputError(f"method={method!r} gives scope={chosen.scopes[0]!r}, however: scope={scope!r}{hint}")
    return scope


def resolve_targets(subject: Subject, target: Any) -> tuple[int, ...]:
    """Return the positions of the outputs asked for."""
    names = subject.output_names
    count = len(names)
    if target is None:
        return tuple(range(count))
    wanted = list(target) if isinstance(target, Iterable) and not isinstance(target, str) else [target]
    positions: list[int] = []
    for one in wanted:
        if is_whole(one) and 0 <= int(one) < count:
            positions.append(int(one))
        elif isinstance(one, (str, int, np.integer)) and not isinstance(one, bool) and str(one) in names:
            # A number that is no position may still be the name of a class.
            positions.append(names.index(str(one)))
        else:
            last = f"0…{count - 1}" if count > 1 else "0"
            listed = f" or a class ({', '.join(names[:7])})" if subject.task == "classification" else ""
            raise InputError(
                f"target must be one of the {count} outputs, however: target={shown(one)}; "
                f"pass target={last}{listed} or None"
            )
    if not positions:
        raise InputError("target must name at least one output, however: it is empty; pass None for all")
    return tuple(dict.fromkeys(positions))


def resolve_positive(subject: Subject, positive: Any, y: npt.NDArray[Any] | None) -> str | None:
    """Return the name of the positive one of two classes; None where there are not two.

    Unless it is said it is the rarer one among the training rows that an estimator keeps, for a network in ``y``.
    """
    names = subject.class_names
    if positive is not None:
        return names[find_positive(names, positive)]
    if len(names) != 2:
        return None
    codes = y if subject.background_classes is None else subject.background_classes
    return names[1 if codes is None else usual_positive(names, codes)]


def resolve_loss(subject: Subject, loss: str) -> str:
    """Return the loss's registered name, the task's usual one for ``"auto"``; one of the other task is refused."""
    check_choice("loss", loss, ("auto", *losses.names()))
    fits = {"classification": ("cross_entropy", "brier", "zero_one"), "regression": ("squared_error", "absolute_error")}
    if loss == "auto":
        return fits[subject.task][0]
    if loss in fits["regression" if subject.task == "classification" else "classification"]:
        raise InputError(
            f"loss must fit the task, however: loss={loss!r} and the task is {subject.task}; pass one of "
            f"{', '.join(fits[subject.task])} or 'auto'"
        )
    return loss
