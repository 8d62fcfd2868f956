"""Which inputs of a network stay with their row, and tokens: what replaces them, and places that a row does not have.

Padding and special tokens are nobody's *in their row*: one more tensor travels with the receiver and puts them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.inputs import InputForm
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, listed, shown, unknown, warn_user

if TYPE_CHECKING:
    from permgrad.attribution.subject.network import NetworkSubject

Tensors = tuple[Tensor, ...]

#: Names, in small letters, under which networks take what says where a row's tokens are.
_LENGTHS = ("length", "lengths", "seq_len", "seq_lens", "seq_length", "seq_lengths", "input_length", "input_lengths")
_POSITIONS = ("position_ids", "positions", "token_type_ids", "segment_ids", "bool_masked_pos")
#: Networks whose user knows what is held.
_told: WeakSet[nn.Module] = WeakSet()
REPLACEMENTS = ("donor", "pad", "mask")


@dataclass(frozen=True)
class Roles:
    """What the inputs of a network are for, by their positions."""

    names: tuple[str, ...]
    hold: frozenset[int]  # inputs that make no player
    tokens: int | None = None  # the input that holds tokens, ``(rows, places)``
    masks: tuple[int, ...] = ()  # inputs that say where its tokens are, and go with them
    lengths: int | None = None  # the input that says how many there are in each row

    @property
    def held(self) -> list[str]:
        """Names of the inputs that make no player."""
        return [self.names[place] for place in sorted(self.hold)]


def find_roles(subject: NetworkSubject, readings: Mapping[int, str], hold: Any, tokens: Any) -> Roles:
    """Return what the inputs are for: as the user says, else by what the network does with them and by their names.

    ``hold=()`` holds nothing that is not named.
    """
    names = subject.input_names
    wanted = () if hold is None else (hold,) if isinstance(hold, str) else tuple(hold)
    for name in wanted:
        if name not in names:
            raise unknown("input in hold=", name, names)
    explicit = frozenset(names.index(name) for name in wanted)
    place = _find_tokens(subject, readings, explicit, tokens)
    automatic: set[int] = set()
    if hold is None or wanted:
        named = [subject.form.leaves[position].columns is None for position in range(len(names))]
        automatic = {
            position
            for position in range(len(names))
            if named[position] and position not in (*explicit, place) and _is_beside(subject, position, place)
        }
    if len(explicit | automatic) == len(names):
        automatic = set()
    if automatic and subject.module not in _told:
        _told.add(subject.module)
        warn_user(
            f"Held, and no features of their own: {listed([names[position] for position in sorted(automatic)])}, which "
            "say where a row's values are. Pass hold=() to explain them too."
        )
    masks = tuple(
        position for position in sorted(automatic) if place is not None and _is_mask(subject, position, place)
    )
    lengths = next((position for position in explicit | automatic if _base(names[position]) in _LENGTHS), None)
    return Roles(names, explicit | frozenset(automatic), place, masks, lengths)


def _find_tokens(subject: NetworkSubject, readings: Mapping[int, str], hold: frozenset[int], tokens: Any) -> int | None:
    names = subject.input_names
    whole = [place for place, one in enumerate(subject.inputs) if one.ndim == 2 and not one.is_floating_point()]
    if tokens is not None:
        if tokens not in names:
            raise unknown("input in tokens=", tokens, names)
        place = names.index(tokens)
        if place not in whole:
            shape = (*subject.inputs[place].shape,)
            raise InputError(
                f"Tokens are whole numbers (rows, places), got {tokens!r} as {subject.inputs[place].dtype} {shape}. "
                "Leave tokens= out, or name the input that enters the embedding."
            )
        return place
    looked_up = [
        place
        for place in whole
        if readings.get(place) == "tokens"
        and place not in hold
        and subject.form.leaves[place].columns is None
        and _base(names[place]) not in (*_LENGTHS, *_POSITIONS)
        and "mask" not in names[place].lower()
    ]
    return looked_up[0] if looked_up else None


def _base(name: str) -> str:
    """Return an input's name without those of the structures around it."""
    return name.rpartition(".")[2].lower()


