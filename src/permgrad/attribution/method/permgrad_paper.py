"""PermGrad as it was published, kept for comparison; the default ``permgrad`` is another method.

Three stages: permutation importance of the table input; Grad-CAM of the last convolution read at each feature's
pixel; a softmax weight for each branch. Source: the published notebooks "HyNN" for classification and regression
(github.com/felescgon/PermGrad), whose every step is written here again, in batches. Known faults of the method are
listed in docs/methods.md; two faults of its code are reproduced behind the options ``argmax_class`` and ``transposed``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.build import describe, modalities
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.maps.drawn import CamLayer, cam_layer, class_maps, maps_at_once
from permgrad.attribution.method import Request, Scope, methods
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError
from permgrad.base.progress import Progress
from permgrad.base.random import generator
from permgrad.models.batches import in_batches

Floats = npt.NDArray[np.float64]


# ---- stage 1: permutation of the table -------------------------------------------------------------------------------


class _Losses:
    """Losses of the rows explained, with the table, or a whole branch, changed and everything else as it is."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.subject = request.subject
        self.module = request.subject.module
        self.loss = request.subject.resolve_loss(request.loss)
        self.dtype = next(self.module.parameters()).dtype
        self.batch = maps_at_once(request)

    def tensor(self, encoded: npt.NDArray[np.float32]) -> Tensor:
        """Copy rows to the network's device and precision."""
        return torch.as_tensor(np.ascontiguousarray(encoded), device=self.subject.device).to(self.dtype)

    def of(self, embeddings: dict[str, Tensor], rows: slice) -> Floats:
        """Return the loss of each row, given its embeddings."""
        assert self.request.y is not None
        return self.subject.loss_rows(self.module.fuse(embeddings), self.request.y[rows], self.loss)


def shuffle(seed: int, player: str, repeat: int, rows: int) -> npt.NDArray[np.intp]:
    """Return the order in which a player's column is shuffled: of all rows explained, keyed by what it is for."""
    return generator(seed, "permgrad-paper", player, repeat).permutation(rows)


def _measure_losses(request: Request, shuffles: int, progress: Progress) -> tuple[Floats, Floats, Floats]:
    """Return mean effects of shuffling ``(players, classes)``, the base loss, and the loss without each branch.

    The picture is not shuffled with the table, as published; the image branch is therefore computed once for each row.
    """
    losses, classes = _Losses(request), _class_rows(request)
    rows, players = len(request.encoded), request.players
    orders = {
        name: [shuffle(request.seed, name, repeat, rows) for repeat in range(shuffles)]
        for name, columns in players.items()
        if len(columns)
    }
    effects = np.zeros((len(players), classes.shape[1]))
    base, without = np.zeros(rows), {path: np.zeros(rows) for path in request.subject.paths}

    def one_batch(part: slice) -> None:
        rows_of_part = request.encoded[part]
        encoded = losses.tensor(rows_of_part)
        held = {path: losses.module.embed(path, encoded) for path in losses.module.paths}
        here = losses.of(held, part)
        gone = {path: losses.of({**held, path: torch.zeros_like(held[path])}, part) for path in held}
        added = np.zeros_like(effects)
        for place, (name, columns) in enumerate(players.items()):
            for order in orders.get(name, ()):
                edited = rows_of_part.copy()
                edited[:, columns] = request.encoded[order[part]][:, columns]
                table = losses.module.embed("tabular", losses.tensor(edited))
                added[place] += (losses.of({**held, "tabular": table}, part) - here) @ classes[part]
        np.add(effects, added, out=effects)
        base[part] = here
        for path, loss in gone.items():
            without[path][part] = loss
        progress.advance(part.stop - part.start)

    with torch.inference_mode():
        in_batches(rows, losses.batch, one_batch)
    with np.errstate(invalid="ignore"):
        mean = effects / (shuffles * classes.sum(axis=0))
    return mean, np.array(base.mean()), np.array([without[path].mean() for path in ("tabular", "image")])


