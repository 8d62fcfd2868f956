"""SmoothGrad: slopes averaged over noisy copies of each row, so that small fluctuations
of a network cancel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.gradient import Gradient, Slope, SlopeReader
from permgrad.attribution.request import Request, methods
from permgrad.attribution.request.result import output_unit
from permgrad.attribution.slopes.lines import normal, sampled_points
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.base.checks import check_number, check_whole
from permgrad.base.errors import InputError
from permgrad.models.batches import in_batches

#: Summaries of the slopes g at a row's noisy copies: E g, E g² and Var g.
QUANTITIES = {
    "smoothgrad": "mean slope of the output near the row",
    "smoothgrad_sq": "mean squared slope of the output near the row",
    "vargrad": "variance of the slope of the output near the row",
}


@methods.register("smoothgrad")
class SmoothGrad(Gradient):
    """The mean slope of each output over noisy copies of each row.

    As ``gradient``, but of the mean of ∂f/∂x over ``samples`` copies with normal noise:
    a feature's value is Σ |E ∂f/∂x_p| over its positions p. Only positions of players
    get noise, and levels of a category get none. The noise of a copy depends on the
    seed, the row's number and the copy's number, not on batches or other rows.

    Options:
        signed: keep the signs: Σ E ∂f/∂x_p. Only for ``"smoothgrad"``, as the other
            variants have no signs.
        samples: noisy copies of each row.
        noise: standard deviation of the noise, as a share of the input's standard
            deviation over the background: of each column of a table, of all numbers of
            any other input. 0.5 is about 0.15 of the range of an image.
        variant: ``"smoothgrad"``, ``"smoothgrad_sq"`` (mean of the squared slopes) or
            ``"vargrad"`` (their variance).

    Sources: Smilkov et al. 2017 (arXiv 1706.03825), section 3. VarGrad: Adebayo et al.
    2018 (arXiv 1810.03292), appendix. NOTE[DIFF]: the paper measures noise by the range
    of the image. One outlier sets the range of a table's column.

    Examples:
        >>> import torch, permgrad as pg
        >>> from torch.nn import Linear, ReLU, Sequential
        >>> net = Sequential(Linear(3, 8), ReLU(), Linear(8, 1))
        >>> explanation = pg.explain(
        ...     net, torch.randn(40, 3), method=pg.methods.SmoothGrad(noise=0.3)
        ... )
        >>> explanation.values.shape
        (40, 3, 1)
    """

    name: ClassVar[str] = "smoothgrad"
    instead: ClassVar[Mapping[str, str]] = {"n_repeats": "samples"}
    samples: int = 50
    noise: float = 0.5
    variant: Literal["smoothgrad", "smoothgrad_sq", "vargrad"] = "smoothgrad"

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        check_whole("samples", self.samples, "pass for example 50")
        check_number("noise", self.noise, "pass for example 0.5")
        if self.signed and self.variant != "smoothgrad":
            raise InputError(
                f"variant={self.variant!r} has no signs to keep",
                hint="Leave signed= out.",
                code="PG006",
            )
        return super().__call__(request)

    def reader(self, slopes: Slopes) -> SlopeReader:
        """Return what reads outputs and slopes of some rows."""
        seed = slopes.request.seed
        samples = int(self.samples)
        noise = float(self.noise)
        variant = self.variant
        scales = _spread(slopes)
        names = slopes.subject.input_names

        def at_rows(row_slice: slice) -> Slope:
            batch_rows = slopes.rows(row_slice)
            first: list[Tensor] = []
            second: list[Tensor] = []

            def work(points: slice) -> None:
                row_indices, numbers = sampled_points(
                    slopes.request, row_slice.start, samples, points
                )
                row_indices = row_indices.to(batch_rows[0].device)
                row_values = tuple(tensor[row_indices] for tensor in batch_rows)
                noisy = list(row_values)
                for input_index, scale in scales.items():
                    drawn = normal(
                        seed,
                        (self.name, names[input_index]),
                        numbers,
                        row_values[input_index],
                    )
                    noisy[input_index] = row_values[input_index] + (
                        noise * scale * drawn
                    ).to(row_values[input_index].dtype)
                _, gradients = slopes.gradients(slopes.at_reference(row_values, noisy))
                shares = [gradient.double() / samples for gradient in gradients]
                if variant == "smoothgrad":
                    squares = []
                else:
                    squares = [s * g for s, g in zip(shares, gradients, strict=True)]
                for gradient_sums, added in ((first, shares), (second, squares)):
                    if not gradient_sums:
                        gradient_sums += [
                            gradient_terms.new_zeros(
                                (
                                    len(gradient_terms),
                                    len(batch_rows[0]),
                                    *gradient_terms.shape[2:],
                                )
                            )
                            for gradient_terms in added
                        ]
                    for total, added_terms in zip(gradient_sums, added, strict=True):
                        total.index_add_(1, row_indices, added_terms)

            slopes.batch = in_batches(len(batch_rows[0]) * samples, slopes.batch, work)
            if variant == "vargrad":
                second = [
                    (square - mean_gradient**2).clamp_min(0)
                    for square, mean_gradient in zip(second, first, strict=True)
                ]
            return slopes.outputs(
                batch_rows
            ), first if variant == "smoothgrad" else second

        facts: dict[str, Any] = {"samples": samples, "noise": noise, "variant": variant}
        absolute = "" if self.signed or variant != "smoothgrad" else "absolute "
        facts["quantity"] = f"{absolute}{QUANTITIES[variant]}"
        if variant != "smoothgrad":
            facts["unit"] = f"({output_unit(slopes.request)} per unit of the input)²"
        return SlopeReader(max(1, slopes.batch // samples), at_rows, facts)


def _spread(slopes: Slopes) -> dict[int, Tensor]:
    """Return the standard deviation over the background of each input that players own,
    0 where it holds levels.
    """
    background_rows = slopes.rows(slice(None), slopes.request.donors)
    scales = {}
    for input_index in slopes.free:
        moves = slopes.subject.on_a_scale(
            input_index, background_rows[input_index].shape[1:]
        ).to(background_rows[input_index].device)
        dimensions = (
            (0,)
            if background_rows[input_index].ndim <= 2
            else tuple(range(background_rows[input_index].ndim))
        )
        scales[input_index] = (
            background_rows[input_index].double().std(dim=dimensions, correction=0)
            * moves
        )
    if not any(bool((scale != 0).any()) for scale in scales.values()):
        problem = (
            "smoothgrad needs a background that varies: its noise is scaled to "
            "the background's spread"
        )
        raise InputError(
            problem, hint="Pass background= with rows that differ.", code="PG038"
        )
    return scales
