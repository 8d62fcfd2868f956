"""SmoothGrad: slopes averaged over noisy copies of each row, so that small fluctuations
of a network cancel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

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


class Variant(NamedTuple):
    """A summary of the slopes g at a row's noisy copies: E g, E g² or Var g.

    Attributes:
        quantity: In words.
        squared: Whether slopes are squared, so that no sign is left.
        less_mean: Whether the square of the mean is taken off.
    """

    quantity: str
    squared: bool = False
    less_mean: bool = False


VARIANTS = {
    "smoothgrad": Variant("mean slope of the output near the row"),
    "smoothgrad_sq": Variant("mean squared slope of the output near the row", True),
    "vargrad": Variant("variance of the slope of the output near the row", True, True),
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
        if self.signed and VARIANTS[self.variant].squared:
            raise InputError(
                f"variant={self.variant!r} has no signs to keep",
                hint="Leave signed= out.",
                code="PG006",
            )
        return super().__call__(request)

    def reader(self, slopes: Slopes) -> SlopeReader:
        """Return what reads outputs and slopes of some rows."""
        variant = VARIANTS[self.variant]
        facts: dict[str, Any] = {
            "samples": int(self.samples),
            "noise": float(self.noise),
            "variant": self.variant,
            "quantity": variant.quantity,
        }
        if variant.squared:
            facts["unit"] = f"({output_unit(slopes.request)} per unit of the input)²"
        elif not self.signed:
            facts["quantity"] = f"absolute {variant.quantity}"
        at_rows = _NoisySlopes(
            slopes,
            self.name,
            int(self.samples),
            float(self.noise),
            variant,
            _spread(slopes),
        )
        return SlopeReader(max(1, slopes.batch // at_rows.samples), at_rows, facts)


@dataclass(frozen=True)
class _NoisySlopes:
    """Reads outputs, and slopes averaged over noisy copies of each row.

    Attributes:
        slopes: Of the network.
        name: Of the stream of random numbers.
        samples: Copies of each row.
        noise: As a share of ``scales``.
        variant: What is averaged.
        scales: The spread of each input that gets noise.
    """

    slopes: Slopes
    name: str
    samples: int
    noise: float
    variant: Variant
    scales: Mapping[int, Tensor]

    def __call__(self, row_slice: slice) -> Slope:
        """Return the outputs of some rows, and what is averaged."""
        slopes = self.slopes
        batch_rows = slopes.rows(row_slice)
        row_count = len(batch_rows[0])
        means: list[Tensor] = []
        squares: list[Tensor] = []

        def work(points: slice) -> None:
            row_indices, numbers = sampled_points(
                slopes.request, row_slice.start, self.samples, points
            )
            row_indices = row_indices.to(batch_rows[0].device)
            row_values = tuple(tensor[row_indices] for tensor in batch_rows)
            noisy = self._noisy(row_values, numbers)
            _, gradients = slopes.gradients(slopes.at_reference(row_values, noisy))
            shares = [gradient.double() / self.samples for gradient in gradients]
            _add_by_row(means, shares, row_indices, row_count)
            if self.variant.squared:
                squared = [s * g for s, g in zip(shares, gradients, strict=True)]
                _add_by_row(squares, squared, row_indices, row_count)

        slopes.batch = in_batches(row_count * self.samples, slopes.batch, work)
        if not self.variant.squared:
            return slopes.outputs(batch_rows), means
        if self.variant.less_mean:
            squares = [
                (square - mean_gradient**2).clamp_min(0)
                for square, mean_gradient in zip(squares, means, strict=True)
            ]
        return slopes.outputs(batch_rows), squares

    def _noisy(self, row_values: Sequence[Tensor], numbers: Any) -> list[Tensor]:
        """Return copies with the noise of their ``numbers``."""
        seed = self.slopes.request.seed
        names = self.slopes.subject.input_names
        noisy = list(row_values)
        for input_index, scale in self.scales.items():
            values = row_values[input_index]
            drawn = normal(seed, (self.name, names[input_index]), numbers, values)
            noisy[input_index] = values + (self.noise * scale * drawn).to(values.dtype)
        return noisy


def _add_by_row(
    sums: list[Tensor], terms: Sequence[Tensor], row_indices: Tensor, row_count: int
) -> None:
    """Add terms ``(targets, copies, *)`` of some rows to sums ``(targets, rows, *)``,
    which begin at 0.
    """
    if not sums:
        for term in terms:
            sums.append(term.new_zeros((len(term), row_count, *term.shape[2:])))
    for total, term in zip(sums, terms, strict=True):
        total.index_add_(1, row_indices, term)


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
