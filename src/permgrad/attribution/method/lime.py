"""``lime``: a linear model of the network around each row (Ribeiro, Singh & Guestrin
2016), with one design for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.method.shapley.shapley_game import ShapleyGame, slices
from permgrad.attribution.replace.coalitions import forward_batch_size, select
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.request import Configured, Request, Scope, methods, setting
from permgrad.attribution.request.result import build
from permgrad.attribution.scopes import LOCAL
from permgrad.attribution.subject.soundness import finite
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import check_number, check_whole
from permgrad.base.errors import InputError
from permgrad.base.random import generator
from permgrad.models.batches import in_batches

#: From rows, per input ``(r, *)``, to their neighbours, per input ``(r, neighbours,
#: *)``.
Place = Callable[[list[Tensor]], list[Tensor]]

#: Default number of neighbours.
_LEAST_SAMPLES = 1000
_SAMPLES_PER_PLAYER = 50
#: Least total weight of the neighbours that differ from the row, whose own weight is 1.
_LEAST_WEIGHT = 0.1
#: Meaning of a coefficient.
_QUANTITIES = {
    "coalition": "effect of keeping the feature in a linear model around the row",
    "gaussian": "change per standard deviation in a linear model around the row",
}
_REFERENCES = {
    "coalition": "players taken from {:,} background rows",
    "gaussian": "offsets scaled to the spread over {:,} background rows",
}
#: Neighbours in which a player is moved to see whether the output uses it.
_TRIALS = 32
#: Numbers held at once: outputs of one block of rows, and positions of one chunk of
#: neighbours.
_BLOCK_NUMBERS = 2**22
_CHUNK_NUMBERS = 2**23


def draw_neighbours(
    request: Request, neighbourhood: str, samples: int
) -> tuple[Floats, Integers]:
    """Return neighbours ``(neighbours, players)``, the row itself first, and their
    background rows.

    NOTE[DIFF]: drawn in pairs, so that every player is kept in exactly half of the
    coalitions. The original draws each neighbour separately.
    """
    rng = generator(request.seed, "lime")
    shape = (-(-(samples - 1) // 2), len(request.space.names))
    if neighbourhood == "gaussian":
        half_coordinates = rng.standard_normal(shape)
        first = np.zeros((1, shape[1]))
        mirrored_half = -half_coordinates
        donors = np.zeros(samples, dtype=np.int64)
    else:
        half_coordinates = (rng.random(shape) < 0.5).astype(np.float64)
        # Background rows in turn, in random order.
        background = len(request.donors[0])
        turns = [rng.permutation(background) for _ in range(-(-samples // background))]
        first = np.ones((1, shape[1]))
        mirrored_half = 1 - half_coordinates
        donors = np.concatenate(turns)[:samples]
    pairs = np.stack([half_coordinates, mirrored_half], axis=1).reshape(-1, shape[1])[
        : samples - 1
    ]
    return np.concatenate([first, pairs]), donors


def _coalition_places(request: Request) -> Callable[[Floats, Integers], Place]:
    """Return a function that prepares masks and the background rows that replace
    players, once for all rows.
    """
    device = request.subject.device
    owners = request.space.owners(device)
    background = [tensor.to(device) for tensor in request.donors]

    def edit(coordinates: Floats, donors: Integers) -> Place:
        donor_indices = torch.from_numpy(donors).to(device)
        padded = np.pad(coordinates > 0.5, ((0, 0), (0, 1)), constant_values=True)
        keeps = torch.from_numpy(padded).to(device)
        values = [tensor[donor_indices][None] for tensor in background]
        masks = []
        for input_owners, tensor in zip(owners, background, strict=True):
            masks.append(
                keeps[:, input_owners].reshape(1, len(keeps), *tensor.shape[1:])
            )
        return lambda rows: [
            select(mask, input_rows[:, None], donor_values)
            for input_rows, donor_values, mask in zip(rows, values, masks, strict=True)
        ]

    return edit


def _gaussian_places(request: Request) -> Callable[[Floats, Integers], Place]:
    """Return a function that prepares offsets for all rows, scaled to each number's
    spread over the background.
    """
    device = request.subject.device
    owners = request.space.owners(device)
    spreads = []
    for donors, input_owners in zip(request.donors, owners, strict=True):
        # torch warns of the deviation of no columns.
        flat_donors = donors.double().reshape(len(donors), len(input_owners))
        if flat_donors.numel():
            deviation = flat_donors.std(dim=0, correction=0)
        else:
            deviation = torch.zeros(len(input_owners), dtype=torch.float64)
        spreads.append(deviation.to(device) * (input_owners < len(request.space)))

    def edit(coordinates: Floats, _: Integers) -> Place:
        padded = torch.from_numpy(np.pad(coordinates, ((0, 0), (0, 1)))).to(device)
        offsets = []
        for position_owners, spread, donors in zip(
            owners, spreads, request.donors, strict=True
        ):
            offsets.append(
                (padded[:, position_owners] * spread)
                .to(donors.dtype)
                .reshape(1, len(padded), *donors.shape[1:])
            )
        return lambda rows: [
            input_rows[:, None] + offset
            for input_rows, offset in zip(rows, offsets, strict=True)
        ]

    return edit


class Solved(NamedTuple):
    """Weighted least squares of several outputs.

    Attributes:
        coefficients: ``(players, n)``.
        std_errors: HC3 errors, ``(players, n)``.
        explained: R² of each, ``(n,)``.
    """

    coefficients: Floats
    std_errors: Floats
    explained: Floats


class Surrogate:
    """Weighted ridge regression with one design ``(neighbours, players)`` for all rows
    and a free intercept.
    """

    def __init__(self, coordinates: Floats, weights: Floats, ridge: float) -> None:
        self.weights = weights / weights.sum()
        self.centre = self.weights @ coordinates
        self.centred = coordinates - self.centre
        scaled = self.centred * weights[:, None]
        gram_matrix = self.centred.T @ scaled + ridge * np.eye(coordinates.shape[1])
        # A player that never moves has an empty row in the normal equations, and its
        # coefficient is 0.
        self.solver: Floats = np.linalg.lstsq(gram_matrix, scaled.T, rcond=1e-12)[0]
        self.leverage = np.einsum("mp,pm->m", self.centred, self.solver) + self.weights
        self.freedom = max(1, len(coordinates) - coordinates.shape[1] - 1)

    def solve(self, outputs: Floats) -> Solved:
        """Return coefficients, HC3 errors (MacKinnon & White 1985) ``(players, n)`` and
        R² for outputs.
        """
        mean_outputs = self.weights @ outputs
        coefficients = self.solver @ outputs
        # The weighted mean of the centred coordinates is 0, so the mean needs no
        # coefficient.
        residuals = outputs - mean_outputs - self.centred @ coefficients
        spread = self.weights @ (outputs - mean_outputs) ** 2
        unexplained = self.weights @ residuals**2
        residuals /= np.maximum(1.0 - self.leverage, 1e-6)[:, None]
        std_errors = np.sqrt(self.solver**2 @ residuals**2)
        explained = 1.0 - np.divide(
            unexplained, spread, out=np.zeros_like(spread), where=spread > 0
        )
        return Solved(coefficients, std_errors, explained)


@methods.register("lime")
class Lime(Configured):
    """The coefficients of a linear model that imitates the network around each row.

    Neighbours of a row differ from it in some players. Each is weighted by exp(−d² / (2
    w²)), where d is its distance and w the kernel width (the square root of an
    exponential kernel, as in the authors' package). A ridge regression of the output on
    the kept players gives one coefficient per player: the effect of keeping it.

    Options:
        samples: neighbours of each row. Default: 50 for each player, at least 1000,
            because the errors of many coefficients add up where their absolute values
            are averaged.
        kernel_width: w. Default: 0.75 √players, as in the authors' package.

    Players are kept or taken from a background row (pass a single row as
    ``background=`` to use only that row). For torch networks whose players are all
    single real numbers, such as columns or the units of a layer, numbers are moved by
    noise scaled to their spread over the background instead, and a coefficient is the
    change per standard deviation. Integers may be codes and are not moved. The penalty
    on the squared coefficients is 1.

    ``meta["local_r2"]`` holds, for each row and output, the share of the neighbours'
    spread that the linear model explains. A player gets exactly 0 if moving it does not
    change the output in any of 32 neighbours.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> model = lambda rows: rows @ [2.0, 1.0, 0.0]
        >>> explanation = pg.explain(model, X, method="lime")
        >>> explanation.ranking()
        ['x0', 'x1', 'x2']
    """

    scopes: ClassVar[tuple[Scope, ...]] = (LOCAL,)
    instead: ClassVar[Mapping[str, str]] = {"n_repeats": "samples"}
    samples: int | None = None
    kernel_width: float | None = None
    neighbourhood: Literal["gaussian", "coalition"] | None = setting(default=None)
    ridge: float = setting(default=1.0)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        fit = self._checked(request)
        rows = request.count
        players = len(request.space.names)
        targets = len(request.targets)
        coordinates, donors = draw_neighbours(request, fit.neighbourhood, fit.samples)
        kernel = _kernel(coordinates, fit.kernel_width)
        surrogate = Surrogate(coordinates, kernel, fit.ridge)
        values, std = np.empty((2, rows, players, targets))
        explained = np.empty((rows, targets))
        size = max(1, _BLOCK_NUMBERS // (len(donors) * targets))
        with (
            request.subject.open(),
            request.bar(rows, "lime") as progress,
        ):
            neighbours = _Neighbours(request, fit.neighbourhood)
            for row_slice in slices(rows, size):
                row_indices = np.arange(row_slice.start, row_slice.stop)
                outputs = neighbours.outputs(row_indices, coordinates, donors)
                idle_mask = neighbours.idle(row_indices, coordinates, donors, outputs)
                solved = surrogate.solve(outputs.reshape(len(donors), -1))
                shape = (players, -1, targets)
                values[row_slice] = _by_row(solved[0].reshape(shape), idle_mask)
                std[row_slice] = _by_row(solved[1].reshape(shape), idle_mask)
                explained[row_slice] = solved[2].reshape(-1, targets)
                progress.advance(len(row_indices))
        sizes = surrogate.freedom + 1
        low, high, p_values = interval(values, std, sizes, request.confidence)
        facts = {
            **_words_for(request, fit.neighbourhood),
            **fit._asdict(),
            **_facts_of_fit(explained),
            "model_rows": neighbours.game.evaluations,
        }
        return build(
            request,
            "lime",
            values,
            facts,
            std_error=std,
            low=low,
            high=high,
            p_values=p_values,
            predictions=neighbours.game.full(np.arange(rows)),
        )

    def _checked(self, request: Request) -> _Fit:
        """Return the options with defaults that depend on the players.

        Refuse invalid values.
        """
        need_background(request.count, shared=request.shared)
        players = len(request.space)
        neighbourhood: str | None = self.neighbourhood
        if neighbourhood is None:
            neighbourhood = "gaussian" if _on_a_scale(request) else "coalition"
        samples = self.samples
        if samples is None:
            samples = max(_LEAST_SAMPLES, _SAMPLES_PER_PLAYER * players)
        width = self.kernel_width
        if width is None:
            width = 0.75 * players**0.5
        # With as few coalitions as players, the fit would always be perfect.
        remedy_words = "pass players + 3 or more, or leave it out"
        samples = check_whole("samples", samples, remedy_words, least=players + 3)
        width = check_number(
            "kernel_width", width, "pass for example 1.0", above_zero=True
        )
        return _Fit(neighbourhood, samples, width, self.ridge)


class _Fit(NamedTuple):
    """The neighbours of each row and how they are weighted, all decided."""

    neighbourhood: str
    samples: int
    kernel_width: float
    ridge: float


class _Neighbours:
    """Predicts neighbours of rows."""

    def __init__(self, request: Request, neighbourhood: str) -> None:
        self.request = request
        self.game = ShapleyGame(request, "output")
        self.coalitions = neighbourhood == "coalition"
        self.places = (_coalition_places if self.coalitions else _gaussian_places)(
            request
        )

    def outputs(self, rows: Integers, coordinates: Floats, donors: Integers) -> Floats:
        """Return the requested outputs at all neighbours of some rows, ``(neighbours,
        rows, targets)``.
        """
        subject = self.request.subject
        row_indices = torch.from_numpy(rows)
        tensors = []
        for tensor in self.request.inputs:
            tensors.append(tensor[row_indices.to(tensor.device)])
        outputs = np.empty((len(donors), len(rows), len(self.request.targets)))

        def some_neighbours(neighbour_slice: slice) -> None:
            edit_rows = self.places(
                coordinates[neighbour_slice], donors[neighbour_slice]
            )
            count = neighbour_slice.stop - neighbour_slice.start

            def some_rows(row_slice: slice) -> None:
                placed = edit_rows(
                    [tensor[row_slice].to(subject.device) for tensor in tensors]
                )
                with torch.no_grad():
                    raw_outputs = finite(
                        subject.forward([tensor.flatten(0, 1) for tensor in placed]),
                        "between",
                    )
                measured_outputs = self.game.measure(
                    raw_outputs[:, None], np.repeat(rows[row_slice], count)
                )
                outputs[neighbour_slice, row_slice] = measured_outputs.reshape(
                    -1, count, measured_outputs.shape[1]
                ).swapaxes(0, 1)
                self.game.evaluations += len(raw_outputs)

            in_batches(len(rows), max(1, batch // count), some_rows)

        batch = forward_batch_size(self.request)
        positions = sum(tensor[0].numel() for tensor in tensors)
        in_batches(
            len(donors),
            max(1, min(batch, _CHUNK_NUMBERS // max(1, positions))),
            some_neighbours,
        )
        return outputs

    def idle(
        self, rows: Integers, coordinates: Floats, donors: Integers, outputs: Floats
    ) -> Booleans:
        """Return which players never change an output by more than rounding,
        ``(players, rows, targets)``.
        """
        rounding = self.game.rounding(rows, 1)
        players = coordinates.shape[1]
        idle_mask = np.ones((players, len(rows), outputs.shape[2]), dtype=bool)
        for neighbour in range(1, min(_TRIALS + 1, len(donors))):
            idle_players = np.flatnonzero(idle_mask.any(axis=(1, 2)))
            open_rows = np.flatnonzero(idle_mask.any(axis=(0, 2)))
            if not len(idle_players):
                break
            # Kept becomes replaced, replaced becomes kept, and an offset becomes 0.
            moved = np.repeat(coordinates[[neighbour]], len(idle_players), axis=0)
            if self.coalitions:
                moved[np.arange(len(idle_players)), idle_players] = (
                    1.0 - moved[np.arange(len(idle_players)), idle_players]
                )
            else:
                moved[np.arange(len(idle_players)), idle_players] = 0.0
            moved_outputs = self.outputs(
                rows[open_rows], moved, np.full(len(idle_players), donors[neighbour])
            )
            still = (
                np.abs(moved_outputs - outputs[neighbour, open_rows])
                <= rounding[open_rows]
            )
            idle_mask[np.ix_(idle_players, open_rows)] &= still
        return idle_mask


def _on_a_scale(request: Request) -> bool:
    """Return whether every player is one real number: not a segment, a level or an
    integer, which may be a code.
    """
    if (
        request.subject.preprocessor is not None
        or not all(request.subject.real)
        or (request.space.sizes() > 1).any()
    ):
        return False
    varies = False
    for input_rows, donors, owners in zip(
        request.inputs, request.donors, request.space.segments, strict=True
    ):
        owned_mask = owners.reshape(-1).to(donors.device) >= 0
        flat_donors, explained = (
            tensor.reshape(len(tensor), -1)[:, owned_mask]
            for tensor in (donors, input_rows.to(donors.device))
        )
        lowest = flat_donors.amin(dim=0)
        highest = flat_donors.amax(dim=0)
        constant = (lowest == highest) & (explained == lowest).all(dim=0)
        is_binary = ((flat_donors == lowest) | (flat_donors == highest)).all(dim=0)
        codes = (flat_donors == flat_donors.round()).all(dim=0)
        if bool(((is_binary | codes) & ~constant).any()):
            return False
        varies |= bool((~constant).any())
    return varies


def _kernel(coordinates: Floats, width: float) -> Floats:
    """Return the weights of neighbours.

    Refuse a width that leaves all the weight to the row itself.
    """
    # The distance is that from the row itself, which comes first.
    distances = np.sqrt(((coordinates - coordinates[0]) ** 2).sum(axis=1))
    with np.errstate(over="ignore"):
        weights: Floats = np.exp(-((distances / width) ** 2) / 2)
    neighbour_mask = distances > 0
    if weights[neighbour_mask].sum() < _LEAST_WEIGHT:
        problem = (
            f"kernel_width={width:g} is too small: {neighbour_mask.sum():,} neighbours "
            f"weigh {weights[neighbour_mask].sum():.2g} together, "
            "and the row itself weighs 1"
        )
        raise InputError(
            problem, hint="Pass a larger width, or leave it out.", code="PG002"
        )
    return weights


def _by_row(solved: Floats, idle: Booleans) -> Floats:
    """Return numbers of players by row, 0 for players that change nothing."""
    return np.where(idle, 0.0, solved).swapaxes(0, 1)


def _words_for(request: Request, neighbourhood: str) -> dict[str, str]:
    """Say what is measured, and what rows are compared with."""
    baseline = _REFERENCES[neighbourhood].format(len(request.donors[0]))
    return {"quantity": _QUANTITIES[neighbourhood], "baseline": baseline}


def _facts_of_fit(explained: Floats) -> dict[str, Any]:
    """Return how much of the outputs' variance the surrogates explain."""
    return {
        "local_r2": explained.tolist(),
        "local_r2_mean": float(explained.mean()),
    }
