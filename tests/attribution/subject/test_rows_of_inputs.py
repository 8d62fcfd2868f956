"""Networks that take one row a call, and inputs whose first dimension are no rows."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

import permgrad as pg

ROWS = 6
Y = np.arange(ROWS) % 2


def _refused(model, X, y=Y):
    with pytest.raises(pg.InputError) as error:
        pg.explain(model, X, y, n_repeats=2)
    return error.value


# ---- one row a call ------------------------------------------------------------------
class Squeezed(nn.Module):
    """It removes the dimension of rows, and puts it back or not."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        """Return the numbers of one row."""
        if self.how == "plain":
            return self.layer(x)
        if self.how == "view":
            return self.layer(x.view(4))
        if self.how == "asserted":
            assert len(x) == 1
            return self.layer(x)
        return self.layer(x[0]).unsqueeze(0)


@pytest.mark.parametrize("how", ["view", "asserted", "first"])
def test_a_network_of_one_row_a_call(how):
    """The message names batch_size=1, which gives the values of the usual network."""
    X = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))
    net = Squeezed(how)
    error = _refused(net, X)
    assert error.code == "PG032"
    assert error.hint.startswith("It takes rows one by one: pass pg.Model(net, batch_s")
    explanation = pg.explain(pg.Model(net, batch_size=1), X, Y, n_repeats=2)
    usual = pg.explain(Squeezed("plain"), X, Y, n_repeats=2)
    np.testing.assert_allclose(explanation.values, usual.values, atol=1e-6)


@pytest.mark.slow
def test_a_program_exported_for_one_row():
    """Its guard names the size, and the remedy is the same."""
    X = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))
    program = torch.export.export(nn.Linear(4, 2), (X[:1],))
    assert "batch_size=1" in _refused(program, X).hint
    pg.explain(pg.Model(program, batch_size=1), X, Y, n_repeats=2)


def test_what_fails_on_one_row_too_is_not_said_to_take_one():
    """No remedy that does not help."""
    assert "batch_size" not in _refused(nn.Linear(3, 2), torch.randn(ROWS, 4)).hint


# ---- states --------------------------------------------------------------------------
class Recurrent(nn.Module):
    """It takes the first state besides, (layers, rows, hidden)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = nn.GRU(3, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x, state):
        """Return logits."""
        return self.head(self.read(x, state)[0][:, -1])


class Turned(nn.Module):
    """As the message says."""

    def __init__(self, net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x, state):
        """Turn states back."""
        return self.net(x, state.transpose(0, 1).contiguous())


@pytest.mark.parametrize("rows", [ROWS, 2])  # with two rows, all lengths agree
def test_states_with_layers_first(rows):
    """A wrapper is named, whether or not the lengths agree."""
    x = torch.randn(rows, 4, 3)
    state = torch.randn(2, rows, 5)
    y = Y[:rows]
    error = _refused(Recurrent(), {"x": x, "state": state}, y)
    assert "with rows first, such as" in error.hint
    assert "self.net(x, state.transpose(0, 1).contiguous())" in error.hint
    assert "batch_size" not in error.hint


def test_states_in_the_wrapper_that_is_named():
    """Both inputs have an effect."""
    X = {"x": torch.randn(ROWS, 4, 3), "state": torch.randn(ROWS, 2, 5)}
    values = pg.explain(Turned(Recurrent()), X, Y, groups="modality").values
    assert (np.abs(values).max(axis=1) > 0).all()


def test_a_sequence_with_places_first():
    """Both inputs are named."""
    X = {"x": torch.randn(4, ROWS, 3), "state": torch.randn(2, ROWS, 5)}
    assert _refused(Recurrent(), X).hint.startswith("Pass x, state with rows first")


