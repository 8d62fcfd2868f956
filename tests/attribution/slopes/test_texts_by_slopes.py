"""Texts with a tokenizer are explained by slopes as the same ids are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

WORDS = ["<pad>", "<s>", "old", "new", "red", "blue", "car", "house"]
TEXTS = ["old red car", "new", "blue house old car red", "red house"]
OPTIONS: dict[str, Any] = {"returns": "logits", "progress": False, "random_state": 0}


def ids_of(text: str) -> list[int]:
    return [1, *map(WORDS.index, text.split())]


class Tokenizer:
    """As those of transformers, as far as permgrad asks."""

    pad_token_id, all_special_ids = 0, (0, 1)

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": ids_of(text)}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [WORDS[token_id] for token_id in ids]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(8, 4, padding_idx=0)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.words(input_ids) * attention_mask[..., None]
        return self.head(torch.tanh(vectors.cumsum(1)).sum(1))


def as_ids(texts: list[str], width: int = 6) -> dict[str, Tensor]:
    rows = [ids_of(text) for text in texts]
    filled = [row + [0] * (width - len(row)) for row in rows]
    ids = torch.tensor(filled)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("tokenizer", [Tokenizer(), ids_of], ids=["class", "function"])
@pytest.mark.parametrize(
    "method", ["integrated_gradients", "deeplift", "gradient", "smoothgrad"]
)
def test_texts_are_explained_as_their_ids(tokenizer, method):
    net = Net().double()
    explanation = explain_with(
        net, TEXTS, method=method, tokenizer=tokenizer, **OPTIONS
    )
    expected_explanation = explain_with(net, as_ids(TEXTS), method=method, **OPTIONS)
    assert np.abs(expected_explanation.values).max() > 0.01
    np.testing.assert_array_equal(explanation.values, expected_explanation.values)
    assert explanation.names == expected_explanation.names
    assert explanation.names[5] == "input_ids[5]"


def test_a_background_of_texts_is_one_of_ids():
    net = Net().double()
    background_texts = ["new car", "blue"]
    options = {"method": "integrated_gradients", "baseline": "background", **OPTIONS}
    explanation = explain_with(
        net, TEXTS, tokenizer=Tokenizer(), background=background_texts, **options
    )
    expected_explanation = explain_with(
        net, as_ids(TEXTS), background=as_ids(background_texts), **options
    )
    np.testing.assert_array_equal(explanation.values, expected_explanation.values)


def test_words_are_the_features_of_methods_that_replace():
    explanation = explain_with(
        Net(), TEXTS, method="shapley", tokenizer=Tokenizer(), references=3, **OPTIONS
    )
    assert len(explanation.names) == 5, "the longest text has five words"