def _class_rows(request: Request) -> Floats:
    """Return which rows belong to which class, 0 or 1, ``(rows, classes)``; one column for regression."""
    assert request.y is not None
    if request.subject.task == "regression":
        return np.ones((len(request.y), 1))
    return np.eye(len(request.subject.class_names))[np.asarray(request.y, dtype=np.int64)]


# ---- stage 2: Grad-CAM at the features' pixels -----------------------------------------------------------------------


def nearest_cells(
    positions: npt.NDArray[np.int64], pixels: tuple[int, int], cells: tuple[int, int], *, transposed: bool = False
) -> npt.NDArray[np.int64]:
    """Return the (row, column) of the map's cell that covers each pixel, by scaling; nothing is interpolated.

    Args:
        positions: (row, column) of each encoded column's pixel.
        pixels: height and width of the image.
        cells: height and width of the map.
        transposed: read at [column, row], as the published code does.

    Examples:
        >>> nearest_cells(np.array([[0, 19], [9, 10]]), (20, 20), (10, 10)).tolist()
        [[0, 9], [4, 5]]
    """
    places = positions[:, ::-1] if transposed else positions
    scaled = places * np.array(cells) // np.array(pixels)
    covering: npt.NDArray[np.int64] = np.clip(scaled, 0, np.array(cells) - 1).astype(np.int64)
    return covering


def _read_maps(
    request: Request, layer: CamLayer, *, argmax_class: bool, transposed: bool, progress: Progress
) -> tuple[Floats, int]:
    """Return the mean over rows of each map, divided by its maximum, at each encoded column ``(encoded, classes)``.

    The mean runs over all rows for every class: a class's map says where the network would look for it in any row.
    Maps that are all zero stay zero, as published. Also returns how many of them there were.
    """
    subject = request.subject
    count = len(subject.output_names)
    renderer: Any = subject.module.renderer
    dtype = next(subject.module.parameters()).dtype
    totals, empty = np.zeros((request.encoded.shape[1], count)), 0

    def one_batch(part: slice) -> None:
        nonlocal empty
        encoded = torch.as_tensor(np.ascontiguousarray(request.encoded[part]), device=subject.device).to(dtype)
        maps, outputs, images = class_maps(
            subject, encoded, layer, output="probability", targets=range(count), variant="gradcam", relu=True
        )
        if argmax_class:
            # The published fault: whatever class is asked for, the map is that of the row's most probable class.
            top = outputs.argmax(dim=1)
            maps = maps[torch.arange(len(maps), device=maps.device), top][:, None].expand(-1, count, -1, -1)
        largest = maps.amax(dim=(2, 3), keepdim=True)
        scaled = torch.where(largest > 0, maps / torch.where(largest > 0, largest, 1), 0)
        cells = nearest_cells(
            np.asarray(renderer.positions),
            (images.shape[2], images.shape[3]),
            (maps.shape[2], maps.shape[3]),
            transposed=transposed,
        )
        read = scaled[:, :, cells[:, 0], cells[:, 1]].double().sum(dim=0).T.cpu().numpy()
        np.add(totals, read, out=totals)
        empty += int((largest == 0).sum())
        progress.advance(part.stop - part.start)

    in_batches(len(request.encoded), maps_at_once(request), one_batch)
    return totals / len(request.encoded), empty


def _by_player(per_column: Floats, players: Mapping[str, npt.NDArray[np.intp]]) -> Floats:
    """Return the mean over each player's columns; NaN where it has none.

    NOTE[DIFF]: the published tables have one pixel for each feature. A feature that is encoded as several columns
    gets the mean of what is read at their pixels.
    """
    means = [
        per_column[columns].mean(axis=0) if len(columns) else np.full(per_column.shape[1], np.nan)
        for columns in players.values()
    ]
    return np.stack(means)


# ---- stage 3: weights and sum ----------------------------------------------------------------------------------------