# ---- offsets -------------------------------------------------------------------------
class Bags(nn.Module):
    """Texts one after the other, and where each begins."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.EmbeddingBag(9, 2)

    def forward(self, text, offsets):
        """Return logits."""
        return self.net(text, offsets)


class OfRows(nn.Module):
    """As the message says."""

    def __init__(self, net) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids):
        """Join texts."""
        return self.net(ids.flatten(), torch.arange(0, ids.numel(), ids.shape[1]))


def test_offsets_of_an_embedding_bag():
    """Indices of two dimensions, in the wrapper that is named."""
    ids = torch.randint(0, 9, (ROWS, 3), generator=torch.Generator().manual_seed(0))
    X = {"text": ids.flatten(), "offsets": torch.arange(0, 3 * ROWS, 3)}
    error = _refused(Bags(), X)
    assert error.code == "PG007"
    assert "ids (rows, places)" in error.hint
    assert "torch.arange(0, ids.numel(), ids.shape[1])" in error.hint
    explanation = pg.explain(OfRows(Bags()), ids, Y, n_repeats=2)
    assert explanation.names == ("ids[0]", "ids[1]", "ids[2]")


# ---- one value for all rows ----------------------------------------------------------
class Timed(nn.Module):
    """A time of each row, or of all."""

    def __init__(self, *, by_row: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.by_row = by_row
        self.layer = nn.Linear(4, 2)

    def forward(self, x, time):
        """Return logits."""
        return self.layer(x) * (time[:, None] if self.by_row else time)


def test_a_time_of_one_value():
    """Each of the two remedies works for the network that it is for."""
    x = torch.randn(ROWS, 4)
    time = torch.tensor([3.0])
    for by_row in (True, False):
        hint = _refused(Timed(by_row=by_row), {"x": x, "time": time}).hint
        assert f"for each of the {ROWS} rows, with pg.Model(net, hold=['time'])" in hint
        assert "net.forward = functools.partial(net.forward, time=time)" in hint
    held_model = pg.Model(Timed(by_row=True), hold=["time"])
    explanation = pg.explain(
        held_model, {"x": x, "time": time.expand(ROWS)}, Y, n_repeats=2
    )
    net = Timed(by_row=False)
    net.forward = functools.partial(net.forward, time=time)
    for_all = pg.explain(net, {"x": x}, Y, n_repeats=2)
    assert explanation.names == for_all.names == ("x[0]", "x[1]", "x[2]", "x[3]")
    np.testing.assert_allclose(explanation.values, for_all.values, atol=1e-6)


def test_other_lengths_keep_their_message():
    """Nothing is guessed of what fits no kind."""
    X = {"x": torch.randn(ROWS, 4), "time": torch.randn(ROWS - 1)}
    assert _refused(Timed(by_row=True), X).hint == "Pass the same rows of each input"


# ---- a dict of which one value is the input ------------------------------------------
class Volumes(nn.Module):
    """It takes one volume, as networks of medical images do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolve = nn.Conv3d(1, 2, 3)

    def forward(self, x):
        """Return logits."""
        return self.convolve(x).mean((2, 3, 4))


def test_a_batch_of_several_keys_for_a_network_of_one_input():
    """A short message names the value that the network takes."""
    batch = {"image": torch.randn(ROWS, 1, 4, 4, 4), "weight": torch.ones(ROWS)}
    batch |= {"start": torch.zeros(ROWS, 3), "box": torch.zeros(ROWS, 2, 3)}
    error = _refused(Volumes(), batch)
    assert str(error) == (
        "The network takes one input, and X is a dict of 4 (image, weight, start, "
        "box). Pass the one that it takes: X['image']. [PG032]"
    )
    pg.explain(Volumes(), batch["image"], Y, n_repeats=2)


def test_texts_within_a_batch_are_left_out_with_their_key():
    """A key of X is named, not a name within its value."""
    files = {"file": [f"{row}.nii" for row in range(ROWS)]}
    batch = {"image": torch.randn(ROWS, 1, 4, 4, 4), "meta": files}
    error = _refused(Volumes(), batch)
    assert "'meta.file'. Pass its numbers, or leave meta out" in str(error)
    assert len(str(error)) < 250
    del batch["meta"]
    pg.explain(Volumes(), batch, Y, n_repeats=2)
