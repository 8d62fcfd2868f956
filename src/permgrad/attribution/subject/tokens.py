"""Roles of a network's inputs (held or explained), and tokens: their replacement, and
places that a row does not have.

Padding and special tokens belong to no player *in their row*: one more tensor, passed
with the receiver, restores them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.inputs import first_names
from permgrad.attribution.subject.lookups import configured_pad
from permgrad.attribution.subject.special import (
    named_ids,
    needed_ids,
    special_ids,
)
from permgrad.attribution.subject.vocabulary import speller_of, writer_by
from permgrad.attribution.subject.word_tokens import (
    NO_LIMIT,
    Tokens,
    Words,
    as_tokens,
    split_ids,
    writer_of,
)
from permgrad.base.checks import check_choice, check_kind, is_whole
from permgrad.base.errors import InputError, by_count, warn_user
from permgrad.base.late import pd
from permgrad.base.sequences import values_at

if TYPE_CHECKING:
    from permgrad.attribution.subject.network import NetworkSubject

Tensors = tuple[Tensor, ...]
#: For an input the player of each of its positions, and the players' names.
Cuts = dict[str, tuple[Tensor, list[str]]]

#: How the setting ends that names the id with which a decoder starts.
_STARTS = ("decoder_start_token_id",)
#: Dimensions of rows that have one id at each place.
_BY_PLACE = 2
#: Names, in small letters, under which networks take what says where a row's tokens
#: are.
LENGTHS = (
    "length",
    "lengths",
    "seq_len",
    "seq_lens",
    "seq_length",
    "seq_lengths",
    "input_length",
    "input_lengths",
)
#: How the names of further lengths end, such as ``encoder_lengths``.
_OF_LENGTHS = ("length", "lengths", "_len", "_lens")
_POSITIONS = (
    "position_ids",
    "positions",
    "token_type_ids",
    "segment_ids",
    "bool_masked_pos",
)
#: Networks whose user knows what is held.
_told: WeakSet[nn.Module] = WeakSet()
#: Networks whose user knows which ids they need.
_asked: WeakSet[nn.Module] = WeakSet()


@dataclass(frozen=True)
class Roles:
    """The roles of a network's inputs, by their positions."""

    names: tuple[str, ...]
    hold: frozenset[int]  # inputs that make no player
    tokens: int | None = None  # the input that holds tokens, ``(rows, places)``
    masks: tuple[
        int, ...
    ] = ()  # inputs that say where its tokens are, and go with them
    lengths: int | None = None  # the input that says how many there are in each row
    #: inputs of codes ``(rows, places, codes)`` that lie beside its tokens, as boxes do
    boxes: tuple[int, ...] = ()

    @property
    def follow(self) -> tuple[int, ...]:
        """The input of tokens, and all that goes with a token to another row."""
        return (
            *(() if self.tokens is None else (self.tokens,)),
            *self.masks,
            *self.boxes,
        )

    def names_of_places(self, count: int) -> list[str]:
        """Return the names of places of tokens, each with the boxes that go with it."""
        joined = values_at(self.names, self.boxes)
        if self.tokens is not None:
            joined.append(self.names[self.tokens])
        return [
            "+".join(f"{name}[{token_index}]" for name in joined)
            for token_index in range(count)
        ]

    @property
    def held(self) -> list[str]:
        """Names of the inputs that make no player."""
        return values_at(self.names, sorted(self.hold))