def stable_softmax(values: npt.ArrayLike) -> Floats:
    """Return the softmax of loss differences of any size.

    NOTE[DIFF]: the published code takes exp of the raw difference, which overflows from 710 on; subtracting the
    largest first gives the same numbers where that does not happen.

    Examples:
        >>> stable_softmax([1699.0, 0.0]).tolist()
        [1.0, 0.0]
    """
    array = np.asarray(values, dtype=np.float64)
    powers = np.exp(array - array.max())
    total: Floats = powers / powers.sum()
    return total


def scale_to_unit(values: Floats) -> Floats:
    """Return the values scaled to 0…1 by the least and largest of *all*; 0 where all are equal; NaN stays.

    Examples:
        >>> scale_to_unit(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist()
        [[0.0, 1.0], [0.5, 0.5]]
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.max() == finite.min():
        return np.where(np.isfinite(values), 0.0, np.nan)
    scaled: Floats = (values - finite.min()) / (finite.max() - finite.min())
    return scaled


@methods.register("permgrad-paper")
class PermGradPaper:
    """The method as published: its numbers have no unit, no interval, and are not additive.

    1. Permutation: each column of the table is shuffled among the rows explained, the picture stays; the rise of the
       loss, per class over the rows of that class, mean over the shuffles.
    2. Grad-CAM of the probability (regression: of the prediction) at the last convolution, for each class over all
       rows; each map is divided by its maximum and read at the cell that covers the feature's pixel; mean over rows.
    3. Both lists are min–max scaled over all features and classes, multiplied with the softmax of the loss differences
       under zeroing of each branch's output, and added.

    ``values`` is the sum, ``parts`` its two terms, ``branches`` the weights, and ``meta`` holds the lists before
    scaling. The output ``"all"`` is the mean over the classes: the published stacked bars, divided by the number of
    classes. A class without rows is NaN.

    NOTE[DIFF]: losses are computed from logits in float64, without Keras' clipping of probabilities at 1e-7.

    Options:
        shuffles: of each feature, 5 as published. (``n_repeats`` belongs to the methods that draw donors.)
        argmax_class: the published fault: the requested class is overwritten by each row's most probable class, and
            the maps of all classes are one map.
        transposed: the published fault: features drawn at [x, y] are read at [y, x].
        layer: the convolution that is read; None is the last.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3)); y = (X[:, 0] > 0).astype(int)
        >>> model = pg.HyNNClassifier(preset="fast", max_epochs=1, random_state=0).fit(X, y)
        >>> explanation = pg.explain(model, X, y, method="permgrad-paper", random_state=0, progress=False)
        >>> explanation.outputs
        ('all', '0', '1')
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("global",)
    options: ClassVar[Mapping[str, Any]] = {"shuffles": 5, "argmax_class": False, "transposed": False, "layer": None}

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        if not request.subject.paths:
            raise InputError(
                "permgrad-paper is the published method for permgrad's own hybrid networks, however: model is a torch "
                "network; choose method='permgrad', which plays the same game with modalities"
            )
        started = time.perf_counter()
        options = {**self.options, **request.options}
        _check(request, options)
        layer = cam_layer(request.subject.module, options["layer"])
        with Progress(2 * len(request.encoded), "permgrad-paper", request.progress) as progress, request.subject.open():
            permutation, base, without = _measure_losses(request, int(options["shuffles"]), progress)
            per_column, empty = _read_maps(
                request,
                layer,
                argmax_class=bool(options["argmax_class"]),
                transposed=bool(options["transposed"]),
                progress=progress,
            )
        cam = _by_player(per_column, request.players)
        weights = stable_softmax(without - base)
        parts = _fuse(permutation, cam, weights)
        columns, outputs = _outputs(request)
        return Explanation(
            values=(parts["tabular"] + parts["image"])[:, columns],
            names=tuple(request.players),
            modality=modalities(request),
            outputs=outputs,
            method="permgrad-paper",
            scope="global",
            parts={path: part[:, columns] for path, part in parts.items()},
            level=request.level,
            additive=False,
            groups=request.groups,
            branches=_branches(without - base, weights),
            meta=describe(
                request,
                quantity="weighted sum of min–max scaled permutation importance and Grad-CAM, as published",
                unit="none",
                loss=request.subject.resolve_loss(request.loss),
                n_repeats=int(options["shuffles"]),
                argmax_class=bool(options["argmax_class"]),
                transposed=bool(options["transposed"]),
                layer=layer.name,
                base_loss=float(base),
                branch_weights={"tabular": float(weights[0]), "image": float(weights[1])},
                permutation=_listed(request, permutation),
                gradcam=_listed(request, cam),
                empty_maps=empty,
                seconds=time.perf_counter() - started,
            ),
        )


