"""``shapley``: the output, or the loss, shared out fairly among all players (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from permgrad.attribution.build import build, loss_unit, shown_outputs
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.method.shapley.game import ShapleyGame
from permgrad.attribution.method.shapley.loss import LossPlan, play_loss
from permgrad.attribution.method.shapley.owen import STRUCTURES, Integers, Tree, make_tree
from permgrad.attribution.method.shapley.sampled import (
    DESIGNS,
    ENUMERATION,
    ORDERS,
    RowValues,
    StoppingRule,
    prefers_designs,
)
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.replace.game import loss_scale
from permgrad.attribution.replace.moments import interval
from permgrad.attribution.subject.outputs import output_range
from permgrad.base.checks import check_choice, check_number, check_whole
from permgrad.base.errors import InputError, warn_user
from permgrad.base.random import generator

GAMES = ("prediction", "expected")
#: Players up to which all coalitions are enumerated; over many rows, the rows carry the error and not the orders.
_EXACT_LOCAL, _EXACT_GLOBAL, _MOST_EXACT = 12, 6, 16
#: Orders per row before the error is looked at.
_LEAST = 100
#: Background rows that stand in for players, unless said otherwise.
_REFERENCES_LOCAL, _REFERENCES_GLOBAL = 100, 50


@methods.register("shapley")
class Shapley:
    """Shapley values of the output for each row, or of the loss over all rows.

    Local: a coalition is worth the row's mean output over the background rows, with the coalition's players as they are
    in the row and all others as they are in the background row. The values of a row add up to its output minus the mean
    output over the background.

    Global, with y (SAGE: Covert, Lundberg & Lee 2020, arXiv 2004.00668): a coalition is worth minus the loss of the
    prediction averaged over background rows, so that a value is what the player takes off the loss. Without y the loss
    is the divergence from the model's own prediction.

    Options:
        exact: up to so many players every coalition is enumerated and the error is exactly 0; with
            ``structure="owen"`` the count is of the blocks that a single player meets. Default: 12, global: 6. Above,
            coalitions are sampled in balanced designs, or orders in pairs of an order and its reverse: what varies less
            between some pairs of background rows; with ``structure="owen"`` always orders.
        tolerance: sampling stops at this standard error, as a share of the output's range over the background (global:
            of the loss without any information).
        min_permutations, max_permutations: orders per row, at least (default: 100, or the most) and at most (local;
            each pair is two, and so is each design, which needs as many predictions). A global game takes up to
            ``n_repeats`` of them per row, and stops when samples and donors are less than a fifth of the variance;
            ``tolerance=0`` takes all.
        references: so many background rows stand in for players. Default: all that ``background=`` gives, else 100;
            for a global game each row has 50 of its own, drawn from the background.
        structure: ``"flat"``, or ``"owen"``: players of one modality (and of one group in it) join one after the other
            (Owen 1977), so that sums over modalities are the Shapley values of the game of modalities.
        game: of a global explanation: ``"prediction"``: the loss of the averaged prediction, as in SAGE;
            ``"expected"``: the averaged loss of predictions with one background row each, the game of ``permgrad``.

    The local standard error is that of sampling orders or coalitions. NOTE[DIFF]: SAGE's is that of its sampled walks
    too; here the global error is that of the mean over rows, samples included.
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local", "global")
    options: ClassVar[Mapping[str, Any]] = {
        "exact": None,
        "tolerance": 0.01,
        "min_permutations": None,
        "max_permutations": 2000,
        "references": None,
        "structure": "flat",
        "game": "prediction",
    }

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        options = _checked(request, request.options)
        tree = make_tree(request.space, options["structure"])
        explain = _explain_rows if request.scope == "local" else _explain_loss
        with request.subject.open():
            return explain(request, tree, options)


def _checked(request: Request, options: dict[str, Any]) -> dict[str, Any]:
    """Refuse options that cannot be used; return them with the most players that are enumerated."""
    need_background(request.count, shared=request.shared)
    fix = "leave sampling out, or join dependent features with groups="
    refuse_conditional(request, "shapley", "replaces players by those of background rows", fix)
    check_whole("max_permutations", options["max_permutations"], "pass such a number", least=4)
    for name, least in (("exact", 0), ("references", 1), ("min_permutations", 2)):
        if options[name] is not None:
            check_whole(name, options[name], "pass such a number", least=least)
    if options["exact"] is not None and options["exact"] > _MOST_EXACT:
        raise InputError(
            f"exact must be at most {_MOST_EXACT}, as every player more doubles the coalitions, however: "
            f"exact={options['exact']}; leave it out, and pass a smaller tolerance"
        )
    if (options["min_permutations"] or 0) > options["max_permutations"]:
        raise InputError(
            "min_permutations must not be above max_permutations, however: "
            f"min_permutations={options['min_permutations']}, max_permutations={options['max_permutations']}; lower "
            "the one or raise the other"
        )
    check_number("tolerance", options["tolerance"], "pass for example 0.01")
    for name, choices in (("structure", STRUCTURES), ("game", GAMES)):
        check_choice(name, options[name], choices)
    standard = _EXACT_LOCAL if request.scope == "local" else _EXACT_GLOBAL
    return {**options, "exact": standard if options["exact"] is None else options["exact"]}


