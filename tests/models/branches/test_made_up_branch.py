"""A branch is one registration: all that permgrad does with branches works with one
that it does not know, or is refused in words.
"""

from __future__ import annotations

import dataclasses
import json

import made_up_branch
import numpy as np
import pandas as pd
import pytest
import torch
from assessing import words
from invoking import call
from made_up_branch import BRANCH, NAME, TITLE, Neighbours, registered
from torch import nn
from usual_methods import USUAL

import permgrad as pg
from permgrad.assess.network_form import model_form
from permgrad.base.errors import InputError
from permgrad.models.branches import Fitted
from permgrad.runs.options import split_preset
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import stages
from permgrad.runs.run.run import run_table

SETTINGS = {
    "preset": "fast",
    "max_epochs": 2,
    "pixels": 6,
    "image": "always",
    "network": {"dense_units": [8], "conv_filters": [3], "fusion_units": [6]},
    "random_state": 0,
    "progress": False,
}


def table(rows: int = 240):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
    frame["town"] = rng.choice(["north", "south"], rows)
    return frame, np.sin(3 * frame["a"]) + (frame["town"] == "north")


def fitted(estimator: type, y: pd.Series, *names: str, **settings: object):
    X = table(len(y))[0]
    branches = ("tabular", "image", *names)
    return estimator(branches=branches, **SETTINGS, **settings).fit(X, y)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registered():
        yield


@pytest.fixture(scope="module", name="model")
def _model():
    y = table()[1]
    return fitted(pg.HyNNClassifier, (y > y.median()).astype(int), NAME)


def test_it_is_fitted_and_has_its_share(model):
    X = table()[0]
    module = model.module_
    assert module.paths == ("tabular", "image", NAME)
    assert 0.05 <= module.shares[NAME] < 1
    encoded = torch.from_numpy(model.encode_rows(X).encoded)
    with torch.no_grad():
        added = module.additive[NAME](encoded)
        whole, rest = module(encoded), module.without(NAME)(encoded)
    assert added.abs().max() > 0.1
    torch.testing.assert_close(whole, rest + added)
    summary = model.summary()
    assert (
        f"\n{TITLE}, {module.shares[NAME]:.0%} of the outputs\n  Neighbours " in summary
    )
    assert f"\n{TITLE} (3 nearest rows) counts for 0." in summary


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_it_is_fitted_to_numbers_and_counts(loss):
    y = np.round(2 + table()[1])
    X = table()[0]
    model = fitted(pg.HyNNRegressor, y, NAME, loss=loss)
    assert NAME in model.module_.paths
    whole = model.predict(X)
    np.testing.assert_allclose(model.predict(X[5:8]), whole[5:8], rtol=1e-5)
    explanation = pg.explain(model, X[:40], y[:40], n_repeats=2, random_state=0)
    assert list(explanation.parts) == ["tabular", "image", NAME, "interaction"]
    paths = model.module_.paths
    total = sum(explanation.parts[path] for path in paths)
    np.testing.assert_allclose(total, explanation.values, atol=1e-6)
    assert np.abs(explanation.parts[NAME]).max() > 1e-3


def refused(model, name: str) -> tuple[bool, str]:
    X, y = table()
    labels = (y > y.median()).astype(int)
    method = {"method": name, "random_state": 0, "progress": False}
    try:
        explanation = pg.explain(model, X[:12], labels[:12], **method)
    except InputError as error:
        return True, str(error)
    assert not np.isnan(explanation.values).all()
    return False, explanation._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize("name", USUAL)
def test_every_method_explains_it_or_refuses_in_words(model, name):
    is_refused, text = refused(model, name)
    y = table()[1]
    with_trees = fitted(pg.HyNNClassifier, (y > y.median()).astype(int), "trees")
    assert is_refused == refused(with_trees, name)[0], text


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift", "gradient"])
def test_methods_of_slopes_leave_out_what_has_none(model, name):
    is_refused, text = refused(model, name)
    assert not is_refused
    assert f"The model without its {TITLE}, which has no slopes" in text


def test_the_page_shows_curves_and_its_name(model, undrawn):
    X, y = table()
    labels = (y > y.median()).astype(int)
    with pytest.raises(NotImplementedError, match="branch of the kind Neighbours"):
        model_form(model, [])
    page = pg.report(model, X[:100], labels[:100], progress=False)
    text = words(page)
    assert TITLE in text
    assert "it has a branch of the kind Neighbours, which no script computes" in text


