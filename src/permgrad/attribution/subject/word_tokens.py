"""Words as players: text is tokenised, and rows are lists of words, from which the
network's tokens are put together.

A row of ``W`` words is ``2 W + 1`` codes: each word stands between two gaps, which hold
the special tokens around it and belong to nobody. Words of a donor may have other
numbers of tokens: what stands behind them moves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.attribution.subject.special import special_ids
from permgrad.base.errors import InputError
from permgrad.base.late import is_series

Integers = list[int]
#: Codes of no word, and of a word whose tokens are all replaced by one id.
NOTHING = 0
BLANK = 1
#: Larger limits of tokenizers mean that there is none.
NO_LIMIT = 10**6


@dataclass(frozen=True)
class Tokens:
    """One text as tokens: the id of each, the number of its word (−1: a special token)
    and the words.
    """

    ids: Integers
    word: Integers
    words: list[str]


def is_text(value: Any) -> bool:
    """Return whether a value is a list, an array or a column of texts."""
    if is_series(value) or isinstance(value, np.ndarray):
        if value.ndim == 1 and value.dtype.kind not in "fiub":
            value = value.tolist()
        else:
            value = ()
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(list_entry, str) for list_entry in value)
    )


def tokenise(text: str, tokenizer: Any) -> Tokens:
    """Return a text as tokens, by a tokenizer of Hugging Face or any function of a text
    that returns ids.
    """
    if hasattr(tokenizer, "encode_batch"):
        encode = getattr(tokenizer, "encode", None)
    else:
        encode = None
    if encode is not None:  # of the package tokenizers
        encoding = encode(text)
        return _by_words(text, encoding.ids, encoding.word_ids, encoding.word_to_chars)
    if getattr(tokenizer, "is_fast", False):
        limit = getattr(tokenizer, "model_max_length", NO_LIMIT) or NO_LIMIT
        encoding = tokenizer(text, truncation=limit < NO_LIMIT)
        return _by_words(
            text, encoding["input_ids"], encoding.word_ids(), encoding.word_to_chars
        )
    return _by_spaces(text, lambda piece_text: _ids(tokenizer(piece_text), piece_text))


def _ids(returned: Any, text: str) -> Integers:
    """Return what a tokenizer returned for one text as a list of ids."""
    if isinstance(returned, Mapping) or hasattr(returned, "input_ids"):
        returned = returned["input_ids"]
    array = np.asarray(returned.cpu() if isinstance(returned, Tensor) else returned)
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        problem = (
            f"tokenizer= must return a list of token ids for a text, got {array.dtype} "
            f"of shape {array.shape} for {text[:30]!r}"
        )
        raise InputError(
            problem,
            hint="Pass a tokenizer, or a function from one text to its ids",
            code="PG001",
        )
    return array.astype(np.int64).tolist()


def _by_words(
    text: str,
    ids: Sequence[int],
    numbers: Sequence[int | None],
    span: Callable[[int], Any],
) -> Tokens:
    """Return tokens whose words the tokenizer knows."""
    order = {}
    for word_index, number in enumerate(
        dict.fromkeys(word_number for word_number in numbers if word_number is not None)
    ):
        order[number] = word_index
    spans = list(map(span, order))
    words = [text[begin:word_end].strip() for begin, word_end in spans]
    return Tokens(
        list(ids),
        [-1 if word_number is None else order[word_number] for word_number in numbers],
        words,
    )


def _by_spaces(text: str, tokens_of: Callable[[str], Integers]) -> Tokens:
    """Return tokens with the words between spaces, if the text's tokens are those of
    its words in order.

    A tokenizer may put special tokens before and after every text. Otherwise each token
    is a separate word.
    """
    token_ids = tokens_of(text)
    around = tokens_of("")
    words = text.split()
    word_tokens = list(map(tokens_of, words))
    for before in range(len(around) + 1):
        behind = len(around) - before
        inner = [part_ids[before : len(part_ids) - behind] for part_ids in word_tokens]
        if [
            *around[:before],
            *chain.from_iterable(inner),
            *around[before:],
        ] == token_ids:
            word_indices = []
            for word_index, inner_ids in enumerate(inner):
                for _ in inner_ids:
                    word_indices.append(word_index)
            return Tokens(
                token_ids, [-1] * before + word_indices + [-1] * behind, words
            )
    return Tokens(
        token_ids,
        list(range(len(token_ids))),
        list(map(str, token_ids)),
    )


def writer_of(tokenizer: Any) -> Callable[[Integers], Iterable[Any]] | None:
    """Return what writes ids as the tokenizer's pieces of texts, None if nothing
    does.
    """
    write = getattr(tokenizer, "convert_ids_to_tokens", None)
    find_token = getattr(tokenizer, "id_to_token", None)
    if write is None and find_token is not None:
        return lambda ids: map(find_token, ids)
    return write


def split_ids(rows: Sequence[Integers], tokenizer: Any) -> list[Tokens]:
    """Return rows of ids as tokens, by the signs with which tokenizers mark pieces of
    words.
    """
    special = special_ids(tokenizer)
    write = writer_of(tokenizer)
    assert write is not None
    pieces = []
    for row_ids in rows:
        pieces.append(list(map(str, write(row_ids))))
    apart = any(
        piece.startswith(("▁", "Ġ")) for row_pieces in pieces for piece in row_pieces
    )
    return [
        _split_pieces(row_ids, row_pieces, special, apart=apart)
        for row_ids, row_pieces in zip(rows, pieces, strict=True)
    ]


def _split_pieces(
    ids: Integers, pieces: Sequence[str], special: frozenset[int], *, apart: bool
) -> Tokens:
    """Return ids as tokens.

    ``apart``: a sign begins each word (``▁``, ``Ġ``), else one continues it (``##``).
    """
    word_indices: Integers = []
    words: list[str] = []
    for token_id, piece in zip(ids, pieces, strict=True):
        if token_id in special:
            word_indices.append(-1)
            continue
        if apart:
            goes_on = not piece.startswith(("▁", "Ġ"))
        else:
            goes_on = piece.startswith("##")
        goes_on &= bool(word_indices) and word_indices[-1] >= 0
        if apart:
            piece_text = piece.lstrip("▁Ġ")
        elif goes_on:
            piece_text = piece.removeprefix("##")
        else:
            piece_text = piece
        if goes_on:
            words[-1] += piece_text
        else:
            words.append(piece_text)
        word_indices.append(len(words) - 1)
    return Tokens(ids, word_indices, words)


# ---- texts among the inputs ----------------------------------------------------------
class TokenInputs(NamedTuple):
    """A network's inputs with texts as ids.

    Attributes:
        inputs: As they were passed, but each text as ids ``(rows, places)``.
        texts: The tokens of each row, by the name of the input.
        masks: The names of masks that were added.
    """

    inputs: Any
    texts: dict[str, list[Tokens]]
    masks: list[str]


def as_tokens(inputs: Any, tokenizer: Any, module: nn.Module, pad: int) -> TokenInputs:
    """Return inputs with texts as ids.

    Texts go to the parameter of their name, else to ``input_ids`` or the forward's
    first one.

    Args:
        inputs: The inputs as a user passes them.
        tokenizer: A tokenizer, or None.
        module: The network, whose forward has parameters.
        pad: The id that fills shorter rows.

    Raises:
        InputError: There are texts, and no tokenizer.
    """
    alone = is_text(inputs)
    if not alone and not (
        isinstance(inputs, Mapping) and any(map(is_text, inputs.values()))
    ):
        return TokenInputs(inputs, {}, [])
    if tokenizer is None:
        if alone:
            text_inputs = []
        else:
            text_inputs = [
                str(input_key) for input_key, value in inputs.items() if is_text(value)
            ]
        has_others = not alone and len(text_inputs) < len(inputs)
        hint = (
            "Pass tokenizer= to pg.Model"
            + f", or leave {', '.join(text_inputs)} out" * has_others
        )
        raise InputError(
            "The inputs hold text, which needs a tokenizer", hint=hint, code="PG005"
        )
    parameters = list(inspect.signature(module.forward).parameters)
    if "input_ids" in parameters:
        usual = "input_ids"
    else:
        usual = next(iter(parameters), "input0")
    filled: dict[Any, Any] = {}
    texts: dict[str, list[Tokens]] = {}
    added: list[str] = []
    for input_name, value in ({usual: inputs} if alone else inputs).items():
        if not is_text(value):
            filled[input_name] = value
            continue
        if input_name not in parameters and usual == "input_ids":
            parameter_name = usual
        else:
            parameter_name = input_name
        token_rows = [tokenise(row_text, tokenizer) for row_text in value]
        pads_left = getattr(tokenizer, "padding_side", "right") == "left"
        filled[parameter_name], there = padded(
            [token_row.ids for token_row in token_rows], pad, left=pads_left
        )
        texts[parameter_name] = token_rows
        if "attention_mask" in parameters and "attention_mask" not in inputs:
            filled["attention_mask"] = there
            added.append("attention_mask")
    return TokenInputs(filled, texts, added)


def padded(rows: Sequence[Integers], pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Return rows of ids ``(rows, places)``, filled up with padding, and where they
    hold a token.
    """
    if len(rows) > 1:
        width = max(1, *map(len, rows))
    else:
        width = max(1, len(rows[0]))
    token_ids = torch.full((len(rows), width), pad, dtype=torch.int64)
    there = torch.zeros_like(token_ids)
    for row_index, row_ids in enumerate(rows):
        if left:
            filled_slice = slice(width - len(row_ids), width)
        else:
            filled_slice = slice(0, len(row_ids))
        token_ids[row_index, filled_slice] = torch.tensor(row_ids, dtype=torch.int64)
        there[row_index, filled_slice] = 1
    return token_ids, there


# ---- rows of words -------------------------------------------------------------------
@dataclass
class Lexicon:
    """A code for each sequence of ids that stands somewhere as a word or a gap."""

    codes: dict[tuple[int, ...], int] = field(default_factory=lambda: {(): NOTHING})
    longest: list[int] = field(
        default_factory=list
    )  # for each place the most tokens that stand there in any row

    def code(self, ids: Sequence[int]) -> int:
        """Return the code of ids, a new one where they are new."""
        return self.codes.setdefault(tuple(ids), len(self.codes) + 1)

    def rows(self, texts: Sequence[Tokens], words: int) -> Tensor:
        """Return the codes of texts, ``(rows, 2 words + 1)``.

        Further words are left out.
        """
        codes = torch.zeros(len(texts), 2 * words + 1, dtype=torch.int64)
        self.longest = self.longest or [0] * (2 * words + 1)
        for row_index, row_tokens in enumerate(texts):
            slots: list[Integers] = [[] for _ in range(2 * words + 1)]
            behind = 0
            for token_id, word_index in zip(
                row_tokens.ids, row_tokens.word, strict=True
            ):
                if word_index >= 0:
                    behind = 2 * word_index + 2
                if word_index >= 0:
                    slot_index = behind - 1
                else:
                    slot_index = behind
                if slot_index < len(slots):
                    slots[slot_index].append(token_id)
            longest = []
            for previous_longest, word_slot in zip(self.longest, slots, strict=True):
                longest.append(max(previous_longest, len(word_slot)))
            self.longest = longest
            codes[row_index] = torch.tensor(list(map(self.code, slots)))
        return codes

    def contents(self) -> tuple[Tensor, Tensor]:
        """Return the ids of each code, filled up with −1, ``(codes, tokens)``, and how
        many there are.
        """
        code_rows: list[tuple[int, ...]] = [
            (),
            (),
            *(code_ids for code_ids in self.codes if code_ids),
        ]
        token_ids = torch.full(
            (len(code_rows), max(1, *map(len, code_rows))), -1, dtype=torch.int64
        )
        for code_index, row_ids in enumerate(code_rows):
            token_ids[code_index, : len(row_ids)] = torch.tensor(
                row_ids, dtype=torch.int64
            )
        return token_ids, torch.tensor(list(map(len, code_rows)))


@dataclass(frozen=True)
class Words:
    """Rows whose tokens are words.

    The last tensor holds the row's own words, so that it gets no others.
    """

    tokens: int  # the input of tokens
    name: str  # of this input
    words: int
    masks: tuple[
        tuple[int, int], ...
    ] = ()  # inputs that say where tokens are, and what they hold where there is none
    beside: tuple[int, ...] = ()  # further inputs with a number for each place
    lexicon: Lexicon = field(default_factory=Lexicon)
    width: int = 1  # places of the rows explained
    most: int = NO_LIMIT  # places that the network takes
    pad: int = 0
    left: bool = False
    as_tokens: Callable[[Any], TokenInputs] = lambda inputs: TokenInputs(inputs, {}, [])
    split: Callable[[Sequence[Tensor]], list[Tokens]] = (
        lambda _: []
    )  # ids of further rows

    def tensors(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the network's tensors, with the tokens of rows of words."""
        *rows, own_codes = rows
        token_ids, there = self.laid_out(rows[self.tokens], own_codes)
        rows[self.tokens] = token_ids
        for mask_input, away_value in self.masks:
            rows[mask_input] = torch.where(there, 1 - away_value, away_value).to(
                rows[mask_input].dtype
            )
        for aligned_input in self.beside:
            input_rows = rows[aligned_input]
            width = token_ids.shape[1]
            rows[aligned_input] = torch.cat(
                [
                    input_rows,
                    input_rows[:, -1:].expand(-1, max(width - input_rows.shape[1], 0)),
                ],
                dim=1,
            )[:, :width]
        return rows

    def laid_out(self, codes: Tensor, own_codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids and where they are attended, ``(rows, places)`` each."""
        code_ids, lengths = (
            tensor.to(codes.device) for tensor in self.lexicon.contents()
        )
        codes = torch.where(own_codes == NOTHING, own_codes, codes)
        present = (
            torch.arange(code_ids.shape[1], device=codes.device)
            < lengths[codes][..., None]
        )
        tokens = code_ids[codes].flatten(1)
        present = present.flatten(1)
        order = torch.argsort(present if self.left else ~present, dim=1, stable=True)
        tokens = tokens.gather(1, order)
        present = present.gather(1, order)
        width = max(self.width, min(self.most, sum(self.lexicon.longest)))
        lacking = max(0, width - tokens.shape[1])
        if self.left:
            padding_ends = (lacking, 0)
        else:
            padding_ends = (0, lacking)
        if self.left:
            width_slice = slice(-width, None)
        else:
            width_slice = slice(0, width)
        tokens = torch.nn.functional.pad(
            torch.where(present, tokens, self.pad), padding_ends, value=self.pad
        )
        return tokens[:, width_slice], torch.nn.functional.pad(present, padding_ends)[
            :, width_slice
        ]

    def read(
        self, inputs: Any, read: Callable[[Any], tuple[Tensor, ...]]
    ) -> tuple[Tensor, ...]:
        """Read further rows as words."""
        tokens = self.as_tokens(inputs)
        read_rows = read(tokens.inputs)
        row_tokens = tokens.texts.get(self.name) or self.split(read_rows)
        return self.in_words(read_rows, row_tokens)

    def ordinary(self, rows: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return rows as they are: what is no word never comes from another row."""
        return rows

    def in_words(
        self, rows: Sequence[Tensor], texts: Sequence[Tokens]
    ) -> tuple[Tensor, ...]:
        """Return rows of the network's inputs with the words of their tokens in the
        place of these, and once more.
        """
        codes = self.lexicon.rows(texts, self.words)
        masks = [mask_input for mask_input, _ in self.masks]
        filled = []
        for input_index, input_rows in enumerate(rows):
            if input_index == self.tokens:
                filled.append(codes)
            elif input_index in masks:
                filled.append(input_rows[:, :1])
            else:
                filled.append(input_rows)
        return (*filled, codes)