def _is_switch(tensor: Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _is_beside(subject: NetworkSubject, position: int, tokens: int | None) -> bool:
    """Whether an input says where values are: by its name and its numbers, or by its form beside tokens."""
    name, tensor = _base(subject.input_names[position]), subject.inputs[position]
    whole = not tensor.is_floating_point()
    if name in _LENGTHS:
        return whole and tensor.ndim <= 2 and tensor[0].numel() == 1
    if name in _POSITIONS:
        return whole and tensor.ndim == 2
    if name.endswith("mask") and tensor.ndim >= 2 and _is_switch(tensor):
        return True
    return whole and tokens is not None and tensor.shape == subject.inputs[tokens].shape and _is_switch(tensor)


def _is_mask(subject: NetworkSubject, position: int, tokens: int) -> bool:
    """Whether an input is 0 or 1 for each token: whether it is there."""
    tensor = subject.inputs[position]
    return (
        tensor.shape == subject.inputs[tokens].shape
        and _base(subject.input_names[position]) not in _POSITIONS
        and _is_switch(tensor)
    )


def _away(name: str) -> int:
    """Return what a mask holds where there is no token: torch's padding masks are the wrong way round."""
    return 1 if "pad" in name.lower() else 0


# ---- a network's rows with tokens ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenForm(InputForm):
    """A form whose last tensor, ``(rows, 1 + inputs, places)``, says which places keep the row's values, and these."""

    follow: tuple[int, ...] = ()  # the inputs of tokens and of their masks

    def call(self, function: Any, tensors: Sequence[Tensor]) -> Any:
        """Call the network on rows whose places are put back where they belong to nobody."""
        *rows, stay = tensors
        for index, place in enumerate(self.follow):
            rows[place] = torch.where(stay[:, 0] > 0, stay[:, 1 + index].to(rows[place].dtype), rows[place])
        return super().call(function, rows)

    def read(self, inputs: Any, dtype: torch.dtype) -> Tensors:
        """Read further rows; nothing is put back in them."""
        rows = super().read(inputs, dtype)
        places = rows[self.follow[0]]
        return (*rows, places.new_zeros(len(places), 1 + len(self.follow), *places.shape[1:], dtype=torch.int64))


@dataclass(frozen=True)
class Vocabulary:
    """Ids with a meaning, where they are known."""

    pad: int | None
    mask: int | None


def vocabulary_of(module: nn.Module, tokenizer: Any = None) -> Vocabulary:
    """Return the ids of padding and of the mask token: the tokenizer's, else the network's."""
    pad, mask = (_id(getattr(tokenizer, name, None)) for name in ("pad_token_id", "mask_token_id"))
    if pad is None:
        pad = _id(getattr(getattr(module, "config", None), "pad_token_id", None))
    if pad is None:
        pads = {part.padding_idx for part in module.modules() if isinstance(part, nn.Embedding)} - {None}
        pad = pads.pop() if len(pads) == 1 else None
    return Vocabulary(pad, mask)


def _id(value: Any) -> int | None:
    return int(value) if is_whole(value) and value >= 0 else None


def replacement_id(replacement: Any, vocabulary: Vocabulary) -> int | None:
    """Return the id that replaces tokens; None: those of donors."""
    if isinstance(replacement, str) and replacement == "donor":
        return None
    if is_whole(replacement) and replacement >= 0:
        return int(replacement)
    if replacement not in ("pad", "mask"):
        raise InputError(
            f"replace= says what replaces a token, got {shown(replacement)}. Choose "
            f"{', '.join(map(repr, REPLACEMENTS))} or the id of a token."
        )
    number: int | None = getattr(vocabulary, replacement)
    if number is None:
        raise InputError(
            f"The {replacement} token is not known: neither the tokenizer nor the network names it. Pass tokenizer=, "
            "or the id of the token as replace=."
        )
    return number


def with_tokens(
    subject: NetworkSubject,
    roles: Roles,
    inputs: Tensors,
    donors: Tensors,
    space: PlayerSpace,
    replacement: Any = "donor",
    tokenizer: Any = None,
) -> tuple[Tensors, Tensors, PlayerSpace]:
    """Return rows, background and players of a network with tokens, whose places belong to nobody where a row has none.

    The subject's form is changed where rows are padded.
    """
    subject.noted = {"held": roles.held}
    if roles.tokens is None:
        if replacement != "donor":
            raise InputError(
                "No input holds tokens, so that replace= has no use. Name it with tokens=, or leave it out."
            )
        return inputs, donors, space
    tokens, vocabulary = roles.tokens, vocabulary_of(subject.module, tokenizer)
    subject.noted["tokens"] = {"input": roles.names[tokens], "replaced_by": replacement}
    number = replacement_id(replacement, vocabulary)
    segments = list(space.segments)
    for place in roles.masks:
        segments[place] = segments[tokens]
    space = replace(space, segments=tuple(segments))
    if number is not None:
        if set(space.modality) == {roles.names[tokens]}:
            donors = tuple(tensor[:1] for tensor in donors)
        there = replacement != "pad"
        filled = {tokens: number, **{place: abs(_away(roles.names[place]) - there) for place in roles.masks}}
        donors = tuple(
            torch.full_like(tensor, filled[place]) if place in filled else tensor for place, tensor in enumerate(donors)
        )
    away = _absent(roles, inputs, vocabulary.pad)
    if not bool(away.any()):
        return inputs, donors, space
    follow = (tokens, *roles.masks)
    stay = torch.stack([away.long(), *(inputs[place].long() for place in follow)], dim=1)
    zeros = stay.new_zeros(len(donors[0]), *stay.shape[1:])
    form = subject.form
    subject.form = TokenForm(**{each.name: getattr(form, each.name) for each in fields(form)}, follow=follow)
    subject.input_names = (*subject.input_names, f"{roles.names[tokens]}.padding")
    shared, inputs = donors is inputs, (*inputs, stay)
    subject.inputs, subject.real = inputs, (*subject.real, False)
    nobody = torch.full(tuple(stay.shape[1:]), NOBODY, dtype=torch.int64)
    space = replace(space, inputs=subject.input_names, segments=(*space.segments, nobody))
    return inputs, inputs if shared else (*donors, zeros), space


def _absent(roles: Roles, inputs: Tensors, pad: int | None) -> Tensor:
    """Return which places hold no token of their row, bool ``(rows, places)``: by mask, lengths or padding."""
    assert roles.tokens is not None
    ids = inputs[roles.tokens]
    masks = [*roles.masks, *(place for place in roles.hold if _base(roles.names[place]).endswith("mask"))]
    for place in masks:
        if inputs[place].shape == ids.shape:
            return inputs[place].to(ids.device) == _away(roles.names[place])
    if roles.lengths is not None:
        lengths = inputs[roles.lengths].reshape(-1, 1).to(ids.device)
        return torch.arange(ids.shape[1], device=ids.device) >= lengths
    return torch.zeros_like(ids, dtype=torch.bool) if pad is None else ids == pad
