"""Integrated gradients, on hybrid networks through both paths at once; how they are taken: ``slopes.integrals``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pandas as pd
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.slopes.integrals import integrate
from permgrad.base.checks import check_choice, check_number, check_whole
from permgrad.base.errors import InputError, shown


@methods.register("integrated_gradients")
class IntegratedGradients:
    """Attributions of each row's output to its features, which add up to output − output at the baseline.

    ``parts`` splits every value by the path through which it reached the output: ``tabular + image = values``. The
    encoded columns of a feature move together along the line and are added up; ``players="encoded"`` shows them apart.

    Nothing is corrected afterwards. ``meta["completeness_gap"]`` is the largest |Σ attributions − (f(x) −
    f(baseline))| over rows and outputs, as a share of the output's range over the background. Where secants are used
    (``meta["rule"]``) the sum is right to rounding with any number of steps, so it says nothing about the single
    values: their accuracy is ``meta["quadrature_error"]``, the largest change of any attribution when the intervals of
    its row were last halved, as a share of the same range.

    On any torch network the same is done from its inputs; values are there summed over each player's positions.

    The default baseline (``"auto"``) is the median row: numbers at their median, categories at their most frequent
    level. Unlike encoded zeros or means it is a row that could stand in the table (no half levels), drawn as a picture
    like any other; unlike the background it costs one line for each row.

    The answer depends on the baseline: ``meta["baseline"]`` says in words what it was.

    Options:
        baseline: ``"auto"`` (the median; zeros where a network is explained without a background), ``"median"``,
            ``"mean"``, ``"zeros"`` (encoded 0), ``"background"`` (expected gradients: the mean over background rows),
            ``"class:<label>"`` (the same over background rows of one class), or rows like those explained.
        references: background rows that ``"background"`` and ``"class:<label>"`` average over, at most.
        reference_class: a class; ``"median"``, ``"mean"`` and ``"background"`` are then taken over its rows alone.
        players: ``"features"``, or ``"encoded"``: one value for each number that the network sees, by its name in
            ``preprocessor_.encoded_names_``.
        tolerance: a row is settled when its gap, and the last change of each of its attributions, are below this
            share of the output's range.
        max_steps: intervals of the quadrature at most.
        steps: exactly so many gradients for each row and baseline, by the midpoint rule and without any refinement, as
            other libraries count them; None: as many as it takes.

    Source: Sundararajan, Taly & Yan 2017 (arXiv 1703.01365), equation 1; expected gradients: Erion et al. 2021 (arXiv
    1906.10670), equation 3.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3)); y = X @ [2.0, 1.0, 0.0]
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, y)
        >>> explanation = pg.explain(model, X[:5], method="integrated_gradients", progress=False)
        >>> total = explanation.base_values + explanation.values.sum(axis=1)
        >>> bool(np.abs(total - explanation.predictions).max() < 0.05)
        True
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    options: ClassVar[Mapping[str, Any]] = {
        "baseline": "auto",
        "references": 50,
        "reference_class": None,
        "players": "features",
        "tolerance": 0.002,
        "max_steps": 1024,
        "steps": None,
    }

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        refuse_conditional(request, "integrated_gradients")
        options = request.options
        for name, least in (("references", 1), ("max_steps", 2)):
            check_whole(name, options[name], "pass such a number", least=least)
        check_number("tolerance", options["tolerance"], "pass for example 0.002")
        if options["steps"] is not None:
            check_whole("steps", options["steps"], "leave it out, or pass for example 50")
        players, names = options["players"], request.subject.encoded_names
        check_choice("players", players, ("features", "encoded"))
        if players == "encoded" and not names:
            raise InputError(
                f"players={shown(players)} shows the encoded columns of a permgrad estimator, however: they are not "
                "apart here; leave out players="
            )
        if players == "encoded" and request.level != "feature":
            raise InputError(
                "players='encoded' explains each encoded column by itself, "
                f"however: level={request.level!r} asks for columns to be added up; leave out level= and groups="
            )
        if players == "encoded":
            space = PlayerSpace(names, ("table",) * len(names), request.space.inputs, (torch.arange(len(names)),))
            raw = pd.DataFrame(request.encoded, columns=list(names))
            request = replace(request, space=space, raw=raw, level="input")
        return integrate(request, options)
