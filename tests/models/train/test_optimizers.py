"""Adam and AdamW called directly are torch's own, bit for bit, and read each other's
states.
"""

from __future__ import annotations

import textwrap

import pytest
import torch
from apart import run_script
from torch import Tensor

from permgrad.models.train.learner import Adam

KINDS = {True: torch.optim.AdamW, False: torch.optim.Adam}
SHAPES = [(3, 4), (4,), (), (2, 3, 2, 2)]


def weights(seed: int = 0) -> list[torch.nn.Parameter]:
    drawn = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=drawn)) for shape in SHAPES]


def groups(of: list[torch.nn.Parameter]) -> list[dict]:
    """Two groups; the second decays by a rate of its own."""
    return [{"params": of[:2]}, {"params": of[2:], "weight_decay": 0.5}]


def pair(*, decoupled: bool) -> tuple[Adam, list, torch.optim.Optimizer, list]:
    own_weights = weights()
    twin = weights()
    options = {"lr": 1e-2, "weight_decay": 0.1}
    ours = Adam(groups(own_weights), decoupled=decoupled, **options)
    return (
        ours,
        own_weights,
        KINDS[decoupled](groups(twin), fused=True, **options),
        twin,
    )


def give_gradients(
    to: list[torch.nn.Parameter], step: int, without: tuple[int, ...] = ()
) -> None:
    drawn = torch.Generator().manual_seed(100 + step)
    for weight_index, weight in enumerate(to):
        slope = torch.randn(weight.shape, generator=drawn)
        weight.grad = None if weight_index in without else slope


def walk(
    optimizer, of: list, steps: range, without: dict[int, tuple[int, ...]] | None = None
) -> list[Tensor]:
    """Take steps at changing rates; some weights may be without a gradient in some
    steps.
    """
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        give_gradients(of, step, (without or {}).get(step, ()))
        optimizer.step()
        for weight in of:
            weight.grad = None
    return [weight.detach().clone() for weight in of]


def assert_same(first_tensors: list[Tensor], second_tensors: list[Tensor]) -> None:
    assert all(
        torch.equal(a, b) for a, b in zip(first_tensors, second_tensors, strict=True)
    )


@pytest.mark.parametrize(
    "without",
    [{}, {0: (1,), 2: (0, 3), 4: (2,)}, {1: (0, 1, 2, 3)}],
    ids=["all", "some", "none"],
)
@pytest.mark.parametrize("decoupled", [True, False], ids=["AdamW", "Adam"])
def test_steps_are_torchs(decoupled, without):
    ours, own_weights, theirs, twin = pair(decoupled=decoupled)
    found_weights = walk(ours, own_weights, range(7), without)
    expected_weights = walk(theirs, twin, range(7), without)
    # Precondition: every weight has moved.
    assert all((a != b).any() for a, b in zip(found_weights, weights(), strict=True))
    assert_same(found_weights, expected_weights)


@pytest.mark.parametrize("decoupled", [True, False], ids=["AdamW", "Adam"])
def test_the_two_kinds_differ(decoupled):
    ours, own_weights, *_ = pair(decoupled=decoupled)
    other_optimizer, twin, *_ = pair(decoupled=not decoupled)
    assert not torch.equal(
        walk(ours, own_weights, range(3))[0], walk(other_optimizer, twin, range(3))[0]
    )


@pytest.mark.parametrize("without", [{}, {0: (1,), 1: (3,)}], ids=["all", "some"])
@pytest.mark.parametrize("way", ["ours to ours", "torch to ours", "ours to torch"])
def test_states_go_from_one_to_the_other(way, without, tmp_path):
    ours, own_weights, theirs, twin = pair(decoupled=True)
    first, of = (theirs, twin) if way.startswith("torch") else (ours, own_weights)
    walk(first, of, range(3), without)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    expected_weights = walk(first, of, range(3, 6))

    second, other_weights, torchs, torch_weights = pair(decoupled=True)
    into, goes_on = (
        (torchs, torch_weights) if way.endswith("torch") else (second, other_weights)
    )
    walk(into, goes_on, range(50, 52))  # what it knew before is forgotten
    into.load_state_dict(state)
    with torch.no_grad():
        ours_now, own_now, *_ = pair(decoupled=True)
        walk(ours_now, own_now, range(3), without)
        for weight, value in zip(goes_on, own_now, strict=True):
            weight.copy_(value)
    assert_same(walk(into, goes_on, range(3, 6)), expected_weights)


def test_a_state_before_the_first_step_is_empty():
    ours, own_weights, *_ = pair(decoupled=True)
    before = ours.state_dict()
    assert before["state"] == {}
    expected_weights = walk(ours, own_weights, range(2))
    again, other_weights, *_ = pair(decoupled=True)
    walk(again, other_weights, range(5))
    again.load_state_dict(before)
    with torch.no_grad():
        for weight, value in zip(other_weights, weights(), strict=True):
            weight.copy_(value)
    assert_same(walk(again, other_weights, range(2)), expected_weights)


def test_no_weights_no_steps():
    nothing = Adam([{"params": []}], lr=0.1, weight_decay=0.0, decoupled=True)
    nothing.step()
    assert nothing.state_dict()["state"] == {}


@pytest.mark.slow
def test_training_loads_no_compiler(tmp_path):
    code = """
    import sys
    import numpy as np, permgrad as pg
    X = np.random.default_rng(0).normal(size=(60, 3))
    for optimizer in ("adamw", "adam", "sgd"):
        pg.HyNNRegressor(preset={"base": "fast", "optimizer": optimizer}, max_epochs=1, progress=False).fit(X, X[:, 0])
        print(optimizer, "torch._dynamo" in sys.modules)
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(code))
    ended = run_script(tmp_path / "program.py", cwd=tmp_path)
    # Torch's own optimizer loads it: otherwise this would say nothing.
    assert ended.stdout.split("\n")[:3] == ["adamw False", "adam False", "sgd True"]
