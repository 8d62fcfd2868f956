"""Contestants: a name, the truth that the method estimates, and a function that scores
features.

Each suite has its own list, because tables and pairs of images need different calls.
Methods of permgrad come from the registry ``permgrad.attribution.methods``, so that a
new method takes part without a line here.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import nn

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.random import forked_torch
from permgrad.base.registry import Registry

Kind = Literal["ours", "peer", "baseline"]


@dataclass(frozen=True)
class Scores:
    """A contestant's result: one number per player ``(players,)``, larger is more
    important, in its own units.

    ``low`` and ``high`` are the ends of 95 % intervals, ``p_values`` are two-sided, of
    "no importance". ``model_rows`` counts rows of the network evaluated, forward or
    backward. ``completeness_gap`` is the largest gap of the sum of attributions,
    relative to the output range. None: unknown.
    """

    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    p_values: Floats | None = None
    seconds: float = float("nan")
    model_rows: float | None = None
    completeness_gap: float | None = None

    def __post_init__(self) -> None:
        """Refuse scores that cannot be compared, for authors of contestants."""
        if self.values.ndim != 1 or not np.all(np.isfinite(self.values)):
            problem = (
                "A contestant must return one finite number per player, got shape "
                f"{self.values.shape} with "
                f"{int(np.sum(~np.isfinite(self.values)))} not finite"
            )
            raise InputError(problem, hint="Correct the contestant.", code="PG007")


@dataclass(frozen=True)
class Contestant:
    """A method that takes part in a suite: a function of the suite's case that returns
    :class:`Scores`.

    ``estimand`` is the suite's truth that it estimates, or ``"any"`` if it states none
    (gradients, maps). ``kind`` is ``"ours"``, ``"peer"`` (another package, or another
    paper's method) or ``"baseline"``. ``needs`` are packages that must be importable.
    ``note`` is a remark for readers of the tables.
    """

    name: str
    label: str
    estimand: str
    kind: Kind
    score: Callable[[Any], Scores]
    needs: tuple[str, ...] = ()
    note: str = ""

    def missing(self) -> list[str]:
        """Return the packages it needs that are not installed."""
        return [
            package
            for package in self.needs
            if importlib.util.find_spec(package) is None
        ]

    def facts(self) -> dict[str, Any]:
        """Return what the page says of it."""
        return {
            "label": self.label,
            "estimand": self.estimand,
            "kind": self.kind,
            "note": self.note,
        }


_LISTS: dict[str, Registry[Contestant]] = {}


def enrolled(suite: str) -> Registry[Contestant]:
    """Return the list of a suite's contestants, made on first use."""
    if suite not in _LISTS:
        _LISTS[suite] = Registry(f"method of the suite {suite}")
    return _LISTS[suite]


def enrol(suite: str, contestant: Contestant) -> None:
    """Enter a contestant into a suite's list under its own name."""
    enrolled(suite).register(contestant.name)(contestant)


@contextmanager
def other_packages(network: nn.Module, seed: int) -> Iterator[None]:
    """Seed the global generators that other packages draw from, and put everything back
    afterwards.

    The network's weights are frozen meanwhile: some packages would collect gradients in
    them.
    """
    state = np.random.get_state()  # noqa: NPY002 — shap and Captum draw from the global generator
    weights = [(weight, weight.requires_grad) for weight in network.parameters()]
    try:
        np.random.seed(seed)  # noqa: NPY002 — as above
        for weight, _ in weights:
            weight.requires_grad_(False)
        with forked_torch(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002 — as above
        for weight, before in weights:
            weight.requires_grad_(before)


def captum() -> Any:
    """Return Captum's methods, imported when they are called for: it takes seconds, and
    may not be installed.
    """
    import captum.attr

    return captum.attr


def shap() -> Any:
    """Return shap, imported when it is called for, as Captum is."""
    import shap as package

    return package
