"""``shapley``: divides the output, or the loss, fairly among all players (Shapley
1953).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import comb
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.method.shapley.added_trees import split_trees
from permgrad.attribution.method.shapley.calibrated import Calibration
from permgrad.attribution.method.shapley.conditional_shapley import ConditionalGame
from permgrad.attribution.method.shapley.from_shapiq import RowInteractions
from permgrad.attribution.method.shapley.indices import (
    INDICES,
    MOST_ORDER,
    InteractionIndex,
)
from permgrad.attribution.method.shapley.loss import LossPlan, play_loss
from permgrad.attribution.method.shapley.sampled import (
    DESIGNS,
    ENUMERATION,
    ORDERS,
    RowValues,
    StoppingRule,
    prefers_designs,
)
from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.method.shapley.tree_models import find_trees
from permgrad.attribution.players.tree import Tree, make_tree
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.replace.game import loss_scale
from permgrad.attribution.request import Configured, Request, Scope, methods, setting
from permgrad.attribution.request.method_registry import USUAL, Condition, in_scope
from permgrad.attribution.request.related_rows import tell_of_dependence
from permgrad.attribution.request.result import build, named, shown_outputs
from permgrad.attribution.scopes import GLOBAL, LOCAL
from permgrad.attribution.subject.outputs import output_range
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice, check_number, check_whole
from permgrad.base.errors import Fault, InputError, refusing, warn_user
from permgrad.base.random import generator
from permgrad.base.sequences import values_at
from permgrad.models.row_background import MOST_ROWS, rows_to_compare

#: Largest number of players for which all coalitions are enumerated. Over many rows,
#: the error comes from the rows.
_EXACT_LOCAL = 12
_EXACT_GLOBAL = 6
_MOST_EXACT = 16
#: Most names of an explanation with interactions.
_MOST_NAMES = 20_000
#: Orders per row before the error is checked.
_LEAST = 100
#: Default number of background rows that replace players.
REFERENCES = MOST_ROWS
_REFERENCES_GLOBAL = 50


@methods.register("shapley")
class Shapley(Configured):
    """Shapley values of the output for each row, or of the loss over all rows.

    Local: the worth of a coalition is the row's mean output over the background rows,
    with the coalition's players from the row and all others from the background row.
    The values of a row add up to its output minus the mean output over the background.

    Global, with y (SAGE: Covert, Lundberg & Lee 2020, arXiv 2004.00668): the worth of a
    coalition is minus the loss of the prediction averaged over background rows, so a
    value is the player's reduction of the loss. Without y the loss is the divergence
    from the model's own prediction.

    Options:
        max_permutations: largest number of orders per row of a local explanation. A
            pair counts as two, and so does a design, which needs as many predictions. A
            global game uses up to ``n_repeats`` of them per row, and stops when samples
            and donors cause less than a fifth of the variance. ``tolerance=0`` uses
            all.
        tolerance: sampling stops at this standard error, as a share of the output's
            range over the background (global: of the loss without any information).
        references: how many background rows replace players. Default: all rows of
            ``background=``, else 100. A global game draws 50 for each row from the
            background.
        order: 2 adds the interactions of pairs after the features, 3 also those of
            three, and so on. Features keep their Shapley values. ``parts[index]`` has
            the values that the index gives to single features. Locally, the package
            shapiq estimates those of more players than are enumerated, without standard
            errors, from as many coalitions as ``max_permutations`` orders have, and at
            least two for each feature and interaction.
        index: of interactions: ``"k-SII"``, ``"SII"``, ``"STII"`` or ``"FSII"``.
        sampling: ``"marginal"``, or ``"conditional"``: players that do not keep the
            row's value are drawn so that they fit those that do (Aas et al. 2021, arXiv
            1903.10464), by linear regressions on the background and the donor's own
            residual. A table only.
        blocks: None, or blocks of players that join one after the other (Owen 1977):
            ``"modality"``, or a mapping of names to features. Sums over blocks are the
            Shapley values of the game of blocks. Within a modality, the features of a
            named block join together.

    All coalitions are enumerated, and the error is exactly 0, for at most 12 players
    (global: 6), with ``blocks`` the blocks that concern a single player. For more
    players, coalitions are sampled in balanced designs, or orders in pairs with their
    reverse, whichever varies less on some pairs of background rows. With ``blocks``,
    orders are always used, and so they are for more than about 800 players. Of these,
    those that no order showed to change an output join together, and fewer orders are
    played where many change it.

    Where local values are of sums of trees of numbers, all coalitions count, for any
    number of players: numbers and logits of boosted trees, probabilities of forests.
    Rows with missing cells are asked for predictions instead. The values of the trees
    inside a hybrid network are exact where numbers or logits are explained.

    The local standard error is that of sampling orders or coalitions, and of drawing
    background rows where not all of them are used. A small p-value therefore shows that
    there are enough of them, not that the model is right. It is 0 where all coalitions
    are enumerated with all background rows, and where a feature was not seen to change
    an output. The global error is that of the mean over rows, samples included.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(50, 3))
        >>> model = lambda rows: rows @ [2.0, 1.0, 0.0]
        >>> explanation = pg.explain(model, X, method="shapley")
        >>> explanation.ranking()
        ['x0', 'x1', 'x2']
    """

    scopes: ClassVar[tuple[Scope, ...]] = (LOCAL, GLOBAL)
    takes: ClassVar[frozenset[str]] = USUAL | {
        "local order",
        "global order",
        "global n_repeats",
        "global loss",
    }
    instead: ClassVar[Mapping[str, str]] = {"n_repeats": "max_permutations"}
    conditions: ClassVar[tuple[Condition, ...]] = (in_scope("max_permutations", LOCAL),)
    max_permutations: int = 2000
    tolerance: float = 0.01
    references: int | None = None
    order: int = 1
    index: Literal["k-SII", "SII", "STII", "FSII"] = "k-SII"
    sampling: Literal["marginal", "conditional"] = "marginal"
    blocks: Literal["modality"] | Mapping[str, Iterable[str]] | None = None
    #: ``exact``: most players whose coalitions are enumerated. ``min_permutations``:
    #: fewest orders of a row. ``game``: ``"prediction"``, the loss of the averaged
    #: prediction as in SAGE, or ``"expected"``, the averaged loss of predictions with
    #: one background row each, the game of ``permgrad``. ``same_orders``: every row
    #: gets the same orders, so that two rows differ less by chance. Balanced designs
    #: are then not used. ``played``: how many of the background rows are sampled, if
    #: not all: the mean over all of them follows by their cells.
    exact: int | None = setting(default=None)
    min_permutations: int | None = setting(default=None)
    game: Literal["prediction", "expected"] = setting(default="prediction")
    same_orders: bool = setting(default=False)
    played: int | None = setting(default=None)
    incremental: bool = setting(default=True)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        enumeration = _checked(request, self)
        player_tree = make_tree(request.space, self.blocks)
        if request.scope.by_row:
            explain = _explain_rows
        else:
            explain = _explain_loss
        if self.played is not None:  # rows come one by one
            request.subject.keep_answers()
        with request.subject.open():
            return explain(request, player_tree, self, enumeration)


class Enumeration(NamedTuple):
    """The most players whose coalitions are enumerated, and the index of
    interactions.
    """

    most: int
    interactions: InteractionIndex | None


def _checked(request: Request, method: Shapley) -> Enumeration:
    """Refuse invalid options."""
    need_background(request.count, shared=request.shared)
    most = method.max_permutations
    check_whole("max_permutations", most, "pass for example 2000", least=4)
    for option_name, value, least in (
        ("exact", method.exact, 0),
        ("references", method.references, 1),
        ("min_permutations", method.min_permutations, 2),
    ):
        if value is not None:
            check_whole(option_name, value, "leave it out", least=least)
    if method.exact is not None and method.exact > _MOST_EXACT:
        problem = (
            f"exact must be at most {_MOST_EXACT}, got {method.exact}: each "
            "player doubles the coalitions"
        )
        raise InputError(
            problem, hint="Leave it out, and pass a smaller tolerance.", code="PG002"
        )
    if (method.min_permutations or 0) > most:
        problem = (
            f"min_permutations={method.min_permutations} is above "
            f"max_permutations={most}"
        )
        raise InputError(
            problem, hint="Lower the first or raise the second.", code="PG006"
        )
    check_number("tolerance", method.tolerance, "pass for example 0.01")
    if method.blocks is not None and not isinstance(method.blocks, Mapping):
        check_choice("blocks", method.blocks, ("modality",))
    exact = method.exact
    if exact is None and (request.scope.by_row or method.order > 1):
        exact = _EXACT_LOCAL
    elif exact is None:
        exact = _EXACT_GLOBAL
    _check_interactions(request, method, exact)
    index = None
    if method.order > 1:
        index = InteractionIndex(method.index, int(method.order), len(request.space))
    return Enumeration(int(exact), index)


def _is_plain(method: Shapley) -> bool:
    """Return whether single players join in any order, each with its own background
    row's values.
    """
    return method.order == 1 and method.blocks is None and method.sampling == "marginal"


def _game_of(request: Request, measured: str) -> ShapleyGame:
    game_class = ConditionalGame if request.sampling == "conditional" else ShapleyGame
    return game_class(request, measured)


def choose_references(request: Request, reference_count: int | None) -> Integers:
    """Return the positions of background rows that replace players, in rising order.

    Those that a model keeps to compare rows with are the same for page, command and
    Python.

    Args:
        request: The call.
        reference_count: ``references=``. None: all that the user passed, else up to
            100.
    """
    background = len(request.donors[0])
    usual = reference_count is None
    if usual and request.compared is not None:
        return request.compared
    if reference_count is None:
        reference_count = REFERENCES
        if request.passed_background:
            reference_count = background
    if request.shared:
        weights = request.sample_weight
    else:
        weights = None
    if usual and reference_count < background:
        return rows_to_compare(
            columns_of(request.donors), weights, most=reference_count
        )
    if weights is not None and (weights != weights[0]).any():
        # Evenly along the weights, so that heavy rows occur more often.
        along = np.cumsum(weights)
        return np.searchsorted(
            along, (np.arange(reference_count) + 0.5) / reference_count * along[-1]
        ).astype(np.int64)
    if reference_count >= background:
        return np.arange(background, dtype=np.int64)
    return np.sort(
        generator(request.seed, "references").permutation(background)[:reference_count]
    ).astype(np.int64)


def columns_of(tensors: Sequence[torch.Tensor]) -> Floats:
    """Return rows of tensors as columns of numbers ``(rows, numbers)``."""
    flat = [tensor.detach().cpu().flatten(1).double() for tensor in tensors]
    return np.asarray(torch.cat(flat, dim=1).numpy())


def error_of_rows(request: Request, references: Integers) -> float:
    """Return how much of the error of a mean over drawn background rows remains: 0
    where they are all there are.
    """
    count = max(request.drawn_from, len(request.donors[0]))
    return max(0.0, 1 - len(np.unique(references)) / count) ** 0.5


def _estimated(
    game: ShapleyGame,
    tree: Tree,
    method: Shapley,
    enumeration: Enumeration,
    references: Integers,
    scale: Floats,
    nobody: Floats,
) -> RowValues:
    """Return the values of all rows: of trees by their leaves, else enumerated or
    sampled.

    Args:
        game: of outputs.
        tree: the players.
        method: its options.
        enumeration: up to how many players coalitions are enumerated.
        references: the background rows that replace players.
        scale: the range of each output over the background ``(V,)``.
        nobody: the worth of the empty coalition ``(rows, V)``.
    """
    stopping_rule = _stopping_rule(method)
    of_rows = error_of_rows(game.request, references)
    added = None
    # A page that plays the same orders plays trees as all else.
    reads_trees = _is_plain(method) and not method.same_orders
    if reads_trees:
        added = split_trees(game, references, of_rows)
    played = game
    if added is not None:
        played = added.game
        all_references = np.broadcast_to(references, (1, len(references)))
        nobody = played.empty(np.zeros(1, dtype=np.int64), all_references)
        nobody = np.broadcast_to(nobody, (game.request.count, game.width))
    interactions = enumeration.interactions
    if interactions is None:
        estimator_class = RowValues
    else:
        estimator_class = RowInteractions
    estimates = estimator_class(
        played,
        tree,
        references,
        enumeration.most,
        stopping_rule,
        scale,
        nobody,
        same_orders=method.same_orders,
        interactions=interactions,
    )
    estimates.of_rows = of_rows
    if method.played is not None and method.played < len(references):
        numbers = torch.from_numpy(references)
        rows = [tensor[numbers.to(tensor.device)] for tensor in game.request.donors]
        space = game.request.space
        estimates.play_few(Calibration.of(rows, space, method.played))
    if reads_trees and added is None:
        estimates.by_trees = find_trees(game, references)
    estimates.fill()
    if added is not None:
        estimates.add(added.values, added.std)
        game.evaluations += played.evaluations
    return estimates


def _stopping_rule(method: Shapley) -> StoppingRule:
    least = int(method.min_permutations or _LEAST)
    return StoppingRule(float(method.tolerance), least, int(method.max_permutations))


def _output_ranges(game: ShapleyGame) -> Floats:
    """Return the range of each output, ``(outputs,)``, or 1 where it does not vary.

    It is taken over the background only, so that a row's result does not depend on
    other rows explained in the same call.
    """
    background_worths = game.measure(
        game.background_outputs[:, None],
        np.zeros(len(game.request.donors[0]), dtype=np.int64),
    )
    return output_range(
        torch.as_tensor(background_worths),
        game.request.subject.dtype,
        alike=len(background_worths) == 1,
    ).numpy()


def _warn_of_unsettled(method: Shapley, errors: Floats) -> None:
    """Warn of rows whose largest errors ``(rows,)``, as shares of the output's range,
    are above the tolerance after all orders.
    """
    rule = _stopping_rule(method)
    unsettled = errors > rule.tolerance
    if unsettled.any():
        warn_user(
            f"After {rule.most} orders, the standard error is above "
            f"{rule.tolerance:g} of the output's range for "
            f"{int(unsettled.sum()):,} of {len(errors):,} "
            f"rows (largest: {errors.max():.2g}). "
            "Raise max_permutations or tolerance, or lower references: "
            f"{as_typed(method, max_permutations=2 * rule.most)}."
        )


def _explain_rows(
    request: Request, tree: Tree, method: Shapley, enumeration: Enumeration
) -> Explanation:
    shapley_game = _game_of(request, "output")
    references = choose_references(request, method.references)
    row_numbers = np.arange(request.count, dtype=np.int64)
    # The empty coalition is worth the same for all rows, unless some positions have no
    # player.
    if shapley_game.covered:
        first = row_numbers[:1]
    else:
        first = row_numbers
    nobody = shapley_game.empty(
        first, np.broadcast_to(references, (len(first), len(references)))
    )
    scale = _output_ranges(shapley_game)
    estimates = _estimated(
        shapley_game,
        tree,
        method,
        enumeration,
        references,
        scale,
        np.broadcast_to(nobody, (request.count, shapley_game.width)),
    )
    predictions = shapley_game.full(row_numbers)
    completeness_gap = (
        np.abs(estimates.values[:, : tree.players].sum(axis=1) - (predictions - nobody))
        / scale
    )
    lower_bounds, upper_bounds, p_values = interval(
        estimates.values,
        estimates.std,
        estimates.freedom[:, None, None] + 1,
        request.confidence,
    )
    _warn_of_unsettled(method, (estimates.by_orders / scale).max(axis=(1, 2)))
    facts = {
        "quantity": "output minus the mean output over the background",
        "baseline": f"mean over {len(references):,} background rows",
        "baseline_rows": len(references),
        "structure": "flat" if method.blocks is None else "owen",
        "estimator": " or ".join(sorted(estimates.ways)),
        "permutations": int(estimates.orders.max()),
        "mean_permutations": float(estimates.orders.mean()),
        "completeness_gap": float(completeness_gap.max()),
        "output_range": scale.tolist(),
        "model_rows": shapley_game.evaluations,
    }
    fields = dict[str, Any](
        values=estimates.values,
        std_error=estimates.std,
        low=lower_bounds,
        high=upper_bounds,
        p_values=p_values,
    )
    interactions = enumeration.interactions
    if interactions is not None:
        facts, fields = _with_interactions(
            request, interactions, "output", facts, fields
        )
    return build(
        request,
        "shapley",
        facts=facts,
        **fields,
        additive=True,
        base_values=nobody[0] if shapley_game.covered else nobody,
        predictions=predictions,
    )


def _loss_plan(
    game: ShapleyGame, tree: Tree, method: Shapley, enumeration: Enumeration
) -> LossPlan:
    """Return how the values of a loss are played."""
    request = game.request
    background = len(request.donors[0])
    exact = tree.freedom() <= enumeration.most
    expected = method.game == "expected"
    standard = _REFERENCES_GLOBAL
    if expected and not exact:
        standard = background
    designs = not exact and tree.free
    if designs:
        # The outputs of the background show whether designs vary less, and losses are
        # assumed to behave alike. The rows explained and the requested outputs are not
        # used, so values do not depend on them.
        every_output = tuple(range(len(request.subject.outputs.output_names)))
        outputs_game = game.same(
            replace(request, inputs=request.donors, targets=every_output), "output"
        )
        designs, _ = prefers_designs(outputs_game, tree)
        game.evaluations += outputs_game.evaluations
    return LossPlan(
        expected=expected,
        references=min(background, method.references or standard),
        exact=exact,
        designs=designs,
        tolerance=float(method.tolerance),
        most=request.n_repeats,
        interactions=enumeration.interactions,
    )


def _explain_loss(
    request: Request, tree: Tree, method: Shapley, enumeration: Enumeration
) -> Explanation:
    """Explain the loss over all rows, or, without y, the divergence from the model's
    own prediction.
    """
    shapley_game = _game_of(request, method.game)
    loss_plan = _loss_plan(shapley_game, tree, method, enumeration)
    shown = shown_outputs(request)
    every = ("all", *request.subject.outputs.class_names)
    tell_of_dependence(request, shapley_game.row_outputs)
    fields, walks, completeness_gap = play_loss(shapley_game, tree, loss_plan, shown)
    every_row = shapley_game.full(np.arange(request.count, dtype=np.int64))[:, 0]
    unchanged = -float(np.average(every_row, weights=request.sample_weight))
    scale = loss_scale(request)
    estimator = DESIGNS if loss_plan.designs else ORDERS
    if loss_plan.exact:
        estimator = ENUMERATION
    facts = {
        "quantity": "part of the decrease of the loss"
        if request.y is not None
        else "part of the divergence",
        "unit": request.measured.unit,
        "loss": request.measured.name,
        "loss_scale": scale,
        **({"model_loss": unchanged} if np.isfinite(scale) else {}),
        "baseline": f"{loss_plan.references:,} of {len(request.donors[0]):,} "
        "background rows for each row explained",
        "game": method.game,
        "structure": "flat" if method.blocks is None else "owen",
        "estimator": estimator,
        "permutations": 2 * walks,
        "completeness_gap": completeness_gap,
        "classes_by": "y" if request.y is not None else "predicted class",
        "model_rows": shapley_game.evaluations,
    }
    outputs = tuple(values_at(every, shown))
    if loss_plan.interactions is not None:
        facts, fields = _with_interactions(
            request, loss_plan.interactions, "loss", facts, fields
        )
    return build(
        request, "shapley", facts=facts, outputs=outputs, additive=True, **fields
    )


@refusing
def _check_interactions(
    request: Request, method: Shapley, exact: int
) -> Iterator[Fault]:
    """Refuse an index without interactions, and interactions that cannot be
    computed.
    """
    if method.order == 1 and method.index != INDICES[0]:
        problem = f"index={method.index!r} is of interactions, got order=1"
        typed = as_typed(method, order=2, index=method.index)
        yield problem, f"Pass {typed}, or leave index out.", "PG006"
    if method.order > min(MOST_ORDER, len(request.space)):
        problem = (
            f"order must be at most {min(MOST_ORDER, len(request.space))} here, "
            f"got {method.order}"
        )
        yield problem, f"Pass {as_typed(method, order=2)}.", "PG002"
    names = sum(
        comb(len(request.space), set_size) for set_size in range(1, method.order + 1)
    )
    if method.order > 1 and names > _MOST_NAMES:
        problem = (
            f"order={method.order} of {len(request.space)} players are {names:,} "
            f"names, and at most {_MOST_NAMES:,} are computed"
        )
        yield problem, "Join players with groups=.", "PG002"
    if method.order > 1 and not request.scope.by_row and len(request.space) > exact:
        yield (
            (
                "Interactions of the loss need every coalition, and "
                f"{len(request.space)} players are more than {exact}"
            ),
            "Join players with groups=, or choose pg.methods.Permutation(order=2).",
            "PG006",
        )


def _with_interactions(
    request: Request,
    interactions: InteractionIndex,
    kind: str,
    facts: dict[str, Any],
    fields: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts with those of interactions that were all looked at, and the
    fields with names.

    What the index gives to single players becomes a part.
    """
    players = interactions.players
    names = len(interactions.members)
    result = {}
    for field_name, array in fields.items():
        if field_name != "correlation":
            result[field_name] = array[..., :names, :]
        else:
            result[field_name] = array
    for group, values_name in (("parts", "values"), ("part_std", "std_error")):
        beyond = result[values_name][..., players:, :]
        result[group] = {
            interactions.index: np.concatenate(
                [fields[values_name][..., names:, :], beyond], axis=-2
            )
        }
    pairs = len(interactions.members) - interactions.players
    about = {
        "order": interactions.order,
        "kind": kind,
        "index": interactions.index,
        "candidates": pairs,
    }
    about |= {"looked_at": pairs, "share": 1.0, "left_out": 0, "bound": 0.0}
    return facts | {"interactions": about}, result | named(
        request, interactions.members
    )
