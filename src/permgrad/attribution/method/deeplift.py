"""DeepLIFT by the Rescale rule, for any network and without hooks; how the slopes are found: ``rescale``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.slopes.baselines import baseline_rows
from permgrad.attribution.slopes.gradients import differentiable
from permgrad.attribution.slopes.slopes import Additive, Slopes, walks_truly
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError, warn_user
from permgrad.base.progress import Progress
from permgrad.models.batches import in_batches

#: The gap of the sums, as a share of the output's range, from which on values are called incomplete.
_GAP = 0.01


@methods.register("deeplift")
class DeepLift:
    """What each input adds to the difference between a row's output and that at a baseline, in one step.

    Every function of the network that is not linear takes its mean slope between baseline and row, and the slopes are
    multiplied backwards; values then add up to output − output at the baseline. Activations, max pooling, softmax,
    normalisations, attention and products of activations are known, wherever they are called (see ``rescale``);
    modules used twice and in-place or functional calls need no care. What is not known (recurrent layers, for example)
    keeps its gradient, and ``meta["completeness_gap"]``, the largest |Σ values − (f(x) − f(baseline))| as a share of
    the output's range over the background, says how much is missing.

    On hybrid networks ``parts`` splits every value by the path through which it reached the output.

    Options:
        baseline: ``"auto"`` (the median of the background; zeros where a network is explained without one),
            ``"median"``, ``"mean"``, ``"zeros"``, ``"background"`` (the mean over background rows), or rows like those
            explained.
        references: background rows that ``"background"`` averages over, at most.

    Source: Shrikumar, Greenside & Kundaje 2017 (arXiv 1704.02685), sections 3.1 to 3.5.1; averaged over a background:
    Lundberg & Lee 2017 (arXiv 1705.07874), section 4.2, "Deep SHAP".
    NOTE[DIFF]: the paper explains a softmax by its normalised logits; here softmax has a rule of its own, which is
        used with ``output="probability"`` and where the network itself calls it. Its rules for products, maxima and
        normalisations are ours, see ``rescale``.

    Examples:
        >>> import numpy as np, torch, permgrad as pg
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> explanation = pg.explain(net, torch.randn(4, 3), method="deeplift", progress=False)
        >>> total = explanation.base_values + explanation.values.sum(axis=1)
        >>> bool(np.abs(total - explanation.predictions).max() < 1e-5)
        True
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    options: ClassVar[Mapping[str, Any]] = {"baseline": "auto", "references": 50}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        refuse_conditional(request, "deeplift")
        options = request.options
        references = check_whole("references", options["references"], "pass for example 50")
        slopes, subject = Slopes(request, "deeplift", by_path=True), request.subject
        result = Additive(slopes, baseline_rows(request, options["baseline"], references))
        count, matched = len(result.baseline.rows[0]), True

        def work(part: slice) -> None:
            nonlocal matched
            rows = slopes.rows(part)
            values: Any = 0.0
            outputs = base = torch.zeros(len(rows[0]), len(slopes.targets), dtype=torch.float64, device=rows[0].device)
            for place in range(count):
                start = slopes.at_baseline(rows, [tensor[place : place + 1] for tensor in baselines])
                before, outputs, added, met = slopes.step(start, rows)
                values, base, matched = values + added, base + before[:, slopes.targets], matched and met
            few = tuple(tensor[:8] for tensor in rows)
            if part.start == 0 and not walks_truly(slopes, few, outputs[: len(few[0])]):
                raise InputError(
                    "deeplift needs a network whose forward does not differentiate, however: its outputs are others "
                    "where slopes between two points take the place of gradients; choose "
                    "method='integrated_gradients' or 'shapley'"
                )
            slopes.evaluations += count * len(outputs)
            slopes.model_rows += 2 * count * len(outputs)
            result.keep(part, values / count, outputs[:, slopes.targets], base / count)
            progress.advance(len(outputs))

        with Progress(request.count, "deeplift", request.progress) as progress, subject.open(), differentiable(subject):
            baselines = slopes.rows(slice(0, count), result.baseline.rows)
            in_batches(request.count, slopes.batch, work)
            base = result.base[:1] if slopes.whole else result.base
            scale = slopes.output_range(torch.as_tensor(base, device=subject.device)).cpu().numpy()
        explanation = result.explanation("deeplift", scale, rule="Rescale", references=references)
        gap = explanation.meta["completeness_gap"]
        if gap > _GAP or not matched:
            why = (
                "the network calls functions without a rule, which keep their gradient"
                if matched
                else "the network does not make the same calls for the row as for the baseline"
            )
            warn_user(
                "values should add up to the output's difference from the baseline, however: "
                f"{gap:.2g} of the output's range is missing, because {why}; choose method='integrated_gradients'"
            )
        return explanation
