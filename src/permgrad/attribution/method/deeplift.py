"""DeepLIFT by the Rescale rule, for any network and without hooks.

``rescale`` computes the slopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import OfSlopes, Request, Scope, methods
from permgrad.attribution.request.method_registry import Condition
from permgrad.attribution.scopes import LOCAL
from permgrad.attribution.slopes.gradients import Tensors, differentiable
from permgrad.attribution.slopes.part_with_slopes import of_slopes
from permgrad.attribution.slopes.references import REFERENCES_ARE_READ, reference_rows
from permgrad.attribution.slopes.slopes import Additive, Slopes, walks_truly
from permgrad.attribution.slopes.truth import warn_of_untrue_slopes
from permgrad.attribution.subject.scales import LOGIT, Scale
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError, warn_user
from permgrad.models.batches import in_batches

#: A larger gap of the sums, as a share of the output's range, causes a warning.
_GAP = 0.01


@methods.register("deeplift")
class DeepLift(OfSlopes):
    """Contribution of each input to the difference between a row's output and the
    output at a baseline, in one step.

    Every nonlinear function of the network gets its mean slope between baseline and
    row, and the slopes are multiplied backwards. Values then add up to output − output
    at the baseline. Rules exist for activations, max pooling, softmax, normalisations,
    attention and products of activations, wherever they are called (see ``rescale``).
    Modules may be used twice, and calls may be in place or functional. Functions
    without a rule (recurrent layers, for example) keep their gradient.
    ``meta["completeness_gap"]`` shows how much is then missing: the largest
    |Σ values − (f(x) − f(baseline))| as a share of the output's range over the
    background.

    On hybrid networks ``parts`` splits every value by the path through which it reached
    the output.

    Options:
        baseline: ``"auto"`` (the median of the background, or zeros for a network
            without one), ``"median"``, ``"mean"``, ``"zeros"``, ``"background"`` (the
            mean over background rows), or rows like those explained.
        references: background rows that ``"background"`` averages over, at most.

    Sources: Shrikumar, Greenside & Kundaje 2017 (arXiv 1704.02685), sections 3.1 to
    3.5.1. Averages over a background: Lundberg & Lee 2017 (arXiv 1705.07874), section
    4.2, "Deep SHAP". NOTE[DIFF]: the paper explains a softmax by its normalised logits.
    Here softmax has a separate rule, used with ``scale="probability"`` and where the
    network itself calls it. The rules for products, maxima and normalisations are ours,
    see ``rescale``.

    Examples:
        >>> import numpy as np, torch, permgrad as pg
        >>> from torch.nn import Linear, ReLU, Sequential
        >>> net = Sequential(Linear(3, 8), ReLU(), Linear(8, 1))
        >>> explanation = pg.explain(net, torch.randn(4, 3), method="deeplift")
        >>> total = explanation.base_values + explanation.values.sum(axis=1)
        >>> bool(np.abs(total - explanation.predictions).max() < 1e-5)
        True
    """

    scales: ClassVar[Mapping[Scope, Scale]] = {LOCAL: LOGIT}
    scale_reason: ClassVar[str] = "DeepLIFT needs a scale that is linear in the outputs"
    conditions: ClassVar[tuple[Condition, ...]] = (REFERENCES_ARE_READ,)
    baseline: Any = "auto"
    references: int = 50

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        request = of_slopes(request)
        reference_count = check_whole(
            "references", self.references, "pass for example 50"
        )
        slopes = Slopes(request, "deeplift", by_path=True)
        subject = request.subject
        result = Additive(
            slopes, reference_rows(slopes.places, self.baseline, reference_count)
        )
        count = len(result.reference.rows[0])
        matched = True

        def work(row_slice: slice) -> None:
            nonlocal matched
            batch_rows = slopes.rows(row_slice)
            steps = _steps_from(slopes, references, count, batch_rows)
            outputs = steps.outputs
            matched = matched and steps.matched
            first_rows = tuple(tensor[:8] for tensor in batch_rows)
            if row_slice.start == 0 and not walks_truly(
                slopes, first_rows, outputs[: len(first_rows[0])]
            ):
                raise _computes_gradients()
            slopes.evaluations += count * len(outputs)
            slopes.model_rows += 2 * count * len(outputs)
            result.keep(
                row_slice,
                steps.values / count,
                outputs[:, slopes.targets],
                steps.base / count,
            )
            progress.advance(len(outputs))

        with (
            request.bar(request.count, "deeplift") as progress,
            subject.open(),
            differentiable(subject),
        ):
            untrue = warn_of_untrue_slopes(slopes, "deeplift")
            references = slopes.references(result.reference.rows)
            in_batches(request.count, slopes.batch, work)
            if slopes.whole:
                base = result.base[:1]
            else:
                base = result.base
            scale = (
                slopes.output_range(torch.as_tensor(base, device=subject.device))
                .cpu()
                .numpy()
            )
        explanation = result.explanation(
            "deeplift", scale, rule="Rescale", references=reference_count
        )
        if not untrue:
            _tell_of_gap(explanation, request.subject.coarse, matched=matched)
        return explanation


class _Steps(NamedTuple):
    """Steps from reference rows to rows, added up over the references.

    Attributes:
        values: What each position adds, for each input.
        outputs: Of the rows, ``(rows, outputs)``.
        base: The outputs of the references, ``(rows, targets)``.
        matched: Whether both ends called the same layers.
    """

    values: Any
    outputs: Tensor
    base: Tensor
    matched: bool


def _steps_from(
    slopes: Slopes, references: Sequence[Tensor], count: int, batch_rows: Tensors
) -> _Steps:
    """Step from each of ``count`` reference rows to some rows."""
    values: Any = 0.0
    matched = True
    outputs = base = torch.zeros(
        len(batch_rows[0]),
        len(slopes.targets),
        dtype=torch.float64,
        device=batch_rows[0].device,
    )
    for reference_index in range(count):
        reference = [
            tensor[reference_index : reference_index + 1] for tensor in references
        ]
        start = slopes.at_reference(batch_rows, reference)
        before, outputs, added, calls_match = slopes.step(start, batch_rows)
        values = values + added
        base = base + before[:, slopes.targets]
        matched = matched and calls_match
    return _Steps(values, outputs, base, matched)


def _computes_gradients() -> InputError:
    """Return the refusal of a network whose forward computes gradients."""
    return InputError(
        "deeplift cannot explain a network whose forward computes gradients: "
        "slopes between two points replace gradients, and its outputs change",
        hint="Choose method='integrated_gradients' or 'shapley'.",
        code="PG034",
    )


def _tell_of_gap(
    explanation: Explanation, half: torch.dtype | None, *, matched: bool
) -> None:
    """Warn if the values do not add up, and say why."""
    gap = explanation.meta["completeness_gap"]
    most = _GAP
    if half is not None:  # its numbers cannot add up better than they are told apart
        most = 4 * torch.finfo(half).eps
    is_far = gap > most
    if matched and not is_far:
        return
    why = "the network does not make the same calls for the row as for the baseline"
    if matched:
        why = "the network calls functions without a rule, which keep their gradient"
    warn_user(
        "The values do not add up to the output's difference from the baseline: "
        f"{gap:.2g} of the output's range is missing, because {why}. "
        "Choose method='integrated_gradients'."
    )
