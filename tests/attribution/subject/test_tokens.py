"""Inputs that stay with their row, and tokens: closed forms, slow loops, and what is
refused.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from explaining import donor_rows, explain_with
from torch import nn

from permgrad.base.errors import InputError, PermgradWarning

QUIET = {"progress": False, "random_state": 3, "task": "regression"}
ROWS = 9
PLACES = 5
WORDS = 12
MASK_ID = 3


class Bag(nn.Module):
    """A bag of words: the sum of one number for each token that is there, so that its
    Shapley values are known.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(WORDS, 1, padding_idx=0).double()

    def forward(self, input_ids, attention_mask=None):
        """Return the sum over the places that are attended."""
        numbers = self.words(input_ids)[..., 0]
        return (numbers if attention_mask is None else numbers * attention_mask).sum(
            1, keepdim=True
        )


class Pairs(Bag):
    """A network in which neighbouring words act together, and whose attended padding
    would show.
    """

    def forward(self, input_ids, attention_mask):
        """Return a sum of products of neighbours, and the number of attended places."""
        numbers = (self.words(input_ids)[..., 0] + 0.7) * attention_mask
        return (
            (numbers[:, 1:] * numbers[:, :-1]).sum(1) + attention_mask.sum(1)
        ).unsqueeze(1)


class Reader(Bag):
    """A bag of words that is told how long its rows are."""

    def forward(self, ids, lengths):
        """Return the sum over the first places."""
        return (
            self.words(ids)[..., 0] * (torch.arange(ids.shape[1]) < lengths[:, None])
        ).sum(1, keepdim=True)


def text(seed=0):
    """Return ids and mask of rows of different lengths."""
    rng = np.random.default_rng(seed)
    lengths = np.r_[2, PLACES, rng.integers(2, PLACES + 1, ROWS - 2)]
    mask = torch.from_numpy(np.arange(PLACES) < lengths[:, None]).long()
    return torch.from_numpy(rng.integers(4, WORDS, (ROWS, PLACES))) * mask, mask


