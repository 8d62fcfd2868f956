"""Texts as inputs: words are players by place, as a loop over edited texts computes
them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import donor_rows, explain_with
from torch import nn

import permgrad as pg
from permgrad.attribution.subject.word_tokens import Tokens, split_ids, tokenise
from permgrad.base.errors import InputError

QUIET = {"progress": False, "random_state": 3, "task": "regression"}
PIECES = {
    piece: piece_id
    for piece_id, piece in enumerate(
        [
            "[PAD]",
            "[CLS]",
            "[SEP]",
            "[MASK]",
            "good",
            "bad",
            "film",
            "very",
            "bor",
            "##ing",
            "un",
            "##even",
        ]
    )
}
TEXTS = [
    "good film",
    "very very uneven film good",
    "boring",
    "bad film very boring",
    "good good uneven",
]


def pieces(text):
    """Return ids of the words' pieces."""
    words = {"boring": ("bor", "##ing"), "uneven": ("un", "##even")}
    return [
        PIECES[piece] for word in text.split() for piece in words.get(word, (word,))
    ]


def enclosed(text):
    """Return ids with special tokens around them, as BERT's tokenizer gives them."""
    return [PIECES["[CLS]"], *pieces(text), PIECES["[SEP]"]]


class Order(nn.Module):
    """A network to which the order of words matters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(len(PIECES), 3, padding_idx=0).double()
        self.places = nn.Embedding(20, 3).double()

    def forward(self, input_ids, attention_mask):
        """Return a sum of products of neighbours."""
        vectors = (
            self.words(input_ids) + self.places.weight[: input_ids.shape[1]]
        ) * attention_mask[..., None]
        return (vectors[:, 1:] * vectors[:, :-1]).sum((1, 2)).unsqueeze(1)


def output(net, text, tokenizer):
    """Return the network's output for one text."""
    ids = torch.tensor([tokenizer(text)])
    with torch.no_grad():
        return float(net(ids, torch.ones_like(ids)))


@pytest.mark.parametrize("tokenizer", [pieces, enclosed])
def test_words_are_replaced_as_in_the_text(tokenizer):
    """Replacing a word by a donor's is editing the text: other numbers of pieces move
    what stands behind.
    """
    net = Order()
    explanation = explain_with(
        net,
        TEXTS,
        method="permutation",
        scope="local",
        n_repeats=3,
        tokenizer=tokenizer,
        **QUIET,
    )
    lists = [text.split() for text in TEXTS]
    count = 5
    expected = np.zeros((len(TEXTS), count))
    for position in range(count):
        for repeat in range(3):
            donors = donor_rows(
                3,
                f"input_ids[{position}]",
                repeat,
                np.arange(len(TEXTS)),
                len(TEXTS),
                shared=True,
            )
            for row, donor in enumerate(donors):
                if position < len(lists[row]):
                    edited = [
                        *lists[row][:position],
                        *lists[donor][position : position + 1],
                        *lists[row][position + 1 :],
                    ]
                    change = output(net, TEXTS[row], tokenizer) - output(
                        net, " ".join(edited), tokenizer
                    )
                    expected[row, position] += change / 3
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(explanation.values[..., 0], expected, atol=1e-9)
    assert explanation.meta["tokens"]["players"] == "words"
    assert explanation.meta["held"] == ["attention_mask"]
    shown = explanation.feature_values
    assert [
        [word for word in row if isinstance(word, str)]
        for row in shown.to_numpy().tolist()
    ] == lists


