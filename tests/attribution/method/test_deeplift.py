"""DeepLIFT: every rule adds up, the Rescale rule written again slowly, Captum where it
can, what hooks cannot do.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from explaining import explain_with
from replicates import replicates
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg
from permgrad.attribution.slopes.rescale import SecantWalk, leaders

ROWS = 6


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


def seeded(build):
    """Return what ``build`` makes, the same each time, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


# ---- every function that has a rule adds up ------------------------------------------


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.3), nn.ELU(inplace=True), nn.GELU(), nn.GELU("tanh"), nn.SiLU(),
    nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Hardtanh(), nn.SELU(), nn.CELU(), nn.Mish(), nn.Softsign(),
    nn.Tanhshrink(), nn.LogSigmoid(), nn.Hardswish(), nn.Hardsigmoid(), nn.ReLU6(), nn.Threshold(0.1, 0.2),
    nn.Softshrink(), nn.Hardshrink(), nn.RReLU(), nn.PReLU(), nn.Softmax(1), nn.LogSoftmax(-1), nn.Softmin(1), nn.GLU(),
    nn.LayerNorm(6), nn.LayerNorm(6, elementwise_affine=False), nn.GroupNorm(2, 6), nn.BatchNorm1d(6),
]  # fmt: skip

FUNCTIONS = {
    "product": (lambda x, y: x * y, (3,), (3,)),
    "product in place": (lambda x, y: (x + 0).mul_(y), (3,), (3,)),
    "operator in place": (lambda x, y: operator_in_place(x + 0, y), (3,), (3,)),
    "quotient": (lambda x, y: x / (y**2 + 1), (3,), (3,)),
    "number over tensor": (lambda x: 2 / (x.abs() + 1), (3,)),
    "square": (lambda x: x**2, (3,)),
    "cube": (lambda x: torch.pow(x, 3), (3,)),
    "power of a number": (lambda x: 2**x, (3,)),
    "matrix product": (lambda x, y: x @ y, (3, 2), (2, 4)),
    "einsum": (lambda x, y: torch.einsum("bij,bjk->bik", x, y), (3, 2), (2, 4)),
    "in place": (lambda x: torch.relu_(x + 0), (3,)),
    "method in place": (lambda x: (x + 0).sigmoid_(), (3,)),
    "functional in place": (lambda x: functional.relu(x * 1, inplace=True), (3,)),
    "functional in place by position": (lambda x: functional.elu(x * 1, 0.5, True), (3,)),
    "by keyword": (lambda x: functional.gelu(input=torch.relu(input=x) - 0.5), (3,)),
    "product by keyword": (lambda x, y: torch.mul(input=x, other=y), (3,), (3,)),
    "pooling by keyword": (lambda x: functional.max_pool2d(input=x, kernel_size=2), (2, 4, 4)),
    "sigmoid by hand": (lambda x: 1 / (1 + torch.exp(-x)), (3,)),
    "weight of two": (lambda x: functional.linear(x, WEIGHT * WEIGHT.exp()), (3,)),
    "clamp": (lambda x: x.clamp(min=0, max=1), (3,)),
    "choice": (lambda x: torch.where(x > 0, x, 0.1 * x), (3,)),
    "choice by keyword": (lambda x: torch.where(condition=x > 0, input=x, other=0.1 * x), (3,)),
    "choice partly by keyword": (lambda x: torch.where(x > 0, input=x, other=0.1 * x), (3,)),
    "method choice by keyword": (lambda x: (2 * x).where(condition=x > 0, other=x), (3,)),
    "choice among numbers": (lambda x: x * torch.where(MASK, 1.0, 2.0), (3,)),
    "places of a choice": (lambda x: x[:, torch.where(MASK)[0]], (3,)),
    "places by keyword": (lambda x: x * torch.searchsorted(sorted_sequence=DRAWN, input=DRAWN), (3,)),
    "choice of a number": (lambda x: torch.where(x > 0, x, 0.0), (3,)),
    "method choice": (lambda x: (2 * x).where(x > 0, x), (3,)),
    "pooling": (lambda x: functional.max_pool2d(x, 2), (2, 4, 4)),
    "pooling of whole numbers": (lambda x: x * functional.max_pool2d(COUNTS, 2)[0, 0], (3,)),
    "einsum of a list": (lambda x, y: torch.einsum("bij,bjk->bik", [x, y]), (3, 2), (2, 4)),
    "amax over a list": (lambda x: x.amax((1,)), (5, 3)),
    "root mean square": (seeded(lambda: nn.RMSNorm(4)), (4,)),
    "functional root mean square": (lambda x: functional.rms_norm(x, (4,)), (4,)),
    "pooling that overlaps": (nn.MaxPool1d(3, 2, 1), (2, 7)),
    "pooling of volumes": (nn.MaxPool3d(2), (2, 4, 4, 4)),
    "adaptive pooling": (nn.AdaptiveMaxPool2d(2), (2, 5, 5)),
    "pooling with places": (lambda x: functional.max_pool2d(x, 2, return_indices=True)[0], (2, 4, 4)),
    "largest": (lambda x: x.max(dim=1).values, (5, 3)),
    "torch.max": (lambda x: torch.max(x, 2)[0], (5, 3)),
    "amax": (lambda x: x.amax(1), (5, 3)),
    "amin": (lambda x: x.amin(-1, keepdim=True), (5, 3)),
    "smallest": (lambda x: x.min(1)[0], (5, 3)),
    "maximum": (torch.maximum, (3,), (3,)),
    "minimum": (torch.minimum, (3,), (3,)),
    "max of two": (torch.max, (3,), (3,)),
    "attention": (functional.scaled_dot_product_attention, (3, 4), (3, 4), (3, 4)),
    "causal attention": (lambda q: functional.scaled_dot_product_attention(q, q, q, is_causal=True), (3, 4)),
    "instance normalisation": (nn.InstanceNorm2d(2), (2, 4, 4)),
    "length": (lambda x: x.norm(dim=1, keepdim=True), (4,)),
    "normalize": (lambda x: functional.normalize(x, dim=-1), (4,)),
    "deviation": (lambda x: x.std(1, keepdim=True), (4,)),
    "variance": (lambda x: x.var(dim=1, unbiased=False, keepdim=True), (4,)),
    "logsumexp": (lambda x: x.logsumexp(1, keepdim=True), (4,)),
    "bilinear": (seeded(lambda: nn.Bilinear(3, 3, 2)), (3,), (3,)),
    "heads of attention": (lambda x: HEADS(x, x, x)[0], (3, 4)),
    "transformer": (seeded(lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), (3, 4)),
    "two rectifiers": (lambda x: torch.relu(1 - torch.relu(x)), (3,)),
}  # fmt: skip
#: What torch computes and no rule divides: in these cases its gradient at the stop is
#: what is left.
WITHOUT_RULE = {
    "einsum of three": (lambda x, y, z: torch.einsum("bi,bi,bi->bi", x, y, z), (3,), (3,), (3,)),
    "largest over two dimensions": (lambda x: x.amax((1, 2), keepdim=True), (5, 3)),
    "maximum of whole numbers": (lambda x: torch.maximum(x, torch.zeros(3, dtype=torch.int64)), (3,)),
    "length by absolute values": (lambda x: torch.linalg.vector_norm(x, 1, dim=1, keepdim=True), (4,)),
    "deviation over all": (lambda x: x + x[:1].std(False), (4,)),
    "variance over all": (lambda x: x + x[:1].var(False), (4,)),
    "logsumexp over two dimensions": (lambda x: x.logsumexp((1, 2), keepdim=True), (4, 3)),
    "heads that share": (
        lambda q, k: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True), (4, 3, 2), (2, 3, 2)
    ),
}  # fmt: skip
MASK = torch.tensor([True, False, True])
DRAWN = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64)
COUNTS = torch.tensor([[[[1, 4, 2, 3, 9, 5], [0, 7, 1, 1, 2, 8]]]])
WEIGHT = nn.Parameter(drawn(2, 3, seed=9))
HEADS = seeded(lambda: nn.MultiheadAttention(4, 2, batch_first=True))


