"""Occlusion: equal to ablation where windows do not overlap, to Captum's where they do, to a slow loop always."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

ROWS = 5


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Pooled(nn.Module):
    """A convolution of any dimension, pooled."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.read, self.head = convolution, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x).relu().flatten(2).mean(dim=2))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x)[0][:, -1])


#: A network, the shape of a row, window and stride, and both with channels as Captum takes them.
CASES = {
    "image": (lambda: Pooled(nn.Conv2d(3, 4, 3)), (3, 9, 11), (4, 3), (2, 2), (3, 4, 3), (3, 2, 2)),
    "series": (lambda: Pooled(nn.Conv1d(3, 4, 3)), (3, 31), 5, 3, (3, 5), (3, 3)),
    "sequence": (Recurrent, (14, 3), 4, 2, (4, 3), (2, 3)),
    "volume": (lambda: Pooled(nn.Conv3d(1, 4, 3)), (1, 6, 7, 8), 4, (1, 2, 3), (1, 4, 4, 4), (1, 1, 2, 3)),
}


def case(name: str) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = CASES[name][0]().double().eval()
    return net, drawn(ROWS, *CASES[name][1])


def explain(net: nn.Module, rows, **options) -> pg.Explanation:
    return pg.explain(net, rows, method="occlusion", output_kind="values", progress=False, **options)


def laid_out(explanation: pg.Explanation, name: str = "x") -> np.ndarray:
    return explanation.values[:, explanation.maps[f"segments:{name}"]]


