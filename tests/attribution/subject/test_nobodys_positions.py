"""Positions of an input that no player owns: whatever a method replaces or moves, there
the row stays as it is.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject import network as subject

ROWS = 6
BACKGROUND = 9
MASK = np.array([[-1, 0, 0, -1], [1, 1, -1, 2]])
OWNED = torch.as_tensor(MASK >= 0)
METHODS = {
    "permgrad": ("permgrad", {"n_repeats": 3}),
    "permutation": ("permutation", {"n_repeats": 3}),
    "ablation": ("ablation", {}),
    "shapley, all": ("shapley", {}),
    "shapley, sampled": ("shapley", {"exact": 0, "max_permutations": 8}),
    "lime": ("lime", {"samples": 40, "neighbourhood": "coalition"}),
    "lime, moved": ("lime", {"samples": 40, "neighbourhood": "gaussian"}),
    "integrated gradients": ("integrated_gradients", {"baseline": "background"}),
    "integrated gradients in steps": (
        "integrated_gradients",
        {"baseline": "mean", "steps": 7},
    ),
    "deeplift": ("deeplift", {"baseline": "background"}),
}


def drawn(rows: int, seed: int) -> Tensor:
    return torch.randn(
        rows, 2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


class Seeing(nn.Module):
    """Keeps every picture that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1)
        )
        self.seen: list[Tensor] = []

    def forward(self, picture: Tensor) -> Tensor:
        self.seen.append(picture.detach().clone())
        return self.layers(picture)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("name", METHODS)
def test_what_nobody_owns_is_the_rows_own(name, monkeypatch):
    method, options = METHODS[name]
    # Before anybody knows who owns what, mixtures tell whether rows are independent,
    # and how inputs are read.
    monkeypatch.setattr(subject, "check_row_independence", lambda *_: None)
    monkeypatch.setattr(subject, "find_readings", lambda *_: {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Seeing().double()
    rows = drawn(ROWS, 0)
    background = drawn(BACKGROUND, 1)
    call_options = {
        "background": background,
        "segments": MASK,
        "random_state": 0,
        "progress": False,
        "task": "regression",
    }
    explanation = explain_with(
        net, rows, method=method, scope="local", **call_options, **options
    )
    assert len(explanation.names) == 3
    assert np.abs(explanation.values).max() > 1e-3
    seen_rows = torch.cat(net.seen)
    true_rows = torch.cat([rows, background])
    # Where nobody owns anything each picture shows one row, explained or of the
    # background, and no mixture.
    outside = seen_rows[:, ~OWNED]
    inside = seen_rows[:, OWNED]
    apart = (outside[:, None] - true_rows[None][:, :, ~OWNED]).abs().amax(dim=2)
    assert apart.amin(dim=1).max() < 1e-9
    whose = apart.argmin(dim=1)
    edited = (inside - true_rows[whose][:, OWNED]).abs().amax(dim=1) > 1e-9
    assert edited.any(), "something was replaced"
    assert (whose[edited] < ROWS).float().mean() > 0.5, (
        "mostly in the rows explained; a few trials need the background"
    )


@pytest.mark.parametrize(
    "name", ["permutation", "shapley, all", "lime", "integrated gradients", "deeplift"]
)
def test_a_network_that_reads_only_what_nobody_owns_owes_the_players_nothing(name):
    class Outside(nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            return (
                picture[:, ~OWNED].tanh().sum(dim=1, keepdim=True)
                + 0 * picture.sum(dim=(1, 2))[:, None]
            )

    method, options = METHODS[name]
    with pytest.warns(pg.PermgradWarning, match="exactly 0"):
        explanation = explain_with(
            Outside(),
            drawn(ROWS, 0),
            method=method,
            scope="local",
            background=drawn(BACKGROUND, 1),
            random_state=0,
            progress=False,
            segments=MASK,
            task="regression",
            **options,
        )
    np.testing.assert_array_equal(explanation.values, 0)
