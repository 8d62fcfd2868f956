"""What a model of another library says, as the outputs of a network."""

from __future__ import annotations

import numpy as np

from permgrad.base.arrays import Floats


def as_outputs(branch_outputs: Floats, outputs: int) -> Floats:
    """Return logits or numbers ``(rows, outputs)``: of two classes with two outputs the
    log odds are shared out.
    """
    table = branch_outputs.reshape(len(branch_outputs), -1)
    if outputs == 2 and table.shape[1] == 1:
        return np.column_stack([-table[:, 0] / 2, table[:, 0] / 2])
    return table
