"""Integrated gradients, on hybrid networks through both paths at once.

``slopes.integrals`` computes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.request import OfSlopes, Request, methods, setting
from permgrad.attribution.request.method_registry import Condition
from permgrad.attribution.scopes import INPUT
from permgrad.attribution.slopes.integrals import integrate
from permgrad.attribution.slopes.references import REFERENCES_ARE_READ
from permgrad.base.checks import check_number, check_whole
from permgrad.base.late import pd


@methods.register("integrated_gradients")
class IntegratedGradients(OfSlopes):
    """Attributions of each row's output to its features.

    They add up to output − output at the baseline.

    ``parts`` splits every value by the path through which it reached the output:
    ``tabular + image = values``. Trees beside a network's head have no slopes: it is
    explained without them, see ``meta["part"]``. The encoded columns of a feature move
    together along the line and are added up. ``players="encoded"`` keeps them separate.
    For a torch network, values are summed over each player's positions in the inputs.

    Values are not corrected afterwards. ``meta["completeness_gap"]`` is the largest |Σ
    attributions − (f(x) − f(baseline))| over rows and outputs, as a share of the
    output's range over the background. Where secants are used (``meta["rule"]``), the
    sum is exact up to rounding for any number of steps, so it does not show the
    accuracy of single values. ``meta["quadrature_error"]`` does: the largest error of a
    value as a share of its row's largest, estimated from the last refinement. A
    few rows in a hundred are less accurate than the estimate. Values are extrapolated
    from both estimates, which makes them much more accurate where the network is
    smooth.

    The default baseline (``"auto"``) is the median row: numbers at their median,
    categories at their most frequent level. Unlike encoded zeros or means, it is a
    possible row of the table (no half levels) with a picture like any other. Unlike the
    background, it needs only one line for each row. Attributions depend on the
    baseline, and ``meta["baseline"]`` describes it.

    Options:
        baseline: ``"auto"`` (the median, or zeros for a network without a background),
            ``"median"``, ``"mean"``, ``"zeros"`` (encoded 0), ``"background"``
            (expected gradients: the mean over background rows), ``"class:<label>"``
            (the same over background rows of one class), or rows like those explained.
        references: background rows that ``"background"`` and ``"class:<label>"``
            average over, at most.
        players: ``"features"``, or ``"encoded"``: one value for each number that the
            network sees, by its name in ``preprocessor_.encoded_names_``.
        tolerance: refinement of a row stops when the estimated error of each of its
            values is below this share of the row's largest value, and its gap below
            this share of the output's range. None: 0.01, and 0.001 of token ids. Pass
            less for more exact values.
        steps: exact number of gradients for each row and baseline, by the midpoint rule
            without refinement, as other libraries count them. None: as many as needed.

    Sources: Sundararajan, Taly & Yan 2017 (arXiv 1703.01365), equation 1. Expected
    gradients: Erion et al. 2021 (arXiv 1906.10670), equation 3.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> y = X @ [2.0, 1.0, 0.0]
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0)
        >>> model = model.fit(X, y)
        >>> explanation = pg.explain(model, X[:5], method="integrated_gradients")
        >>> total = explanation.base_values + explanation.values.sum(axis=1)
        >>> bool(np.abs(total - explanation.predictions).max() < 0.05)
        True
    """

    #: Largest number of intervals of the quadrature. A class: the rows of the reference
    #: are of it.
    max_steps: int = setting(default=1024)
    reference_class: Any = setting(default=None)
    conditions: ClassVar[tuple[Condition, ...]] = (
        REFERENCES_ARE_READ,
        Condition("tolerance", lambda method, _: method.steps is None, "steps=None"),
    )
    baseline: Any = "auto"
    references: int = 50
    players: Literal["features", "encoded"] = "features"
    tolerance: float | None = None
    steps: int | None = None

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        check_whole("references", self.references, "leave it out", least=1)
        check_whole("max_steps", self.max_steps, "leave it out", least=2)
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, "pass for example 0.001")
        if self.steps is not None:
            check_whole("steps", self.steps, "leave it out, or pass for example 50")
        names = request.subject.encoded_names
        if self.players == "encoded":
            space = PlayerSpace(
                names,
                ("table",) * len(names),
                request.space.inputs,
                (torch.arange(len(names)),),
            )
            raw_frame = pd.DataFrame(request.encoded, columns=list(names))
            request = replace(request, space=space, raw=raw_frame, level=INPUT)
        facts: dict[str, Any] = {}
        if names:
            facts["players"] = self.players
        return integrate(
            request,
            facts,
            starts_at=(self.baseline, int(self.references), self.reference_class),
            steps=self.steps,
            most_steps=int(self.max_steps),
            tolerance=self.tolerance,
        )
