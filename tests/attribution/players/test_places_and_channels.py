"""Places of whole numbers that are looked up, channels beside time, and the lengths of
both.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.players.neighbours import (
    channels_beside_time,
    difference,
    may_be_picture,
)

ROWS = 48


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(most: int, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, most, shape, generator=generator)


def smooth(*shape: int) -> Tensor:
    """Return series that are alike along their last dimension alone."""
    steps = drawn(*shape).cumsum(dim=-1)
    return (steps - steps.mean(dim=-1, keepdim=True)) / steps.std()


def names(net: nn.Module, X: Any, y: Any = None, **described: Any) -> tuple[str, ...]:
    model = pg.Model(net, **described)
    return pg.explain(
        model, X, y, method="permutation", n_repeats=2, progress=False
    ).names


def line(model: pg.Model, X: Any, begins: str) -> str:
    return next(
        text_line
        for text_line in model.describe(X).splitlines()
        if text_line.startswith(begins)
    )


# ---- whole numbers, looked up column by column ---------------------------------------


class Calendar(nn.Module):
    """Looks the columns of each day up by themselves, one of them by its distance to
    another.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.start = nn.Embedding(40, 3)
        self.span = nn.Embedding(40, 3)
        self.head = nn.Linear(3 * 5, 1)

    def forward(self, days: Tensor) -> Tensor:
        days = days.long()
        looked_up = self.start(days[..., 0]) + self.span(days[..., 1] - days[..., 0])
        return self.head(looked_up.flatten(1))


def calendar() -> Tensor:
    start = whole(20, ROWS, 5)
    return torch.stack([start, start + whole(9, ROWS, 5, seed=1)], dim=-1)


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.float32])
def test_a_place_of_several_codes_is_one_feature(kind):
    # A start of one row beside an end of another would have no entry of the look-up.
    days = calendar().to(kind)
    mixed = days.clone()
    mixed[..., 1] = days.flip(0)[..., 1]
    assert bool((mixed[..., 1] < mixed[..., 0]).any())
    net = Calendar()
    explanation = pg.explain(
        net, days, method="permutation", n_repeats=30, progress=False
    )
    assert explanation.names == tuple(f"days[{position}]" for position in range(5))
    assert line(pg.Model(net), days, "inputs") == (
        f"inputs: days ({ROWS} rows, 5 places of 2 numbers)"
    )
    with torch.no_grad():
        before = net(days)
        changes = []
        for shift in range(1, ROWS):
            edited = days.clone()
            edited[:, 3] = days.roll(shift, 0)[:, 3]
            changes.append((net(edited) - before).square().mean())
    assert explanation.values[3, 0] == pytest.approx(
        float(torch.stack(changes).mean()), rel=0.2
    )


class Forecaster(nn.Module):
    """Codes and numbers of each step, each column by itself, and how many steps there
    are.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.codes = nn.ModuleList(nn.Embedding(6, 4) for _ in range(3))
        self.numbers = nn.ModuleList(nn.Linear(1, 4) for _ in range(2))
        self.read = nn.GRU(4, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(
        self, decoder_cat: Tensor, decoder_cont: Tensor, decoder_lengths: Tensor
    ) -> Tensor:
        steps = sum(
            layer(decoder_cat[..., column]) for column, layer in enumerate(self.codes)
        )
        for column, layer in enumerate(self.numbers):
            steps = steps + layer(decoder_cont[..., column, None])
        there = torch.arange(steps.shape[1]) < decoder_lengths[:, None]
        return self.head(self.read(steps * there[..., None])[0][:, -1])


def test_the_steps_of_a_forecaster_are_features_and_its_lengths_are_held():
    X = {
        "decoder_cat": whole(6, ROWS, 7, 3),
        "decoder_cont": drawn(ROWS, 7, 2),
        "decoder_lengths": 1 + whole(7, ROWS),
    }
    model = pg.Model(Forecaster())
    steps = tuple(
        f"decoder_{kind}[{step}]" for kind in ("cat", "cont") for step in range(7)
    )
    assert names(model.model, X) == steps
    assert line(model, X, "held") == "held, and no features: decoder_lengths"
    assert line(model, X, "inputs") == (
        f"inputs: decoder_cat ({ROWS} rows, 7 places of 3 numbers), "
        "decoder_cont (7 places of 2 numbers), decoder_lengths (one number)"
    )


class Pieces:
    """A tokenizer whose words may have several tokens: those from 10 on continue
    one.
    """

    all_special_ids: tuple[int, ...] = ()

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [
            f"##{token_id}" if token_id >= 10 else f"word{token_id}" for token_id in ids
        ]


class Page(nn.Module):
    """Looks up words and where they stand on a page."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.words = nn.Embedding(20, 3)
        self.left = nn.Embedding(50, 3)
        self.head = nn.Linear(3 * 5, 1)

    def forward(self, ids: Tensor, box: Tensor) -> Tensor:
        looked_up = self.words(ids) * self.left(box[..., 0])
        return self.head(looked_up.flatten(1))


