"""DeepLIFT: every function that has a rule, by name, and every form in which a network
may call it.
"""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution.slopes.rescale import CURVED, SCALE_FREE, STRAIGHT, SecantWalk

ROWS = 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


#: Weights, shifts and a mask that are neither ones nor zeros, so that to leave one out
#: or to take another is noticed.
WEIGHTS = drawn(4, seed=7)
SHIFTS = drawn(4, seed=8)
MASK = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])
BIAS = drawn(3, 3, seed=9)


def drawn_weights(module: nn.Module) -> nn.Module:
    """Return a module in float64 with weights that are drawn: those of norms are ones
    and zeros at first.
    """
    module = module.double().eval()
    for parameter_index, parameter in enumerate(module.parameters()):
        parameter.data = drawn(*parameter.shape, seed=20 + parameter_index)
    return module


def walked(function, start: list[Tensor], stop: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return Σ slopes · changes and the change of the output, ``(rows, outputs)``; the
    outputs are those of torch.
    """
    shapes = []

    def forward(leaves):
        returned = function(*[leaf.clone() for leaf in leaves])
        shapes.append(returned.shape)
        return returned.reshape(len(leaves[0]), -1)

    walk = SecantWalk(forward)
    before = walk.stand(start)
    after, slopes = walk.step(stop, range(before.shape[1]), last=True)
    assert walk.matched
    for points, outputs in ((start, before), (stop, after)):
        torch.testing.assert_close(outputs, forward(points), rtol=0, atol=1e-13)
    assert len(set(shapes)) == 1
    triples = zip(slopes, start, stop, strict=True)
    return sum(
        (slope * (end - begin)).flatten(2).sum(2) for slope, begin, end in triples
    ).T, after - before


def assert_adds_up(function, *shapes: tuple[int, ...], rows: int = ROWS) -> None:
    start = [
        drawn(rows, *shape, seed=input_index)
        for input_index, shape in enumerate(shapes)
    ]
    stop = [
        drawn(rows, *shape, seed=100 + input_index)
        for input_index, shape in enumerate(shapes)
    ]
    total, change = walked(function, start, stop)
    assert change.abs().max() > 1e-3
    torch.testing.assert_close(total, change, rtol=0, atol=1e-12)


# ---- by name -------------------------------------------------------------------------

#: What these need beside the values.
MORE = {
    "threshold": (0.1, 0.2), "_threshold": (0.1, 0.2), "clamp": (-0.5, 0.7), "clip": (-0.5, 0.7), "clamp_min": (0.1,),
    "clamp_max": (0.1,), "pow": (3,), "float_power": (3,),
    "prelu": (nn.Parameter(torch.tensor([0.3], dtype=torch.float64)),),
    "heaviside": (torch.tensor(0.5, dtype=torch.float64),),
}  # fmt: skip
#: Where a function is defined, or changes at all: values between these.
BETWEEN = {
    "acosh": (1.1, 3.0),
    "atanh": (-0.9, 0.9),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "tan": (-1.2, 1.2),
}
BETWEEN |= dict.fromkeys(
    ("log", "log2", "log10", "sqrt", "rsqrt", "log1p", "reciprocal"), (0.2, 3.0)
)


def function_named(name: str):
    """Return a function of torch and what is given beside the values, from where users
    find it.
    """
    if name == "__rpow__":
        return lambda x: 2**x
    namespaces = (torch, functional, torch.special, torch._C._nn)
    return next(getattr(namespace, name.removeprefix("special_")) for namespace in namespaces if hasattr(namespace, name) or (
        namespace is torch.special and name.startswith("special_")
    ))  # fmt: skip


@pytest.mark.parametrize("name", sorted(STRAIGHT | CURVED | SCALE_FREE))
def test_every_named_function_has_its_secant(name):
    """One number for each row: the slope is the change of the output over that of the
    input.
    """
    function = functools.partial(function_named(name))
    low, high = BETWEEN.get(name, (-3.0, 3.0))
    start, stop = (
        low + (high - low) * torch.sigmoid(3 * drawn(40, 1, seed=seed))
        for seed in (1, 2)
    )
    total, change = walked(lambda x: function(x, *MORE.get(name, ())), [start], [stop])
    assert change.abs().max() > 1e-2
    torch.testing.assert_close(total, change, rtol=0, atol=1e-12)


# ---- forms ---------------------------------------------------------------------------

norm = torch.linalg.vector_norm
attention = functional.scaled_dot_product_attention
FORMS = {
    "layer normalisation": (drawn_weights(nn.LayerNorm(4, eps=0.3)), (4,)),
    "layer normalisation over two": (drawn_weights(nn.LayerNorm((3, 4), eps=0.3)), (3, 4)),
    "layer normalisation without shifts": (lambda x: functional.layer_norm(x, (4,), WEIGHTS, eps=0.3), (4,)),
    "layer normalisation by keyword": (
        lambda x: functional.layer_norm(x, normalized_shape=(4,), bias=SHIFTS, weight=WEIGHTS, eps=0.2), (4,)
    ),
    "layer normalisation of torch": (lambda x: torch.layer_norm(x, (4,)), (4,)),
    "layer normalisation of torch with weights": (lambda x: torch.layer_norm(x, (4,), WEIGHTS), (4,)),
    "layer normalisation of torch by keyword": (
        lambda x: torch.layer_norm(x, normalized_shape=(4,), weight=WEIGHTS, eps=0.3), (4,)
    ),
    "root mean square": (drawn_weights(nn.RMSNorm(4, eps=0.3)), (3, 4)),
    "root mean square over two": (drawn_weights(nn.RMSNorm((3, 4))), (3, 4)),
    "root mean square of torch": (lambda x: torch.rms_norm(x, (4,), WEIGHTS, 0.4), (4,)),
    "root mean square of torch by keyword": (lambda x: torch.rms_norm(x, (4,), eps=0.4), (4,)),
    "groups": (drawn_weights(nn.GroupNorm(2, 4, eps=0.3)), (4,)),
    "groups of pictures": (drawn_weights(nn.GroupNorm(2, 4, eps=0.3)), (4, 3, 2)),
    "groups of torch": (lambda x: torch.group_norm(x, 2), (4, 3)),
    "groups of torch with weights": (lambda x: torch.group_norm(x, 2, WEIGHTS), (4, 3)),
    "groups of torch by keyword": (lambda x: torch.group_norm(x, num_groups=2, bias=SHIFTS, eps=0.3), (4, 3)),
    "groups without weights": (lambda x: functional.group_norm(x, 2, bias=SHIFTS, eps=0.2), (4, 3)),
    "instances": (drawn_weights(nn.InstanceNorm2d(4, affine=True, eps=0.3)), (4, 3, 2)),
    "instances of series": (drawn_weights(nn.InstanceNorm1d(4, affine=True, eps=0.2)), (4, 5)),
    "instances, known": (
        drawn_weights(nn.InstanceNorm1d(4, affine=True, track_running_stats=True)), (4, 5)
    ),
    "instances by keyword": (
        lambda x: torch.instance_norm(
            x, weight=WEIGHTS, bias=SHIFTS, running_mean=None, running_var=None, use_input_stats=True, momentum=0.1,
            eps=0.3, cudnn_enabled=False,
        ),
        (4, 5),
    ),
    "batches": (drawn_weights(nn.BatchNorm1d(4, eps=0.3)), (4,)),
    "softmax": (lambda x: functional.softmax(x, 1), (4, 3)),
    "softmax by keyword": (lambda x: torch.softmax(x, dim=1), (4, 3)),
    "softmax by all keywords": (lambda x: torch.softmax(input=x, dim=-1), (4, 3)),
    "softmax in a precision": (lambda x: functional.softmax(x, 1, dtype=torch.float64), (4, 3)),
    "logarithm of softmax": (lambda x: x.log_softmax(1), (4, 3)),
    "logarithm of softmax in a precision": (lambda x: torch.log_softmax(x, dim=1, dtype=torch.float64), (4, 3)),
    "gate over a dimension": (lambda x: functional.glu(x, dim=1), (4, 3)),
    "gate below, by keyword": (lambda x: torch._C._nn.glu(x, dim=1), (4, 3)),
    "gate below": (torch._C._nn.glu, (3, 4)),
    "gate over the last": (functional.glu, (3, 4)),
    "length": (lambda x: norm(x, 2, 1), (4, 3)),
    "length by keyword": (lambda x: norm(x, ord=2, dim=2, keepdim=True), (4, 3)),
    "length by all keywords": (lambda x: norm(x=x, dim=-1), (4, 3)),
    "length by position": (lambda x: norm(x, 2, 1, True), (4, 3)),
    "length over two": (lambda x: norm(x, dim=(1, 2), keepdim=True), (4, 3)),
    "method length": (lambda x: x.norm(2, 1), (4, 3)),
    "deviation": (lambda x: x.std(1), (4, 3)),
    "deviation by position": (lambda x: torch.std(x, 2, False, True), (4, 3)),
    "deviation over two": (lambda x: x.std(dim=(1, 2), keepdim=True), (4, 3)),
    "deviation of a population": (lambda x: x.std(1, unbiased=False), (4, 3)),
    "variance": (lambda x: torch.var(x, 1), (4, 3)),
    "variance by keyword": (lambda x: torch.var(input=x, dim=2), (4, 3)),
    "variance with two lost": (lambda x: x.var(dim=1, correction=2), (4, 3)),
    "variance with none lost": (lambda x: x.var((1, 2), correction=0, keepdim=True), (4, 3)),
    "logarithm of a sum": (lambda x: x.logsumexp(1), (4, 3)),
    "logarithm of a sum over a list": (lambda x: torch.logsumexp(x, dim=(2,), keepdim=True), (4, 3)),
    "logarithm of a sum by position": (lambda x: torch.logsumexp(x, 1, True), (4, 3)),
    "largest, kept": (lambda x: x.max(1, True).values, (4, 3)),
    "largest by keyword": (lambda x: torch.max(x, dim=2, keepdim=True)[0], (4, 3)),
    "smallest by keyword": (lambda x: torch.min(input=x, dim=-1)[0], (4, 3)),
    "smallest of two": (torch.min, (3,), (3,)),
    "smallest of two by keyword": (lambda x, y: torch.min(x, other=y), (3,), (3,)),
    "largest of two by all keywords": (lambda x, y: torch.max(input=x, other=y), (3,), (3,)),
    "minimum of two by keyword": (lambda x, y: torch.minimum(x, other=y), (3,), (3,)),
    "amin over a tuple": (lambda x: x.amin((2,)), (4, 3)),
    "windows": (lambda x: functional.max_pool2d(x, 3, 2, 1, 1, True), (2, 6, 6)),
    "windows with gaps": (lambda x: functional.max_pool1d(x, 2, dilation=2, stride=1), (2, 7)),
    "windows that adapt": (lambda x: functional.adaptive_max_pool1d(x, 3), (2, 7)),
    "windows that adapt in space": (lambda x: functional.adaptive_max_pool3d(x, (1, 2, 2)), (2, 3, 4, 4)),
    "windows that adapt, with places": (lambda x: functional.adaptive_max_pool2d(x, 2, True)[0], (2, 5, 5)),
    "windows with places by position": (
        lambda x: functional.max_pool2d(x, 2, 2, 0, 1, False, True)[0], (2, 4, 4)
    ),
    "attention among some": (lambda q, k, v: attention(q, k, v, MASK), (3, 4), (3, 4), (3, 4)),
    "attention to what came before": (lambda q, k, v: attention(q, k, v, None, 0.0, True), (3, 4), (3, 4), (3, 4)),
    "attention with a bias": (lambda q, k, v: attention(q, k, v, attn_mask=BIAS), (3, 4), (3, 4), (3, 4)),
    "attention with a scale": (lambda q, k, v: attention(q, k, v, scale=0.3), (3, 4), (3, 4), (3, 4)),
    "attention of all by keyword": (
        lambda q, k, v: attention(query=q, key=k, value=v, dropout_p=0.0), (3, 4), (5, 4), (5, 2)
    ),
    "attention of heads": (lambda q, k, v: attention(q, k, v, is_causal=True), (2, 3, 4), (2, 3, 4), (2, 3, 4)),
    "choice of the second alone": (lambda x: torch.where(x > 0, torch.zeros(3), x), (3,)),
    "quotient of tensors": (lambda x, y: torch.div(x, torch.exp(y)), (3,), (3,)),
    "quotient in place": (lambda x, y: (x + 0).div_(torch.exp(y)), (3,), (3,)),
    "product with a weight": (lambda x: torch.mul(x, WEIGHTS), (4,)),
    "product of matrices, one known": (lambda x: torch.mm(x, torch.stack([WEIGHTS, SHIFTS], dim=1)), (4,)),
    "products of matrices, one by one": (
        lambda x, y: torch.stack([torch.mm(left_matrix, two) for left_matrix, two in zip(x, y, strict=True)]), (3, 4), (4, 2)
    ),
    "powers by known numbers": (lambda x: torch.pow(torch.exp(x), WEIGHTS), (3, 4)),
    "cut at known numbers": (lambda x: torch.clamp(x, min=-WEIGHTS.abs(), max=SHIFTS.abs()), (4,)),
    "cut at known numbers by place": (lambda x: x.clamp(-WEIGHTS.abs(), SHIFTS.abs()), (3, 4)),
    "cut at one known number": (lambda x: x.clamp(min=WEIGHTS[:1]), (3, 4)),
    "cut in place at known numbers": (lambda x: (x * 2).clamp_(max=WEIGHTS), (4,)),
    "power in place": (lambda x: (x + 0).pow_(2), (3,)),
    "in place after others": (lambda x: torch.tanh((x * 2).relu_().sub_(0.5).tanh_()), (3,)),
    "bilinear": (drawn_weights(nn.Bilinear(3, 4, 2)), (3,), (4,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_adds_up(name):
    function, *shapes = FORMS[name]
    assert_adds_up(function, *shapes)


#: Over all numbers, the rows' too: one row alone, whose numbers are then all.
OVER_ALL = {
    "length": norm,
    "method length": lambda x: x.norm(),
    "variance": lambda x: x.var(),
    "variance of a population": lambda x: x.var(correction=0),
    "deviation": torch.std,
}


@pytest.mark.parametrize("name", OVER_ALL)
def test_over_all_numbers(name):
    assert_adds_up(OVER_ALL[name], (4, 3), rows=1)


@pytest.mark.parametrize(
    "function",
    [
        torch.pow,
        lambda x, y: torch.pow(x, exponent=y),
        torch.clamp_min,
        lambda x, y: torch.clamp(x, min=y),
        lambda x, y: x.clamp(max=y),
        lambda x, y: (x * 1).clamp_(max=y),
        lambda x, y: x[:, :1].clamp(max=y),
        lambda x, y: x[:, :1].clamp(min=WEIGHTS[:3]) + y,
    ],
)
def test_a_function_of_two_tensors_without_a_rule_keeps_both_gradients(function):
    start, stop = (
        [
            torch.sigmoid(drawn(ROWS, 3, seed=seed + seed_offset))
            for seed_offset in (0, 1)
        ]
        for seed in (1, 3)
    )
    walk = SecantWalk(lambda leaves: function(*leaves))
    walk.stand(start)
    _, slopes = walk.step(stop, range(3), last=True)
    leaves = [value.clone().requires_grad_() for value in stop]
    expected = torch.autograd.grad(function(*leaves).sum(), leaves)
    for slope, gradient in zip(slopes, expected, strict=True):
        assert gradient.abs().max() > 0.1
        torch.testing.assert_close(slope.sum(dim=0), gradient)


# ---- what comes beside the values ----------------------------------------------------


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("name", ["max", "min"])
def test_the_largest_are_told_with_their_places(name, dim, keepdim):
    start = drawn(ROWS, 5, 3)
    stop = drawn(ROWS, 5, 3, seed=100)
    maxima = []

    def forward(leaves):
        maxima.append(getattr(torch, name)(leaves[0], dim, keepdim=keepdim))
        return maxima[-1].values.flatten(1)

    walk = SecantWalk(forward)
    walk.stand([start])
    walk.step([stop], [0])
    for walked_maximum, points in zip(maxima, (start, stop), strict=True):
        expected = getattr(torch, name)(points, dim, keepdim=keepdim)
        assert type(walked_maximum) is type(expected)
        assert torch.equal(walked_maximum.values, expected.values)
        assert torch.equal(walked_maximum.indices, expected.indices)
    assert not torch.equal(maxima[0].indices, maxima[1].indices)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: functional.max_pool2d(x, 2, return_indices=True),
        lambda x: functional.max_pool2d_with_indices(x, 3, 2, 1),
        lambda x: functional.adaptive_max_pool2d(x, 2, return_indices=True),
        nn.MaxPool2d(2, return_indices=True),
    ],
)
def test_windows_are_told_with_their_places(pool):
    start = drawn(ROWS, 2, 4, 4)
    stop = drawn(ROWS, 2, 4, 4, seed=100)
    pooled_outputs = []

    def forward(leaves):
        pooled_outputs.append(pool(leaves[0]))
        return pooled_outputs[-1][0].flatten(1)

    walk = SecantWalk(forward)
    walk.stand([start])
    walk.step([stop], [0])
    for pooled_output, points in zip(pooled_outputs, (start, stop), strict=True):
        assert torch.equal(pooled_output[1], pool(points)[1])
    assert not torch.equal(pooled_outputs[0][1], pooled_outputs[1][1])


@pytest.mark.parametrize("output", [torch.softmax, torch.log_softmax])
def test_a_softmax_asked_for_in_another_precision(output):
    """In float32 the values change by what float32 holds; what is made of them is
    float64.
    """
    start = drawn(ROWS, 4)
    stop = drawn(ROWS, 4, seed=100)
    total, change = walked(
        lambda x: output(x.float(), 1, dtype=torch.float64), [start], [stop]
    )
    assert change.dtype == torch.float64
    assert change.abs().max() > 0.1
    torch.testing.assert_close(total, change, rtol=0, atol=1e-6)


def test_a_sum_of_infinities_is_left_to_torch():
    """log Σ exp of nothing but −∞ is −∞: no slope, and the other columns are as they
    would be alone.
    """
    lost = torch.tensor([0.0, 0.0, -torch.inf], dtype=torch.float64)
    start = drawn(ROWS, 3)
    stop = drawn(ROWS, 3, seed=100)
    walk = SecantWalk(lambda leaves: (leaves[0] + lost).logsumexp(1, keepdim=True))
    before = walk.stand([start])
    after, slopes = walk.step([stop], [0])
    torch.testing.assert_close(
        before, start[:, :2].logsumexp(1, keepdim=True), rtol=0, atol=1e-13
    )
    torch.testing.assert_close(
        after, stop[:, :2].logsumexp(1, keepdim=True), rtol=0, atol=1e-13
    )
    assert torch.isfinite(slopes[0]).all()
    assert (slopes[0][..., 2] == 0).all()
