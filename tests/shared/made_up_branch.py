"""A branch that permgrad does not have: the mean of the nearest training rows. All that
it needs stands in this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.models.branches import AddedBranch, Fitted, branches, register
from permgrad.models.branches.as_outputs import as_outputs
from permgrad.models.libraries.job import Job

NAME = "neighbours"
TITLE = "neighbour branch"


class Neighbours(nn.Module):
    """Says the mean of what the three nearest rows were: ``(rows, encoded)`` to
    ``(rows, outputs)``.
    """

    rows: Tensor
    said: Tensor

    def __init__(self, encoded: int, outputs: int, *, rows: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(rows, encoded))
        self.register_buffer("said", torch.zeros(rows, outputs))

    @property
    def sizes(self) -> dict[str, int]:
        return {"rows": len(self.rows)}

    def scale_(self, factor: float) -> None:
        self.said.mul_(factor)

    def raise_(self, shift: float) -> None:
        self.said.add_(shift)

    def forward(self, encoded: Tensor) -> Tensor:
        # Distances by a product of matrices would depend on the other rows.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(encoded, self.rows.to(encoded), compute_mode=exact)
        nearest = distances.topk(3, largest=False).indices
        return self.said.to(encoded)[nearest].mean(dim=1)


def fit(work: Job, outputs: int) -> Fitted:
    y = np.asarray(work.train.y)
    if work.classify:
        chances = 0.1 + 0.8 * np.eye(work.n_classes)[y]
        said = np.log(chances)
        if work.n_classes == 2:
            said = said[:, 1:] - said[:, :1]
    elif work.counts:
        said = np.log(y + 0.1)[:, None]
    else:
        said = y[:, None]
    module = Neighbours(work.train.encoded.shape[1], outputs, rows=len(y))
    module.rows.copy_(torch.as_tensor(work.train.encoded))
    module.said.copy_(torch.from_numpy(as_outputs(said, outputs)))
    return Fitted("3 nearest rows", module)


BRANCH = AddedBranch(
    name=NAME,
    title=TITLE,
    colour="series-4",
    fit=fit,
    make=Neighbours,
    has_slopes=False,
    sizes=("rows",),
    holds_rows=True,
)


@contextmanager
def registered(branch: AddedBranch = BRANCH) -> Iterator[None]:
    """Have a branch registered in the body."""
    register(branch)
    try:
        yield
    finally:
        del branches[branch.name]