def test_words_never_move_away_from_what_stands_at_their_place():
    ids = whole(20, ROWS, 5)
    left = whole(40, ROWS, 5, seed=1)
    ids[:, 0] %= 10
    X = {"ids": ids, "box": torch.stack([left, left + 4], dim=-1)}
    options = {"method": "permutation", "n_repeats": 4, "progress": False}
    explanation = pg.explain(pg.Model(Page(), tokenizer=Pieces()), X, **options)
    assert explanation.meta["tokens"] == {
        "input": "ids",
        "players": "tokens",
        "boxes": ["box"],
    }
    plain = pg.explain(Page(), X, **options)
    assert plain.values.max() > 0.01
    np.testing.assert_array_equal(explanation.values, plain.values)
    both = tuple(f"box[{place}]+ids[{place}]" for place in range(5))
    assert explanation.names == plain.names == both


class Board(nn.Module):
    """A convolution over what stands on the fields of a board."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.Embedding(5, 3)
        self.read = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 16, 1)

    def forward(self, board: Tensor) -> Tensor:
        return self.head(self.read(self.pieces(board).permute(0, 3, 1, 2)).flatten(1))


class Flat(nn.Module):
    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.head = nn.Linear(numbers, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.float().flatten(1) / 9)


def test_pictures_are_floats_bytes_with_like_neighbours_or_read_as_such():
    assert names(Board(), whole(5, ROWS, 6, 6))[-1] == "board[5,5]"
    soft = nn.functional.avg_pool2d(drawn(ROWS, 1, 12, 10), 5, 1)[:, 0]
    picture = (60 * soft + 120).clamp(0, 255)
    noise = whole(255, ROWS, 8, 6)
    assert names(Flat(48), picture.to(torch.uint8))[-1] == "x[6,5]"
    assert names(Flat(48), noise.float())[-1] == "x[6,5]"
    for rows in (noise.to(torch.uint8), noise, picture.long()):
        assert names(Flat(48), rows) == tuple(f"x[{position}]" for position in range(8))
    # What the user says comes first.
    assert names(Flat(48), noise, segments=("grid", 2))[-1] == "x[1,1]"
    assert may_be_picture(noise > 5) is False


# ---- channels beside time ------------------------------------------------------------


class Temporal(nn.Module):
    """Filters each electrode along time, then weighs electrodes, as EEGNet does."""

    def __init__(self, channels: int = 3, times: int = 120) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.filters = nn.Conv2d(1, 2, (1, 9), padding=(0, 4), bias=False)
        self.across = nn.Conv2d(2, 2, (channels, 1))
        self.head = nn.Linear(2 * times, 1)

    def forward(self, eeg: Tensor) -> Tensor:
        return self.head(self.across(self.filters(eeg)).flatten(1))


class Sensors(nn.Module):
    """A convolution along time, with sensors as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv1d(4, 3, 5)
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x).mean(dim=2))


def windows_of(name: str, edges: list[int], channels: list[str]) -> tuple[str, ...]:
    spans = itertools.pairwise(edges)
    return tuple(
        f"{name}[{a}:{b}, {channel}]" for a, b in spans for channel in channels
    )


