"""What other people's explainers need around them: seeded global generators, frozen weights, silence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import nn

from permgrad.base.random import forked_torch


@contextmanager
def other_packages(network: nn.Module, seed: int) -> Iterator[None]:
    """Seed the global generators that other packages draw from, and put everything back afterwards.

    The network's weights are frozen meanwhile: some packages would collect gradients in them.
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
    """Return Captum's methods, imported when they are called for: it takes seconds, and may not be installed."""
    import captum.attr

    return captum.attr


def shap() -> Any:
    """Return shap, imported when it is called for, as Captum is."""
    import shap as package

    return package