def test_one_text_and_a_background_of_texts():
    """For one row the players are that row's words; a background of longer and shorter
    texts replaces them.
    """
    net = Order()
    explanation = explain_with(
        net,
        TEXTS[:1],
        method="shapley",
        background=TEXTS[1:],
        tokenizer=enclosed,
        **QUIET,
    )
    assert explanation.names == ("input_ids[0]", "input_ids[1]")
    assert explanation.feature_values.iloc[0].tolist() == ["good", "film"]
    backgrounds = [text.split() for text in TEXTS[1:]]

    def worth(keep):
        mine = TEXTS[0].split()
        texts = [
            [
                *(mine[:1] if 0 in keep else words[:1]),
                *(mine[1:] if 1 in keep else words[1:2]),
            ]
            for words in backgrounds
        ]
        return np.mean([output(net, " ".join(words), enclosed) for words in texts])

    first = (worth({0}) - worth(()) + worth({0, 1}) - worth({1})) / 2
    assert explanation.values[0, 0, 0] == pytest.approx(first, abs=1e-9)
    assert explanation.values[0, :, 0].sum() == pytest.approx(
        worth({0, 1}) - worth(()), abs=1e-9
    )


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_texts_beside_other_inputs(kind):
    """Texts in a dict go to the parameter of the ids, in any container."""

    class Both(Order):
        def forward(self, input_ids, table, attention_mask):
            return super().forward(input_ids, attention_mask) + table.sum(
                1, keepdim=True
            )

    inputs = {
        "text": kind(TEXTS),
        "table": torch.arange(10.0, dtype=torch.float64).reshape(5, 2),
    }
    explanation = explain_with(
        Both(), inputs, method="permutation", tokenizer=pieces, **QUIET
    )
    assert explanation.names == (
        *(f"input_ids[{position}]" for position in range(5)),
        "table[0]",
        "table[1]",
    )


def test_batches_change_nothing():
    """Rows are as wide whatever the batch."""
    net = Order()
    single_batch, large_batch = (
        explain_with(
            net, TEXTS, method="shapley", tokenizer=pieces, batch_size=size, **QUIET
        ).values
        for size in (1, 64)
    )
    np.testing.assert_allclose(single_batch, large_batch, atol=1e-12)


def test_words_are_saved_and_loaded(tmp_path):
    """The words are part of the explanation."""
    explanation = explain_with(
        Order(), TEXTS, method="shapley", tokenizer=pieces, **QUIET
    )
    again = pg.Explanation.load(explanation.save(tmp_path / "it"))
    assert again.feature_values.iloc[3].tolist()[:4] == [
        "bad",
        "film",
        "very",
        "boring",
    ]
    assert again.meta["tokens"] == explanation.meta["tokens"]


def test_a_tokenizer_that_joins_words_makes_each_token_a_player():
    """Where the ids of a text are not those of its words each token is a player by
    itself.
    """
    assert tokenise("ab c", lambda text: [ord(letter) for letter in text]) == Tokens(
        [97, 98, 32, 99], [0, 1, 2, 3], ["97", "98", "32", "99"]
    )
    assert tokenise("good boring", enclosed) == Tokens(
        [1, 4, 8, 9, 2], [-1, 0, 1, 1, -1], ["good", "boring"]
    )


def test_ids_are_split_by_the_signs_of_their_pieces():
    """``##`` continues a word; ``▁`` begins one."""

    class Known:
        all_special_ids = (1, 2)

        def __init__(self, names):
            self.names = names

        def convert_ids_to_tokens(self, ids):
            return [self.names[token_id] for token_id in ids]

    (text,) = split_ids([[1, 4, 8, 9, 2]], Known(list(PIECES)))
    assert (text.word, text.words) == ([-1, 0, 1, 1, -1], ["good", "boring"])
    (text,) = split_ids([[1, 0, 3, 0]], Known(["▁a", "<s>", "</s>", "b"]))
    assert (text.word, text.words) == ([-1, 0, 0, 1], ["ab", "a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"The inputs hold text.*Pass tokenizer= to pg\.Model\."),
        ({"tokenizer": lambda _: ["a"]}, "must return a list of token ids"),
    ],
)
def test_bad_texts_are_refused(options, message):
    """What cannot be tokenised is refused in one sentence."""
    with pytest.raises(InputError, match=message):
        explain_with(Order(), TEXTS, **options, **QUIET)
