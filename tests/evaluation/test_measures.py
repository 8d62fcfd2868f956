"""Measures of explanations: closed forms, and Quantus where it computes the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from permgrad.evaluation.measures import (
    area,
    draw_weights_anew,
    entropy,
    gini,
    infidelity,
    max_sensitivity,
    rank_agreement,
    removal_curves,
)

RNG = np.random.default_rng(0)


# ---- closed forms --------------------------------------------------------------------
def test_curves_of_a_sum_fall_by_one_value_at_a_time():
    values = np.array([[3.0, 1.0, 2.0], [1.0, 5.0, 0.0]])
    order = np.argsort(-values, axis=1)
    curves = removal_curves(lambda replaced: (values * ~replaced).sum(axis=1), order)
    assert curves.deletion.tolist() == [[6, 3, 1, 0], [6, 1, 0, 0]]
    assert curves.insertion.tolist() == [[0, 3, 5, 6], [0, 5, 6, 6]]
    np.testing.assert_allclose(area(curves.shares, curves.deletion), [7 / 3, 4 / 3])
    best = area(curves.shares, curves.deletion)[0]
    for other_order in itertools.permutations(range(3)):
        removal_result = removal_curves(
            lambda replaced: (values * ~replaced).sum(axis=1),
            np.array([other_order, other_order]),
        )
        assert area(removal_result.shares, removal_result.deletion)[0] >= best


def test_curves_take_at_most_so_many_steps():
    values = RNG.normal(size=(2, 100))
    curves = removal_curves(
        lambda replaced: replaced.sum(axis=1).astype(float),
        np.argsort(-values, axis=1),
        10,
    )
    assert curves.deletion.tolist() == [list(range(0, 101, 10))] * 2
    assert curves.shares.tolist() == [k / 10 for k in range(11)]


def test_infidelity_is_zero_for_the_terms_of_a_sum_and_grows_with_each_error():
    values = RNG.normal(size=(6, 4))
    replaced = RNG.random((50, 6, 4)) < 0.5
    changes = (replaced * values).sum(axis=2)
    np.testing.assert_allclose(infidelity(values, replaced, changes), 0, atol=1e-28)
    wrong = values + np.array([0.5, 0, 0, 0])
    np.testing.assert_allclose(
        infidelity(wrong, replaced, changes), 0.25 * replaced[:, :, 0].mean(axis=0)
    )
    np.testing.assert_allclose(
        infidelity(7 * values, replaced, changes, scaled=True), 0, atol=1e-25
    )
    assert (infidelity(7 * values, replaced, changes) > 1e-3).all()


def test_sensitivity_is_the_largest_relative_change():
    values = np.array([[3.0, 4.0], [0.0, 0.0]])
    moved = values + np.array([[[0.0, 1.0]], [[0.0, 2.0]]])
    first, second = max_sensitivity(values, moved)
    assert first == 2 / 5
    assert np.isnan(second)


def test_sparsity_and_complexity_at_their_ends():
    alone = np.array([[0.0, -4.0, 0.0, 0.0]])
    alike = np.array([[1.0, -1.0, 1.0, 1.0]])
    assert gini(alone)[0] == 3 / 4
    assert gini(alike)[0] == 0
    assert entropy(alone)[0] == 0
    assert entropy(alike)[0] == pytest.approx(np.log(4))
    assert np.isnan(gini(np.zeros((1, 3)))[0])
    assert np.isnan(entropy(np.zeros((1, 3)))[0])


def test_agreement_is_that_of_the_ranks_of_sizes():
    first = np.array([[1.0, -2.0, 3.0], [1.0, 1.0, 1.0]])
    second = np.array([[-10.0, 20.0, 30.0], [1.0, 2.0, 3.0]])
    agreement = rank_agreement(first, second)
    assert agreement[0] == 1
    assert np.isnan(agreement[1])


class WithToken(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.norm = torch.nn.LayerNorm(3)
        self.token = torch.nn.Parameter(torch.randn(500) * 3 + 1)
        self.attention = torch.nn.MultiheadAttention(4, 2)


def test_all_weights_are_drawn_anew_without_touching_the_random_state():
    torch.manual_seed(0)
    module = WithToken()
    before = {name: value.clone() for name, value in module.named_parameters()}
    state = torch.get_rng_state()
    draw_weights_anew(module, 5)
    assert torch.equal(state, torch.get_rng_state())
    first = {name: value.clone() for name, value in module.named_parameters()}
    for name in (
        "linear.weight",
        "linear.bias",
        "token",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    ):
        assert not torch.equal(before[name], first[name]), name
    token = module.token.detach()
    assert abs(float(token.mean()) - 1) < 0.6
    assert abs(float(token.std()) - 3) < 0.6
    redrawn_network = WithToken()
    redrawn_network.load_state_dict(before)
    draw_weights_anew(redrawn_network, 5)
    assert all(
        torch.equal(first[name], value)
        for name, value in redrawn_network.named_parameters()
    )


# ---- Quantus -------------------------------------------------------------------------
class Images(torch.nn.Module):
    """One channel of 8 × 8 pixels; not linear."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(64, 16)
        self.second = torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x.flatten(1))))


