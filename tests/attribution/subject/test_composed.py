"""A batch that permgrad composed and a network refuses: whose rows it says, and that
its remedy, typed, works.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.remedies import OF_MIXED_ROWS


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Spans(nn.Module):
    """Looks up the length of each span, of which its begin is below its end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.length = nn.Embedding(40, 4)
        self.word = nn.Embedding(30, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, words: Tensor, spans: Tensor) -> Tensor:
        lengths = self.length(spans[..., 1] - spans[..., 0])
        return self.head((lengths + self.word(words)).mean(1))


class Ordered(nn.Module):
    """Takes rows whose low is below their high, column by column."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        if not bool((low < high).all()):
            raise ValueError("low must be below high")
        return self.head(high - low)


class Paired(nn.Module):
    """Takes a code in each column, and the same one in all of a row's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(5, 2)

    def forward(self, codes: Tensor, table: Tensor) -> Tensor:
        if not bool((codes == codes[:, :1]).all()):
            raise ValueError("codes of a row differ")
        return self.head(torch.cat([codes, table], 1))


class Few(nn.Module):
    """Takes at most sixteen rows at once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)

    def forward(self, table: Tensor) -> Tensor:
        if len(table) > 16:
            raise RuntimeError("too many rows")
        return self.head(table)


def spans() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    begin = torch.randint(0, 60, (9, 5, 1), generator=generator)
    length = torch.randint(1, 40, (9, 5, 1), generator=generator)
    words = torch.randint(0, 30, (9, 5), generator=generator)
    return {"words": words, "spans": torch.cat([begin, begin + length], 2)}


def ordered() -> dict[str, Tensor]:
    low = 3 * drawn(9, 3)
    return {"low": low, "high": low + drawn(9, 3, seed=1) + 0.01}


def paired() -> dict[str, Tensor]:
    return {"codes": drawn(9, 1).expand(9, 3).clone(), "table": drawn(9, 2, seed=2)}


CASES: dict[str, tuple[type[nn.Module], Any, str, dict[str, Any], dict[str, Any]]] = {
    "places": (Spans, spans, 'segments={"spans": "tokens"}', {"segments": {"spans": "tokens"}}, {}),
    "inputs": (Paired, paired, 'groups="modality"', {}, {"groups": "modality"}),
    "together": (Ordered, ordered, "that belong together with groups=", {}, {"groups": {"pair": ["low", "high"]}}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("method", ["permutation", "shapley"])
def test_rows_that_were_mixed_are_named_and_the_remedy_works(
    name: str, method: str
) -> None:
    make, rows, words, reading, arguments = CASES[name]
    net = make().eval()
    X = rows()
    assert net(**X).shape == (9, 2), "the user's rows are taken"
    cut = {"spans": "numbers"} if name == "places" else None
    with pytest.raises(pg.InputError) as caught:
        pg.explain(pg.Model(net, segments=cut), X, method=method, progress=False)
    message = str(caught.value)
    assert re.match(
        r"permgrad mixed '\w+'( and '\w+')? of row \d with row \d, and", message
    )
    assert words in message
    assert message.endswith("[PG032]")
    assert "its forward" not in message
    for mapping in [
        argument for argument in arguments.values() if isinstance(argument, dict)
    ]:
        features = pg.explain(net, X, method="gradient", progress=False).names
        mapping["pair"] = list(features)
    model = pg.Model(net, **reading)
    explained = pg.explain(model, X, method=method, progress=False, **arguments)
    assert explained.values.size


def test_inputs_that_must_agree_are_named() -> None:
    class Coded(Paired):
        def forward(self, codes: Tensor, table: Tensor) -> Tensor:
            if not bool((codes[:, 0] == table[:, 0]).all()):
                raise ValueError("codes and table differ")
            return super().forward(codes, table)

    rows = paired()
    rows["table"][:, 0] = rows["codes"][:, 0]
    with pytest.raises(pg.InputError, match=r"mixed 'codes' of row \d with row \d"):
        pg.explain(Coded().eval(), rows, method="permutation", progress=False)


def test_rows_that_are_taken_one_by_one_alone() -> None:
    net = Few().eval()
    X = drawn(12, 3)
    with pytest.raises(
        pg.InputError, match="takes rows one by one, and refused"
    ) as caught:
        pg.explain(net, X, method="permutation", progress=False)
    assert "Pass pg.Model(..., batch_size=1)" in str(caught.value)
    model = pg.Model(net, batch_size=1)
    assert pg.explain(model, X, method="permutation", progress=False).values.shape


def test_a_check_between_rows_leaves_the_gradient_alone() -> None:
    net = Ordered().eval()
    X = ordered()
    values = pg.explain(
        pg.Model(net, returns="values"),
        X,
        method=pg.methods.Gradient(signed=True),
        target=1,
        progress=False,
    ).values
    torch.testing.assert_close(
        torch.as_tensor(values[:, 3:, 0]).float(),
        net.head.weight[1].detach().expand(9, 3),
    )


def test_nobody_is_told_to_fix_a_forward() -> None:
    assert "forward" not in OF_MIXED_ROWS