def slow(net: nn.Module, rows: Tensor, window: tuple[int, ...], stride: tuple[int, ...], value: Tensor) -> np.ndarray:
    """Return the mean fall over windows at each number ``(rows, *shape, outputs)``, one window after the other."""
    shape = rows.shape[1:]
    with torch.no_grad():
        before = net(rows)
        total, count = torch.zeros(*rows.shape, before.shape[1], dtype=torch.float64), torch.zeros(shape)
        steps = [range(-(-(side - wide) // step) + 1) for side, wide, step in zip(shape, window, stride, strict=True)]
        for place in itertools.product(*steps):
            inside = tuple(
                slice(at * step, at * step + wide) for at, step, wide in zip(place, stride, window, strict=True)
            )
            edited = rows.clone()
            edited[(slice(None), *inside)] = value[(slice(None), *inside)].expand_as(edited[(slice(None), *inside)])
            fall = before - net(edited)
            total[(slice(None), *inside)] += fall.reshape(len(rows), *[1] * len(shape), -1)
            count[inside] += 1
    return (total / count[..., None]).numpy()


@pytest.mark.parametrize("name", CASES)
def test_every_place_has_the_mean_over_its_windows(name):
    _, _, window, stride, wide, steps = CASES[name]
    net, rows = case(name)
    found = explain(net, rows, window=window, stride=stride, background=drawn(8, *rows.shape[1:], seed=1))
    median = drawn(8, *rows.shape[1:], seed=1).numpy()
    value = torch.from_numpy(np.median(median, axis=0, keepdims=True))
    expected = slow(net, rows, wide, steps, value)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(laid_out(found), expected, atol=1e-10)
    assert found.scope == "local"
    assert set(found.meta["windows"]["x"]) == {"window", "stride"}


@pytest.mark.parametrize("name", CASES)
def test_captum_gives_the_same(name):
    captum = pytest.importorskip("captum.attr")
    _, _, window, stride, wide, steps = CASES[name]
    net, rows = case(name)
    found = laid_out(explain(net, rows, window=window, stride=stride, baseline="zeros"))
    for target in range(2):
        theirs = captum.Occlusion(net).attribute(rows, wide, strides=steps, target=target).numpy()
        assert np.ptp(theirs) > 1e-2
        np.testing.assert_allclose(found[..., target], theirs, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_without_overlap_it_is_ablation_of_the_windows(name):
    net, rows = case(name)
    found = explain(net, rows, window=3)
    mask = found.maps["segments:x"]
    by_hand = pg.explain(
        net, rows, method="ablation", scope="local", segments=mask, output_kind="values", progress=False
    )
    assert np.ptp(by_hand.values) > 1e-3
    np.testing.assert_allclose(found.values, by_hand.values, atol=1e-12)
    cut = explain(net, rows)
    segments = pg.explain(net, rows, method="ablation", scope="local", output_kind="values", progress=False)
    assert cut.names == segments.names
    np.testing.assert_array_equal(cut.values, segments.values)


def test_a_linear_network_is_known():
    """Each window takes off Σ w x over its places; a place has the mean of its windows."""
    net = nn.Linear(10, 1, bias=False).double()
    rows = drawn(ROWS, 10)
    found = explain(net, rows, segments=("windows", 10), window=4, stride=2, baseline="zeros")
    assert found.names == ("input[0:2]", "input[2:4]", "input[4:6]", "input[6:8]", "input[8:10]")
    terms = (rows * net.weight.detach()).numpy()
    windows = np.stack([terms[:, start : start + 4].sum(axis=1) for start in (0, 2, 4, 6)], axis=1)
    expected = [windows[:, 0], *((windows[:, :-1] + windows[:, 1:]) / 2).T, windows[:, 3]]
    np.testing.assert_allclose(found.values[..., 0], np.stack(expected, axis=1), atol=1e-12)


def test_tables_beside_an_image_are_hidden_column_by_column():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scan, self.table = Pooled(nn.Conv2d(1, 4, 3)), nn.Linear(3, 2)

        def forward(self, scan: Tensor, table: Tensor) -> Tensor:
            return self.scan(scan) + self.table(table)

    net = Both().double().eval()
    table = pd.DataFrame(drawn(ROWS, 3, seed=1).numpy(), columns=["age", "dose", "unused"])
    with torch.no_grad():
        net.table.weight[:, 2] = 0
    rows = {"scan": drawn(ROWS, 1, 6, 6), "table": table}
    found = explain(net, rows, window={"scan": 2}, baseline="zeros")
    assert found.names[-3:] == ("age", "dose", "unused")
    assert found.names[0] == "scan[0,0]"
    assert len(found.names) == 9 + 3
    expected = table.to_numpy()[:, :, None] * net.table.weight.detach().numpy().T
    np.testing.assert_allclose(found.values[:, 9:], expected, atol=1e-12)
    assert (found.values[:, -1] == 0).all()
    held = explain(net, rows, window={"scan": 2}, baseline="zeros", hold=("table",))
    np.testing.assert_allclose(held.values, found.values[:, :9], atol=1e-12)
    assert explain(net, rows, baseline="zeros", hold=("scan",), segments=None).names == ("age", "dose", "unused")
    small = explain(net, rows, window=2, baseline="zeros", batch_size=1)
    np.testing.assert_allclose(small.values, found.values, atol=1e-12)


def test_models_without_pictures_are_hidden_feature_by_feature():
    X = drawn(60, 3).numpy()
    found = pg.explain(lambda rows: rows @ np.array([1.0, 2.0, 0.0]), X, method="occlusion", baseline="zeros",
                       output_kind="values", progress=False)  # fmt: skip
    np.testing.assert_allclose(found.values[..., 0], X * [1.0, 2.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"window": 0},
            r"^window must be an integer of at least 1, or one for each side of input 'x' \(9 × 11\), got 0\.",
        ),
        ({"window": (2, 2, 2)}, r"^window must be an integer .* Pass for example window=\(2, 2\)\. \[PG002\]$"),
        ({"window": 3, "stride": 1.5}, r"^stride must be an integer of at least 1"),
        ({"window": 10}, r"^window must fit in input 'x' of size 9 × 11 and stride in window, got window 10 × 10 and"),
        ({"window": 2, "stride": 3}, r"got window 2 × 2 and stride 3 × 3\. Pass smaller ones\. \[PG002\]$"),
        ({"stride": 3}, r"^stride= needs window=\."),
        ({"window": {"y": 3}}, r"'y'"),
        ({"window": 3, "level": "modality"}, r"^window= replaces segments and cannot be used with level='modality'"),
        ({"window": 3, "baseline": "black"}, r"baseline must be one of"),
        ({"window": 3, "sampling": "conditional"}, r"conditional"),
        ({"window": 3, "scope": "global"}, r"works with scope='local'.*to_global"),
    ],
)
def test_bad_windows_are_refused(options, message):
    net, rows = case("image")
    with pytest.raises(pg.InputError, match=message):
        explain(net, rows, **options)


def test_a_table_has_nothing_to_slide_over():
    with pytest.raises(pg.InputError, match=r"^window= needs an image, a series or a volume, and none of"):
        explain(nn.Linear(3, 1).double(), drawn(ROWS, 3), window=2)


def test_too_many_windows_are_refused_before_any_is_played():
    net = Pooled(nn.Conv3d(1, 4, 3)).double()
    with pytest.raises(pg.InputError, match=r"^window and stride make 103,823 windows"):
        explain(net, drawn(1, 1, 48, 48, 48), window=2, stride=1)