def choose_references(request: Request, wanted: int | None) -> Integers:
    """Return which background rows stand in for players: all that were given, else up to 100; in rising order."""
    background = len(request.donors[0])
    if wanted is None:
        wanted = background if request.background_kind == "given" else _REFERENCES_LOCAL
    if wanted >= background:
        return np.arange(background, dtype=np.int64)
    chosen: Integers = np.sort(generator(request.seed, "references").permutation(background)[:wanted]).astype(np.int64)
    return chosen


def _explain_rows(request: Request, tree: Tree, options: dict[str, Any]) -> Explanation:
    """Explain each row's output."""
    game = ShapleyGame(request, "output")
    references = choose_references(request, options["references"])
    rows = np.arange(request.count, dtype=np.int64)
    # Nobody's worth is the same for all rows, unless something belongs to nobody.
    first = rows[:1] if game.covered else rows
    nobody = game.empty(first, np.broadcast_to(references, (len(first), len(references))))
    # The outputs' range is taken over the background only, so that a row's result does not depend on which others are
    # explained with it; 1 where an output does not vary.
    seen = game.measure(game.background_outputs[:, None], np.zeros(len(request.donors[0]), dtype=np.int64))
    scale = output_range(torch.as_tensor(seen), request.subject.dtype, alike=len(seen) == 1).numpy()
    least, most = int(options["min_permutations"] or _LEAST), int(options["max_permutations"])
    rule = StoppingRule(float(options["tolerance"]), least, most)
    estimates = RowValues(game, tree, references, int(options["exact"]), rule, scale)
    estimates.fill()
    predictions = game.full(rows)
    gap = np.abs(estimates.values.sum(axis=1) - (predictions - nobody)) / scale
    low, high, p_values = interval(
        estimates.values, estimates.std, estimates.freedom[:, None, None] + 1, request.confidence
    )
    relative = (estimates.std / scale).max(axis=(1, 2))
    if (relative > rule.tolerance).any():
        warn_user(
            f"standard errors should fall to {rule.tolerance:g} of the output's range, however: after "
            f"{most} orders {int((relative > rule.tolerance).sum())} of {len(relative)} rows have not (largest "
            f"{relative.max():.2g}); raise max_permutations or tolerance, or lower references"
        )
    facts = {
        "quantity": "output minus the mean output over the background",
        "baseline": f"mean over {len(references):,} background rows",
        "baseline_rows": len(references),
        "structure": options["structure"],
        "estimator": " or ".join(sorted(estimates.ways)),
        "permutations": int(estimates.orders.max()),
        "mean_permutations": float(estimates.orders.mean()),
        "completeness_gap": float(gap.max()),
        "output_range": scale.tolist(),
        "model_rows": game.evaluations,
    }
    return build(
        request,
        "shapley",
        estimates.values,
        facts,
        std=estimates.std,
        low=low,
        high=high,
        p_values=p_values,
        additive=True,
        base_values=nobody[0] if game.covered else nobody,
        predictions=predictions,
    )


def _explain_loss(request: Request, tree: Tree, options: dict[str, Any]) -> Explanation:
    """Explain the loss over all rows, or, without y, the divergence from the model's own prediction."""
    game = ShapleyGame(request, options["game"])
    exact, expected = tree.freedom() <= options["exact"], options["game"] == "expected"
    standard = len(request.donors[0]) if expected and not exact else _REFERENCES_GLOBAL
    designs = not exact and tree.free
    if designs:
        # Whether designs vary less is told by the outputs of the background: losses are taken to be alike. Neither the
        # rows explained nor the outputs asked for have a part in it: values do not depend on them.
        every_output = tuple(range(len(request.subject.output_names)))
        outputs_game = ShapleyGame(replace(request, inputs=request.donors, targets=every_output), "output")
        designs = prefers_designs(outputs_game, tree)
        game.evaluations += outputs_game.evaluations
    plan = LossPlan(
        expected=expected,
        references=min(len(request.donors[0]), options["references"] or standard),
        exact=exact,
        designs=designs,
        tolerance=float(options["tolerance"]),
        most=request.n_repeats,
    )
    shown, every = shown_outputs(request), ("all", *request.subject.class_names)
    fields, walks, gap = play_loss(game, tree, plan, [None if not place else place - 1 for place in shown])
    loss = "divergence" if request.y is None else request.loss
    facts = {
        "quantity": "part of the fall of the loss" if request.y is not None else "part of the divergence",
        "unit": loss_unit(request, loss),
        "loss": loss,
        "loss_scale": loss_scale(request),
        "baseline": f"{plan.references:,} of {len(request.donors[0]):,} background rows for each row explained",
        "game": options["game"],
        "structure": options["structure"],
        "estimator": ENUMERATION if exact else DESIGNS if plan.designs else ORDERS,
        "permutations": 2 * walks,
        "completeness_gap": gap,
        "classes_by": "y" if request.y is not None else "predicted class",
        "model_rows": game.evaluations,
    }
    outputs = tuple(every[place] for place in shown)
    return build(request, "shapley", fields.pop("values"), facts, outputs=outputs, additive=True, **fields)
