"""From the arguments of ``pg.explain`` to a ``Request``, for any torch network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.arguments import LEVELS, Arguments, resolve_options, resolve_scope
from permgrad.attribution.method import Method, Request
from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.network_conditional import check_conditional
from permgrad.attribution.subject.hybrid_request import check_row_offset
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError

#: Options that describe the network, not the method.
NETWORK_OPTIONS = ("head", "output_kind", "task", "class_names", "layer", "segments", "row_offset")


def network_request(arguments: Arguments, chosen: Method, name: str) -> Request:
    """Check and resolve every argument for a torch network.

    Raises:
        InputError: an argument cannot be used.
    """
    mine = {key: value for key, value in arguments.options.items() if key in NETWORK_OPTIONS}
    for key in set(mine) & set(chosen.options):
        # A class activation map has a layer of its own: the one that it reads.
        del mine[key]
    given = {key: value for key, value in arguments.options.items() if key not in mine}
    options = _with_known(chosen, name, given)
    scope = resolve_scope(chosen, name, arguments.scope)
    subject = NetworkSubject(
        arguments.model,
        arguments.inputs,
        arguments.y,
        **{key: mine.get(key) for key in ("head", "output_kind", "task", "class_names")},
    )
    inputs = subject.inputs
    if arguments.sampling == "conditional":
        check_conditional(name, subject.input_names, inputs, mine.get("layer"))
    donors = inputs if arguments.background is None else subject.read(arguments.background)
    if scope == "global" and "row_offset" not in mine and _are_same(donors, inputs):
        # Their own background, though it was given: a row in both roles counts once in a standard error.
        donors = inputs
    subject.settle(None if donors is inputs else donors)
    row_offset = mine.get("row_offset", 0)
    check_row_offset(row_offset, donors is inputs)
    if mine.get("layer") is not None:
        from permgrad.attribution.subject.inner import at_layer

        subject, inputs, donors, space = at_layer(subject, inputs, donors, mine["layer"], mine.get("segments"))
    else:
        space = build_space(subject.input_names, inputs, subject.columns, mine.get("segments"), subject.readings())
    if not len(space):
        shapes = shapes_in_words(subject.input_names, inputs)
        raise InputError(
            f"inputs must have a feature to explain, however: there is none ({shapes}); pass inputs with columns or "
            "pixels"
        )
    space = at_level(space, arguments)
    rows = len(inputs[0])
    common = arguments.common(subject, rows)
    subject.choose(common["targets"])
    return Request(
        subject=subject,
        encoded=np.empty((rows, 0), dtype=np.float32),
        raw=None,
        background=None,
        background_kind="rows explained" if arguments.background is None else "given",
        players=dict.fromkeys(space.names, np.empty(0, dtype=np.intp)),
        groups=space.groups,
        scope=scope,
        level=arguments.level,
        row_offset=int(row_offset),
        options=options,
        inputs=inputs,
        donors=donors,
        space=space,
        shapes=shapes_of(subject.input_names, inputs, mine.get("segments"), subject.readings()),
        **common,
    )


def _are_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Return whether two samples are the same rows in the same order, more than one."""
    pairs = list(zip(one, other, strict=True))
    return len(other[0]) > 1 and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b.to(a.device))) for a, b in pairs
    )


def at_level(space: PlayerSpace, arguments: Arguments) -> PlayerSpace:
    """Return the players of the level asked for."""
    check_choice("level", arguments.level, LEVELS)
    if arguments.level == "modality":
        return space.modalities()
    if arguments.level == "group":
        if arguments.groups is None:
            raise InputError(
                "level='group' needs groups, however: groups=None; pass groups={'name': ['feature', …]} with the names "
                f"of features ({', '.join(space.names[:5])}{', …' if len(space) > 5 else ''})"
            )
        return space.grouped(arguments.groups)
    return space


def _with_known(chosen: Method, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return resolve_options(chosen, name, given, hint=f"; for a network also: {', '.join(NETWORK_OPTIONS)}")