def test_each_channel_is_cut_along_time():
    rows = smooth(ROWS, 1, 3, 120)
    channels = [f"channel {index}" for index in range(3)]
    edges = list(range(0, 121, 6))
    model = pg.Model(Temporal())
    assert names(model.model, rows) == windows_of("eeg", edges, channels)
    assert (
        line(model, rows, "inputs")
        == f"inputs: eeg ({ROWS} rows, 3 channels × 120 in time)"
    )
    for net, X in ((Flat(360), rows[:, 0]), (Flat(360), rows[:, 0].mT.contiguous())):
        assert names(net, X) == windows_of("x", edges, channels)
    four = [f"channel {index}" for index in range(4)]
    assert names(Sensors(), smooth(ROWS, 4, 80)) == windows_of(
        "x", [*range(0, 81, 4)], four
    )


def test_a_feature_owns_its_channel_in_its_window_alone():
    rows = smooth(ROWS, 1, 3, 120)
    explanation = pg.explain(Temporal(), rows, method="gradient", progress=False)
    segments = explanation.maps["segments:eeg"]
    assert segments.shape == (1, 3, 120)
    feature_index = explanation.names.index("eeg[12:18, channel 1]")
    expected = np.zeros((1, 3, 120), dtype=bool)
    expected[0, 1, 12:18] = True
    np.testing.assert_array_equal(segments == feature_index, expected)
    assert explanation.meta["read_as"]["eeg"] == {
        "size": [3, 120], "channels": 0, "series": 1, "noun": "series",
    }  # fmt: skip


@pytest.mark.parametrize("named", [True, False])
def test_channels_have_the_names_that_the_user_says(named):
    titles = ["Fz", "Cz", "Pz"]
    channel_titles = {"eeg": titles if named else pd.DataFrame(columns=titles)}
    rows = smooth(ROWS, 1, 3, 120)
    feature_names = names(Temporal(), rows, channel_names=channel_titles)
    assert feature_names == windows_of("eeg", list(range(0, 121, 6)), titles)
    options = {"channel_names": channel_titles, "segments": ("windows", 2, "channels")}
    assert names(Temporal(), drawn(ROWS, 1, 3, 120), **options) == windows_of(
        "eeg", [0, 60, 120], titles
    )
    by_channel = names(
        Temporal(), rows, channel_names=channel_titles, segments="channels"
    )
    assert by_channel == ("eeg[Fz]", "eeg[Cz]", "eeg[Pz]")


def test_names_say_which_dimension_lists_channels():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = nn.LSTM(2, 3, batch_first=True)
            self.head = nn.Linear(3, 1)

        def forward(self, walk: Tensor) -> Tensor:
            return self.head(self.read(walk)[0][:, -1])

    rows = smooth(ROWS, 2, 60).mT.contiguous()
    assert names(Recurrent(), rows)[:2] == ("walk[0]", "walk[1]")
    assert names(Recurrent(), rows, channel_names={"walk": ["x", "y"]})[:2] == (
        "walk[0:3, x]",
        "walk[0:3, y]",
    )
    colours = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(), nn.Linear(36, 1))
    cut = {
        "segments": ("grid", 1, "channels"),
        "channel_names": {"input": ["r", "g", "b"]},
    }
    assert names(colours, drawn(ROWS, 3, 8, 8), **cut) == tuple(
        f"input[0,0, {colour}]" for colour in "rgb"
    )


@pytest.mark.parametrize(
    ("channel_names", "said"),
    [
        ({"eeg": ["a", "b"]}, "2 names for 'eeg', of which each row is 1 × 3 × 120"),
        ({"eeg": ["a", "b", "a"]}, "must be different names, got ['a', 'b', 'a']"),
        ({"egg": ["a", "b", "c"]}, "Did you mean 'eeg'?"),
        ({"eeg": "abc"}, "The channels of 'eeg' must be a list of names, got 'abc'"),
        (["a", "b", "c"], "channel_names must be names by input"),
    ],
)
def test_names_that_do_not_fit_are_refused(channel_names, said):
    with pytest.raises(pg.InputError) as error:
        names(Temporal(), smooth(ROWS, 1, 3, 120), channel_names=channel_names)
    assert said in str(error.value)


