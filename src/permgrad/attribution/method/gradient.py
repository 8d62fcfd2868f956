"""Slopes of the outputs at the rows themselves: how much each input moves the output where the row is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from permgrad.attribution.build import build, output_unit
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.slopes.gradients import differentiable
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.base.progress import Progress
from permgrad.models.batches import in_batches


@methods.register("gradient")
class Gradient:
    """The slope |∂f/∂x| of each output at each row, added up over what a player owns.

    A feature's value is Σ |∂f/∂x_p| over its positions p (its encoded columns, the pixels of its segment), so values
    of a modality are the sum of its features'. Published shares are the mean over rows, summed by modality and divided
    by the sum of all modalities: ``explanation.by_modality().to_global()`` and a division. A slope says nothing about
    how far an input moves: its unit is the output's per unit of the input, so inputs on different scales do not
    compare.

    One forward pass serves all outputs; an input that the output does not use has exactly 0.

    Options:
        signed: keep the signs: Σ ∂f/∂x_p. Opposite slopes within a player then cancel.

    Source: Simonyan, Vedaldi & Zisserman 2014 (arXiv 1312.6034), section 3, there the largest over colour channels.
    NOTE[DIFF]: the sum over channels, so that values add up by player and modality.

    Examples:
        >>> import numpy as np, torch, permgrad as pg
        >>> net = torch.nn.Linear(3, 1)
        >>> explanation = pg.explain(net, torch.zeros(4, 3), method="gradient", progress=False)
        >>> bool(np.allclose(explanation.values[0, :, 0], net.weight.abs().detach()[0]))
        True
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    options: ClassVar[Mapping[str, Any]] = {"signed": False}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        refuse_conditional(request, "gradient")
        signed = request.options["signed"]
        slopes, subject = Slopes(request, "gradient"), request.subject
        values = np.zeros((request.count, len(request.space), len(request.targets)))
        predictions = np.zeros((request.count, len(request.targets)))

        def work(part: slice) -> None:
            outputs, gradients = slopes.gradients(slopes.rows(part))
            sums = slopes.sums(gradients if signed else [gradient.abs() for gradient in gradients])
            values[part] = sums[:, 0].cpu().numpy()
            predictions[part] = outputs[:, slopes.targets].double().cpu().numpy()
            progress.advance(part.stop - part.start)

        with Progress(request.count, "gradient", request.progress) as progress, subject.open(), differentiable(subject):
            in_batches(request.count, slopes.batch, work)
        facts = {
            "quantity": "slope of the output" if signed else "absolute slope of the output",
            "unit": f"{output_unit(request)} per unit of the input",
            "signed": signed,
            "model_rows": slopes.model_rows,
            "gradient_evaluations": slopes.evaluations,
        }
        return build(request, "gradient", values, facts, additive=True, predictions=predictions)
