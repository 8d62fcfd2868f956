"""Roles of a network's inputs (held or explained), and tokens: their replacement, and places that a row does not have.

Padding and special tokens belong to no player *in their row*: one more tensor, passed with the receiver, restores them.
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
from permgrad.attribution.subject.words import (
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

if TYPE_CHECKING:
    from permgrad.attribution.subject.network import NetworkSubject

Tensors = tuple[Tensor, ...]
#: For an input the player of each of its positions, and the players' names.
Cuts = dict[str, tuple[Tensor, list[str]]]

#: How the setting ends that names the id with which a decoder starts.
_STARTS = ("decoder_start_token_id",)
#: Dimensions of rows that have one id at each place.
_BY_PLACE = 2
#: Names, in small letters, under which networks take what says where a row's tokens are.
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
        joined = [self.names[box] for box in self.boxes]
        if self.tokens is not None:
            joined.append(self.names[self.tokens])
        return [
            "+".join(f"{name}[{place}]" for name in joined) for place in range(count)
        ]

    @property
    def held(self) -> list[str]:
        """Names of the inputs that make no player."""
        return [self.names[place] for place in sorted(self.hold)]


def find_roles(
    subject: NetworkSubject, hold: Any, added: Sequence[str], segments: Any = None
) -> Roles:
    """Return the roles of the inputs: the user's choice, else inferred from the network's use of them and their names.

    ``hold=None`` holds nothing. ``added`` are masks that a tokenizer made, for which no
    warning is due. ``segments``: how the user cuts inputs, which are features by
    themselves.
    """
    names = subject.input_names
    wanted = _wanted(names, hold)
    explicit = frozenset(names.index(name) for name in wanted)
    place = _find_tokens(subject, explicit)
    automatic: set[int] = set()
    if hold is not None or added:
        named = [
            subject.form.leaves[position].columns is None
            for position in range(len(names))
        ]
        automatic = {
            position
            for position in range(len(names))
            if named[position]
            and position not in (*explicit, place)
            and _is_beside(subject, position, place)
        }
    if len(explicit | automatic) == len(names):
        automatic = set()
    news = [
        names[position]
        for position in sorted(automatic)
        if names[position] not in added
    ]
    if news and subject.module not in _told:
        _told.add(subject.module)
        warn_user(
            f"{first_names(news)} {by_count(len(news), 'stays with its row and is', 'stay with their rows and are')} not "
            f"explained. Pass pg.Model(..., hold=None) to explain {by_count(len(news), 'it', 'them')} too."
        )
    masks = tuple(
        each
        for each in sorted(automatic)
        if place is not None and _is_mask(subject, each, place)
    )
    lengths = next(
        (
            position
            for position in sorted(explicit | automatic)
            if _base(names[position]) in LENGTHS
            or (place is not None and _ends(subject, position, place))
        ),
        None,
    )
    held = explicit | frozenset(automatic)
    boxes = _boxes(subject, place, held, segments)
    return Roles(names, held, place, masks, lengths, boxes)


def _boxes(
    subject: NetworkSubject, tokens: int | None, held: frozenset[int], segments: Any
) -> tuple[int, ...]:
    """Return the inputs of whole numbers that have several for each token.

    A word belongs where it stands: its box goes with it unless the user cuts boxes.
    """
    by_name = segments is None or isinstance(segments, Mapping)
    if tokens is None or not by_name:
        return ()
    return tuple(
        place
        for place in _beside_places(subject, tokens)
        if place not in held
        and not subject.inputs[place].is_floating_point()
        and subject.input_names[place] not in (segments or ())
    )


def _beside_places(subject: NetworkSubject, tokens: int) -> list[int]:
    """Return the inputs that have several numbers for each token, such as boxes."""
    places = subject.inputs[tokens].shape[1]
    alike = [
        at
        for at, tensor in enumerate(subject.inputs)
        if tensor.ndim == 3 and tensor.shape[1] == places
    ]
    readings = subject.readings() if alike else {}
    return [at for at in alike if readings.get(at) == "tokens"]


def _wanted(names: Sequence[str], hold: Any) -> tuple[str, ...]:
    """Return the inputs that the user holds."""
    fix = f"Pass for example hold=({names[0]!r},)"
    check_kind("hold=", hold, (Iterable, NoneType), "a list of names of inputs", fix)
    wanted = () if hold is None else (hold,) if isinstance(hold, str) else tuple(hold)
    for name in wanted:
        check_choice("input in hold", name, names)
    return wanted


def _find_tokens(subject: NetworkSubject, hold: frozenset[int]) -> int | None:
    names = subject.input_names
    matrices = [
        place
        for place, one in enumerate(subject.inputs)
        if one.ndim == 2 and not one.is_floating_point()
    ]
    widths = {place: subject.inputs[place].shape[1] for place in matrices}
    looked_up = {
        one.place
        for one in (subject.lookups() if matrices else ())
        if one.reads(widths.get(one.place, 0))
    }
    sequences = [
        place
        for place in matrices
        if place in looked_up
        and place not in hold
        and subject.form.leaves[place].columns is None
        and _base(names[place]) not in (*LENGTHS, *_POSITIONS)
        and "mask" not in names[place].lower()
    ]
    return sequences[0] if sequences else None


def _base(name: str) -> str:
    """Return an input's name without those of the structures around it."""
    return name.rpartition(".")[2].lower()


