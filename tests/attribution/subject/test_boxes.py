"""A place's word and its codes, such as a box of a document, are one feature and are
replaced together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

ROWS = 14
PLACES = 4


class Page(nn.Module):
    """Adds up words and columns of codes; a column's width is looked up, so that codes
    of two rows may not mix.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.word = nn.Embedding(20, 1)
        self.page = nn.Embedding(6, 1)
        self.left = nn.Embedding(90, 1)
        self.width = nn.Embedding(12, 1)
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))

    def of_places(self, words: Tensor, spans: Tensor) -> Tensor:
        left, right, page = spans.unbind(-1)
        width = self.width(right - left)
        shown = self.word(words) + self.left(left) + width + self.page(page)
        return shown[..., 0] * self.weight

    def forward(self, words: Tensor, spans: Tensor) -> Tensor:
        return self.of_places(words, spans).sum(1, keepdim=True)


def rows() -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(4)

    def whole(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (ROWS, PLACES), generator=chance)

    left = whole(0, 78)
    spans = torch.stack([left, left + whole(1, 12), whole(0, 6)], -1)
    return {"words": whole(0, 20), "spans": spans}


def explained(model: Any, X: Any, method: str, **options: Any) -> pg.Explanation:
    return pg.explain(
        model, X, method=method, random_state=0, progress=False, **options
    )


JOINED = [f"spans[{place}]+words[{place}]" for place in range(PLACES)]


@pytest.mark.parametrize("method", ["shapley", "ablation", "permutation"])
def test_a_word_goes_with_its_codes(method: str) -> None:
    net = Page().eval()
    X = rows()
    mixed = torch.cat([X["spans"][..., :1], X["spans"].roll(1, 0)[..., 1:]], -1)
    with pytest.raises(IndexError):
        net(X["words"], mixed)
    model = pg.Model(net, returns="values")
    found = explained(model, X, method, scope="local")
    assert list(found.names) == JOINED
    assert set(found.modality) == {"spans+words"}
    if method != "shapley":
        return
    with torch.no_grad():
        each = net.of_places(**X).double().numpy()
    wanted = each - each.mean(axis=0)
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(found.values[..., 0], wanted, atol=1e-4)


def test_slopes_of_a_word_and_its_codes_are_added() -> None:
    net = Page().eval()
    X = rows()
    model = pg.Model(net, returns="values")
    found = explained(model, X, "integrated_gradients", scope="local")
    assert list(found.names) == JOINED
    parts = pg.Model(net, returns="values", segments={"spans": "tokens"})
    apart = explained(parts, X, "integrated_gradients", scope="local")
    assert list(apart.names) == [
        *(f"words[{place}]" for place in range(PLACES)),
        *(f"spans[{place}]" for place in range(PLACES)),
    ]
    words, spans = np.split(apart.values, 2, axis=1)
    assert np.abs(words).max() > 0.1
    assert np.abs(spans).max() > 0.1
    np.testing.assert_allclose(found.values, words + spans, atol=1e-5)


def test_describe_and_meta_say_what_goes_together() -> None:
    net = Page().eval()
    X = rows()
    said = pg.Model(net, returns="values").describe(X)
    assert (
        "inputs: words (14 rows, tokens, 4 places), "
        "spans (3 numbers for each token, which go with it)" in said
    )
    assert f"features: {', '.join(JOINED)}" in said
    found = explained(pg.Model(net, returns="values"), X, "shapley")
    assert found.meta["tokens"]["boxes"] == ["spans"]


@pytest.mark.parametrize("member", ["spans[2]", "words[2]"])
def test_a_group_that_names_a_part_is_told_what_parts_it(member: str) -> None:
    net = Page().eval()
    X = rows()
    groups = {"third": [member], "first": [JOINED[0], JOINED[1]]}
    with pytest.raises(pg.InputError) as caught:
        explained(pg.Model(net, returns="values"), X, "shapley", groups=groups)
    assert str(caught.value) == (
        f"Group 'third' names {member!r}, which is not a feature of the model. "
        "Name 'spans[2]+words[2]', which changes as one, or pass "
        'pg.Model(..., segments={"spans": "tokens"}), which parts it. [PG039]'
    )
    parts = pg.Model(net, returns="values", segments={"spans": "tokens"})
    groups["first"] = ["words[0]"]
    found = explained(parts, X, "shapley", groups=groups)
    assert "third" in found.names


def test_codes_of_padding_stay_with_their_row() -> None:
    class Padded(Page):
        def forward(self, words: Tensor, spans: Tensor, mask: Tensor) -> Tensor:
            if bool((spans[mask == 0] != 5).any()):
                raise ValueError("padding lies elsewhere")
            return (self.of_places(words, spans) * mask).sum(1, keepdim=True)

    X = rows()
    mask = torch.ones(ROWS, PLACES, dtype=torch.int64)
    mask[::2, 2:] = 0
    X["spans"][mask == 0] = 5
    model = pg.Model(Padded().eval(), returns="values")
    with pytest.warns(UserWarning, match="mask stays with its row"):
        found = explained(model, {**X, "mask": mask}, "shapley", scope="local")
    assert list(found.names) == JOINED
    assert not np.nan_to_num(found.values[::2, 2:]).any()
    assert np.abs(found.values[1::2]).max() > 0.1


def test_the_words_of_a_row_are_shown_beside_their_values() -> None:
    net = Page().eval()
    X = rows()
    found = explained(pg.Model(net, returns="values"), X, "shapley", scope="local")
    assert list(found.feature_values) == JOINED
    drawn = found.plot.text(row=1).to_html()
    assert all(f">{word}<" in drawn for word in X["words"][1].tolist())


def test_what_is_no_box_is_a_feature_of_its_own() -> None:
    """Numbers at places, codes at other places, and codes without words."""

    class Beside(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.word = nn.Embedding(20, 3)
            self.code = nn.Embedding(9, 3)
            self.wide = nn.Linear(width, 3)
            self.head = nn.Linear(3, 2)

        def forward(self, words: Tensor, beside: Tensor) -> Tensor:
            if beside.is_floating_point():
                more = self.wide(beside)
            else:
                more = self.code(beside[..., 0]) + self.code(beside[..., 1])
            return self.head(self.word(words).mean(1) + more.mean(1))

    chance = torch.Generator().manual_seed(0)
    words = torch.randint(0, 20, (ROWS, PLACES), generator=chance)
    beside = {
        "numbers": torch.rand(ROWS, PLACES, 2, generator=chance),
        "other places": torch.randint(0, 9, (ROWS, PLACES + 1, 2), generator=chance),
    }
    for tensor in beside.values():
        X = {"words": words, "beside": tensor}
        found = explained(Beside(2).eval(), X, "permutation")
        assert [name for name in found.names if "+" in name] == []
        assert "beside[1]" in found.names