def explained(net, inputs, **options):
    """Explain without the note on what is held."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PermgradWarning)
        return explain_with(net, inputs, **{**QUIET, **options})


@pytest.mark.parametrize(
    "method", ["shapley", "permutation", "permgrad", "ablation", "lime"]
)
@pytest.mark.parametrize("blank", [0, MASK_ID])
def test_bag_of_words_has_its_known_values(method, blank):
    """In a sum each token is worth its number less that of what replaces it; places of
    padding are worth 0.
    """
    net, (ids, mask) = Bag(), text()
    options = {"samples": 400, "ridge": 1e-9} if method == "lime" else {}
    shown = torch.full((1, PLACES), int(blank != 0))
    background = {"input_ids": torch.full((1, PLACES), blank), "attention_mask": shown}
    explanation = explained(
        net,
        {"input_ids": ids, "attention_mask": mask},
        method=method,
        scope="local",
        background=background,
        **options,
    )
    numbers = net.words.weight.detach()[:, 0]
    expected = (numbers[ids] - (numbers[MASK_ID] if blank else 0)) * mask
    assert (mask == 0).any(), "some row must be padded"
    np.testing.assert_allclose(
        explanation.values[..., 0],
        expected.numpy(),
        atol=1e-6 if method == "lime" else 1e-12,
    )
    assert (explanation.values[..., 0][(mask == 0).numpy()] == 0).all()
    assert explanation.names == tuple(
        f"input_ids[{position}]" for position in range(PLACES)
    )
    assert explanation.meta["held"] == ["attention_mask"]
    assert explanation.meta["tokens"] == {"input": "input_ids", "players": "tokens"}


def test_donors_bring_their_place_with_its_mask():
    """Local effects are those of a loop: a donor's token comes with its mask, and a
    row's padding stays padding.
    """
    net, (ids, mask) = Pairs(), text()
    explanation = explained(
        net,
        {"input_ids": ids, "attention_mask": mask},
        method="permutation",
        scope="local",
        n_repeats=4,
    )
    expected = np.zeros((ROWS, PLACES))
    with torch.no_grad():
        base = net(ids, mask)
        for position in range(PLACES):
            for repeat in range(4):
                donors = donor_rows(
                    3,
                    f"input_ids[{position}]",
                    repeat,
                    np.arange(ROWS),
                    ROWS,
                    shared=True,
                )
                edited = ids.clone()
                there = mask.clone()
                edited[:, position] = ids[donors, position]
                there[:, position] = mask[donors, position]
                edited[mask == 0] = 0
                there[mask == 0] = 0
                expected[:, position] += (base - net(edited, there))[:, 0].numpy() / 4
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(explanation.values[..., 0], expected, atol=1e-12)


def test_an_input_that_is_held_keeps_its_row():
    """``hold=`` keeps the mask as it is, whatever replaces the tokens."""
    net, (ids, mask) = Pairs(), text()
    inputs = {"input_ids": ids, "attention_mask": mask}
    explanation = explained(
        net,
        inputs,
        method="permutation",
        scope="local",
        n_repeats=2,
        hold=("attention_mask",),
    )
    expected = np.zeros((ROWS, PLACES))
    with torch.no_grad():
        for position in range(PLACES):
            for repeat in range(2):
                donors = donor_rows(
                    3,
                    f"input_ids[{position}]",
                    repeat,
                    np.arange(ROWS),
                    ROWS,
                    shared=True,
                )
                edited = ids.clone()
                edited[:, position] = torch.where(
                    mask[:, position] > 0, ids[donors, position], 0
                )
                expected[:, position] += (net(ids, mask) - net(edited, mask))[
                    :, 0
                ].numpy() / 2
    np.testing.assert_allclose(explanation.values[..., 0], expected, atol=1e-12)
    assert explanation.meta["held"] == ["attention_mask"]


def test_lengths_are_held_and_tell_padding():
    """Lengths are no feature, and places behind a row's end are nobody's."""
    net, (ids, mask) = Reader(), text()
    ids = ids + (1 - mask) * 5  # what stands behind the end is no padding token
    explanation = explained(net, {"ids": ids, "lengths": mask.sum(1)}, method="shapley")
    assert explanation.meta["held"] == ["lengths"]
    assert explanation.names == tuple(f"ids[{position}]" for position in range(PLACES))
    assert (explanation.values[..., 0][(mask == 0).numpy()] == 0).all()
    assert (explanation.values[..., 0][(mask == 1).numpy()] != 0).all()


def test_nothing_is_held_where_the_user_says_so():
    """``hold=None`` makes the mask a feature, and the note is given once for a
    network.
    """
    net, (ids, mask) = Bag(), text()
    inputs = {"input_ids": ids, "attention_mask": mask}
    with pytest.warns(
        PermgradWarning, match=r"attention_mask stays with its row and is not explained"
    ):
        explain_with(net, inputs, method="shapley", **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PermgradWarning)
        explain_with(net, inputs, method="shapley", **QUIET)
        explanation = explain_with(
            net, inputs, method="permutation", scope="local", hold=None, **QUIET
        )
    assert len(explanation.names) == 2 * PLACES
    assert explanation.meta["held"] == []


def test_a_group_may_span_inputs():
    """A group with members of two inputs replaces both together."""
    net, (ids, mask) = Bag(), text()
    groups = {"start": ["input_ids[0]", "attention_mask[0]"]}
    explanation = explained(
        net,
        {"input_ids": ids, "attention_mask": mask},
        method="permutation",
        scope="local",
        hold=None,
        groups=groups,
    )
    assert "input_ids+attention_mask" in explanation.modality
    assert np.abs(explanation.values[:, explanation.names.index("start")]).max() > 0.1


def test_other_inputs_keep_their_donors():
    """Beside other inputs, the parts add up to the output."""

    class Both(Bag):
        def forward(self, input_ids, attention_mask, table):
            return super().forward(input_ids, attention_mask) * table.sum(
                1, keepdim=True
            )

    net, (ids, mask) = Both(), text()
    table = torch.randn(
        ROWS, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    inputs = {"input_ids": ids, "attention_mask": mask, "table": table}
    explanation = explained(net, inputs, method="shapley")
    added = explanation.values[..., 0].sum(1) + explanation.base_values[:, 0]
    np.testing.assert_allclose(added, explanation.predictions[:, 0], atol=1e-9)
    assert explanation.modality.count("input_ids") == PLACES
    assert explanation.modality.count("table") == 2


def test_columns_of_whole_numbers_stay_columns():
    """Codes that enter one embedding each are a table, and floats named like lengths
    are features.
    """

    class Codes(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Embedding(4, 1)
            self.two = nn.Embedding(5, 1)

        def forward(self, codes, lengths):
            return self.one(codes[:, 0]) + self.two(codes[:, 1]) + lengths

    rng = np.random.default_rng(0)
    codes = torch.from_numpy(
        np.stack([rng.integers(0, 4, 20), rng.integers(0, 5, 20)], axis=1)
    )
    explanation = explain_with(
        Codes(),
        {"codes": codes, "lengths": torch.rand(20, 1)},
        method="permutation",
        **QUIET,
    )
    assert explanation.meta["held"] == []
    assert "tokens" not in explanation.meta
    assert explanation.names == ("codes[0]", "codes[1]", "lengths[0]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold": ("atention_mask",)}, "Did you mean 'attention_mask'"),
        ({"hold": 5}, r"hold= must be a list of names of inputs, got 5\."),
    ],
)
def test_bad_options_are_refused(options, message):
    """Each wrong option is one sentence with a remedy."""
    ids, mask = text()
    with pytest.raises(InputError, match=message):
        explained(Bag(), {"input_ids": ids, "attention_mask": mask}, **options)
