"""What words do over all rows, wherever they stand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import permgrad as pg
from permgrad.base.significance import holm

COLUMNS = [
    "word",
    "output",
    "effect",
    "std_error",
    "ci_low",
    "ci_high",
    "p_value",
    "p_adjusted",
    "rows",
]


class Sum(torch.nn.Module):
    """Adds up a number of each id."""

    def __init__(self, weights) -> None:
        super().__init__()
        self.look = torch.nn.Embedding(len(weights), 1)
        self.look.weight.data = torch.tensor(weights, dtype=torch.float32)[:, None]

    def forward(self, ids):
        return self.look(ids).sum(dim=1)


class Anywhere(Sum):
    """A row has the largest number of its ids, however often it stands there."""

    def forward(self, ids):
        return self.look(ids).amax(dim=1)


def texts(rows, places, words, seed, *, share=0.5):
    """Return ids of ordinary words, in a share of the rows with word 0 anywhere."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(1, words, (rows, places))
    holds = np.flatnonzero(draw.random(rows) < share)
    ids[holds, draw.integers(0, places, len(holds))] = 0
    return torch.from_numpy(ids)


def words_of(net, ids, method="shapley", **options):
    names = [f"w{i}" for i in range(int(ids.max()) + 1)]
    model = pg.Model(net, task="regression", vocabulary=names)
    options = {"scope": "local", "progress": False, "n_repeats": 3, **options}
    return pg.explain(model, ids, method=method, **options)


def explained(values, words, **meta):
    """Return a local explanation of values ``(rows, places)``."""
    names = tuple(f"ids[{place}]" for place in range(values.shape[1]))
    return pg.Explanation(
        values[..., None],
        names,
        ("ids",) * len(names),
        ("y",),
        "shapley",
        "local",
        additive=True,
        feature_values=pd.DataFrame(words, columns=list(names)),
        meta={"tokens": {"input": "ids"}, **meta},
    )


