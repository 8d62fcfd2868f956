"""What may differ by rounding alone, and what makes two processes round alike.

See docs/reproducibility.md: with the same number of threads results are identical, else
they are equal up to rounding, which depends on how large the numbers are.
"""

from __future__ import annotations

import os

import numpy as np
import torch


def rounding(
    *computed: object, roundings: float = 16, dtype: type = np.float32
) -> float:
    """Return how far apart rounding may bring two ways of computing numbers.

    Args:
        computed: the numbers that are rounded; of differences and sums what they are
            taken of, since these are larger.
        roundings: how many of the largest number's last digits; for results of many
            steps more than for one.
        dtype: in which they are computed.
    """
    largest = max(
        float(np.abs(np.asarray(computed_values, dtype=np.float64)).max())
        for computed_values in computed
    )
    return roundings * float(np.finfo(dtype).eps) * largest


def as_many_threads(**variables: str) -> dict[str, str]:
    """Return the environment of a process that computes with as many threads as this
    one.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, str(torch.get_num_threads())),
        **variables,
    }
