"""Named data sets: cards, lookup order, and the real files."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad import EnvironmentProblem, InputError, PermgradWarning, load_dataset
from permgrad.data.datasets import cards, fetch_dataset, get_card, list_datasets
from permgrad.data.datasets import dataset_store as store
from permgrad.data.datasets.sets import convert_bank
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.splitting import count_shared_rows, split_rows
from permgrad.data.types.as_one import columns_as_one

FOLDER = Path(os.environ.get("PERMGRAD_DATA", "no such folder"))


def need(name):
    card = cards.get(name)
    if card.file_name is not None and not (FOLDER / card.file_name).is_file():
        pytest.skip(
            f"the file {card.file_name} is not in the folder that PERMGRAD_DATA names"
        )


@pytest.fixture
def no_network(monkeypatch):
    requested_urls = []

    def refuse(url, **_):
        requested_urls.append(url)
        raise OSError("no route")

    monkeypatch.setattr("pooch.retrieve", refuse)
    return requested_urls


@pytest.mark.parametrize("name", list(cards))
def test_cards_are_complete(name):
    card = get_card(name)
    assert card.name == name
    assert card.home.startswith("https://")
    assert card.title
    assert card.licence
    assert card.description.endswith(".")
    assert card.notes
    assert (card.file_name is None) == (card.build is not None)
    assert card.file_name is None or len(card.sha256) == 64
    assert card.to_dict()["groups"] is not card.groups


def test_the_six_sets_and_the_demo_are_there():
    assert set(list_datasets()) >= {
        "heloc",
        "dengue",
        "covertype",
        "gas",
        "puma",
        "bank",
        "breast_cancer",
    }
    with pytest.raises(
        InputError, match=r"No data set 'helok'. Did you mean 'heloc'\?"
    ):
        load_dataset("helok")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", list(cards))
def test_real_files_encode(name, recwarn):
    need(name)
    data = load_dataset(name)
    card = data.card
    assert not [w for w in recwarn if issubclass(w.category, PermgradWarning)], (
        "the checksum is the card's"
    )
    assert data.frame.shape == (card.rows, card.columns)
    assert data.y.notna().all()
    assert card.target not in data.feature_names
    assert not set(card.not_features) & set(data.feature_names)
    assert card.positive is None or card.positive in set(data.y)
    split = split_rows(len(data.frame), data.y, task=data.task)
    assert len(split.train) == int(card.rows * 0.6)
    encoder = TableEncoder(na=data.na, groups=data.groups).fit(data.X.iloc[split.train])
    out = encoder.transform(data.X)
    assert np.isfinite(out).all()
    # Bounded by smooth clipping: no table needs more than ±3.
    assert np.abs(out).max() <= 3
    # Whole data sets, bit by bit: what the encoder says of the training rows is so.
    np.testing.assert_array_equal(out[split.train].max(axis=0), encoder.maximum_)


@pytest.mark.slow
@pytest.mark.data
def test_facts_of_the_cards():
    for name in ("heloc", "covertype", "bank", "dengue"):
        need(name)
    heloc = load_dataset("heloc")
    assert heloc.frame.duplicated().sum() == 587
    encoder = TableEncoder(na=heloc.na).fit(heloc.X)
    # "Condition not met" is its own kind of missing.
    assert "MSinceMostRecentDelq=<missing -7>" in encoder.encoded_names_
    split = split_rows(len(heloc.frame), heloc.y)
    shared = count_shared_rows(
        heloc.frame.iloc[split.train], heloc.frame.iloc[split.test]
    )
    train_rows = set(map(tuple, heloc.frame.iloc[split.train].to_numpy().tolist()))
    assert (
        shared
        == sum(
            tuple(row) in train_rows
            for row in heloc.frame.iloc[split.test].to_numpy().tolist()
        )
        > 0
    )

    cover = load_dataset("covertype")
    assert (cover.y == 4).sum() == 67
    encoder = TableEncoder(groups=cover.groups).fit(cover.X)
    assert len(encoder.features("feature")) == 12
    assert len(encoder.features("column")) == 54
    # The blocks would have been found without the card.
    proposed = columns_as_one(cover.X)
    assert {tuple(column_group) for column_group in proposed.values()} == {
        tuple(column_group) for column_group in cover.groups.values()
    }
    assert abs((load_dataset("bank").y == "yes").mean() - 0.117) < 0.001
    # Whole-number codes with few values stay numbers unless declared.
    dengue = load_dataset("dengue")
    assert {column.kind for column in TableEncoder().fit(dengue.X).schema_} == {
        "numeric"
    }


def test_the_sets_of_scikit_learn_need_no_file(monkeypatch, no_network):
    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    demo = load_dataset("diabetes")
    assert demo.frame.shape == (442, 11)
    assert demo.X["blood sugar"].between(50, 130).all(), "in its units, not scaled"
    data = load_dataset("breast_cancer")
    assert data.frame.shape == (569, 31)
    assert data.y.value_counts().to_dict() == {"benign": 357, "malignant": 212}
    assert fetch_dataset("breast_cancer") is None
    assert no_network == []


# ---- lookup --------------------------------------------------------------------------
def test_own_folder_first_and_another_content_warns(tmp_path, monkeypatch):
    (tmp_path / "puma8NH.csv").write_text("theta1,values\n1,2\n3,4\n")
    monkeypatch.setenv("PERMGRAD_DATA", str(tmp_path))
    with pytest.warns(
        PermgradWarning,
        match=r"data set 'puma' .*not the 13186ba.*It is used unchanged",
    ):
        data = load_dataset("puma")
    assert data.frame.shape == (2, 2)


def test_cache_is_used_and_must_be_right(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("PERMGRAD_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path))
    (tmp_path / "puma8NH.csv").write_text("a,values\n1,2\n")
    with pytest.raises(
        EnvironmentProblem,
        match=(
            r"The file of data set 'puma' \('.*puma8NH.csv'\) has the SHA-256 "
            "84532469ad82e67e8cf0cc7dc38f02e517cef6849b71050621f765587dfdcea7, not the"
        ),
    ):
        load_dataset("puma")
    need("puma")
    (tmp_path / "puma8NH.csv").write_bytes((FOLDER / "puma8NH.csv").read_bytes())
    assert load_dataset("puma").frame.shape == (8192, 9)
    assert no_network == []


@pytest.mark.parametrize(
    "name", ["bank", "covertype", "gas", "heloc", "dengue", "puma"]
)
def test_no_route_says_which_file_goes_where(tmp_path, monkeypatch, no_network, name):
    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EnvironmentProblem) as caught:
        fetch_dataset(name)
    card = get_card(name)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    for expected_text in (
        card.file_name,
        card.sha256,
        card.home,
        repr(str(tmp_path / "cache")),
        "PERMGRAD_DATA",
    ):
        assert expected_text in message
    assert no_network == ([card.download.url] if card.download else [])
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_a_wrong_download_is_refused_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "fetch_bytes", lambda _url: b"<html>not found</html>")
    with pytest.raises(
        EnvironmentProblem,
        match=(
            r"The download of data set 'heloc' from "
            r"https://raw.githubusercontent.com/felescgon/PermGrad/main/datasets/HELOC/heloc.csv has the "
            r"SHA-256"
        ),
    ):
        fetch_dataset("heloc")
    with pytest.raises(
        EnvironmentProblem,
        match=r"The file of data set 'bank' is not on this machine, .* cannot be "
        r"downloaded \(BadZipFile\)\. Put",
    ):
        fetch_dataset("bank")
    assert list(tmp_path.iterdir()) == []


def test_a_right_download_is_converted_checked_and_kept(tmp_path, monkeypatch):
    need("bank")
    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path))
    # UCI's form, made from the card's file: a zip in a zip, semicolons, quoted text,
    # another order of columns.
    frame = pd.read_csv(FOLDER / "bank-full.csv")
    inner = io.BytesIO()
    outer = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        text = frame[frame.columns[::-1]].to_csv(
            index=False, sep=";", quoting=csv.QUOTE_NONNUMERIC
        )
        archive.writestr("bank-full.csv", text)
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("bank.zip", inner.getvalue())
    assert convert_bank(outer.getvalue()) == (FOLDER / "bank-full.csv").read_bytes()
    monkeypatch.setattr(store, "fetch_bytes", lambda _url: outer.getvalue())
    assert fetch_dataset("bank") == tmp_path / "bank-full.csv"
    assert load_dataset("bank").frame.equals(frame)
