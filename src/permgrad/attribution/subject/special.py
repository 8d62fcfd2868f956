"""Ids that a network needs where they stand, such as ``<eos>``, ``<image>`` or ``[CLS]``: found by asking it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from permgrad.base.checks import is_whole
from permgrad.base.errors import PermgradError

if TYPE_CHECKING:
    from permgrad.attribution.subject.network import NetworkSubject

#: Ids of which a network is asked, and rows of a call that asks of several.
_ASKED, _TOGETHER = 32, 15
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


def named_ids(
    module: nn.Module, endings: tuple[str, ...] = _SETTINGS
) -> frozenset[int]:
    """Return the ids that settings of a network, or of a network in it, name.

    ``endings``: of the names of these settings.
    """
    ids = set[int]()
    for part in module.modules():
        settings = vars(getattr(part, "config", part))
        ids |= {
            value
            for name, value in settings.items()
            if name.endswith(endings) and is_whole(value)
        }
    return frozenset(ids)


def needed_ids(subject: NetworkSubject, tokens: int, away: Tensor) -> frozenset[int]:
    """Return the ids that a network needs where they are, as many as they are.

    Asked are ids that are in each row, for only these can be needed in each.
    For each, a row with one less and a row with one more are passed beside the row itself.
    An id is needed if the network refuses them whichever other id goes or comes for it,
    though it takes a change among others.
    ``away``: places without a token, bool ``(rows, places)``.
    """
    ids = subject.inputs[tokens]
    row = _Row(subject, tokens, ids[0], ~away[0])
    others = row.others()
    asked = _in_each_row(subject, ids, away)
    if not asked or len(others) < 2:
        return frozenset()
    with torch.no_grad(), subject.open():
        for other in others:
            asked = row.not_taken_together(asked, other)
        refused = frozenset(one for one in asked if row.refuses(one, others))
        # Where nothing else may change either, it is not for these ids.
        known = frozenset(ids[~away].tolist()) - refused
        if not refused or not row.takes_a_change_of(known):
            return frozenset()
    return refused


def _in_each_row(subject: NetworkSubject, ids: Tensor, away: Tensor) -> list[int]:
    """Return the ids in each row, those that the network's settings name first."""
    common = set(ids[0][~away[0]].tolist())
    for row, gone in zip(ids[1:], away[1:], strict=True):
        common &= set(row[~gone].tolist())
    named = named_ids(subject.module)
    return sorted(common, key=lambda one: (one not in named, one))[:_ASKED]


@dataclass(frozen=True)
class _Row:
    """The first row of a network, whose tokens are changed."""

    subject: NetworkSubject
    tokens: int
    ids: Tensor
    there: Tensor

    def others(self) -> list[int]:
        """Return a few ids that may go or come for another, those inside the row first."""
        listed = list(dict.fromkeys(self.ids[self.there].tolist()))
        last = len(listed) - 1
        spread = [last // 2, 0, last, last // 4]
        return [listed[at] for at in dict.fromkeys(spread) if listed]

    def not_taken_together(self, asked: list[int], other: int) -> list[int]:
        """Return the ids that are not cleared by calls for several of them at once.

        An id is more or less often in its own row alone, so that a sum over rows tells.
        """
        left = [one for one in asked if one == other]
        rest = [one for one in asked if one != other]
        for start in range(0, len(rest), _TOGETHER):
            few = rest[start : start + _TOGETHER]
            pairs = [self.moved(one, other) for one in few]
            sides = [torch.stack(side) for side in zip(*pairs, strict=True)]
            if not all(self.takes(side) for side in sides):
                left += few
        return left

    def refuses(self, one: int, others: list[int]) -> bool:
        """Return whether the network refuses an id to go and to come, for any other."""
        return not any(
            all(self.takes(row[None]) for row in self.moved(one, other))
            for other in others
            if other != one
        )

    def moved(self, one: int, other: int) -> tuple[Tensor, Tensor]:
        """Return the row with one less of an id, and with one more."""
        less, more = self.ids.clone(), self.ids.clone()
        less[self._first(one)] = other
        more[self._first(other)] = one
        return less, more

    def _first(self, one: int) -> int:
        return int(torch.nonzero(self.there & (self.ids == one))[0])

    def takes_a_change_of(self, ids: frozenset[int]) -> bool:
        """Return whether the network takes the row with some id in the place of another."""
        old = next((one for one in self.ids[self.there].tolist() if one in ids), None)
        new = next((one for one in sorted(ids) if one != old), None)
        if old is None or new is None:
            return False
        changed = self.ids.clone()
        changed[self._first(old)] = new
        return self.takes(changed[None])

    def takes(self, rows: Tensor) -> bool:
        """Return whether the network takes the row with other tokens, beside itself."""
        count = 1 + len(rows)
        own = self.subject.inputs
        batch = [one[:1].expand(count, *one.shape[1:]) for one in own]
        batch[self.tokens] = torch.cat([self.ids[None], rows])
        try:
            self.subject.forward(batch)
        except (PermgradError, RuntimeError, MemoryError):
            return False
        return True
