"""The two clinical modalities: twenty normal columns of unit variance, X3 the first ten and X4 the last ten."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError

#: Columns in all, half of them in X3 and half in X4.
COLUMNS = 20
#: How far below 0 rounding may push an eigenvalue of a singular covariance.
_ROUNDING = 1e-9


def published_covariance() -> Floats:
    """Return the published covariance: the identity, but 0.5 between column 9 and columns 3, 4 and 5 (from 1)."""
    return covariance_with({(8, 2): 0.5, (8, 3): 0.5, (8, 4): 0.5})


def covariance_with(correlations: dict[tuple[int, int], float]) -> Floats:
    """Return the identity with some correlations put in, columns from 0."""
    matrix = np.eye(COLUMNS)
    for (row, column), value in correlations.items():
        matrix[row, column] = matrix[column, row] = value
    return matrix


def draw_clinical(rows: int, rng: np.random.Generator, covariance: Floats) -> npt.NDArray[np.float32]:
    """Draw rows of the clinical columns."""
    if covariance.shape != (COLUMNS, COLUMNS) or not np.allclose(covariance, covariance.T):
        problem = f"covariance must be symmetric with shape ({COLUMNS}, {COLUMNS}), got {covariance.shape}"
        raise InputError(problem, hint="Start from published_covariance().", code="PG007")
    values, vectors = np.linalg.eigh(covariance)
    if values.min() < -_ROUNDING:
        problem = f"covariance has a negative eigenvalue: {values.min():.3g}"
        raise InputError(problem, hint="Lower the correlations.", code="PG002")
    # The symmetric root also exists for singular matrices, unlike Cholesky's, and does not depend on the signs of
    # eigenvectors.
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    drawn: npt.NDArray[np.float32] = (rng.standard_normal((rows, COLUMNS)) @ root).astype(np.float32)
    return drawn
