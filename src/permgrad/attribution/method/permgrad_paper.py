"""PermGrad as published: every step of the notebooks "HyNN"
(github.com/felescgon/PermGrad), for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.maps.drawn import (
    CamLayer,
    cam_layer,
    class_maps,
    maps_at_once,
)
from permgrad.attribution.request import Configured, Request, Scope, methods
from permgrad.attribution.request.result import build, shown_outputs
from permgrad.attribution.scopes import GLOBAL
from permgrad.attribution.subject.scales import PROBABILITY
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_whole
from permgrad.base.errors import Fault, refusing
from permgrad.base.progress import Progress
from permgrad.base.random import generator
from permgrad.base.sequences import values_at
from permgrad.models.batches import in_batches
from permgrad.models.branches.head_branches import IMAGE, TABLE

PATHS = (TABLE.name, IMAGE.name)


def _measure_losses(
    request: Request, shuffles: int, progress: Progress
) -> tuple[Floats, Floats, Floats]:
    """Return effects of shuffling the table ``(players, classes)``, the base loss, and
    that without each branch.
    """
    subject = request.subject
    module = request.subject.module
    y = request.y
    assert y is not None
    table = request.inputs[0].to(subject.device, subject.dtype)
    players = request.space.columns
    classes = _members_of_classes(y, len(subject.outputs.class_names))
    orders = {name: _orders(request, name, shuffles, len(table)) for name in players}
    effects = np.zeros((len(players), classes.shape[1]))
    base_losses = np.zeros(len(table))
    without = np.zeros((2, len(table)))

    def one_batch(row_slice: slice) -> None:
        branch_embeddings = {}
        for branch_name in PATHS:
            branch_embeddings[branch_name] = module.embed(branch_name, table[row_slice])

        losses = partial(_losses, request, branch_embeddings, y[row_slice])
        batch_losses = losses()
        added = np.zeros_like(effects)
        for player_index, (player_name, columns) in enumerate(players.items()):
            if len(columns):
                edited = _shuffled(table, columns, row_slice, orders[player_name])
                added[player_index] = (
                    losses(**{TABLE.name: module.embed(TABLE.name, edited)})
                    - batch_losses
                ).sum(axis=0) @ classes[row_slice]
        np.add(effects, added, out=effects)
        base_losses[row_slice] = batch_losses[0]
        for branch_index, zeroed_branch in enumerate(PATHS):
            without[branch_index, row_slice] = losses(
                **{zeroed_branch: torch.zeros_like(branch_embeddings[zeroed_branch])}
            )[0]
        progress.advance(row_slice.stop - row_slice.start)

    with torch.inference_mode():
        in_batches(len(table), maps_at_once(request), one_batch)
    with np.errstate(invalid="ignore"):
        mean_effects = effects / (shuffles * classes.sum(axis=0))
    return mean_effects, np.array(base_losses.mean()), without.mean(axis=1)


def _members_of_classes(y: Any, count: int) -> Floats:
    """Return which rows belong to which class, 0 or 1, ``(rows, classes)``. Regression
    has one column.
    """
    if count:
        return np.eye(count)[y.astype(int)]
    return np.ones((len(y), 1))


def _orders(request: Request, player: str, shuffles: int, rows: int) -> list[Integers]:
    """Return the order in which a player's column takes the values of all rows, for
    each repeat.
    """
    # The name is that of a stream of random numbers, not the method's.
    draws = partial(generator, request.seed, "permgrad-paper", player)
    return [draws(repeat).permutation(rows) for repeat in range(shuffles)]


def _shuffled(
    table: Tensor, columns: Integers, row_slice: slice, orders: Sequence[Integers]
) -> Tensor:
    """Return rows once for each order, with the values of columns in that order."""
    edited = table[row_slice].repeat(len(orders), 1)
    lenders = np.concatenate([order[row_slice] for order in orders])
    edited[:, columns] = table[lenders][:, columns]
    return edited


def _losses(
    request: Request, embedded: Mapping[str, Tensor], y: Any, **edited: Tensor
) -> Floats:
    """Return the rows' losses with other embeddings, ``(repeats, rows)``."""
    subject = request.subject
    rows = len(embedded[IMAGE.name])
    repeats = max(
        (len(edited_rows) // rows for edited_rows in edited.values()), default=1
    )
    fused = subject.module.fuse(
        {path: edited.get(path, embedded[path].repeat(repeats, 1)) for path in PATHS}
    )
    losses = subject.outputs.loss_rows(fused, np.tile(y, repeats), request.loss)
    return losses.reshape(repeats, -1)


def nearest_cells(
    positions: Integers,
    pixels: npt.ArrayLike,
    cells: npt.ArrayLike,
    *,
    transposed: bool = False,
) -> Integers:
    """Return the (row, column) of the cell that covers each pixel.

    ``transposed`` reads [column, row], as published.
    """
    if transposed:
        oriented_positions = positions[:, ::-1]
    else:
        oriented_positions = positions
    scaled = oriented_positions * np.array(cells) // np.array(pixels)
    return np.clip(scaled, 0, np.asarray(cells) - 1).astype(np.int64)


def _read_maps(
    request: Request, layer: CamLayer, method: PermGradPaper, progress: Progress
) -> tuple[Floats, int]:
    """Return the mean over rows of maps over their maximum, ``(encoded, classes)``, and
    how many maps were all zero.
    """
    subject = request.subject
    count = len(request.subject.outputs.output_names)
    positions = np.asarray(subject.module.renderer.positions)
    totals = np.zeros((request.encoded.shape[1], count))
    empty = 0

    def one_batch(row_slice: slice) -> None:
        nonlocal empty
        encoded = request.inputs[0][row_slice].to(subject.device, subject.dtype)
        row_maps, outputs, images = class_maps(
            subject, encoded, layer, PROBABILITY, range(count), "gradcam", relu=True
        )
        if method.argmax_class:
            row_maps = _of_most_probable(row_maps, outputs)
        largest = row_maps.amax(dim=(2, 3), keepdim=True)
        scaled = torch.where(
            largest > 0, row_maps / torch.where(largest > 0, largest, 1), 0
        )
        sizes = (np.array(images.shape[2:]), np.array(row_maps.shape[2:]))
        cells = nearest_cells(positions, *sizes, transposed=method.transposed)
        column_totals = (
            scaled[:, :, cells[:, 0], cells[:, 1]].double().sum(dim=0).T.cpu().numpy()
        )
        np.add(totals, column_totals, out=totals)
        empty += int((largest == 0).sum())
        progress.advance(row_slice.stop - row_slice.start)

    in_batches(len(request.encoded), maps_at_once(request), one_batch)
    totals[positions[:, 0] < 0] = 0  # columns without a pixel
    return totals / len(request.encoded), empty


def scale_to_unit(values: Floats) -> Floats:
    """Return the values scaled to 0…1 by the least and largest of *all*, 0 where all
    are equal. NaN stays.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.max() == finite.min():
        return np.where(np.isfinite(values), 0.0, np.nan)
    return (values - finite.min()) / (finite.max() - finite.min())


@methods.register("permgrad_paper")
class PermGradPaper(Configured):
    """PermGrad as published.

    Its values have no unit and no interval, and are not additive.

    1. Permutation: each column of the table is shuffled among the rows explained, and
       the picture stays unchanged. The importance is the increase of the loss, per
       class over the rows of that class, averaged over the shuffles.
    2. Grad-CAM of the probability (regression: of the prediction) at the last
       convolution, for each class over all rows. Each map is divided by its maximum and
       read at the cell that covers the feature's pixel, then averaged over rows.
    3. Both lists are min–max scaled over all features and classes, multiplied by the
       softmax of the loss differences when each branch's output is zeroed, and added.

    ``values`` is the sum, ``parts`` its two terms, ``branches`` the weights, and
    ``meta`` holds the lists before scaling. The output ``"all"`` is the mean over the
    classes: the published stacked bars, divided by the number of classes. A class
    without rows is NaN.

    NOTE[DIFF]: losses are computed from logits in float64, without Keras' clipping of
    probabilities at 1e-7.

    Options:
        shuffles: shuffles of each feature, 5 as published. (``n_repeats`` is for
            methods that draw donors.)
        argmax_class: reproduce a published fault: the requested class is overwritten by
            each row's most probable class, and the maps of all classes are one map.
        transposed: reproduce a published fault: features drawn at [x, y] are read at
            [y, x].
        layer: the convolution to read. None: the last.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> y = (X[:, 0] > 0).astype(int)
        >>> model = pg.HyNNClassifier(
        ...     preset="fast", image="always", max_epochs=1, random_state=0
        ... ).fit(X, y)
        >>> explanation = pg.explain(model, X, y, method="permgrad_paper")
        >>> explanation.outputs
        ('all', '0', '1')
    """

    scopes: ClassVar[tuple[Scope, ...]] = (GLOBAL,)
    takes: ClassVar[frozenset[str]] = frozenset({"estimator", "global loss"})
    instead: ClassVar[Mapping[str, str]] = {"n_repeats": "shuffles"}
    shuffles: int = 5
    argmax_class: bool = False
    transposed: bool = False
    layer: str | None = None

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        _check(request, self.shuffles)
        layer = cam_layer(request.subject.module, self.layer)
        with (
            request.bar(2 * len(request.encoded), "permgrad_paper") as progress,
            request.subject.open(),
        ):
            permutation, base_loss, without = _measure_losses(
                request, int(self.shuffles), progress
            )
            per_column, empty = _read_maps(request, layer, self, progress)
        # NOTE[DIFF]: the published tables have one pixel for each feature. A feature
        # that is encoded as several columns gets the mean over their pixels, NaN where
        # it has none.
        owned = request.space.columns.values()
        cam = np.stack([_mean_of_columns(per_column, columns) for columns in owned])
        # NOTE[DIFF]: the published code takes exp of the raw difference, which
        # overflows from 710 on.
        weights = np.exp(without - base_loss - (without - base_loss).max())
        weights /= weights.sum()
        branch_terms = _terms(permutation, cam, weights)
        shown = shown_outputs(request)
        every = ("all", *request.subject.outputs.class_names)
        facts = {
            "quantity": "weighted sum of min–max scaled permutation importance and "
            "Grad-CAM, as published",
            "unit": "none",
            "loss": str(request.loss),
            "n_repeats": int(self.shuffles),
            "argmax_class": bool(self.argmax_class),
            "transposed": bool(self.transposed),
            "layer": layer.name,
            "base_loss": float(base_loss),
            "branch_weights": dict(zip(PATHS, weights.tolist(), strict=True)),
            "permutation": _listed(request, permutation),
            "gradcam": _listed(request, cam),
            "empty_maps": empty,
        }
        return build(
            request,
            "permgrad_paper",
            (branch_terms[TABLE.name] + branch_terms[IMAGE.name])[:, shown],
            facts,
            outputs=tuple(values_at(every, shown)),
            parts={
                path_name: part_values[:, shown]
                for path_name, part_values in branch_terms.items()
            },
            # The published method has no interval.
            branches={
                path_name: {"importance": change, "weight": weight, "share": weight}
                for path_name, change, weight in zip(
                    PATHS, (without - base_loss).tolist(), weights.tolist(), strict=True
                )
            },
        )


@refusing
def _check(request: Request, shuffles: int) -> Iterator[Fault]:
    """Refuse requests that the published method cannot handle."""
    paths = request.subject.paths
    if set(paths) != set(PATHS):
        problem = (
            "permgrad_paper needs a model with two branches, table and image, "
            f"got branches={tuple(paths)!r}"
        )
        hint = "Fit with branches=('tabular', 'image'), or choose method='permgrad'."
        yield problem, hint, "PG034"
    if request.y is None:
        problem = "permgrad_paper needs y to measure the loss"
        yield (
            problem,
            "Pass y, or choose method='permgrad', which works without.",
            "PG005",
        )
    if not hasattr(request.subject.module.renderer, "positions"):
        yield (
            (
                "permgrad_paper needs the pixel of each feature, and the code that "
                "draws these images does not give it"
            ),
            (
                "Choose method='permgrad', 'permutation' or 'ablation', or a layout of "
                "permgrad."
            ),
            "PG034",
        )
    if request.y is not None and not request.loss.registered:
        problem = f"permgrad_paper needs a named loss, got {request.loss}"
        yield problem, "Choose method='permgrad'.", "PG036"
    check_whole("shuffles", shuffles, "The published value is 5")


def _mean_of_columns(per_column: Floats, columns: Integers) -> Floats:
    """Return the mean over the columns of a feature, NaN where it has none."""
    if len(columns):
        return per_column[columns].mean(axis=0)
    return np.full(per_column.shape[1], np.nan)


def _terms(permutation: Floats, cam: Floats, weights: Floats) -> dict[str, Floats]:
    """Return both terms of the sum, their mean over the classes first.

    Players without columns get 0.
    """
    nobody = np.isnan(cam).all(axis=1, keepdims=True)
    importances = (np.where(nobody, np.nan, permutation), cam)
    terms: dict[str, Floats] = {}
    for path, raw, weight in zip(PATHS, importances, weights, strict=True):
        # A class without rows has no permutation importance and does not affect the
        # scaling of other classes.
        term = weight * scale_to_unit(np.where(np.isnan(permutation), np.nan, raw))
        term = np.where(nobody & ~np.isnan(permutation), 0.0, term)
        terms[path] = _with_mean(term)
    return terms


def _with_mean(term: Floats) -> Floats:
    """Return a term with its mean over the classes, if these are several, first."""
    if term.shape[1] > 1:
        return np.column_stack([np.nanmean(term, axis=1), term])
    return term


def _listed(request: Request, values: Floats) -> dict[str, dict[str, float | None]]:
    """Return numbers before scaling by class and player, in the form of the published
    arrays.
    """
    classes = request.subject.outputs.class_names or ("all",)
    absent = np.isnan(values)
    columns = np.where(absent, np.array(None), values).T.tolist()
    listed: dict[str, dict[str, float | None]] = {}
    for name, column in zip(classes, columns, strict=True):
        listed[name] = dict(zip(request.space.names, column, strict=True))
    return listed


def _of_most_probable(maps: Tensor, outputs: Tensor) -> Tensor:
    """Return, for every class, the map of the row's most probable class: the published
    fault.
    """
    rows = torch.arange(len(maps), device=maps.device)
    return maps[rows, outputs.argmax(dim=1)][:, None].expand_as(maps)