def test_it_is_saved_and_loaded_where_it_is_registered(model, tmp_path, monkeypatch):
    X = table()[0]
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert isinstance(loaded.module_.additive[NAME], Neighbours)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.branches_ == model.branches_
    monkeypatch.delitem(made_up_branch.branches, NAME)
    with pytest.raises(InputError, match=f"has a branch '{NAME}', which is unknown"):
        pg.load(tmp_path / "model")


def test_it_is_not_saved_without_rows_which_it_holds(model, tmp_path):
    with pytest.raises(InputError, match="neighbour branch holds training rows"):
        model.save(tmp_path / "lean", keep_rows=False)
    assert not (tmp_path / "lean").exists()


def test_a_run_without_rows_is_refused_before_it_reads_anything():
    request = RunRequest(
        table="none.csv", target=("y",), preset=f"fast:tabular+{NAME}", keep_rows=False
    )
    with pytest.raises(InputError, match="neighbour branch holds training rows"):
        request.check()
    dataclasses.replace(request, preset="fast:tabular+trees").check()


def test_a_branch_of_a_preset_file_is_refused_before_training(tmp_path, monkeypatch):
    X, y = table()
    X.assign(y=y).to_csv(tmp_path / "table.csv", index=False)
    content = {"base": "fast", "beside": [NAME]}
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps(content))
    monkeypatch.setattr(stages, "STAGE_WORK", {})
    request = RunRequest(
        table=str(tmp_path / "table.csv"),
        target=("y",),
        preset=str(preset),
        out=tmp_path / "run",
        keep_rows=False,
    )
    with pytest.raises(InputError, match="neighbour branch holds training rows"):
        run_table(request)
    assert not (tmp_path / "run").exists()


def test_no_message_names_less_than_all_branches():
    y = table()[1]
    model = pg.HyNNRegressor(
        branches=("tabular", NAME), **(SETTINGS | {"image": "never"})
    ).fit(table()[0], y)
    with pytest.raises(InputError, match="branch, which this one does not have") as no:
        pg.explain(model, table()[0][:9], method="gradcam")
    assert "('tabular',)" not in str(no.value)
    # Nor does the table of layers have two names for one thing.
    page = pg.report(model, table()[0][:60], y[:60], progress=False).html
    assert f'<td class="text">{TITLE}</td>' in page
    assert '<td class="text">table branch</td>' in page
    assert f'<td class="text">{NAME}</td>' not in page


def test_the_command_takes_it_by_name(tmp_path):
    assert split_preset(f"fast:tabular+{NAME}") == ("fast", ("tabular", NAME))
    with pytest.raises(InputError, match=f"'{NAME}'"):
        split_preset(f"fast:tabular+{NAME}s")
    preset = {"base": "fast", "branches": ["tabular"], "beside": [NAME]}
    (tmp_path / "preset.json").write_text(json.dumps({**preset, "max_epochs": 1}))
    X, y = table(200)
    X.assign(y=y).to_csv(tmp_path / "rows.csv", index=False)
    printed = call(
        "run",
        *(tmp_path / "rows.csv", "--target", "y", "--out", tmp_path / "run"),
        *("--preset", tmp_path / "preset.json", "--time-limit", "30s"),
    )
    assert f"{TITLE} " in printed
    model = pg.load(tmp_path / "run")
    assert NAME in model.branches_


class Wave(nn.Module):
    """A small network that has slopes."""

    def __init__(self, encoded: int, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(encoded, 4)
        self.outer = nn.Linear(4, outputs)

    def scale_(self, factor: float) -> None:
        self.outer.weight.data.mul_(factor)
        self.outer.bias.data.mul_(factor)

    def raise_(self, shift: float) -> None:
        self.outer.bias.data.add_(shift)

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.tanh(self.inner(encoded)))


def fit_wave(work, outputs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Fitted("a wave", Wave(work.train.encoded.shape[1], outputs))


def test_slopes_of_one_that_has_them_add_up():
    wave = dataclasses.replace(
        BRANCH,
        name="wave",
        title="wave branch",
        fit=fit_wave,
        make=Wave,
        has_slopes=True,
        sizes=(),
    )
    X, y = table()
    with registered(wave):
        model = fitted(pg.HyNNRegressor, y, "wave")
        explanation = pg.explain(
            model, X[:6], method="integrated_gradients", random_state=0, progress=False
        )
    assert list(explanation.parts) == ["tabular", "image", "wave"]
    assert "part" not in explanation.meta
    assert np.abs(explanation.parts["wave"]).max() > 1e-4
    change = explanation.predictions - explanation.base_values
    np.testing.assert_allclose(
        explanation.values.sum(axis=1), change, atol=2e-3 * np.abs(change).max()
    )
