"""What other people's explainers need around them: seeded global generators, frozen weights, silence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def other_packages(network: nn.Module, seed: int) -> Iterator[None]:
    """Seed the global generators that other packages draw from, and put everything back afterwards.

    The network's weights are frozen meanwhile: some packages would collect gradients in them.
    """
    from permgrad.base.random import forked_torch

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