def operator_in_place(x: Tensor, y: Tensor) -> Tensor:
    x *= y
    return x


def step(
    function, start: list[Tensor], stop: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Return Σ slopes · changes and the output's change, ``(rows, outputs)``, its
    values at the stop, and matches.
    """

    def forward(leaves):
        return function(*[leaf.clone() for leaf in leaves]).flatten(1)

    walk = SecantWalk(forward)
    before = walk.stand(start)
    after, slopes = walk.step(stop, range(before.shape[1]), last=True)
    triples = zip(slopes, start, stop, strict=True)
    total = sum(
        (slope * (end - begin)).flatten(2).sum(2) for slope, begin, end in triples
    ).T
    return total, after - before, after, walk.matched


def assert_adds_up(function, *shapes: tuple[int, ...]) -> None:
    start = [
        drawn(ROWS, *shape, seed=input_index)
        for input_index, shape in enumerate(shapes)
    ]
    stop = [
        drawn(ROWS, *shape, seed=100 + input_index)
        for input_index, shape in enumerate(shapes)
    ]
    total, change, after, matched = step(function, start, stop)
    assert matched
    assert change.abs().max() > 1e-3
    with torch.no_grad():
        plain = function(*[tensor.clone() for tensor in stop]).flatten(1)
    torch.testing.assert_close(after, plain, rtol=0, atol=1e-13)
    torch.testing.assert_close(total, change, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_activations_add_up(activation):
    layer = seeded(lambda: nn.Linear(6, 6))
    activation = activation.double().eval()
    assert_adds_up(lambda x: activation(layer(x)), (6,))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_add_up(name):
    function, *shapes = FUNCTIONS[name]
    assert_adds_up(function, *shapes)


@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_functions_without_a_rule_keep_their_gradient_at_the_stop(name):
    function, *shapes = WITHOUT_RULE[name]
    start = [
        drawn(ROWS, *shape, seed=input_index)
        for input_index, shape in enumerate(shapes)
    ]
    stop = [
        drawn(ROWS, *shape, seed=100 + input_index).requires_grad_()
        for input_index, shape in enumerate(shapes)
    ]
    total, change, after, _ = step(
        function, start, [tensor.detach() for tensor in stop]
    )
    plain = function(*stop).flatten(1)
    torch.testing.assert_close(after, plain.detach(), rtol=0, atol=1e-13)
    assert (total - change).abs().max() > 1e-2, (
        "the case must be one that does not add up"
    )
    for output in range(plain.shape[1]):
        gradients = torch.autograd.grad(plain[:, output].sum(), stop, retain_graph=True)
        triples = zip(gradients, start, stop, strict=True)
        expected = sum(
            (gradient * (end.detach() - begin)).flatten(1).sum(1)
            for gradient, begin, end in triples
        )
        torch.testing.assert_close(total[:, output], expected, rtol=0, atol=1e-12)


def test_a_choice_of_two_precisions_has_the_wider_one():
    def function(x: Tensor) -> Tensor:
        return torch.where(x > 0, x.float(), x * 2)

    start = [drawn(ROWS, 3)]
    stop = [drawn(ROWS, 3, seed=100)]
    total, change, after, matched = step(function, start, stop)
    assert matched
    assert after.dtype == torch.float64
    torch.testing.assert_close(after, function(stop[0]), rtol=0, atol=0)
    torch.testing.assert_close(total, change, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "reciprocal",
        "log1p",
        "expm1",
        "sin",
        "cos",
        "erf",
        "sinh",
    ],
)
def test_curved_functions_add_up(name):
    assert_adds_up(lambda x: getattr(torch, name)(x.abs() + 0.1), (4,))


def random_network(seed: int):
    """Return a function of ``(rows, 8)`` made of randomly chosen parts, as a user may
    write them.
    """
    chooser = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dense, gate, heads = (build.double().eval() for build in (
            nn.Linear(8, 8), nn.Linear(8, 8), nn.MultiheadAttention(2, 1, batch_first=True)
        ))  # fmt: skip
        norm = nn.LayerNorm(8).double()
        rectifier = nn.ReLU(inplace=True)
    layer_functions = [
        lambda x: rectifier(dense(x)),
        lambda x: x + functional.gelu(dense(x)),
        lambda x: dense(x) * torch.sigmoid(gate(x)),
        norm,
        lambda x: functional.softmax(dense(x), -1) * 8,
        lambda x: heads(*[x.reshape(-1, 4, 2)] * 3)[0].reshape(-1, 8),
        lambda x: functional.max_pool1d(x[:, None], 3, 1, 1)[:, 0],
        lambda x: torch.cat([x.amax(1, keepdim=True), x[:, 1:]], dim=1),
        lambda x: functional.normalize(x, dim=1) * 3,
        lambda x: torch.where(x > 0, x, 0.2 * x) + x.std(1, keepdim=True),
    ]
    selected_functions = [
        layer_functions[function_index]
        for function_index in chooser.integers(
            0, len(layer_functions), chooser.integers(2, 7)
        )
    ]

    def network(x: Tensor) -> Tensor:
        for layer_function in selected_functions:
            x = layer_function(x)
        return gate(dense(x))

    return network


@pytest.mark.parametrize("seed", range(25))
def test_random_networks_add_up(seed):
    assert_adds_up(random_network(seed), (8,))


def test_close_ends_have_the_slope_in_the_middle():
    """Also where a division of two small differences would be noise."""
    start = drawn(400, 1, dtype=torch.float32) * 3
    stop = start + 1e-6 * drawn(400, 1, seed=1, dtype=torch.float32)
    for name in ("sigmoid", "tanh", "exp"):
        walk = SecantWalk(lambda leaves, name=name: getattr(torch, name)(leaves[0]))
        walk.stand([start])
        _, slopes = walk.step([stop], [0])
        leaf = stop.double().requires_grad_()
        (exact,) = torch.autograd.grad(getattr(torch, name)(leaf).sum(), leaf)
        torch.testing.assert_close(slopes[0][0].double(), exact, rtol=1e-4, atol=1e-5)


def test_recorded_inputs_survive_later_writes():
    """What went into a rectifier is later overwritten in place: the second run must see
    what was, not what is.
    """

    def forward(x: Tensor) -> Tensor:
        hidden = x * 2
        rectified = torch.relu(hidden)
        hidden += 100
        return rectified + 0 * hidden

    assert_adds_up(forward, (3,))


def test_maxima_share_by_the_way_on_which_each_leads():
    """Two numbers on straight lines: the maximum's integrated gradient, found by a fine
    sum.
    """
    start = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    stop = torch.tensor([[4.0, 2.0]], dtype=torch.float64)
    times = torch.linspace(0, 1, 300_001, dtype=torch.float64)[:, None]
    points = torch.lerp(start, stop, times)
    share = (points[:, 0] > points[:, 1]).double().mean()
    first = start.max(dim=1, keepdim=True).indices
    last = stop.max(dim=1, keepdim=True).indices
    to_first, to_last = leaders(start, stop, first, last)
    assert (first, last) == (torch.tensor([[1]]), torch.tensor([[0]]))
    assert float(to_last) == pytest.approx(float(share), abs=1e-5)
    assert float(to_first) == pytest.approx(1 - float(share), abs=1e-5)


# ---- the Rescale rule, written again -------------------------------------------------


@replicates("deeplift")
def rescale_by_hand(net: nn.Sequential, row: Tensor, baseline: Tensor) -> Tensor:
    """Return Σ over the chain rule of equation 3, with Δoutput / Δinput for every unit,
    one row in float64.
    """
    before = [baseline]
    after = [row]
    for layer in net:
        before.append(layer(before[-1]))
        after.append(layer(after[-1]))
    multipliers = torch.ones_like(after[-1])
    for layer_index in range(len(net) - 1, -1, -1):
        layer = net[layer_index]
        u = before[layer_index]
        v = after[layer_index]
        if isinstance(layer, nn.Linear):
            multipliers = multipliers @ layer.weight
            continue
        out = multipliers.clone()
        for unit in range(len(u)):
            change = float(v[unit] - u[unit])
            slope = (
                float(after[layer_index + 1][unit] - before[layer_index + 1][unit])
                / change
            )
            out[unit] = multipliers[unit] * slope
        multipliers = out
    return multipliers * (row - baseline)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.ELU])
def test_equals_the_papers_rule(activation):
    net = seeded(
        lambda: nn.Sequential(
            nn.Linear(5, 7),
            activation(),
            nn.Linear(7, 4),
            activation(),
            nn.Linear(4, 1),
        )
    )
    rows = drawn(ROWS, 5)
    baseline = drawn(1, 5, seed=1)
    explanation = pg.explain(
        net, rows, method=pg.methods.DeepLift(baseline=baseline), progress=False
    )
    with torch.no_grad():
        slow = torch.stack(
            [rescale_by_hand(net, row, baseline[0]) for row in rows]
        ).numpy()
    leaf = rows.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf).sum(), leaf)
    # The rule is not the gradient times the change.
    assert np.abs(slow - (gradient * (rows - baseline)).numpy()).max() > 0.01
    np.testing.assert_allclose(explanation.values[:, :, 0], slow, rtol=0, atol=1e-13)
    assert explanation.meta["completeness_gap"] < 1e-12
    np.testing.assert_allclose(
        explanation.base_values + explanation.values.sum(axis=1),
        explanation.predictions,
        rtol=0,
        atol=1e-12,
    )


def test_equals_captum():
    captum = pytest.importorskip("captum.attr")
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(100, 10),
            nn.ReLU(),
            nn.Linear(10, 3),
        )
    ).float()
    images = drawn(ROWS, 1, 12, 12, dtype=torch.float32)
    baseline = drawn(1, 1, 12, 12, seed=1, dtype=torch.float32)
    explanation = pg.explain(
        pg.Model(net, segments={"input": "pixels"}),
        images,
        method=pg.methods.DeepLift(baseline=baseline),
        progress=False,
        scale="raw",
    )
    for target in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = captum.DeepLift(net).attribute(
                images, baseline.expand_as(images), target=target
            )
        theirs = theirs.flatten(1).detach().numpy()
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(
            explanation.values[:, :, target], theirs, rtol=0, atol=1e-6
        )


# ---- what rules attached to modules cannot do ----------------------------------------


class Shared(nn.Module):
    """One encoder for two images, one in-place rectifier for several layers, and
    functional calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rectifier = nn.ReLU(inplace=True)
        self.convolution = nn.Conv2d(1, 3, 3)
        self.dense = nn.Linear(27, 6)
        self.head = nn.Linear(16, 8)
        self.last = nn.Linear(8, 2)

    def encode(self, image: Tensor) -> Tensor:
        hidden = functional.max_pool2d(self.rectifier(self.convolution(image)), 2)
        return torch.tanh(self.dense(hidden.flatten(1)))

    def forward(self, left: Tensor, right: Tensor, table: Tensor) -> Tensor:
        joined = torch.cat([self.encode(left), self.encode(right), table], dim=1)
        return self.last(self.rectifier(self.head(joined)))


def shared_inputs() -> dict[str, Tensor]:
    return {
        "left": drawn(ROWS, 1, 8, 8),
        "right": drawn(ROWS, 1, 8, 8, seed=1),
        "table": drawn(ROWS, 4, seed=2),
    }


@pytest.mark.parametrize("output", ["raw", "probability"])
def test_shared_modules_in_place_and_functional_calls(output):
    net = seeded(Shared)
    inputs = shared_inputs()
    explanation = pg.explain(
        net, inputs, method="deeplift", scale=output, progress=False
    )
    assert explanation.meta["completeness_gap"] < 1e-10
    assert np.abs(explanation.by_modality().values).max(axis=(0, 2)).min() > 1e-4
    # The two images are not exchangeable: their parts differ as their pixels do.
    swapped = pg.explain(
        net,
        {**inputs, "left": inputs["right"], "right": inputs["left"]},
        method="deeplift",
        scale=output,
        progress=False,
    )
    assert np.abs(swapped.values - explanation.values).max() > 1e-4


def test_a_baseline_of_many_rows_is_their_mean():
    net = seeded(Shared)
    inputs = shared_inputs()
    background = {name: tensor.flip(0) * 0.5 for name, tensor in inputs.items()}
    options = {"method": "deeplift", "random_state": 0, "progress": False}
    averaged_explanation = explain_with(
        net, inputs, background=background, baseline="background", **options
    )
    row_explanations = [
        explain_with(
            net,
            inputs,
            baseline={name: tensor[k : k + 1] for name, tensor in background.items()},
            **options,
        )
        for k in range(ROWS)
    ]
    np.testing.assert_allclose(
        averaged_explanation.values,
        np.mean(
            [row_explanation.values for row_explanation in row_explanations], axis=0
        ),
        rtol=0,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        averaged_explanation.base_values,
        np.mean(
            [row_explanation.base_values for row_explanation in row_explanations],
            axis=0,
        ),
        atol=1e-12,
    )
    assert averaged_explanation.meta["baseline_rows"] == ROWS


def test_fifty_background_rows_are_the_baseline_unless_told_otherwise():
    net = seeded(Shared)
    inputs = shared_inputs()
    background = {
        name: tensor.repeat(60 // ROWS + 1, *[1] * (tensor.ndim - 1))
        for name, tensor in inputs.items()
    }
    options = {
        "method": "deeplift",
        "random_state": 0,
        "progress": False,
        "baseline": "background",
    }
    assert (
        explain_with(net, inputs, background=background, **options).meta[
            "baseline_rows"
        ]
        == 50
    )
    assert (
        explain_with(net, inputs, background=background, references=55, **options).meta[
            "baseline_rows"
        ]
        == 55
    )


def test_a_row_does_not_depend_on_the_others():
    net = seeded(Shared)
    inputs = shared_inputs()
    full_explanation = pg.explain(net, inputs, method="deeplift", progress=False)
    row_explanation = pg.explain(
        net,
        {name: tensor[3:4] for name, tensor in inputs.items()},
        method="deeplift",
        progress=False,
    )
    np.testing.assert_allclose(
        row_explanation.values[0], full_explanation.values[3], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("method", ["deeplift", "integrated_gradients"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_background_of_one_row_has_no_range_to_measure_by(
    method, count, kind, recwarn
):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).to(kind)
    rows = torch.randn(40, 3).to(kind)
    baseline_row = torch.randn(1, 3).to(kind)
    repeated_rows = baseline_row.repeat(count, 1)
    explanation = explain_with(
        net,
        rows,
        method=method,
        background=repeated_rows,
        progress=False,
        returns="logits",
        baseline=repeated_rows,
    )
    with torch.no_grad():
        difference = (net(rows) - net(baseline_row)).numpy()
    assert np.abs(difference).max() > 0.5
    np.testing.assert_allclose(explanation.values.sum(axis=1), difference, atol=1e-3)
    assert explanation.meta["completeness_gap"] < 1e-3
    assert not recwarn.list


def test_a_function_without_a_rule_is_told():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 8, batch_first=True)
            self.head = nn.Linear(8, 1)

        def forward(self, series: Tensor) -> Tensor:
            return self.head(self.lstm(series)[0][:, -1])

    net = seeded(Recurrent)
    with pytest.warns(
        pg.PermgradWarning,
        match=r"functions without a rule.*Choose method='integrated_gradients'",
    ):
        explanation = pg.explain(
            net, 3 * drawn(ROWS, 5, 3), method="deeplift", progress=False
        )
    assert explanation.meta["completeness_gap"] > 0.01


def test_calls_that_differ_between_row_and_baseline_are_told():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 8)
            self.head = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.layer(x)
            if bool((x.detach() != 0).any()):
                hidden = torch.sigmoid(hidden)
            return self.head(torch.relu(hidden))

    with pytest.warns(
        pg.PermgradWarning,
        match="does not make the same calls for the row as for the baseline",
    ):
        pg.explain(seeded(Branching), drawn(ROWS, 3), method="deeplift", progress=False)


def test_parts_that_are_compiled_run_as_written():
    net = seeded(Shared)
    inputs = shared_inputs()
    expected = pg.explain(net, inputs, method="deeplift", progress=False)
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    net.head = torch.compile(net.head, backend=backend)
    explanation = pg.explain(net, inputs, method="deeplift", progress=False)
    np.testing.assert_allclose(explanation.values, expected.values, rtol=0, atol=1e-12)
    assert not compiled


def test_hybrid_paths_add_up():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = rng.normal(size=200)
    model = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    explanation = pg.explain(model, X[:9], method="deeplift", progress=False)
    assert set(explanation.parts) == {"tabular", "image"}
    np.testing.assert_allclose(
        explanation.parts["tabular"] + explanation.parts["image"],
        explanation.values,
        atol=1e-12,
    )
    assert explanation.meta["completeness_gap"] < 1e-4
    assert (
        min(np.abs(path_values).max() for path_values in explanation.parts.values()) > 0
    )


# ---- arguments -----------------------------------------------------------------------


def test_refusals():
    net = seeded(Shared)
    inputs = shared_inputs()
    with pytest.raises(
        pg.InputError, match=r"references must be an integer of at least 1, got 0"
    ):
        pg.explain(net, inputs, method=pg.methods.DeepLift(references=0))
    with pytest.raises(
        pg.InputError, match=r"baseline cannot be 'zeroes'. Did you mean 'zeros'"
    ):
        pg.explain(net, inputs, method=pg.methods.DeepLift(baseline="zeroes"))
    model = pg.Model(net, returns="logits")
    with pytest.raises(
        pg.InputError, match="A reference class needs an estimator of permgrad"
    ):
        pg.explain(model, inputs, method=pg.methods.DeepLift(baseline="class:1"))
    with pytest.raises(pg.InputError, match=r"must have the shape .* of the inputs"):
        pg.explain(
            net,
            inputs,
            method=pg.methods.DeepLift(baseline={**inputs, "table": drawn(ROWS, 5)}),
        )
