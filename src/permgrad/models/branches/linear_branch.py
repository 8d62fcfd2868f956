"""The linear branch: a ridge, logistic or Poisson regression beside the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from permgrad.models.branches.branch import (
    AddedBranch,
    Fitted,
    Store,
    Trial,
    register,
)

if TYPE_CHECKING:
    from permgrad.models.libraries.job import Job
    from permgrad.models.network.additive import LinearBranch

#: Iterations of a usual fit.
_ITERATIONS = 100


def _fit(work: Job, outputs: int) -> Fitted:
    from permgrad.models.branches.as_outputs import as_outputs
    from permgrad.models.libraries.linear import affine, linear, linear_label

    matrix, offset = affine(linear(work))
    line = _make(matrix.shape[1], outputs)
    line.fill(as_outputs(matrix.T, outputs).T, as_outputs(offset[None], outputs)[0])
    return Fitted(linear_label(work.task, counts=work.counts), line)


def _make(encoded: int, outputs: int) -> LinearBranch:
    from permgrad.models.network.additive import LinearBranch

    return LinearBranch(encoded, outputs)


def _form(line: LinearBranch, store: Store) -> dict[str, Any]:
    return {"kind": "linear", "weight": store(line.weight), "bias": store(line.bias)}


def _trial(classes: int) -> Trial:  # noqa: ARG001 — as of all branches
    return Trial("linear", "max_iter", _ITERATIONS)


LINEAR = register(
    AddedBranch(
        name="linear",
        title="linear branch",
        colour="series-2",
        fit=_fit,
        make=_make,
        has_slopes=True,
        form=_form,
        trial=_trial,
    )
)
