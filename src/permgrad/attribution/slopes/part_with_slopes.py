"""The part of a network that has slopes: what gradients explain of a network with
branches that have none, such as trees.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from permgrad.attribution.request import Request
from permgrad.attribution.subject.scales import LOGIT
from permgrad.attribution.subject.subject import Subject
from permgrad.models.branches import added_branches

#: Rows whose outputs are compared, evenly over all of them, and rows that are predicted
#: at once.
_MOST = 2000
_AT_ONCE = 256


def of_slopes(request: Request) -> Request:
    """Return the request of the model without its branches that have no slopes.

    Its facts say so (``meta["part"]``, whose ``without`` is their names, by commas).

    ``share`` is the part's share of the variance of the model's outputs over the rows
    explained: the sum over outputs of the covariance of both, divided by the sum of the
    model's variances. NaN where the outputs do not vary.
    """
    flat = []
    for path in request.subject.paths:
        if path in added_branches() and not added_branches()[path].has_slopes:
            flat.append(path)
    if not flat:
        return request
    whole_subject: Any = request.subject
    subject = whole_subject.without(*flat)
    row_step = max(1, -(-request.count // _MOST))
    whole_outputs = _outputs(whole_subject, request.inputs[0][::row_step])
    part_outputs = _outputs(subject, request.inputs[0][::row_step])
    whole_outputs = whole_outputs - whole_outputs.mean(dim=0)
    part_outputs = part_outputs - part_outputs.mean(dim=0)
    share = float((part_outputs * whole_outputs).sum() / whole_outputs.square().sum())
    subject.part = {
        "paths": list(subject.paths),
        "without": ", ".join(flat),
        "share": share,
    }
    return replace(request, subject=subject)


def _outputs(subject: Subject, rows: Tensor) -> Tensor:
    """Return the outputs of rows as logits, or in y's units, float64 ``(rows,
    outputs)``.
    """
    with subject.open(), torch.no_grad():
        outputs = torch.cat(
            [subject.predict((row_chunk,)) for row_chunk in rows.split(_AT_ONCE)]
        )
        return LOGIT.read(subject.outputs, outputs).double()
