"""Branches of a network: which inputs make one, modules that cannot be traced, and what
is computed once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject import traced_branches as branches
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.traced_branches import Store, cut_into_branches

TOKENS = 4
ROWS = 3
DONORS = 2


class Words(nn.Module):
    """An encoder that reads its mask's values, so that it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.last = nn.Linear(8, 6)
        self.seen = 0

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.seen += len(ids)
        if bool((mask < 0).any()):
            raise ValueError
        state = torch.zeros(len(ids), 8, dtype=self.last.weight.dtype)
        for position in range(ids.shape[1]):
            state = torch.where(
                mask[:, position, None] > 0,
                torch.tanh(state + self.embedding(ids[:, position])),
                state,
            )
        return self.last(state)


class Both(nn.Module):
    """Words and their mask, an image and a table into one head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = Words()
        self.image = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 6)
        )
        self.table = nn.Linear(5, 6)
        self.head = nn.Sequential(nn.Linear(18, 12), nn.Tanh(), nn.Linear(12, 1))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, image: Tensor, table: Tensor
    ) -> Tensor:
        words = self.words(input_ids, attention_mask)
        return self.head(
            torch.cat([words, self.image(image), torch.tanh(self.table(table))], dim=1)
        )


def drawn(rows: int, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, TOKENS, dtype=torch.long)
    mask[0, -1] = seed % 2
    return {
        "input_ids": torch.randint(1, 30, (rows, TOKENS), generator=random),
        "attention_mask": mask,
        "image": torch.randn(rows, 1, 4, 4, generator=random, dtype=torch.float64),
        "table": torch.randn(rows, 5, generator=random, dtype=torch.float64),
    }


def network() -> Both:
    torch.manual_seed(0)
    return Both().double().eval()


def explained(net: nn.Module, rows: int, donors: int, **options: Any) -> pg.Explanation:
    return explain_with(
        net,
        drawn(rows, 0),
        method="shapley",
        background=drawn(donors, 1),
        random_state=0,
        progress=False,
        segments=("grid", 2),
        task="regression",
        hold=("attention_mask",),
        exact=0,
        tolerance=0,
        max_permutations=200,
        **options,
    )


def test_a_mask_is_in_the_branch_of_its_words_which_is_not_traced():
    inputs = drawn(ROWS, 0)
    subject = NetworkSubject(network(), inputs)
    with subject.open():
        cut = cut_into_branches(subject, subject.inputs, frozenset({1}))
        assert cut is not None
        assert cut.groups == ((0, 1), (2,), (3,))
        apart = cut_into_branches(subject, subject.inputs)
    # A mask that may change by itself is an input of the trunk, which then holds the
    # encoder.
    assert apart is not None
    assert apart.groups == ((0,), (1,), (2,), (3,))


@pytest.mark.parametrize(("rows", "donors"), [(1, 1), (ROWS, 1), (ROWS, DONORS)])
def test_each_set_of_words_is_encoded_once(monkeypatch, rows, donors):
    net = network()
    quick = explained(net, rows, donors)
    quick_count = net.words.seen
    monkeypatch.setattr(NetworkSubject, "branches", lambda *_: None)
    net.words.seen = 0
    plain = explained(net, rows, donors)
    np.testing.assert_allclose(quick.values, plain.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(quick.std_error, plain.std_error, rtol=0, atol=1e-12)
    assert quick.meta["model_rows"] == plain.meta["model_rows"]
    assert np.abs(plain.values).max() > 0.05
    # Checks and pilots are in both.
    assert quick_count < 0.35 * net.words.seen


def test_row_targets_are_taken_behind_the_branches():
    class Classes(Both):
        def __init__(self) -> None:
            super().__init__()
            self.head[2] = nn.Linear(12, 3)

    torch.manual_seed(0)
    net = Classes().double().eval()
    inputs = drawn(ROWS, 0)
    options = {
        "method": "shapley",
        "background": drawn(DONORS, 1),
        "groups": "modality",
        "task": "classification",
    }
    every = explain_with(net, inputs, random_state=0, progress=False, **options)
    target_explanation = explain_with(
        net,
        inputs,
        target=np.array([2, 0, 1]),
        random_state=0,
        progress=False,
        **options,
    )
    expected = every.values[np.arange(ROWS), :, [2, 0, 1]]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(
        target_explanation.values[:, :, 0], expected, rtol=0, atol=1e-9
    )


def test_followers_join_the_only_input_that_they_meet():
    def groups(*met: set[int]) -> list[int]:
        return branches._groups(
            [frozenset(inputs) for inputs in met], 4, frozenset({1, 3})
        )

    assert groups({0}, {1}, {0, 1}, {2, 3}, {0, 1, 2, 3}) == [0, 0, 2, 2]
    assert groups({1, 3}, {0, 1, 3}, {0, 1, 2, 3}) == [0, 0, 2, 0]
    assert groups({0, 1, 2}, {0, 3}) == [0, 1, 2, 0]
    # Who has joined one stays there.
    assert groups({0, 1}, {1, 2}) == [0, 0, 2, 3]


@pytest.mark.parametrize("most", [0, 200, 2**20])
def test_a_store_gives_what_was_asked_for(monkeypatch, most):
    """Whatever it forgets: the number itself, and a vector made of it."""
    monkeypatch.setattr(branches, "_STORED_BYTES", most)
    store = Store()
    asked = 0
    rng = np.random.default_rng(0)
    for size in (1, 5, 3, 40, 7, 60):
        numbers = torch.from_numpy(rng.integers(0, 50, size))

        def embed(places: Tensor, numbers: Tensor = numbers) -> tuple[Tensor, ...]:
            nonlocal asked
            asked += len(places)
            return numbers[places].double(), numbers[places, None] * torch.tensor(
                [1.0, 2.0]
            )

        first, second = store.taken(numbers, embed)
        torch.testing.assert_close(first, numbers.double())
        torch.testing.assert_close(second, numbers[:, None] * torch.tensor([1.0, 2.0]))
    assert (asked <= 50) == (most == 2**20)


def test_pairs_that_come_once_are_not_stored():
    store = Store()
    one_by_one = 0

    def embed(places: Tensor) -> tuple[Tensor, ...]:
        nonlocal one_by_one
        one_by_one += len(places)
        return (places.double(),)

    for start in range(0, 8192, 256):
        if not store.idle:
            store.taken(start + torch.arange(256), embed)
    assert one_by_one == len(store._places) == branches._TRIED


def test_the_rows_of_a_table_alone_are_not_stored():
    assert Store(cheap=True).idle
    assert not Store().idle
