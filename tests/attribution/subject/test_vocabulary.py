"""The words of ids that come without a tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import permgrad as pg

WORDS = ["the", "film", "was", "good", "bad"]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = torch.nn.Embedding(5, 2, padding_idx=None)

    def forward(self, input_ids):
        return self.look(input_ids).sum(dim=1)


class Tokenizer:
    """Has a method that writes ids, and says which are special."""

    all_special_ids = (0,)

    def convert_ids_to_tokens(self, ids):
        return [WORDS[i] for i in ids]


IDS = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (30, 4)))


def shown(vocabulary):
    torch.manual_seed(0)
    model = pg.Model(Net(), vocabulary=vocabulary)
    local = pg.explain(model, IDS, method="shapley", progress=False)
    return local.feature_values


@pytest.mark.parametrize(
    "vocabulary",
    [
        WORDS,
        tuple(WORDS),
        dict(enumerate(WORDS)),
        {word: number for number, word in enumerate(WORDS)},
        lambda ids: [WORDS[i] for i in ids],
        lambda one: WORDS[one],
        WORDS.__getitem__,
    ],
)
def test_ids_are_shown_by_their_words(vocabulary):
    frame = shown(vocabulary)
    expected = np.array(WORDS, dtype=object)[IDS.numpy()]
    assert np.array_equal(frame.to_numpy(), expected)


def test_the_tokenizer_of_a_method_says_which_ids_are_special():
    frame = shown(Tokenizer().convert_ids_to_tokens)
    expected = np.array(WORDS, dtype=object)[IDS.numpy()]
    is_special = IDS.numpy() == 0
    assert np.array_equal(frame.isna().to_numpy(), is_special)
    assert np.array_equal(frame.to_numpy()[~is_special], expected[~is_special])


def test_values_are_those_without_a_vocabulary():
    torch.manual_seed(0)
    net = Net()
    options = {"method": "integrated_gradients", "progress": False}
    plain = pg.explain(net, IDS, **options)
    worded = pg.explain(pg.Model(net, vocabulary=WORDS), IDS, **options)
    assert np.array_equal(plain.values, worded.values)
    assert plain.feature_values.iloc[0, 0] == str(int(IDS[0, 0]))


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (
            lambda ids: "the",
            r"vocabulary= must return a word for each id of a list, got str\.",
        ),
        (
            lambda ids: ids[:1],
            r"vocabulary= must return a word for each id of a list, got 1 for 4 ids\.",
        ),
        (lambda ids: ids.nothing, "vocabulary= failed: AttributeError: "),
        (7, "vocabulary must be a function from ids to words, a list of words or a"),
    ],
)
def test_what_has_no_words_is_refused(vocabulary, message):
    with pytest.raises(pg.InputError, match=message):
        shown(vocabulary)


def test_a_vocabulary_needs_ids_and_no_tokenizer():
    rows = torch.randn(20, 3)
    with pytest.raises(
        pg.InputError,
        match="vocabulary= needs an input of tokens, and none was recognised",
    ):
        pg.explain(pg.Model(torch.nn.Linear(3, 1), vocabulary=WORDS), rows)
    with pytest.raises(pg.InputError, match="tokenizer= does not take vocabulary="):
        pg.explain(
            pg.Model(Net(), vocabulary=WORDS, tokenizer=lambda text: [1]),
            IDS,
        )