@pytest.fixture(scope="module")
def peer():
    """Return Quantus, a network, rows, classes and attributions."""
    quantus = pytest.importorskip("quantus")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(7, 1, 8, 8)).astype(np.float32)
    net = Images().eval()
    with torch.no_grad():
        labels = net(torch.from_numpy(x)).argmax(dim=1).numpy()
    return quantus, net, x, labels, rng.normal(size=x.shape)


QUIET = {
    "disable_warnings": True,
    "display_progressbar": False,
    "abs": False,
    "normalise": False,
}


def output_of(net, x, labels):
    with torch.no_grad():
        return (
            net(torch.from_numpy(x.astype(np.float32)))
            .numpy()[np.arange(len(x)), labels]
            .astype(float)
        )


def black(x, replaced):
    return np.where(replaced.reshape(x.shape), 0.0, x)


def test_deletion_is_pixel_flipping(peer):
    quantus, net, x, labels, attributions = peer
    flipping = quantus.PixelFlipping(perturb_baseline=0.0, **QUIET)
    theirs = np.array(flipping(net, x, labels, attributions.copy(), softmax=False))
    order = np.argsort(-attributions.reshape(7, -1), axis=1)
    curves = removal_curves(
        lambda replaced: output_of(net, black(x, replaced), labels), order
    )
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(curves.deletion[:, 1:], theirs, atol=1e-6)


def test_infidelity_is_theirs_on_the_same_patches(peer):
    quantus, net, x, labels, attributions = peer
    theirs = quantus.Infidelity(
        perturb_baseline=0.0, perturb_patch_sizes=[4], n_perturb_samples=1, **QUIET
    )(net, x, labels, attributions.copy())  # fmt: skip
    # Patches of four by four turn to 0 one after the other and stay so.
    patch = np.arange(64).reshape(8, 8)
    blocks = [patch[a : a + 4, b : b + 4].ravel() for a in (0, 4) for b in (0, 4)]
    replaced = np.zeros((4, 7, 64), dtype=bool)
    for block_index, _ in enumerate(blocks):
        replaced[block_index][:, np.concatenate(blocks[: block_index + 1])] = True
    before = output_of(net, x, labels)
    changes = np.stack(
        [
            before - output_of(net, black(x, block_mask), labels)
            for block_mask in replaced
        ]
    )
    ours = infidelity((attributions * x).reshape(7, -1), replaced, changes)
    assert np.ptp(ours) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_sensitivity_is_theirs_on_the_same_noise(peer):
    quantus, net, x, labels, _ = peer

    def slopes(model, inputs, targets, **_):
        rows = torch.from_numpy(np.asarray(inputs, dtype=np.float32)).requires_grad_()
        model(rows)[torch.arange(len(rows)), torch.as_tensor(targets)].sum().backward()
        return rows.grad.numpy()

    attributions = slopes(net, x, labels)
    np.random.seed(4)
    metric = quantus.MaxSensitivity(nr_samples=5, lower_bound=0.2, **QUIET)
    theirs = metric(net, x, labels, attributions.copy(), explain_func=slopes)
    np.random.seed(4)
    noisy = [
        x + np.random.uniform(-0.2, 0.2, (7, 64)).reshape(x.shape) for _ in range(5)
    ]
    moved = np.stack(
        [slopes(net, noisy_images, labels).reshape(7, -1) for noisy_images in noisy]
    )
    ours = max_sensitivity(attributions.reshape(7, -1), moved)
    assert (ours > 0.01).all()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_sparsity_and_complexity_are_theirs(peer):
    quantus, net, x, labels, attributions = peer
    options = {**QUIET, "abs": True}
    sparse = quantus.Sparseness(**options)(net, x, labels, attributions.copy())
    np.testing.assert_allclose(gini(attributions.reshape(7, -1)), sparse, atol=1e-6)
    complexity = quantus.Complexity(**options)(net, x, labels, attributions.copy())
    np.testing.assert_allclose(
        entropy(attributions.reshape(7, -1)), complexity, atol=1e-6
    )
    assert np.ptp(sparse) > 0.01


def test_agreement_is_that_of_their_randomisation(peer):
    *_, attributions = peer
    from quantus.functions.similarity_func import correlation_spearman

    sizes = np.abs(attributions.reshape(7, -1))
    other_sizes = np.abs(np.roll(sizes, 1, axis=0))
    theirs = correlation_spearman(sizes, other_sizes, batched=True)
    np.testing.assert_allclose(rank_agreement(sizes, other_sizes), theirs, atol=1e-12)
