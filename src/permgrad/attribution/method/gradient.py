"""Gradients of the outputs at the rows: how much each input changes the output near the
row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import OfSlopes, Request, methods
from permgrad.attribution.request.result import build, output_unit
from permgrad.attribution.slopes.gradients import differentiable
from permgrad.attribution.slopes.part_with_slopes import of_slopes
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.attribution.slopes.truth import warn_of_untrue_slopes
from permgrad.models.batches import in_batches

Slope = tuple[Tensor, list[Tensor]]


class SlopeReader(NamedTuple):
    """What reads outputs and slopes.

    Attributes:
        batch: Number of rows that are read at a time.
        at_rows: Returns of a slice of rows the outputs ``(rows, targets)``, and of each
            input the slopes ``(targets, rows, *shape)``.
        facts: Facts for ``meta``.
    """

    batch: int
    at_rows: Callable[[slice], Slope]
    facts: dict[str, Any]


@methods.register("gradient")
class Gradient(OfSlopes):
    """The slope |∂f/∂x| of each output at each row, added up over what a player owns.

    A feature's value is Σ |∂f/∂x_p| over its positions p (its encoded columns, the
    pixels of its segment), so values of a modality are the sum of its features'.
    Published shares are the mean over rows, summed by modality and divided by the sum
    of all modalities: ``explanation.by_modality().to_global()`` and a division. A slope
    does not show how far an input moves. Its unit is the output's per unit of the
    input, so inputs on different scales cannot be compared.

    One forward pass serves all outputs. An input that the output does not use has
    exactly 0.

    Options:
        signed: keep the signs: Σ ∂f/∂x_p. Opposite slopes within a player then cancel.

    Source: Simonyan, Vedaldi & Zisserman 2014 (arXiv 1312.6034), section 3, there the
    largest over colour channels. NOTE[DIFF]: the sum over channels, so that values add
    up by player and modality.

    Examples:
        >>> import numpy as np, torch, permgrad as pg
        >>> net = torch.nn.Linear(3, 1)
        >>> explanation = pg.explain(net, torch.zeros(4, 3), method="gradient")
        >>> bool(np.allclose(explanation.values[0, :, 0], net.weight.abs().detach()[0]))
        True
    """

    name: ClassVar[str] = "gradient"
    signed: bool = False

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        request = of_slopes(request)
        slopes = Slopes(request, self.name)
        subject = request.subject
        values = np.zeros((request.count, len(slopes.space), len(request.targets)))
        predictions = np.zeros((request.count, len(request.targets)))

        def work(row_slice: slice) -> None:
            outputs, gradients = reader.at_rows(row_slice)
            player_sums = slopes.sums(
                gradients if self.signed else [gradient.abs() for gradient in gradients]
            )
            values[row_slice] = player_sums[:, 0].cpu().numpy()
            predictions[row_slice] = outputs.double().cpu().numpy()
            progress.advance(row_slice.stop - row_slice.start)

        with (
            request.bar(request.count, self.name) as progress,
            subject.open(),
            differentiable(subject),
        ):
            reader = self.reader(slopes)
            warn_of_untrue_slopes(slopes, self.name)
            in_batches(request.count, reader.batch, work)
        facts = {
            "quantity": "slope of the output"
            if self.signed
            else "absolute slope of the output",
            "unit": f"{output_unit(request)} per unit of the input",
            "signed": self.signed,
            "model_rows": slopes.model_rows,
            "gradient_evaluations": slopes.evaluations,
            **slopes.places.facts,
            **reader.facts,
        }
        return build(
            slopes.request,
            self.name,
            values,
            facts,
            additive=True,
            predictions=predictions,
        )

    def reader(self, slopes: Slopes) -> SlopeReader:
        """Return what reads outputs and slopes of some rows."""

        def at_rows(row_slice: slice) -> Slope:
            outputs, gradients = slopes.gradients(slopes.rows(row_slice))
            return outputs[:, slopes.targets], gradients

        return SlopeReader(slopes.batch, at_rows, {})