@pytest.mark.parametrize("net", [Sum, Anywhere])
@pytest.mark.parametrize("method", ["permgrad", "shapley"])
def test_a_word_that_decides_at_changing_places_is_first_and_alone(net, method):
    weights = [3.0, *[0.0] * 24]
    ids = texts(240, 6, len(weights), 1)
    local = words_of(net(weights), ids, method)
    by_place = np.abs(local.values[..., 0]).mean(axis=0)
    assert by_place.max() < 3 * by_place.min(), "the precondition: no place stands out"
    frame = local.by_word()
    assert list(frame.columns) == COLUMNS
    assert frame["word"][0] == "w0"
    assert frame["p_adjusted"][0] < 1e-6
    assert not (frame["p_adjusted"][1:] < 0.05).any()
    assert frame["rows"][0] == int((ids == 0).any(dim=1).sum())
    if net is Sum:
        assert frame["effect"][0] == pytest.approx(3.0, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("net", [Sum, Anywhere])
def test_other_words_are_rarely_found(net):
    """Among 100 tables of texts at most 5 have a word that is found and does nothing."""
    wrong = 0
    for seed in range(100):
        ids = texts(150, 5, 20, seed, share=0.3)
        frame = words_of(net([2.0, *[0.0] * 19]), ids, "permgrad").by_word()
        assert frame["word"][0] == "w0"
        wrong += bool((frame["p_adjusted"][1:] < 0.05).any())
    assert wrong <= 5


def test_two_words_against_each_other_and_one_that_goes_with_a_word():
    """Word 2 stands only beside word 0, and does nothing itself."""
    ids = texts(300, 6, 20, 3)
    draw = np.random.default_rng(5)
    ids[(ids == 1) | (ids == 2)] = 3
    for row in np.flatnonzero((ids == 0).any(dim=1).numpy()):
        free = np.flatnonzero((ids[row] != 0).numpy())
        ids[row, draw.choice(free)] = 2
    against = np.flatnonzero((ids != 0).all(dim=1).numpy())[::2]
    ids[against, draw.integers(0, 6, len(against))] = 1
    frame = words_of(Anywhere([2.0, -2.0, *[0.0] * 18]), ids, "permgrad").by_word()
    assert set(frame["word"][frame["p_adjusted"] < 0.05]) <= {"w0", "w1"}
    assert frame["word"][0] == "w0"
    frame = words_of(Sum([2.0, -2.0, *[0.0] * 18]), ids, "permgrad").by_word()
    found = frame[frame["p_adjusted"] < 0.05].set_index("word")["effect"]
    assert set(found.index) == {"w0", "w1"}
    assert found.to_dict() == pytest.approx({"w0": 2.0, "w1": -2.0}, abs=0.3)


def test_numbers_are_those_of_a_mean_over_rows():
    """Places add 1 and −2, ordinary words nothing, so that all is known."""
    draw = np.random.default_rng(0)
    words = draw.choice(["a", "b", "c", "d", "e", "good"], (200, 3)).astype(object)
    words[:, 2][::4] = None
    noise = draw.normal(0, 1, 200)
    gains = np.where(words == "good", 4.0, 0.0)
    held = (words == "good").sum(axis=1)
    values = gains + np.array([1.0, -2.0, 0.5])
    values[words == "good"] += np.repeat(noise[held > 0], held[held > 0])
    frame = explained(values, words).by_word().set_index("word")
    sums = (4 * held + noise * held)[held > 0]
    good = frame.loc["good"]
    assert good["rows"] == (held > 0).sum()
    assert good["effect"] == pytest.approx(sums.mean(), abs=1e-6)
    assert good["std_error"] == pytest.approx(stats.sem(sums), rel=1e-6)
    others = frame.drop("good")
    assert others["effect"].abs().max() < 1e-6
    assert (others["p_value"] == 1).all()
    assert frame["p_adjusted"].to_numpy() == pytest.approx(
        holm(frame["p_value"].to_numpy())
    )


def test_rows_that_belong_together_widen_intervals():
    draw = np.random.default_rng(1)
    words = draw.choice(list("abcdefgh"), (40, 4)).astype(object)
    words[:, 0] = np.where(np.arange(40) % 2, "good", "a")
    values = draw.normal(0, 0.1, (40, 4)) + 2.0 * (words == "good")
    values += draw.normal(0, 1, (40, 1)) * (words == "good")
    repeated = (np.repeat(values, 5, axis=0), np.repeat(words, 5, axis=0))
    alone = explained(*repeated).by_word().set_index("word")
    groups = np.repeat(np.arange(40), 5).tolist()
    grouped = explained(*repeated, row_groups=groups).by_word().set_index("word")
    effects = [frame.loc["good", "effect"] for frame in (alone, grouped)]
    assert effects[0] == pytest.approx(effects[1], abs=0.1), "other words are ordinary"
    ratio = grouped.loc["good", "std_error"] / alone.loc["good", "std_error"]
    assert 1.7 < ratio < 3


def test_rare_words_are_left_out_and_padding_is_none():
    words = np.array([["a", "b", None]] * 12 + [["rare", "a", None]] * 9, dtype=object)
    frame = explained(np.zeros((21, 3)), words).by_word()
    assert sorted(frame["word"]) == ["a", "b"]
    assert frame.set_index("word")["rows"].to_dict() == {"a": 21, "b": 12}


def test_what_has_no_words_is_refused():
    X = np.random.default_rng(0).normal(size=(30, 2))
    table = pg.explain(lambda rows: rows[:, 0], X, method="shapley", progress=False)
    with pytest.raises(pg.InputError) as refused:
        table.by_word()
    assert str(refused.value).startswith(
        "by_word needs features that are words, and these are none. Explain a network "
        "of token ids or texts without groups=."
    )
    ids = texts(40, 3, 5, 0)
    overall = words_of(Sum([1.0, *[0.0] * 4]), ids, "permgrad", scope="global")
    with pytest.raises(pg.InputError, match=r"Explain with scope='local'\."):
        overall.by_word()


def test_each_output_has_its_words():
    class Two(Sum):
        def forward(self, ids):
            found = self.look(ids)[..., 0].amax(dim=1)
            return torch.stack([found, -found, found * 0], dim=1)

    ids = texts(120, 4, 12, 2)
    model = pg.Model(
        Two([1.0, *[0.0] * 11]), returns="values", class_names=["up", "down", "no"]
    )
    local = pg.explain(model, ids, method="shapley", progress=False)
    frame = local.by_word().groupby("output", sort=False).first()
    assert frame["word"].tolist()[:2] == ["0", "0"]
    assert np.sign(frame["effect"]).tolist()[:2] == [1, -1]
