"""Which kinds of columns a model reads, by ``branches=``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg

QUICK = {
    "preset": "fast",
    "image": "always",
    "max_epochs": 1,
    "random_state": 0,
    "progress": False,
}
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 160)
SAID = np.where(RNG.random(160) < 0.2, 1 - Y, Y)
MIXED = pd.DataFrame(
    {
        "dose": RNG.normal(size=160) + 0.3 * Y,
        "ward": RNG.choice(["north", "south", "west"], 160),
        "review": [
            "the soup was "
            f"{RNG.choice(['good', 'fine'] if is_good else ['bad', 'poor'])} in room "
            f"{RNG.integers(90)}"
            for is_good in SAID
        ],
        "photo": [
            np.full((12, 12), 60 + 60 * class_code + RNG.integers(90), np.uint8)
            for class_code in Y
        ],
    }
)
TABLE = {"dose", "ward"}
TEXT = {"review"}
PHOTO = {"photo"}


@pytest.mark.parametrize(
    ("branches", "paths", "read"),
    [
        (None, ("tabular", "image"), TABLE | TEXT | PHOTO),
        (("tabular",), ("tabular",), TABLE | TEXT | PHOTO),
        (("text",), ("tabular",), TEXT),
        (("photo",), ("tabular",), PHOTO),
        (("photo", "text"), ("tabular",), TEXT | PHOTO),
        (("tabular", "text"), ("tabular",), TABLE | TEXT),
        (("image", "photo", "tabular"), ("tabular", "image"), TABLE | PHOTO),
    ],
)
def test_named_kinds_are_read(branches, paths, read):
    model = pg.HyNNClassifier(branches=branches, **QUICK).fit(MIXED, Y)
    assert model.module_.paths == paths
    encoder = model.preprocessor_
    assert {
        name for name, columns in encoder.features("column").items() if len(columns)
    } == read
    # A column that is not read changes nothing.
    other_frame = MIXED.assign(
        **{name: MIXED[name].to_numpy()[::-1] for name in MIXED if name not in read}
    )
    assert (model.predict_proba(other_frame) == model.predict_proba(MIXED)).all()


def test_the_table_alone():
    kinds = dict.fromkeys(TEXT | PHOTO, "identifier")
    model = pg.HyNNClassifier(branches=("tabular",), kinds=kinds, **QUICK).fit(MIXED, Y)
    assert {
        name
        for name, columns in model.preprocessor_.features("column").items()
        if len(columns)
    } == TABLE


def test_models_of_some_kinds_are_saved(tmp_path):
    model = pg.HyNNClassifier(branches=("tabular", "text"), **QUICK).fit(MIXED, Y)
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert (loaded.predict_proba(MIXED) == model.predict_proba(MIXED)).all()
    assert loaded.branches == ("tabular", "text")


def test_a_kind_that_no_column_has():
    with pytest.raises(pg.InputError, match="X must have a column that varies"):
        pg.HyNNClassifier(branches=("text",), **QUICK).fit(MIXED[["dose", "ward"]], Y)


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        (("tabular", "words"), "branches cannot be 'words'. Did you mean 'text'"),
        (
            (),
            (
                r"branches must be 'auto', or name one or more of .*'text', 'photo', "
                r".*each once, got \(\)"
            ),
        ),
        (("text", "text"), r"each once, got \('text', 'text'\)"),
    ],
)
def test_wrong_names(branches, message):
    with pytest.raises(pg.InputError, match=message):
        pg.HyNNClassifier(branches=branches, **QUICK).fit(MIXED, Y)


@pytest.mark.slow
def test_scores_have_no_pixel(tmp_path):
    model = pg.HyNNClassifier(**QUICK).fit(MIXED, Y)
    kinds = np.array(model.preprocessor_.kinds_)
    assert (kinds == "score").sum() == 2
    assert ((model.renderer_.positions >= 0).all(axis=1) == (kinds != "score")).all()
    encoded = torch.from_numpy(model.encode_rows(MIXED[:4]).encoded)
    changed_rows = encoded.clone()
    changed_rows[:, kinds == "score"] += 1
    assert torch.equal(
        model.module_.embed("image", encoded),
        model.module_.embed("image", changed_rows),
    )
    assert not torch.equal(
        model.module_.embed("tabular", encoded),
        model.module_.embed("tabular", changed_rows),
    )
    model.save(tmp_path / "model")
    assert (
        pg.load(tmp_path / "model").predict_proba(MIXED) == model.predict_proba(MIXED)
    ).all()
    game = pg.explain(model, MIXED[:60], Y[:60], random_state=0, n_repeats=2)
    frame = game.to_frame()
    paths = frame[frame["class"] == "all"].set_index("feature")
    assert paths.loc["review", "importance"] > 0
    assert paths.loc["review", "image"] == paths.loc["review", "interaction"] == 0
    assert paths.loc["dose", "image"] != 0


@pytest.mark.slow
def test_an_image_of_nothing_is_dropped():
    X = MIXED[["review", "photo"]]
    model = pg.HyNNClassifier(branches=("tabular", "image"), **QUICK).fit(X, Y)
    assert model.module_.paths == ("tabular",)
    # Without a path of its own, the table is drawn as it was.
    drawn = pg.HyNNClassifier(branches=("image",), **{**QUICK, "max_epochs": 30}).fit(
        X, Y
    )
    assert (drawn.renderer_.positions >= 0).all()
    assert drawn.score(X, Y) > 0.7


@pytest.mark.slow
def test_what_a_text_says_can_change_a_number_beside_a_photo():
    """The scores of texts and of photos are not one sum: a word multiplies a number, a
    photo adds.
    """

    def made(rows, seed):
        rng = np.random.default_rng(seed)
        word = rng.integers(0, 2, rows)
        bright = rng.random(rows)
        x = rng.normal(size=rows)
        texts = [
            f"item {'alpha' if is_alpha else 'omega'} {rng.choice(['red', 'green'])} "
            "box"
            for is_alpha in word
        ]
        photos = [np.full((8, 8), 60 + 150 * level, dtype=np.uint8) for level in bright]
        return pd.DataFrame({"x": x, "text": texts, "photo": photos}), 2 * word * (
            1 + x
        ) + 3 * bright

    options = {
        "preset": "fast",
        "random_state": 0,
        "progress": False,
        "branches": ("tabular",),
    }
    kinds = {"text": "text"}
    model = pg.HyNNRegressor(
        **options, kinds=kinds, image_encoder=lambda images: images.mean(dim=(2, 3))
    ).fit(*made(1000, 0))
    assert len(model.module_.score_blocks) == 2
    held_out_rows, truth = made(1000, 1)
    assert model.score(held_out_rows, truth) > 0.95
