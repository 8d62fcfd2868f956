"""Ids that a network needs where they stand, such as ``<eos>``, ``<image>`` or
``[CLS]``: found by asking it.
"""

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
_ASKED = 32
_TOGETHER = 15
#: How the settings of a network end that name an id.
_SETTINGS = ("_token_id", "_token_index")


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids that a tokenizer calls special, none if it does not say."""
    token_ids = getattr(tokenizer, "all_special_ids", None)
    if token_ids is not None:
        return frozenset(token_ids)
    added = getattr(tokenizer, "get_added_tokens_decoder", None)
    if added is None:
        return frozenset()
    return frozenset(token_id for token_id, token in added().items() if token.special)


def named_ids(
    module: nn.Module, endings: tuple[str, ...] = _SETTINGS
) -> frozenset[int]:
    """Return the ids that settings of a network, or of a network in it, name.

    Args:
        module: The network.
        endings: Of the names of such settings.
    """
    ids = set[int]()
    for submodule in module.modules():
        settings = vars(getattr(submodule, "config", submodule))
        for name, value in settings.items():
            if name.endswith(endings) and is_whole(value):
                ids.add(value)
    return frozenset(ids)


def needed_ids(subject: NetworkSubject, tokens: int, away: Tensor) -> frozenset[int]:
    """Return the ids that a network needs where they are, as many as they are.

    Those that are in each row are tried, for only these can be needed in each. For
    each, a row with one less and a row with one more are passed beside the row itself.
    An id is needed if the network refuses them whichever other id goes or comes for it,
    though it takes a change among others.

    Args:
        subject: The network.
        tokens: The position of the input of tokens.
        away: Places without a token, bool ``(rows, places)``.
    """
    token_ids = subject.inputs[tokens]
    first_row = _Row(subject, tokens, token_ids[0], ~away[0])
    other_ids = first_row.others()
    asked_ids = _in_each_row(subject, token_ids, away)
    if not asked_ids or len(other_ids) < 2:
        return frozenset()
    with torch.no_grad(), subject.open():
        for other_id in other_ids:
            asked_ids = first_row.not_taken_together(asked_ids, other_id)
        refused = frozenset(
            token_id for token_id in asked_ids if first_row.refuses(token_id, other_ids)
        )
        # Where nothing else may change either, it is not for these ids.
        known_ids = frozenset(token_ids[~away].tolist()) - refused
        if not refused or not first_row.takes_a_change_of(known_ids):
            return frozenset()
    return refused


def _in_each_row(subject: NetworkSubject, ids: Tensor, away: Tensor) -> list[int]:
    """Return the ids in each row, those that the network's settings name first."""
    common = set(ids[0][~away[0]].tolist())
    for row_ids, empty_mask in zip(ids[1:], away[1:], strict=True):
        common &= set(row_ids[~empty_mask].tolist())
    named = named_ids(subject.module)
    return sorted(common, key=lambda token_id: (token_id not in named, token_id))[
        :_ASKED
    ]


@dataclass(frozen=True)
class _Row:
    """The first row of a network, whose tokens are changed."""

    subject: NetworkSubject
    tokens: int
    ids: Tensor
    there: Tensor

    def others(self) -> list[int]:
        """Return a few ids that may go or come for another, those inside the row
        first.
        """
        listed = list(dict.fromkeys(self.ids[self.there].tolist()))
        last_index = len(listed) - 1
        spread = [last_index // 2, 0, last_index, last_index // 4]
        return [listed[id_index] for id_index in dict.fromkeys(spread) if listed]

    def not_taken_together(self, asked_ids: list[int], other_id: int) -> list[int]:
        """Return the ids that are not cleared by calls for several of them at once.

        An id is more or less often in its own row alone, so that a sum over rows tells.
        """
        remaining_ids = [token_id for token_id in asked_ids if token_id == other_id]
        askable_ids = [token_id for token_id in asked_ids if token_id != other_id]
        for start in range(0, len(askable_ids), _TOGETHER):
            id_block = askable_ids[start : start + _TOGETHER]
            pairs = [self.moved(token_id, other_id) for token_id in id_block]
            sides = []
            for row_versions in zip(*pairs, strict=True):
                sides.append(torch.stack(row_versions))
            if not all(map(self.takes, sides)):
                remaining_ids += id_block
        return remaining_ids

    def refuses(self, token_id: int, other_ids: list[int]) -> bool:
        """Return whether the network refuses an id to go and to come, for any other."""
        return not any(
            all(
                self.takes(changed_row[None])
                for changed_row in self.moved(token_id, other_id)
            )
            for other_id in other_ids
            if other_id != token_id
        )

    def moved(self, token_id: int, other_id: int) -> tuple[Tensor, Tensor]:
        """Return the row with one less of an id, and with one more."""
        fewer_ids = self.ids.clone()
        further_ids = self.ids.clone()
        fewer_ids[self._first(token_id)] = other_id
        further_ids[self._first(other_id)] = token_id
        return fewer_ids, further_ids

    def _first(self, token_id: int) -> int:
        return int(torch.nonzero(self.there & (self.ids == token_id))[0])

    def takes_a_change_of(self, ids: frozenset[int]) -> bool:
        """Return whether the network takes the row with some id in the place of
        another.
        """
        old_id = next(
            (token_id for token_id in self.ids[self.there].tolist() if token_id in ids),
            None,
        )
        new_id = next(
            (token_id for token_id in sorted(ids) if token_id != old_id), None
        )
        if old_id is None or new_id is None:
            return False
        changed = self.ids.clone()
        changed[self._first(old_id)] = new_id
        return self.takes(changed[None])

    def takes(self, rows: Tensor) -> bool:
        """Return whether the network takes the row with other tokens, beside itself."""
        count = 1 + len(rows)
        input_tensors = self.subject.inputs
        batch = []
        for input_tensor in input_tensors:
            batch.append(input_tensor[:1].expand(count, *input_tensor.shape[1:]))
        batch[self.tokens] = torch.cat([self.ids[None], rows])
        try:
            self.subject.forward(batch)
        except (PermgradError, RuntimeError, MemoryError):
            return False
        return True
