"""The words of a message on inputs are found whatever the inputs are."""

from __future__ import annotations

import pytest
import torch

from permgrad.attribution.subject.inputs import shapes_in_words

NAMES = tuple("abcdefghij")


@pytest.mark.parametrize("names", [0, 1, 2, 10])
@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (0, "no inputs"),
        (1, "{0} (0, 3) float32"),
        (2, "{0} (0, 3) float32, {1} (0, 3) float32"),
        (
            10,
            ", ".join(f"{{{input_index}}} (0, 3) float32" for input_index in range(5))
            + " and 5 more",
        ),
    ],
)
def test_shapes_have_words_where_names_are_few_or_many(names, parts, words):
    shown = [
        NAMES[input_index] if input_index < names else f"input {input_index}"
        for input_index in range(10)
    ]
    sentence = shapes_in_words(NAMES[:names], [torch.zeros(0, 3)] * parts)
    assert sentence == words.format(*shown)


def test_numbers_alone_have_an_empty_shape():
    assert shapes_in_words(("x",), [torch.tensor(1)]) == "x () int64"