def find_roles(
    subject: NetworkSubject, hold: Any, added: Sequence[str], segments: Any = None
) -> Roles:
    """Return the roles of the inputs: the user's choice, else inferred from the
    network's use of them and their names.

    ``hold=None`` holds nothing. ``added`` are masks that a tokenizer made, for which no
    warning is due. ``segments``: how the user cuts inputs, which are features by
    themselves.
    """
    names = subject.input_names
    held_names = _wanted(names, hold)
    explicit = frozenset(map(names.index, held_names))
    tokens_input = _find_tokens(subject, explicit)
    automatic: set[int] = set()
    if hold is not None or added:
        named = []
        for position in range(len(names)):
            named.append(subject.form.leaves[position].columns is None)
        automatic = set()
        for position in range(len(names)):
            if (
                named[position]
                and position not in (*explicit, tokens_input)
                and _is_beside(subject, position, tokens_input)
            ):
                automatic.add(position)
    if len(explicit | automatic) == len(names):
        automatic = set()
    new_names = []
    for position in sorted(automatic):
        if names[position] not in added:
            new_names.append(names[position])
    if new_names and subject.module not in _told:
        _told.add(subject.module)
        they_stay = by_count(
            len(new_names), "stays with its row and is", "stay with their rows and are"
        )
        warn_user(
            f"{first_names(new_names)} {they_stay} not explained. Pass pg.Model(..., "
            f"hold=None) to explain {by_count(len(new_names), 'it', 'them')} too."
        )
    masks = tuple(
        input_index
        for input_index in sorted(automatic)
        if tokens_input is not None and _is_mask(subject, input_index, tokens_input)
    )
    lengths = next(
        (
            position
            for position in sorted(explicit | automatic)
            if _base(names[position]) in LENGTHS
            or (tokens_input is not None and _ends(subject, position, tokens_input))
        ),
        None,
    )
    held_inputs = explicit | frozenset(automatic)
    boxes = _boxes(subject, tokens_input, held_inputs, segments)
    return Roles(names, held_inputs, tokens_input, masks, lengths, boxes)


def _boxes(
    subject: NetworkSubject,
    tokens: int | None,
    held_inputs: frozenset[int],
    segments: Any,
) -> tuple[int, ...]:
    """Return the inputs of whole numbers that have several for each token.

    A word belongs where it stands: its box goes with it unless the user cuts boxes.
    """
    by_name = segments is None or isinstance(segments, Mapping)
    if tokens is None or not by_name:
        return ()
    return tuple(
        input_index
        for input_index in _beside_places(subject, tokens)
        if input_index not in held_inputs
        and not subject.inputs[input_index].is_floating_point()
        and subject.input_names[input_index] not in (segments or ())
    )


def _beside_places(subject: NetworkSubject, tokens: int) -> list[int]:
    """Return the inputs that have several numbers for each token, such as boxes."""
    token_count = subject.inputs[tokens].shape[1]
    alike = []
    for input_index, tensor in enumerate(subject.inputs):
        if tensor.ndim == 3 and tensor.shape[1] == token_count:
            alike.append(input_index)
    if alike:
        readings = subject.readings()
    else:
        readings = {}
    return [box_input for box_input in alike if readings.get(box_input) == "tokens"]


def _wanted(names: Sequence[str], hold: Any) -> tuple[str, ...]:
    """Return the inputs that the user holds."""
    remedy_words = f"Pass for example hold=({names[0]!r},)"
    check_kind(
        "hold=", hold, (Iterable, NoneType), "a list of names of inputs", remedy_words
    )
    if hold is None:
        return ()
    held_names = (hold,) if isinstance(hold, str) else tuple(hold)
    for held_name in held_names:
        check_choice("input in hold", held_name, names)
    return held_names


def _find_tokens(subject: NetworkSubject, hold: frozenset[int]) -> int | None:
    names = subject.input_names
    matrices = [
        input_index
        for input_index, input_tensor in enumerate(subject.inputs)
        if input_tensor.ndim == 2 and not input_tensor.is_floating_point()
    ]
    widths = {
        input_index: subject.inputs[input_index].shape[1] for input_index in matrices
    }
    looked_up = {
        embedding_lookup.place
        for embedding_lookup in (subject.lookups() if matrices else ())
        if embedding_lookup.reads(widths.get(embedding_lookup.place, 0))
    }
    sequences = [
        input_index
        for input_index in matrices
        if input_index in looked_up
        and input_index not in hold
        and subject.form.leaves[input_index].columns is None
        and _base(names[input_index]) not in (*LENGTHS, *_POSITIONS)
        and "mask" not in names[input_index].lower()
    ]
    return sequences[0] if sequences else None


def _base(name: str) -> str:
    """Return an input's name without those of the structures around it."""
    return name.rpartition(".")[2].lower()


