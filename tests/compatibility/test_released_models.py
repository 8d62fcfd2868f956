"""What each released version saved loads, and says what it said then; ``make_fixture.py`` tells how to add one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call

import permgrad as pg
from permgrad.runs.run.assessing import read_assessment

RELEASES = sorted(path.parent for path in Path(__file__).parent.glob("*/expected.json"))


def test_there_is_a_release():
    assert "0.1.0" in {place.name for place in RELEASES}


@pytest.fixture(params=RELEASES, ids=lambda place: place.name)
def release(request):
    place = request.param
    return place, pd.read_csv(place / "rows.csv"), json.loads((place / "expected.json").read_text(encoding="utf-8"))


def test_models_of_tables_predict_what_they_did(release):
    place, rows, expected = release
    for name in ("classifier", "regressor"):
        written = json.loads((place / name / "model.json").read_text(encoding="utf-8"))["written_by"]
        assert written == f"permgrad {place.name}"
        model = pg.load(place / name)
        own = rows[list(model.feature_names_in_)]
        found = model.predict_proba(own) if name == "classifier" else model.predict(own)
        assert np.std(np.array(expected[name]), axis=0).max() > 1e-4, "rows must differ"
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)


def test_models_that_read_images_predict_what_they_did(release):
    place, rows, expected = release
    if "photos" not in expected:
        pytest.skip("0.1 had networks of images and a table, see below")
    model = pg.load(place / "photos")
    found = model.predict_proba(rows.assign(scan=pg.locate_images(rows["scan"], place))[list(model.feature_names_in_)])
    np.testing.assert_allclose(found, expected["photos"], rtol=1e-5, atol=1e-6)


@pytest.fixture(name="pictured")
def _pictured(release):
    if "image-table" not in release[2]:
        pytest.skip("networks of images and a table were taken out after 0.1")
    return release


def test_networks_of_images_and_a_table_predict_what_they_did(pictured):
    place, rows, expected = pictured
    model = pg.load(place / "image-table")
    located = rows.assign(scan=pg.locate_images(rows["scan"], place))
    assert np.std(np.array(expected["image-table"])[:, 0]) > 1e-4, "rows must differ"
    for own in (located, pg.read_table(place / "rows.csv")):  # which knows the folder of the table
        np.testing.assert_allclose(model.predict_proba(own), expected["image-table"], rtol=1e-5, atol=1e-6)
    assert model.predict(located).tolist() == model.classes_[model.predict_proba(located).argmax(axis=1)].tolist()


def test_the_network_of_such_a_model_is_explained_as_any_other(pictured):
    place, rows, expected = pictured
    model = pg.load(place / "image-table")
    inputs = model.inputs(rows.assign(scan=pg.locate_images(rows["scan"], place)))
    assert {name: value.shape[1:] for name, value in inputs.items()} == {"scan": (1, 8, 8), "table": (4,)}
    assert len(model.background()["scan"]) == 3
    y = np.array(expected["image-table"]).argmax(axis=1)
    options = {"background": model.background(), "random_state": 0, "progress": False, "n_repeats": 2}
    found = pg.explain(model.module_, inputs, y, level="modality", class_names=list(model.classes_), **options)
    assert set(found.names) == {"scan", "table"}
    assert np.nanmax(np.abs(found.values)) > 0


def test_explanations_say_what_they_said(release):
    place, _, expected = release
    explanation = pg.Explanation.load(place / "explanation")
    found = explanation.to_frame()["importance"]
    assert found.abs().max() > 1e-4
    np.testing.assert_array_equal(found, expected["explanation"])
    assert explanation.meta["versions"]["permgrad"] == place.name
    assert explanation.plot.bar() is not None


def test_a_loaded_model_can_be_saved_explained_and_loaded_again(release, tmp_path):
    place, rows, expected = release
    model = pg.load(place / "classifier")
    own = rows[list(model.feature_names_in_)]
    model.save(tmp_path / "again")
    np.testing.assert_allclose(pg.load(tmp_path / "again").predict_proba(own), expected["classifier"], atol=1e-6)
    explanation = pg.explain(model, own, method="permutation", n_repeats=1, random_state=0, progress=False)
    assert set(explanation.names) == set(model.feature_names_in_)


def test_runs_give_the_page_they_gave(release, tmp_path):
    place = release[0]
    folder = shutil.copytree(place / "run", tmp_path / "run")
    content = read_assessment(folder, pg.load(folder / "model"))
    stored = ("explanation", "paper", "chosen", "explained", "maps", "reading", "cards", "listed", "changeable")
    assert [name for name in stored if not getattr(content, name)] == []
    assert content.cards.curves["age"].std() > 0
    call("report", folder)
    headings = re.findall(r"<h[23][^>]*>([^<]*)", (folder / "report.html").read_text(encoding="utf-8"))
    assert headings == (place / "run-headings.txt").read_text(encoding="utf-8").splitlines()
