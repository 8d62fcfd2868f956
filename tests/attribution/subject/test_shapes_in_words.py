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
            ", ".join(f"{{{place}}} (0, 3) float32" for place in range(5))
            + " and 5 more",
        ),
    ],
)
def test_shapes_have_words_where_names_are_few_or_many(names, parts, words):
    shown = [NAMES[place] if place < names else f"input {place}" for place in range(10)]
    said = shapes_in_words(NAMES[:names], [torch.zeros(0, 3)] * parts)
    assert said == words.format(*shown)


def test_numbers_alone_have_an_empty_shape():
    assert shapes_in_words(("x",), [torch.tensor(1)]) == "x () int64"