def _is_switch(tensor: Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _is_beside(subject: NetworkSubject, position: int, tokens: int | None) -> bool:
    """Return whether an input marks where values are: by its name and numbers, or by its shape beside tokens."""
    name, tensor = _base(subject.input_names[position]), subject.inputs[position]
    integers = not tensor.is_floating_point()
    if integers and tensor.ndim <= 2 and tensor[0].numel() == 1:
        return name in LENGTHS or _counts_places(subject, position)
    if name in _POSITIONS:
        return integers and tensor.ndim == 2
    if name.endswith("mask") and tensor.ndim >= 2 and _is_switch(tensor):
        return True
    return (
        integers
        and tokens is not None
        and tensor.shape == subject.inputs[tokens].shape
        and _is_switch(tensor)
    )


def _counts_places(subject: NetworkSubject, position: int) -> bool:
    """Return whether whole numbers, one a row, count the places of another input.

    Their name speaks of lengths, and the longest row fills that input or both names begin alike.
    Or the input holds nothing behind as many places in any row.
    """
    name = _base(subject.input_names[position])
    most = int(subject.inputs[position].max())
    for other, leaf in enumerate(subject.form.leaves):
        rows = subject.inputs[other]
        if other == position or rows.ndim < 2 or leaf.columns is not None:
            continue
        alike = _first_word(name) == _first_word(_base(leaf.name))
        fills = most in (rows.shape[1], rows.shape[-1])
        within = most <= max(rows.shape[1], rows.shape[-1])
        if within and (fills or alike) and name.endswith(_OF_LENGTHS):
            return True
        if _ends(subject, position, other):
            return True
    return False


def _first_word(name: str) -> str:
    return name.partition("_")[0]


def _ends(subject: NetworkSubject, position: int, other: int) -> bool:
    """Return whether an input says behind which place of another there is nothing but padding."""
    lengths, rows = subject.inputs[position], subject.inputs[other]
    if lengths.is_floating_point() or lengths[0].numel() != 1 or rows.ndim < 2:
        return False
    lengths = lengths.reshape(-1, 1)
    places = torch.arange(rows.shape[1], device=lengths.device)
    behind = (places >= lengths).to(rows.device)
    last = (places == lengths - 1).to(rows.device)
    if not bool(behind.any()) or bool((lengths < 0).any()):
        return False
    flat = rows.reshape(*rows.shape[:2], -1)
    padding = flat[behind][0]
    padded = (flat == padding).all(dim=2)
    return bool(padded[behind].all()) and not bool(padded[last].any())


def _is_mask(subject: NetworkSubject, position: int, tokens: int) -> bool:
    """Return whether an input is 0 or 1 for each token, as masks are."""
    tensor = subject.inputs[position]
    return (
        tensor.shape == subject.inputs[tokens].shape
        and _base(subject.input_names[position]) not in _POSITIONS
        and _is_switch(tensor)
    )


def _away(name: str) -> int:
    """Return the value of a mask where there is no token. Torch's padding masks are inverted."""
    return 1 if "pad" in name.lower() else 0


# ---- a network's rows with tokens ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Places:
    """Rows whose last tensor, ``(rows, 1 + numbers, places)``, says which places keep the row's values, and these."""

    follow: tuple[int, ...]  # the inputs of tokens, of their masks and of their boxes
    special: tuple[int, ...] = ()  # ids that no other row brings

    def tensors(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the network's tensors, after restoring the places that belong to no player.

        So are places at which another row has a special id.
        """
        *restored, stay = rows
        ids = restored[self.follow[0]]
        arrives = torch.isin(ids, ids.new_tensor(self.special))
        keeps = (stay[:, 0] > 0) | arrives
        first = 1
        for place in self.follow:
            row = restored[place]
            last = first + (1 if row.ndim == keeps.ndim else row.shape[2])
            own = stay[:, first:last].movedim(1, 2).reshape(row.shape).to(row.dtype)
            kept = keeps.reshape(*keeps.shape, *[1] * (row.ndim - keeps.ndim))
            restored[place] = torch.where(kept, own, row)
            first = last
        return restored

    def ordinary(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return rows whose special ids are the most frequent other id of their place, if there is any."""
        made, tokens = list(rows), self.follow[0]
        made[tokens] = rows[tokens].clone()
        special = torch.isin(made[tokens], made[tokens].new_tensor(self.special))
        for ids, of_place in zip(made[tokens].T, special.T, strict=True):
            if bool(of_place.any()) and not bool(of_place.all()):
                ids[of_place] = ids[~of_place].mode().values
        return made

    def read(self, inputs: Any, read: Callable[[Any], Tensors]) -> Tensors:
        """Return further rows, of which no place is nobody's."""
        rows = read(inputs)
        nobody = torch.zeros_like(rows[self.follow[0]])
        return (*rows, _with_own(nobody, rows, self.follow))


def _with_own(stay: Tensor, inputs: Sequence[Tensor], follow: Sequence[int]) -> Tensor:
    """Return which places keep a row's values, and these, int64 ``(rows, 1 + numbers, places)``.

    A place has one number of an input of tokens, and several of boxes.
    """
    rows, places = stay.shape
    numbers = [stay, *(inputs[place] for place in follow)]
    by_place = [each.long().reshape(rows, places, -1) for each in numbers]
    return torch.cat(by_place, dim=2).movedim(2, 1).contiguous()


def pad_of(module: nn.Module, tokenizer: Any) -> int | None:
    """Return the id of padding: the tokenizer's, else the network's."""
    pad = _id(getattr(tokenizer, "pad_token_id", None), tokenizer, ("[PAD]", "<pad>"))
    if pad is None:
        pad = configured_pad(module)
    if pad is None:
        pads = {
            part.padding_idx
            for part in module.modules()
            if isinstance(part, nn.Embedding)
        } - {None}
        pad = pads.pop() if len(pads) == 1 else None
    return pad


def _id(value: Any, tokenizer: Any, names: Sequence[str]) -> int | None:
    """Return an id, or that of a token by its usual names."""
    find = getattr(tokenizer, "token_to_id", None)
    if value is None and find is not None:
        value = next((one for one in map(find, names) if one is not None), None)
    return int(value) if is_whole(value) and value >= 0 else None


def with_tokens(
    subject: NetworkSubject,
    roles: Roles,
    tokenizer: Any,
    texts: Mapping[str, list[Tokens]],
    *,
    by_word: bool = True,
) -> Cuts:
    """Make the places of tokens players, or their words if a tokenizer knows them. Return how inputs are cut.

    ``by_word=False``: the places in any case, whose tokens have vectors. The subject's
    form and inputs change if a row has places without a token.
    """
    subject.noted["held"] = roles.held
    if roles.tokens is None:
        if tokenizer is not None:
            problem = "tokenizer= needs an input of tokens, and none was recognised"
            hint = "Leave it out. An input is tokens if an nn.Embedding looks its whole numbers (rows, places) up"
            raise InputError(problem, hint=hint, code="PG004")
        return _cuts(subject, roles)
    name, pad = roles.names[roles.tokens], pad_of(subject.module, tokenizer)
    # A longer word would move places away from their own numbers, such as boxes.
    words = by_word and not _beside_places(subject, roles.tokens)
    words &= name in texts or writer_of(tokenizer) is not None
    subject.noted["tokens"] = {"input": name, "players": "words" if words else "tokens"}
    if roles.boxes:
        subject.noted["tokens"]["boxes"] = [roles.names[box] for box in roles.boxes]
    special = frozenset[int]()
    if by_word:  # else vectors change, and no id
        special = _special(subject, roles, pad, tokenizer, asks=not words)
    if special:
        subject.noted["tokens"]["special"] = sorted(special)
    if words:
        shown = _make_words(subject, roles, pad, tokenizer, texts.get(name))
    else:
        shown = _make_places(subject, roles, pad, tokenizer, special)
    names = roles.names_of_places(len(shown[0]))
    subject.words = pd.DataFrame(shown, columns=names, dtype=object)
    if len(subject.inputs) > len(roles.names):
        subject.input_names = (*roles.names, f"{name}.own")
        subject.real = (*subject.real, False)
    cuts = _cuts(subject, roles)
    if words:
        places = torch.arange(2 * len(names) + 1)
        cuts[name] = torch.where(places % 2 == 1, places // 2, NOBODY), names
    return cuts


def _special(
    subject: NetworkSubject,
    roles: Roles,
    pad: int | None,
    tokenizer: Any,
    *,
    asks: bool,
) -> frozenset[int]:
    """Return the ids in the rows that stay where they are: special for the tokenizer, or needed by the network."""
    assert roles.tokens is not None
    away, ids = _absent(roles, subject.inputs, pad), subject.inputs[roles.tokens]
    special = special_ids(tokenizer) & frozenset(ids[~away].unique().tolist())
    if asks:
        needed = needed_ids(subject, roles.tokens, away)
        if needed and subject.module not in _asked:
            _asked.add(subject.module)
            name = roles.names[roles.tokens]
            warn_user(
                f"The network refuses rows of {name!r} in which "
                f"{by_count(len(needed), 'this id is', 'these ids are')} moved: {first_names(sorted(needed))}. "
                f"{by_count(len(needed), 'It stays in its place and is', 'They stay in their places and are')} not "
                f"explained."
            )
        special |= needed
    return special


def _cuts(subject: NetworkSubject, roles: Roles) -> Cuts:
    """Return the inputs that make no player."""
    return {
        name: (torch.full(tuple(tensor.shape[1:]), NOBODY, dtype=torch.int64), [])
        for place, (name, tensor) in enumerate(
            zip(subject.input_names, subject.inputs, strict=True)
        )
        if place in (*roles.hold, *roles.boxes) or place >= len(roles.names)
    }


def _make_places(
    subject: NetworkSubject,
    roles: Roles,
    pad: int | None,
    tokenizer: Any,
    special: frozenset[int],
) -> list[list[str | None]]:
    """Keep the row's values at places that hold no token or a special one. Return the others' texts or ids."""
    assert roles.tokens is not None
    away, follow = _absent(roles, subject.inputs, pad), roles.follow
    rows, fixed = subject.inputs[roles.tokens], tuple(sorted(special))
    away |= torch.isin(rows, rows.new_tensor(fixed))
    ids = rows.tolist()
    if bool(away.any()):
        subject.form = replace(subject.form, tokens=Places(follow, fixed))
        stay = _with_own(away, subject.inputs, follow)
        subject.inputs = (*subject.inputs, stay)
    write = writer_of(tokenizer)
    shown: list[list[str | None]] = []
    for row, gone in zip(ids, away.tolist(), strict=True):
        texts = row if write is None else write(row)
        written = [
            None if none else str(one) for one, none in zip(texts, gone, strict=True)
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
    tokens, away = roles.tokens, _absent(roles, subject.inputs, pad)
    width = subject.inputs[tokens].shape[1]

    def split(rows: Sequence[Tensor]) -> list[Tokens]:
        gone = _absent(roles, rows, pad)
        ids = [
            row[~empty].tolist() for row, empty in zip(rows[tokens], gone, strict=True)
        ]
        return split_ids(ids, tokenizer)

    texts = texts or split(subject.inputs)
    words = max(len(text.words) for text in texts)
    limit = getattr(
        getattr(subject.module, "config", None), "max_position_embeddings", None
    )
    beside = [
        place
        for place in roles.hold
        if place not in roles.masks and subject.inputs[place].shape == away.shape
    ]
    rows = Words(
        tokens=tokens,
        name=roles.names[tokens],
        words=words,
        masks=tuple((place, _away(roles.names[place])) for place in roles.masks),
        beside=tuple(beside),
        width=width,
        most=max(width, limit if is_whole(limit) else NO_LIMIT),
        pad=pad or 0,
        left=bool((away[:, 0] & ~away[:, -1]).any()),
        as_tokens=partial(
            as_tokens, tokenizer=tokenizer, module=subject.module, pad=pad or 0
        ),
        split=split,
    )
    subject.form, subject.inputs = (
        replace(subject.form, tokens=rows),
        rows.in_words(subject.inputs, texts),
    )
    return [[*text.words, *[None] * (words - len(text.words))] for text in texts]


def follow_tokens(
    space: PlayerSpace, roles: Roles, subject: NetworkSubject
) -> PlayerSpace:
    """Return the players, who now also own masks and boxes at the places of their tokens."""
    if roles.tokens is None or isinstance(subject.form.tokens, Words):
        return space
    owners = space.segments[roles.tokens]
    segments = list(space.segments)
    for place in roles.masks:
        segments[place] = owners
    for place in roles.boxes:
        codes = subject.inputs[place].shape[2]
        segments[place] = owners[:, None].expand(-1, codes).contiguous()
    space = replace(space, segments=tuple(segments))
    return _with_boxes(space, roles, owners) if roles.boxes else space


def without_starts(
    space: PlayerSpace, roles: Roles, subject: NetworkSubject, tokenizer: Any
) -> PlayerSpace:
    """Return the players without places of further ids that hold one special id in every row.

    So a decoder's ids begin with the token that starts them.
    """
    if roles.tokens is None or isinstance(subject.form.tokens, Words):
        return space
    special = named_ids(subject.module) | special_ids(tokenizer)
    of_decoder = named_ids(subject.module, _STARTS)
    started = list[str]()
    for place, name in enumerate(roles.names):
        rows, owners = subject.inputs[place], space.segments[place]
        columns = subject.form.leaves[place].columns
        among = place not in (*roles.hold, *roles.masks, *roles.boxes)
        if not among or columns is not None or rows.ndim != _BY_PLACE:
            continue
        if rows.is_floating_point() or int(owners[0]) == NOBODY:
            continue
        first = {int(one) for one in rows[:, 0].unique()}
        wanted = of_decoder if place == roles.tokens else special
        if len(first) == 1 and first <= wanted:
            started.append(space.names[int(owners[0])])
            subject.noted["tokens"].setdefault("starts", []).append(name)
    return space.without(started) if started else space


def _with_boxes(space: PlayerSpace, roles: Roles, owners: Tensor) -> PlayerSpace:
    """Return players of tokens by the names of all that they replace."""
    of_both = (*roles.boxes, *(() if roles.tokens is None else (roles.tokens,)))
    modality_of_both = "+".join(roles.names[place] for place in of_both)
    names, modality = list(space.names), list(space.modality)
    listed = roles.names_of_places(len(owners))
    for player, name in zip(owners.tolist(), listed, strict=True):
        if player != NOBODY:
            names[player] = name
            modality[player] = modality_of_both
    return replace(space, names=tuple(names), modality=tuple(modality))


def _absent(roles: Roles, inputs: Sequence[Tensor], pad: int | None) -> Tensor:
    """Return which places hold no token of their row, bool ``(rows, places)``: by mask, lengths or padding."""
    assert roles.tokens is not None
    ids = inputs[roles.tokens]
    masks = [
        *roles.masks,
        *(place for place in roles.hold if _base(roles.names[place]).endswith("mask")),
    ]
    for place in masks:
        if inputs[place].shape == ids.shape:
            return inputs[place].to(ids.device) == _away(roles.names[place])
    if roles.lengths is not None:
        lengths = inputs[roles.lengths].reshape(-1, 1).to(ids.device)
        return torch.arange(ids.shape[1], device=ids.device) >= lengths
    return torch.zeros_like(ids, dtype=torch.bool) if pad is None else ids == pad
