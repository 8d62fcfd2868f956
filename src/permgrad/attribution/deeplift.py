"""DeepLIFT by the Rescale rule, for any network and without hooks; how the slopes are found: ``rescale``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad._errors import InputError, PermgradWarning
from permgrad._progress import Progress
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.gradients import in_batches
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.network_baselines import TensorBaseline, tensor_baseline
from permgrad.attribution.network_slopes import Slopes
from permgrad.attribution.result import describe, finish, input_maps, modalities, shown_values

#: The gap of the sums, as a share of the output's range, from which on values are called incomplete.
_GAP = 0.01

Floats = npt.NDArray[np.float64]


@methods.register("deeplift")
class DeepLift:
    """What each input adds to the difference between a row's output and that at a baseline, in one step.

    Every function of the network that is not linear takes its mean slope between baseline and row, and the slopes are
    multiplied backwards; values then add up to output − output at the baseline. Activations, max pooling, softmax,
    normalisations, attention and products of activations are known, wherever they are called (see ``rescale_rules``);
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
    NOTE[DIFF]: the paper prefers a normalised rule for softmax and leaves out its logits; here softmax has a rule of its
        own, and is explained only with ``output="probability"`` or where the network itself calls it.

    Examples:
        >>> import permgrad as pg
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
        started = time.perf_counter()
        options = {**self.options, **request.options}
        references = options["references"]
        if isinstance(references, bool) or not isinstance(references, (int, np.integer)) or references < 1:
            raise InputError(f"references must be an integer of at least 1, however: references={references!r}")
        slopes = Slopes(request, "deeplift", by_path=True)
        baseline = tensor_baseline(request, options["baseline"], int(references))
        run = _Run(slopes, baseline)
        with Progress(request.count, "deeplift", request.progress) as progress, slopes.open():
            run.go(progress)
            scale = slopes.output_range(run.seen_bases()).cpu().numpy()
        missing = np.abs(run.values.sum(axis=(1, 2)) - (run.predictions - run.base))
        gap = float((missing / scale).max())
        _warn_of_gap(gap, matched=run.matched)
        return finish(request, _explanation(request, run, gap, scale, options, started))


class _Run:
    """All rows against all baseline rows."""

    def __init__(self, slopes: Slopes, baseline: TensorBaseline) -> None:
        request = slopes.request
        self.slopes, self.baseline = slopes, baseline
        targets = len(request.targets)
        self.values = np.zeros((request.count, len(slopes.parts), len(request.space), targets))
        self.predictions = np.zeros((request.count, targets))
        self.base = np.zeros((request.count, targets))
        self.matched = True

    def go(self, progress: Progress) -> None:
        """Compute, in batches of rows that go through all baseline rows."""
        slopes, count = self.slopes, len(self.baseline)
        baselines = slopes.rows(slice(0, count), self.baseline.rows)

        def work(part: slice) -> None:
            rows = slopes.rows(part)
            total: Tensor | None = None
            base = outputs = torch.zeros(())
            for place in range(count):
                start = slopes.at_baseline(rows, [tensor[place : place + 1] for tensor in baselines])
                walk = slopes.walk(rows, crossing=False)
                base = base + walk.stand(slopes.leaves(start))[:, slopes.targets].double()
                outputs, found = walk.step(
                    slopes.leaves(rows), slopes.targets, constant_sum=slopes.constant_sum, last=True
                )
                own = slopes.attributions(found, start, rows)
                total = own if total is None else total + own
                self.matched &= walk.matched
            assert total is not None
            slopes.evaluations += count * (part.stop - part.start)
            self.values[part] = (total / count).cpu().numpy()
            self.base[part] = (base / count).cpu().numpy()
            self.predictions[part] = outputs[:, slopes.targets].double().cpu().numpy()
            progress.advance(part.stop - part.start)

        in_batches(slopes.request.count, slopes.batch, work)

    def seen_bases(self) -> Tensor:
        """Return outputs at baselines: one for all rows, where that is so."""
        rows = self.base[:1] if self.slopes.whole else self.base
        return torch.as_tensor(rows, device=self.slopes.subject.device)


def _explanation(
    request: Request, run: _Run, gap: float, scale: Floats, options: Mapping[str, Any], started: float
) -> Explanation:
    slopes = run.slopes
    parts = {name: run.values[:, place] for place, name in enumerate(slopes.parts)} if slopes.parts != ("",) else {}
    return Explanation(
        values=run.values.sum(axis=1),
        names=request.space.names,
        modality=modalities(request),
        outputs=tuple(request.subject.output_names[target] for target in request.targets),
        method="deeplift",
        scope="local",
        parts=parts,
        level=request.level,
        additive=True,
        groups=request.groups,
        feature_values=shown_values(request),
        base_values=run.base[0] if slopes.whole else run.base,
        predictions=run.predictions,
        maps=input_maps(request),
        meta=describe(
            request,
            quantity="output minus the output at the baseline",
            unit="y" if request.subject.task == "regression" else request.output,
            output=request.output,
            baseline=run.baseline.words,
            baseline_name=run.baseline.name,
            baseline_rows=len(run.baseline),
            references=int(options["references"]),
            rule="Rescale",
            completeness_gap=gap,
            output_range=scale.tolist(),
            gradient_evaluations=slopes.evaluations,
            model_rows=2 * slopes.evaluations,
            seconds=time.perf_counter() - started,
        ),
    )


def _warn_of_gap(gap: float, *, matched: bool) -> None:
    if gap <= _GAP and matched:
        return
    why = (
        "the network calls functions without a rule, which keep their gradient"
        if matched
        else "the network does not make the same calls for the row as for the baseline"
    )
    warnings.warn(
        f"values should add up to the output's difference from the baseline, however: {gap:.2g} of the output's range is "
        f"missing, because {why}; choose method='integrated_gradients'",
        PermgradWarning,
        stacklevel=4,
    )
