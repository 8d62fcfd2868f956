"""How the learning rate goes over a training: a registry of functions of the share of
the training that is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from permgrad.base.registry import Registry

Schedule = Callable[[float, float], float]
#: Every entry: ``(share done, peak rate) -> rate``, the share running from 0 to below
#: 1.
schedules: Registry[Schedule] = Registry("schedule")
_WARM_UP_START = 1e-5
_WARM_UP_SHARE = 0.25
_FLAT_SHARE = 0.5
_ONE_CYCLE_SHARE = 0.3


@schedules.register("warmup_cosine")
def warmup_cosine(done: float, rate: float) -> float:
    """Rise linearly from 1e-5 to ``rate`` over the first quarter, then fall to 0 along
    a cosine.

    ``done`` is the share of the steps that are done, from 0 to 1.
    """
    if done < _WARM_UP_SHARE:
        start = min(_WARM_UP_START, rate)
        return start + (rate - start) * done / _WARM_UP_SHARE
    return (
        rate
        * 0.5
        * (1 + math.cos(math.pi * (done - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE)))
    )


@schedules.register("cosine")
def cosine(done: float, rate: float) -> float:
    """Fall from ``rate`` to 0 along half a cosine wave (Loshchilov & Hutter 2017, arXiv
    1608.03983, equation 5).
    """
    return rate * 0.5 * (1 + math.cos(math.pi * done))


@schedules.register("flat_cosine")
def flat_cosine(done: float, rate: float) -> float:
    """Stay at ``rate`` for the first half, then fall to 0 along a cosine."""
    if done < _FLAT_SHARE:
        return rate
    return (
        rate
        * 0.5
        * (1 + math.cos(math.pi * ((done - _FLAT_SHARE) / (1 - _FLAT_SHARE))))
    )


@schedules.register("one_cycle")
def one_cycle(done: float, rate: float) -> float:
    """Rise from a 25th of ``rate`` along a cosine over the first 30 %, then fall to
    almost nothing along another.

    Smith & Topin 2018 (arXiv 1708.07120), with the constants of
    ``torch.optim.lr_scheduler.OneCycleLR``. NOTE[DIFF]: momentum does not cycle.
    """
    lowest_rate = rate / 25
    if done < _ONE_CYCLE_SHARE:
        return rate + (lowest_rate - rate) * 0.5 * (
            1 + math.cos(math.pi * done / _ONE_CYCLE_SHARE)
        )
    final_rate = lowest_rate / 1e4
    return final_rate + (rate - final_rate) * 0.5 * (
        1 + math.cos(math.pi * (done - _ONE_CYCLE_SHARE) / (1 - _ONE_CYCLE_SHARE))
    )


@schedules.register("constant")
def constant(done: float, rate: float) -> float:  # noqa: ARG001 — every schedule has the same signature
    """Stay at ``rate``."""
    return rate