def _is_switch(tensor: Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _is_beside(subject: NetworkSubject, position: int, tokens: int | None) -> bool:
    """Return whether an input marks where values are: by its name and numbers, or by
    its shape beside tokens.
    """
    base_name = _base(subject.input_names[position])
    tensor = subject.inputs[position]
    integers = not tensor.is_floating_point()
    if integers and tensor.ndim <= 2 and tensor[0].numel() == 1:
        return base_name in LENGTHS or _counts_places(subject, position)
    if base_name in _POSITIONS:
        return integers and tensor.ndim == 2
    if base_name.endswith("mask") and tensor.ndim >= 2 and _is_switch(tensor):
        return True
    return (
        integers
        and tokens is not None
        and tensor.shape == subject.inputs[tokens].shape
        and _is_switch(tensor)
    )


def _counts_places(subject: NetworkSubject, position: int) -> bool:
    """Return whether whole numbers, one a row, count the places of another input.

    Their name speaks of lengths, and the longest row fills that input or both names
    begin alike. Or the input holds nothing behind as many places in any row.
    """
    base_name = _base(subject.input_names[position])
    longest = int(subject.inputs[position].max())
    for other_input, form_leaf in enumerate(subject.form.leaves):
        other_rows = subject.inputs[other_input]
        if (
            other_input == position
            or other_rows.ndim < 2
            or form_leaf.columns is not None
        ):
            continue
        alike = _first_word(base_name) == _first_word(_base(form_leaf.name))
        fills = longest in (other_rows.shape[1], other_rows.shape[-1])
        within = longest <= max(other_rows.shape[1], other_rows.shape[-1])
        if within and (fills or alike) and base_name.endswith(_OF_LENGTHS):
            return True
        if _ends(subject, position, other_input):
            return True
    return False


def _first_word(name: str) -> str:
    return name.partition("_")[0]


def _ends(subject: NetworkSubject, position: int, other_input: int) -> bool:
    """Return whether an input says behind which place of another there is nothing but
    padding.
    """
    lengths = subject.inputs[position]
    padded_rows = subject.inputs[other_input]
    if lengths.is_floating_point() or lengths[0].numel() != 1 or padded_rows.ndim < 2:
        return False
    lengths = lengths.reshape(-1, 1)
    positions = torch.arange(padded_rows.shape[1], device=lengths.device)
    behind = (positions >= lengths).to(padded_rows.device)
    last_mask = (positions == lengths - 1).to(padded_rows.device)
    if not bool(behind.any()) or bool((lengths < 0).any()):
        return False
    flat_rows = padded_rows.reshape(*padded_rows.shape[:2], -1)
    padding = flat_rows[behind][0]
    padded = (flat_rows == padding).all(dim=2)
    return bool(padded[behind].all()) and not bool(padded[last_mask].any())


def _is_mask(subject: NetworkSubject, position: int, tokens: int) -> bool:
    """Return whether an input is 0 or 1 for each token, as masks are."""
    tensor = subject.inputs[position]
    return (
        tensor.shape == subject.inputs[tokens].shape
        and _base(subject.input_names[position]) not in _POSITIONS
        and _is_switch(tensor)
    )


def _away(name: str) -> int:
    """Return the value of a mask where there is no token.

    Torch's padding masks are inverted.
    """
    if "pad" in name.lower():
        return 1
    return 0


# ---- a network's rows with tokens ----------------------------------------------------
@dataclass(frozen=True)
class Places:
    """Rows whose last tensor, ``(rows, 1 + numbers, places)``, says which places keep
    the row's values, and these.
    """

    follow: tuple[int, ...]  # the inputs of tokens, of their masks and of their boxes
    special: tuple[int, ...] = ()  # ids that no other row brings

    def tensors(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the network's tensors, after restoring the places that belong to no
        player.

        So are places at which another row has a special id.
        """
        *restored, kept_values = rows
        token_ids = restored[self.follow[0]]
        arrives = torch.isin(token_ids, token_ids.new_tensor(self.special))
        keeps = (kept_values[:, 0] > 0) | arrives
        first = 1
        for input_index in self.follow:
            row = restored[input_index]
            last = first + (1 if row.ndim == keeps.ndim else row.shape[2])
            stored_values = (
                kept_values[:, first:last]
                .movedim(1, 2)
                .reshape(row.shape)
                .to(row.dtype)
            )
            keep_mask = keeps.reshape(*keeps.shape, *[1] * (row.ndim - keeps.ndim))
            restored[input_index] = torch.where(keep_mask, stored_values, row)
            first = last
        return restored

    def ordinary(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return rows whose special ids are the most frequent other id of their place,
        if there is any.
        """
        ordinary_rows = list(rows)
        tokens = self.follow[0]
        ordinary_rows[tokens] = rows[tokens].clone()
        special = torch.isin(
            ordinary_rows[tokens], ordinary_rows[tokens].new_tensor(self.special)
        )
        for place_ids, of_place in zip(ordinary_rows[tokens].T, special.T, strict=True):
            if bool(of_place.any()) and not bool(of_place.all()):
                place_ids[of_place] = place_ids[~of_place].mode().values
        return ordinary_rows

    def read(self, inputs: Any, read: Callable[[Any], Tensors]) -> Tensors:
        """Return further rows, of which no place is nobody's."""
        read_rows = read(inputs)
        nobody = torch.zeros_like(read_rows[self.follow[0]])
        return (*read_rows, _with_own(nobody, read_rows, self.follow))


def _with_own(stay: Tensor, inputs: Sequence[Tensor], follow: Sequence[int]) -> Tensor:
    """Return which places keep a row's values, and these, int64 ``(rows, 1 + numbers,
    places)``.

    A place has one number of an input of tokens, and several of boxes.
    """
    rows, token_count = stay.shape
    numbers = [stay, *values_at(inputs, follow)]
    by_place = []
    for input_numbers in numbers:
        by_place.append(input_numbers.long().reshape(rows, token_count, -1))
    return torch.cat(by_place, dim=2).movedim(2, 1).contiguous()


def pad_of(module: nn.Module, tokenizer: Any) -> int | None:
    """Return the id of padding: the tokenizer's, else the network's."""
    padding_id = _id(
        getattr(tokenizer, "pad_token_id", None), tokenizer, ("[PAD]", "<pad>")
    )
    if padding_id is None:
        padding_id = configured_pad(module)
    if padding_id is None:
        padding_ids = {
            submodule.padding_idx
            for submodule in module.modules()
            if isinstance(submodule, nn.Embedding)
        } - {None}
        if len(padding_ids) == 1:
            padding_id = padding_ids.pop()
        else:
            padding_id = None
    return padding_id


def _id(value: Any, tokenizer: Any, names: Sequence[str]) -> int | None:
    """Return an id, or that of a token by its usual names."""
    find_id = getattr(tokenizer, "token_to_id", None)
    if value is None and find_id is not None:
        value = next(
            (token_id for token_id in map(find_id, names) if token_id is not None), None
        )
    if is_whole(value) and value >= 0:
        return int(value)
    return None


def with_tokens(
    subject: NetworkSubject,
    roles: Roles,
    tokenizer: Any,
    texts: Mapping[str, list[Tokens]],
    *,
    vocabulary: Any = None,
    by_word: bool = True,
) -> Cuts:
    """Make the places of tokens players, or their words if a tokenizer knows them.

    Return how inputs are cut.

    ``vocabulary`` has the texts of places.

    ``by_word=False``: the places in any case, whose tokens have vectors. The subject's
    form and inputs change if a row has places without a token.
    """
    subject.noted["held"] = roles.held
    if roles.tokens is None:
        arguments = {"tokenizer=": tokenizer, "vocabulary=": vocabulary}
        passed = [name for name, value in arguments.items() if value is not None]
        if passed:
            problem = f"{passed[0]} needs an input of tokens, and none was recognised"
            hint = (
                "Leave it out. An input is tokens if an nn.Embedding looks its "
                "whole numbers (rows, places) up"
            )
            raise InputError(problem, hint=hint, code="PG004")
        return _cuts(subject, roles)
    input_name = roles.names[roles.tokens]
    speller = speller_of(tokenizer, vocabulary)
    padding_id = pad_of(subject.module, speller)
    # A longer word would move places away from their own numbers, such as boxes.
    words = by_word and not _beside_places(subject, roles.tokens)
    words &= input_name in texts or writer_of(tokenizer) is not None
    subject.noted["tokens"] = {
        "input": input_name,
        "players": "words" if words else "tokens",
    }
    if roles.boxes:
        subject.noted["tokens"]["boxes"] = values_at(roles.names, roles.boxes)
    special = frozenset[int]()
    if by_word:  # else vectors change, and no id
        special = _special(subject, roles, padding_id, speller, asks=not words)
    if special:
        subject.noted["tokens"]["special"] = sorted(special)
    if words:
        shown = _make_words(
            subject, roles, padding_id, tokenizer, texts.get(input_name)
        )
    else:
        write = writer_by(vocabulary) or writer_of(tokenizer)
        shown = _make_places(subject, roles, padding_id, write, special)
    names = roles.names_of_places(len(shown[0]))
    subject.words = pd.DataFrame(shown, columns=names, dtype=object)
    if len(subject.inputs) > len(roles.names):
        subject.input_names = (*roles.names, f"{input_name}.own")
        subject.real = (*subject.real, False)
    input_cuts = _cuts(subject, roles)
    if words:
        slot_numbers = torch.arange(2 * len(names) + 1)
        input_cuts[input_name] = (
            torch.where(slot_numbers % 2 == 1, slot_numbers // 2, NOBODY),
            names,
        )
    return input_cuts


def _special(
    subject: NetworkSubject,
    roles: Roles,
    pad: int | None,
    tokenizer: Any,
    *,
    asks: bool,
) -> frozenset[int]:
    """Return the ids in the rows that stay where they are: special for the tokenizer,
    or needed by the network.
    """
    assert roles.tokens is not None
    absent_mask = _absent(roles, subject.inputs, pad)
    token_ids = subject.inputs[roles.tokens]
    special = special_ids(tokenizer) & frozenset(
        token_ids[~absent_mask].unique().tolist()
    )
    if asks:
        needed = needed_ids(subject, roles.tokens, absent_mask)
        if needed and subject.module not in _asked:
            _asked.add(subject.module)
            input_name = roles.names[roles.tokens]
            they_stay = by_count(
                len(needed),
                "It stays in its place and is",
                "They stay in their places and are",
            )
            warn_user(
                f"The network refuses rows of {input_name!r} in which "
                f"{by_count(len(needed), 'this id is', 'these ids are')} moved: "
                f"{first_names(sorted(needed))}. {they_stay} not explained."
            )
        special |= needed
    return special


def _cuts(subject: NetworkSubject, roles: Roles) -> Cuts:
    """Return the inputs that make no player."""
    return {
        input_name: (torch.full(tuple(tensor.shape[1:]), NOBODY, dtype=torch.int64), [])
        for input_index, (input_name, tensor) in enumerate(
            zip(subject.input_names, subject.inputs, strict=True)
        )
        if input_index in (*roles.hold, *roles.boxes) or input_index >= len(roles.names)
    }


def _make_places(
    subject: NetworkSubject,
    roles: Roles,
    pad: int | None,
    write: Callable[[list[int]], Iterable[Any]] | None,
    special: frozenset[int],
) -> list[list[str | None]]:
    """Keep the row's values at places that hold no token or a special one.

    Return the others' texts or ids.
    """
    assert roles.tokens is not None
    away = _absent(roles, subject.inputs, pad)
    follow = roles.follow
    token_rows = subject.inputs[roles.tokens]
    fixed = tuple(sorted(special))
    away |= torch.isin(token_rows, token_rows.new_tensor(fixed))
    id_lists = token_rows.tolist()
    if bool(away.any()):
        subject.form = replace(subject.form, tokens=Places(follow, fixed))
        kept_values = _with_own(away, subject.inputs, follow)
        subject.inputs = (*subject.inputs, kept_values)
    shown: list[list[str | None]] = []
    for row_ids, absent_places in zip(id_lists, away.tolist(), strict=True):
        texts = row_ids if write is None else write(row_ids)
        written = [
            None if is_absent else str(token_text)
            for token_text, is_absent in zip(texts, absent_places, strict=True)
        ]
        shown.append(written)
    return shown


def _make_words(
    subject: NetworkSubject,
    roles: Roles,
    pad: int | None,
    tokenizer: Any,
    texts: Sequence[Tokens] | None,
) -> list[list[str | None]]:
    """Turn rows into lists of words and return the words."""
    assert roles.tokens is not None
    tokens = roles.tokens
    absent_mask = _absent(roles, subject.inputs, pad)
    width = subject.inputs[tokens].shape[1]

    def split(rows: Sequence[Tensor]) -> list[Tokens]:
        absent_places = _absent(roles, rows, pad)
        id_lists = []
        for row_ids, empty in zip(rows[tokens], absent_places, strict=True):
            id_lists.append(row_ids[~empty].tolist())
        return split_ids(id_lists, tokenizer)

    texts = texts or split(subject.inputs)
    words = max(len(row_tokens.words) for row_tokens in texts)
    limit = getattr(
        getattr(subject.module, "config", None), "max_position_embeddings", None
    )
    aligned_inputs = []
    for input_index in roles.hold:
        if (
            input_index not in roles.masks
            and subject.inputs[input_index].shape == absent_mask.shape
        ):
            aligned_inputs.append(input_index)
    word_rows = Words(
        tokens=tokens,
        name=roles.names[tokens],
        words=words,
        masks=tuple(
            (mask_input, _away(roles.names[mask_input])) for mask_input in roles.masks
        ),
        beside=tuple(aligned_inputs),
        width=width,
        most=max(width, limit if is_whole(limit) else NO_LIMIT),
        pad=pad or 0,
        left=bool((absent_mask[:, 0] & ~absent_mask[:, -1]).any()),
        as_tokens=partial(
            as_tokens, tokenizer=tokenizer, module=subject.module, pad=pad or 0
        ),
        split=split,
    )
    subject.form, subject.inputs = (
        replace(subject.form, tokens=word_rows),
        word_rows.in_words(subject.inputs, texts),
    )
    make_words: list[list[str | None]] = []
    for row_tokens in texts:
        make_words.append(
            [*row_tokens.words, *[None] * (words - len(row_tokens.words))]
        )
    return make_words


def follow_tokens(
    space: PlayerSpace, roles: Roles, subject: NetworkSubject
) -> PlayerSpace:
    """Return the players, who now also own masks and boxes at the places of their
    tokens.
    """
    if roles.tokens is None or isinstance(subject.form.tokens, Words):
        return space
    owners = space.segments[roles.tokens]
    segments = list(space.segments)
    for input_index in roles.masks:
        segments[input_index] = owners
    for input_index in roles.boxes:
        codes = subject.inputs[input_index].shape[2]
        segments[input_index] = owners[:, None].expand(-1, codes).contiguous()
    space = replace(space, segments=tuple(segments))
    if roles.boxes:
        return _with_boxes(space, roles, owners)
    return space


def without_starts(
    space: PlayerSpace, roles: Roles, subject: NetworkSubject, tokenizer: Any
) -> PlayerSpace:
    """Return the players without places of further ids that hold one special id in
    every row.

    So a decoder's ids begin with the token that starts them.
    """
    if roles.tokens is None or isinstance(subject.form.tokens, Words):
        return space
    special = named_ids(subject.module) | special_ids(tokenizer)
    of_decoder = named_ids(subject.module, _STARTS)
    started = list[str]()
    for input_index, name in enumerate(roles.names):
        rows = subject.inputs[input_index]
        owners = space.segments[input_index]
        columns = subject.form.leaves[input_index].columns
        among = input_index not in (*roles.hold, *roles.masks, *roles.boxes)
        if not among or columns is not None or rows.ndim != _BY_PLACE:
            continue
        if rows.is_floating_point() or int(owners[0]) == NOBODY:
            continue
        first = set(map(int, rows[:, 0].unique()))
        if input_index == roles.tokens:
            start_ids = of_decoder
        else:
            start_ids = special
        if len(first) == 1 and first <= start_ids:
            started.append(space.names[int(owners[0])])
            subject.noted["tokens"].setdefault("starts", []).append(name)
    if started:
        return space.without(started)
    return space


def _with_boxes(space: PlayerSpace, roles: Roles, owners: Tensor) -> PlayerSpace:
    """Return players of tokens by the names of all that they replace."""
    of_both = (*roles.boxes, *(() if roles.tokens is None else (roles.tokens,)))
    modality_of_both = "+".join(values_at(roles.names, of_both))
    names = list(space.names)
    modality = list(space.modality)
    listed = roles.names_of_places(len(owners))
    for player, name in zip(owners.tolist(), listed, strict=True):
        if player != NOBODY:
            names[player] = name
            modality[player] = modality_of_both
    return replace(space, names=tuple(names), modality=tuple(modality))


def _absent(roles: Roles, inputs: Sequence[Tensor], pad: int | None) -> Tensor:
    """Return which places hold no token of their row, bool ``(rows, places)``: by mask,
    lengths or padding.
    """
    assert roles.tokens is not None
    token_ids = inputs[roles.tokens]
    masks = [
        *roles.masks,
        *(
            input_index
            for input_index in roles.hold
            if _base(roles.names[input_index]).endswith("mask")
        ),
    ]
    for mask_input in masks:
        if inputs[mask_input].shape == token_ids.shape:
            return inputs[mask_input].to(token_ids.device) == _away(
                roles.names[mask_input]
            )
    if roles.lengths is not None:
        lengths = inputs[roles.lengths].reshape(-1, 1).to(token_ids.device)
        return torch.arange(token_ids.shape[1], device=token_ids.device) >= lengths
    if pad is None:
        return torch.zeros_like(token_ids, dtype=torch.bool)
    return token_ids == pad
