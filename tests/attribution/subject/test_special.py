"""Ids that a network needs where they are: found by asking it or its tokenizer, held,
and said.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.special import needed_ids, special_ids

END = 5
SLOT = 23
ROWS = 9
PLACES = 6
METHODS = ("permutation", "permgrad", "shapley", "lime", "ablation")
QUIET: dict[str, Any] = {"progress": False, "random_state": 0, "target": 0}


class Closed(nn.Module):
    """Reads the running sum of its words at the one place that closes a row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(24, 1, padding_idx=0).double()

    def forward(self, ids: Tensor) -> Tensor:
        sums = self.words(ids).cumsum(1)
        if not bool((ids.eq(END).sum(1) == 1).all()):
            raise ValueError("each row needs one end")
        return sums[ids.eq(END)]


class Slots(nn.Module):
    """Puts three vectors of a picture where its words have slots, counted over the
    batch.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(24, 1).double()

    def forward(self, ids: Tensor, parts: Tensor) -> Tensor:
        slots = ids.eq(SLOT)
        if int(slots.sum()) != parts[..., 0].numel():
            raise ValueError("slots and parts do not match")
        scattered = self.words(ids)[..., 0].masked_scatter(slots, parts[..., 0])
        return torch.tanh(scattered).sum(1, keepdim=True)


class First(nn.Module):
    """Needs a class token in its first place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(24, 1).double()

    def forward(self, ids: Tensor) -> Tensor:
        if not bool((ids[:, 0] == END).all()):
            raise ValueError("no class token")
        return self.words(ids).sum(1)


def drawn(low: int = 6, high: int = 22) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(low, high, (ROWS, PLACES), generator=generator)


def closed() -> dict[str, Tensor]:
    ids = drawn()
    for row in range(ROWS):
        end = 2 + row % (PLACES - 2)
        ids[row, end] = END
        ids[row, end + 1 :] = 0
    return {"ids": ids}