def test_names_of_channels_are_those_of_a_networks_inputs():
    with pytest.raises(pg.InputError, match="channel_names"):
        pg.explain(
            pg.Model(lambda rows: rows[:, 0], channel_names={"table": ["a"]}),
            drawn(ROWS, 2).numpy(),
        )


def test_pictures_stay_pictures_and_noise_has_no_time():
    soft = nn.functional.avg_pool2d(drawn(ROWS, 1, 16, 100), 5, 1)[:, 0]
    assert names(Flat(12 * 96), soft)[-1] == "x[6,6]"
    assert channels_beside_time(soft, (1, 2), strip=True) is None
    noise = drawn(ROWS, 5, 30)
    assert channels_beside_time(noise, (1, 2), strip=True) is None
    assert names(Sensors(), drawn(ROWS, 4, 80)) == tuple(
        f"x[{start}:{start + 4}]" for start in range(0, 80, 4)
    )
    # No picture is eight times longer than high and noise from line to line.
    assert channels_beside_time(drawn(ROWS, 5, 40), (1, 2), strip=True) == 1
    assert channels_beside_time(drawn(ROWS, 40, 5), (1, 2), strip=False) is None


def test_how_much_neighbours_differ():
    steps = torch.arange(24.0).reshape(1, 2, 12)
    variance = float(np.arange(24).var())
    assert difference(steps, 2) == pytest.approx(1 / (2 * variance))
    assert difference(steps, 1) == pytest.approx(144 / (2 * variance))
    assert difference(drawn(100, 30, 30), 1) == pytest.approx(1, abs=0.1)
    assert np.isnan(difference(torch.ones(3, 2, 9), 2))
    assert channels_beside_time(torch.ones(3, 2, 9), (1, 2), strip=True) is None


def test_a_place_and_a_channel_never_have_one_name():
    rows = smooth(ROWS, 4, 80)
    position_names = set(names(Sensors(), rows, segments="tokens"))
    channels = set(names(Sensors(), rows, segments="channels"))
    assert len(channels) == 4
    assert not position_names & channels


# ---- lengths -------------------------------------------------------------------------


class Counted(nn.Module):
    """Means over the places that a row has."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(20, 3)
        self.head = nn.Linear(3, 1)

    def forward(
        self, ids: Tensor, ids_len: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        count = ids_len if seen is None else seen
        assert count is not None
        there = torch.arange(ids.shape[1]) < count.reshape(-1, 1)
        return self.head((self.vectors(ids) * there[..., None]).sum(dim=1))


def held(**X: Tensor) -> list[str]:
    explanation = pg.explain(
        Counted(), X, method="permutation", n_repeats=2, progress=False
    )
    assert explanation.names[:6] == tuple(f"ids[{position}]" for position in range(6))
    return list(explanation.meta["held"])


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_lengths_of_any_name_are_held_where_they_count_places():
    count = 1 + whole(6, ROWS)
    full = 1 + whole(19, ROWS, 6, seed=4)
    padded = full * (torch.arange(6) < count[:, None])
    # By their name, beside an input of as many places.
    assert held(ids=full, ids_len=count) == ["ids_len"]
    assert held(ids=full, ids_len=count[:, None]) == ["ids_len"]
    # By what they count.
    assert held(ids=padded, seen=count) == ["seen"]
    # A number that counts nothing is a feature.
    assert held(ids=full, seen=count) == []
    assert held(ids=padded, seen=1 + whole(6, ROWS, seed=9)) == []
    assert held(ids=full, ids_len=count + 30) == []


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_places_behind_a_counted_end_belong_to_nobody():
    count = 1 + whole(6, ROWS)
    ids = (1 + whole(19, ROWS, 6, seed=4)) * (torch.arange(6) < count[:, None])
    explanation = pg.explain(
        Counted(), {"ids": ids, "seen": count}, method="shapley", progress=False
    )
    gone = torch.arange(6) >= count[:, None]
    assert bool(gone.any())
    assert not explanation.values[gone.numpy()].any()
    assert np.abs(explanation.values[~gone.numpy()]).max() > 0.01