def _check(request: Request, options: Mapping[str, Any]) -> None:
    """Refuse what the published method cannot do."""
    paths = request.subject.paths
    if set(paths) != {"tabular", "image"}:
        raise InputError(
            f"permgrad-paper weighs two branches, however: the model has branches={tuple(paths)!r}; "
            "fit with branches=('tabular', 'image'), or choose method='permgrad'"
        )
    if request.y is None:
        raise InputError(
            "permgrad-paper measures the loss, however: y=None; pass y, or choose method='permgrad', which does without"
        )
    if not hasattr(request.subject.module.renderer, "positions"):
        raise InputError(
            "permgrad-paper reads maps at each feature's pixel, however: the pictures are drawn by foreign code, "
            "which does not say where features are; choose method='permgrad', 'permutation' or 'ablation', or a layout "
            "of permgrad"
        )
    if request.sampling != "marginal":
        raise InputError(f"permgrad-paper shuffles, however: sampling={request.sampling!r}; leave sampling out")
    if request.sample_weight is not None:
        raise InputError(
            "permgrad-paper is defined for rows of equal weight, however: sample_weight was given; "
            "leave it out, or choose method='permgrad'"
        )
    check_whole("shuffles", options["shuffles"], "5 is as published")


def _fuse(permutation: Floats, cam: Floats, weights: Floats) -> dict[str, Floats]:
    """Return both terms of the weighted sum: ``(players, 1 + classes)``, their mean first; regression ``(players, 1)``.

    A player without encoded columns (a constant column) has no pixel and nothing to shuffle: exactly 0 in both.
    """
    nobody = np.isnan(cam).all(axis=1, keepdims=True)
    lists = (np.where(nobody, np.nan, permutation), cam)
    terms: dict[str, Floats] = {}
    for path, raw, weight in zip(("tabular", "image"), lists, weights, strict=True):
        # A class without rows has no permutation importance; its column takes no part in the scaling of the other
        # classes.
        term = weight * scale_to_unit(np.where(np.isnan(permutation), np.nan, raw))
        term = np.where(nobody & ~np.isnan(permutation), 0.0, term)
        if term.shape[1] > 1:
            term = np.column_stack([np.nanmean(term, axis=1), term])
        terms[path] = term
    return terms


def _outputs(request: Request) -> tuple[list[int], tuple[str, ...]]:
    """Return which columns are kept, and their names: ``all`` and the classes asked for."""
    if request.subject.task == "regression":
        return [0], ("all",)
    columns = [0, *(1 + target for target in request.targets)]
    return columns, ("all", *(request.subject.class_names[target] for target in request.targets))


def _branches(changes: Floats, weights: Floats) -> dict[str, Any]:
    """Return the branches as ``branches.json`` holds them; the published method has no interval."""
    return {
        path: {"importance": float(change), "weight": float(weight), "share": float(weight)}
        for path, change, weight in zip(("tabular", "image"), changes, weights, strict=True)
    }


def _listed(request: Request, values: Floats) -> dict[str, dict[str, float | None]]:
    """Return a raw list as ``{class: {feature: value}}``, the form of the published arrays."""
    names = request.subject.class_names if request.subject.task == "classification" else ("all",)
    return {
        name: {
            player: None if np.isnan(value) else float(value)
            for player, value in zip(request.players, values[:, column], strict=True)
        }
        for column, name in enumerate(names)
    }
