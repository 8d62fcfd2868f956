"""Ids that a forward writes into another tensor are followed, or their loss is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg

WORDS = 40
PLACES = 7
START = 3
PAD = 1
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}


def way(
    write: Callable[[Tensor, Tensor], Tensor | None],
) -> Callable[[Tensor, Tensor], Tensor | None]:
    """Register a way to write ids, but the last ones, behind a start token."""
    WAYS[write.__name__] = write
    return write


@way
def assigned(out: Tensor, ids: Tensor) -> None:
    out[:, 1:] = ids[:, :-1]


@way
def assigned_by_mask(out: Tensor, ids: Tensor) -> None:
    mask = torch.ones_like(out, dtype=torch.bool)
    mask[:, 0] = False
    out[mask] = ids[:, :-1].flatten()


@way
def copied_into_a_view(out: Tensor, ids: Tensor) -> None:
    out.narrow(1, 1, PLACES - 1).copy_(ids[:, :-1])
    out.masked_fill_(out == -100, PAD)


@way
def copied_by_index(out: Tensor, ids: Tensor) -> None:
    out.index_copy_(1, torch.arange(1, PLACES), ids[:, :-1])


@way
def scattered(out: Tensor, ids: Tensor) -> None:
    target_positions = torch.arange(1, PLACES).expand(len(ids), -1)
    out.scatter_(1, target_positions, ids[:, :-1])


@way
def scattered_by_name(out: Tensor, ids: Tensor) -> Tensor:
    target_positions = torch.arange(1, PLACES).expand(len(ids), -1)
    return out.scatter(dim=1, index=target_positions, src=ids[:, :-1])


@way
def scattered_by_mask(out: Tensor, ids: Tensor) -> None:
    mask = torch.arange(PLACES).expand_as(out) > 0
    out.masked_scatter_(mask, ids[:, :-1])


@way
def put(out: Tensor, ids: Tensor) -> None:
    rows = torch.arange(len(ids))[:, None]
    out.index_put_((rows, torch.arange(1, PLACES)[None]), ids[:, :-1])


@way
def sliced(out: Tensor, ids: Tensor) -> Tensor:
    return torch.slice_scatter(out, ids[:, :-1], 1, 1, PLACES)


@way
def rolled_and_overwritten(out: Tensor, ids: Tensor) -> Tensor:
    turned = ids.roll(1, 1)
    turned[:, 0] = START
    return turned


@way
def chosen(out: Tensor, ids: Tensor) -> Tensor:
    return torch.where(torch.arange(PLACES) > 0, ids.roll(1, 1), out)


@way
def joined_into_another(out: Tensor, ids: Tensor) -> Tensor:
    return torch.cat([out[:, :1], ids[:, :-1]], dim=1, out=torch.empty_like(ids))


class Twice(nn.Module):
    """Two look-ups, of ids and of ids shifted to the right."""

    def __init__(self, write: Callable[[Tensor, Tensor], Tensor | None]) -> None:
        super().__init__()
        self.write = write
        self.first = nn.Embedding(WORDS, 2, padding_idx=PAD)
        self.second = nn.Embedding(WORDS, 2, padding_idx=PAD)

    def forward(self, ids: Tensor) -> Tensor:
        out = ids.new_full(ids.shape, START)
        written = self.write(out, ids)
        shifted = out if written is None else written
        return self.first(ids).sum((1, 2)) - 2 * self.second(shifted).sum((1, 2))


def ids_of(rows: int) -> Tensor:
    drawn = torch.Generator().manual_seed(rows)
    return torch.randint(5, WORDS, (rows, PLACES), generator=drawn)


def explained(net: nn.Module, ids: Tensor, method: str) -> tuple[pg.Explanation, list]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explanation = explain_with(net, ids, method=method, progress=False)
    return explanation, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
@pytest.mark.parametrize("name", WAYS)
def test_both_look_ups_count(name, method):
    torch.manual_seed(0)
    net = Twice(WAYS[name])
    ids = ids_of(5)
    first, second = (
        embedding.weight.detach().sum(dim=1).numpy()
        for embedding in (net.first, net.second)
    )
    expected_values = first[ids]
    shifted = -2 * second[ids][:, :-1]
    assert np.abs(shifted).max() > 1, "the precondition"
    expected_values[:, :-1] += shifted
    explanation, messages = explained(net, ids, method)
    np.testing.assert_allclose(explanation.values[:, :, 0], expected_values, atol=1e-5)
    assert list(explanation.meta["embeddings"].values()) == [["first", "second"]]
    assert np.ptp(explanation.base_values) < 1e-5
    assert not messages


def test_what_is_overwritten_is_followed_no_more():
    def overwritten(out: Tensor, ids: Tensor) -> Tensor:
        other_ids = ids.clone()
        other_ids.fill_(START)
        out[:, 1:] = ids[:, :-1]
        out.zero_()
        return out + other_ids

    net = Twice(overwritten)
    ids = ids_of(4)
    explanation, _ = explained(net, ids, "integrated_gradients")
    assert list(explanation.meta["embeddings"].values()) == [["first"]]


# ---- look-ups that are not followed ----


class Beside(nn.Module):
    """A look-up, and another way to the second table."""

    def __init__(self, read: Callable[[nn.Embedding, Tensor], Tensor]) -> None:
        super().__init__()
        self.read = read
        self.first = nn.Embedding(WORDS, 2, padding_idx=PAD)
        self.second = nn.Embedding(WORDS, 2)

    def forward(self, ids: Tensor) -> Tensor:
        vectors = self.read(self.second, ids)
        return self.first(ids).sum((1, 2)) + vectors.flatten(1).sum(1)


def pairs(table: nn.Embedding, ids: Tensor) -> Tensor:
    return table((ids[:, 1:] * 7 + ids[:, :-1]) % WORDS)


def by_numpy(table: nn.Embedding, ids: Tensor) -> Tensor:
    return table(torch.from_numpy(ids.numpy()[:, ::-1].copy()))


def of_weights(table: nn.Embedding, ids: Tensor) -> Tensor:
    return table.weight[ids]


def as_switches(table: nn.Embedding, ids: Tensor) -> Tensor:
    return functional.one_hot(ids, WORDS).float() @ table.weight


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("read", [pairs, by_numpy, of_weights, as_switches])
@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift", "gradient"])
def test_a_look_up_that_is_not_followed_is_said(read, rows, method):
    torch.manual_seed(0)
    _, messages = explained(Beside(read), ids_of(rows), method)
    expected_message = (
        f"{method} misses a part of what ids does: its numbers change the output also "
        "where the vectors of first stay. Choose method='permutation', 'shapley' or "
        "'lime'."
    )
    assert messages.count(expected_message) == 1


def positions(table: nn.Embedding, ids: Tensor) -> Tensor:
    return table((ids != PAD).long().cumsum(1))


def at_the_end(table: nn.Embedding, ids: Tensor) -> Tensor:
    start_positions = (ids == START).long().argmax(1)
    return table(ids)[torch.arange(len(ids)), start_positions]


@pytest.mark.parametrize("read", [positions, at_the_end])
def test_padding_and_tokens_of_every_row_are_no_such_look_up(read):
    torch.manual_seed(0)
    ids = ids_of(6)
    ids[:, 4] = START
    ids[2:4, 5:] = PAD
    _, messages = explained(Beside(read), ids, "integrated_gradients")
    assert not [text for text in messages if "misses a part" in text]