def slots() -> dict[str, Tensor]:
    ids = drawn()
    for row in range(ROWS):
        ids[row, row % 3 : row % 3 + 3] = SLOT
    part_numbers = torch.rand(
        ROWS, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    return {"ids": ids, "parts": part_numbers}


def first() -> dict[str, Tensor]:
    ids = drawn()
    ids[:, 0] = END
    return {"ids": ids}


CASES: dict[str, tuple[type[nn.Module], Any, int]] = {
    "closed": (Closed, closed, END),
    "slots": (Slots, slots, SLOT),
    "first": (First, first, END),
}


def explained(model: Any, X: Any, **options: Any) -> pg.Explanation:
    """Explain without the note on what stays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return pg.explain(model, X, **{**QUIET, **options})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", list(CASES))
def test_a_needed_id_stays_in_its_row(name: str, method: str) -> None:
    make, rows, needed = CASES[name]
    net = make().eval()
    X = rows()
    explanation = explained(net, X, method=method, scope="local")
    assert explanation.meta["tokens"]["special"] == [needed]
    tokens = explanation.values[:, :PLACES, 0]
    is_needed = X["ids"].eq(needed).numpy()
    assert is_needed.any()
    assert not np.nan_to_num(tokens[is_needed]).any(), (
        "a place that stays has no effect"
    )
    assert np.abs(np.nan_to_num(tokens[~is_needed])).max() > 0.01


def test_values_are_those_of_a_game_without_the_needed_places() -> None:
    net = Closed().eval()
    X = closed()
    explanation = explained(net, X, method="shapley", scope="local")
    number = net.words.weight.detach()[:, 0]
    ids = X["ids"]
    end = ids.eq(END).int().argmax(1)
    for row in range(ROWS):
        for position in range(int(end[row])):
            # What a donor brings is its word, but never its end: then the row keeps its
            # own.
            column_ids = ids[:, position]
            new = torch.where(column_ids == END, ids[row, position], column_ids)
            effect = number[ids[row, position]] - number[new].mean()
            assert explanation.values[row, position, 0] == pytest.approx(
                float(effect), abs=1e-9
            )


@pytest.mark.parametrize("name", list(CASES))
def test_what_stays_is_said_once_and_described(name: str) -> None:
    make, rows, needed = CASES[name]
    net = make().eval()
    X = rows()
    with pytest.warns(pg.PermgradWarning, match=rf"is moved: {needed}\. It stays"):
        pg.explain(net, X, method="permutation", **QUIET)
    assert f"ids that stay where they are: {needed}\n" in pg.Model(net).describe(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pg.PermgradWarning)
        pg.explain(net, X, method="permutation", **QUIET)


def test_nothing_stays_where_the_network_takes_all_or_nothing() -> None:
    class Lenient(First):
        def forward(self, ids: Tensor) -> Tensor:
            return self.words(ids).sum(1)

    class Sorted(First):
        def forward(self, ids: Tensor) -> Tensor:
            if not bool((ids[:, 1:] > ids[:, :-1]).all()):
                raise ValueError("not sorted")
            return self.words(ids).sum(1)

    X = first()
    assert "special" not in explained(Lenient(), X, method="permutation").meta["tokens"]
    rising = {
        "ids": torch.arange(PLACES).expand(ROWS, -1) + torch.arange(ROWS)[:, None]
    }
    with pytest.raises(pg.InputError, match="permgrad mixed 'ids' of row"):
        explained(Sorted(), rising, method="permutation")


def test_slopes_move_no_id_and_keep_their_places() -> None:
    net = Closed().eval()
    X = closed()
    explanation = explained(net, X, method="gradient", scope="local")
    assert "special" not in explanation.meta["tokens"]
    is_end = X["ids"].eq(END).numpy()
    assert np.abs(explanation.values[..., 0][is_end]).max() > 0.01


def test_a_tokenizer_says_which_ids_are_special() -> None:
    class Added:
        special = True

    class Wordpiece:
        def get_added_tokens_decoder(self) -> dict[int, Any]:
            return {3: Added(), 4: type("Plain", (), {"special": False})()}

    class Fast:
        all_special_ids = (7, 8)

    assert special_ids(Wordpiece()) == {3}
    assert special_ids(Fast()) == {7, 8}
    assert special_ids(str.split) == special_ids(None) == frozenset()


def test_a_tokenizers_special_ids_stay_where_places_have_numbers() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.words = nn.Embedding(24, 4)
            self.at = nn.Linear(2, 4)
            self.head = nn.Linear(4, 1)

        def forward(self, ids: Tensor, boxes: Tensor) -> Tensor:
            return self.head(torch.tanh(self.words(ids) + self.at(boxes)).mean(1))

    class Tokenizer:
        all_special_ids = (END, 0)

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [f"w{token_id}" for token_id in ids]

        def __call__(self, text: str) -> list[int]:
            return [6]

    X = {**first(), "boxes": torch.rand(ROWS, PLACES, 2)}
    model = pg.Model(Placed().eval(), returns="values", tokenizer=Tokenizer())
    explanation = explained(model, X, method="permutation", scope="local")
    assert explanation.meta["tokens"] == {
        "input": "ids",
        "players": "tokens",
        "special": [END],
    }
    assert not np.nan_to_num(explanation.values[:, 0]).any()
    assert np.abs(np.nan_to_num(explanation.values[:, 1:PLACES])).max() > 1e-3


def test_one_long_row_is_asked_of_in_few_calls() -> None:
    class Counted(Closed):
        calls = 0

        def forward(self, ids: Tensor) -> Tensor:
            Counted.calls += 1
            return self.words(ids).sum(1)

    ids = torch.randperm(22)[None] + 1
    subject = build(Counted().double().eval(), ids)
    Counted.calls = 0
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    assert needed_ids(subject, 0, nothing) == frozenset()
    assert 0 < Counted.calls <= 6


@pytest.mark.parametrize("place", [0, 1, 2, 20])
@pytest.mark.parametrize("whole", [True, False])
def test_a_single_row_tells_the_needed_id_at_any_place(place: int, whole: bool) -> None:
    """Checked over the batch, or row by row."""

    class Once(Closed):
        def forward(self, ids: Tensor) -> Tensor:
            ends = ids.eq(END).sum(1)
            wrong = int(ends.sum()) != len(ids) if whole else bool((ends != 1).any())
            if wrong:
                raise ValueError("each row needs one end")
            return self.words(ids).sum(1)

    ids = torch.arange(1, 22)[None].clone()
    row_token = int(ids[0, place])
    ids[ids == END] = row_token
    ids[0, place] = END
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    assert needed_ids(build(Once().double().eval(), ids), 0, nothing) == {END}


def test_two_ids_that_are_needed_are_told_from_all_others() -> None:
    class Framed(Closed):
        def forward(self, ids: Tensor) -> Tensor:
            if not bool((ids.eq(END).sum(1) == 1).all() & (ids[:, 0] == SLOT).all()):
                raise ValueError("each row needs a begin and an end")
            return self.words(ids).sum(1)

    ids = torch.tensor([[SLOT, 7, 8, 9, 10, 11, END]])
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    needed = needed_ids(build(Framed().double().eval(), ids), 0, nothing)
    assert needed == {SLOT, END}


def build(net: nn.Module, ids: Tensor) -> NetworkSubject:
    return NetworkSubject(net, {"ids": ids}, None, returns="values")
