"""Ids that a network needs where they stand, such as ``<eos>``, ``<image>`` or ``[CLS]``: found by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from permgrad.base.checks import is_whole
from permgrad.base.errors import PermgradError

if TYPE_CHECKING:
    from permgrad.attribution.subject.network import NetworkSubject

#: Ids of which a network is asked.
_ASKED = 32
#: How the settings of a network end that name an id.
_SETTINGS = ("_token_id", "_token_index")


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids that a tokenizer calls special, none if it does not say."""
    ids = getattr(tokenizer, "all_special_ids", None)
    if ids is not None:
        return frozenset(ids)
    added = getattr(tokenizer, "get_added_tokens_decoder", None)
    if added is None:
        return frozenset()
    return frozenset(one for one, token in added().items() if token.special)


def needed_ids(subject: NetworkSubject, tokens: int, away: Tensor) -> frozenset[int]:
    """Return the ids that a network needs where they are, as many as they are.

    Asked are ids that are in each row, for only these can be needed in each.
    For each, a row with one less and a row with one more are passed beside the row itself.
    An id is needed if the network refuses either, though it takes a change of others.
    ``away``: places without a token, bool ``(rows, places)``.
    """
    ids = subject.inputs[tokens][0]
    there = ~away[0]
    asked = _in_each_row(subject, subject.inputs[tokens], away)
    if not asked or len(ids[there].unique()) < 2:
        return frozenset()
    with torch.no_grad(), subject.open():
        refused = frozenset(
            one
            for one in asked
            if not all(_takes(subject, tokens, row) for row in _moved(ids, there, one))
        )
        # Where nothing else may change either, it is not for these ids.
        if not refused or len(refused) < len(asked):
            return refused
        control = _with_other(ids, there, refused)
        others = control is not None and _takes(subject, tokens, control)
    return refused if others else frozenset()


def _in_each_row(subject: NetworkSubject, ids: Tensor, away: Tensor) -> list[int]:
    """Return the ids in each row, those that the network's settings name first."""
    common = set(ids[0][~away[0]].tolist())
    for row, gone in zip(ids[1:], away[1:], strict=True):
        common &= set(row[~gone].tolist())
    settings = vars(getattr(subject.module, "config", subject.module))
    named = {
        value
        for name, value in settings.items()
        if name.endswith(_SETTINGS) and is_whole(value)
    }
    return sorted(common, key=lambda one: (one not in named, one))[:_ASKED]


def _other_than(row: Tensor, there: Tensor, unlike: frozenset[int]) -> int | None:
    """Return the place of an id that is none of some, of a row's places that hold a token."""
    places = torch.nonzero(there).flatten().tolist()
    return next((at for at in places if int(row[at]) not in unlike), None)


def _moved(row: Tensor, there: Tensor, one: int) -> tuple[Tensor, Tensor]:
    """Return a row without one place of an id, and with one more."""
    other = _other_than(row, there, frozenset({one}))
    assert other is not None
    less, more = row.clone(), row.clone()
    less[torch.nonzero(there & (row == one)).flatten()[0]] = row[other]
    more[other] = one
    return less, more


def _with_other(row: Tensor, there: Tensor, needed: frozenset[int]) -> Tensor | None:
    """Return a row in which an id that is not needed became another such id."""
    other = _other_than(row, there, needed)
    if other is None:
        return None
    new = _other_than(row, there, needed | {int(row[other])})
    if new is None:
        return None
    changed = row.clone()
    changed[other] = row[new]
    return changed


def _takes(subject: NetworkSubject, tokens: int, row: Tensor) -> bool:
    """Return whether a network takes its first row with other tokens, beside that row."""
    pair = [one[:1].expand(2, *one.shape[1:]) for one in subject.inputs]
    pair[tokens] = torch.stack([subject.inputs[tokens][0], row])
    try:
        subject.forward(pair)
    except (PermgradError, RuntimeError, MemoryError):
        return False
    return True
