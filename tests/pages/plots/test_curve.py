"""Outputs that are a curve: their names, their values, and bands that hold the complete curve."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.pages.plots.curve import bands

TIMES = (0.5, 1.0, 2.0, 4.0)


def table(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"age": rng.normal(size=rows), "dose": rng.uniform(size=rows), "noise": rng.normal(size=rows)})


def survival(rows):
    hazard = np.exp(0.8 * rows["age"] - 0.3 * rows["dose"]).to_numpy()
    return pd.DataFrame({time: np.exp(-0.3 * time * hazard) for time in TIMES})


def explained(model, X, **options):
    return pg.explain(model, X, method="shapley", random_state=0, progress=False, **options)


def test_every_output_is_explained_by_its_own_number():
    X = table()
    found = explained(survival, X)
    assert found.outputs == ("0.5", "1", "2", "4")
    for place, time in enumerate(TIMES):
        alone = explained(lambda rows, time=time: survival(rows)[time].to_numpy(), X)
        np.testing.assert_allclose(found.values[:, :, place], alone.values[:, :, 0], atol=1e-12)
    assert np.abs(found.values[:, 0]).mean(axis=0).std() > 0.01


@pytest.mark.parametrize("columns", [(0, 1, 2, 3), ("a", "b", "c", "d"), (4.0, 2.0, 1.0, 0.5)])
def test_other_columns_are_no_curve(columns):
    def model(rows):
        return survival(rows).set_axis(list(columns), axis=1)

    found = explained(model, table(), task="regression")
    assert found.outputs == tuple(map(str, columns))


def test_classes_that_are_numbers_stay_classes():
    X, y = table(), np.where(table()["age"] > 0, 3, 2)

    def chances(rows):
        one = 1 / (1 + np.exp(-3 * rows["age"]))
        return pd.DataFrame({2: 1 - one, 3: one})

    for told in (explained(chances, X), pg.explain(chances, X, y, random_state=0, progress=False)):
        assert told.meta["task"] == "classification"


def test_the_plot_draws_every_feature_with_both_bands():
    found = explained(survival, table())
    figure = found.plot.curve()
    axes = figure.axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(TIMES)]
    assert len(lines) == 3
    strongest = np.abs(found.values[:, 0]).mean(axis=0)
    np.testing.assert_allclose(lines[0].get_ydata(), strongest)
    assert tuple(lines[0].get_xdata()) == TIMES
    assert len(axes.collections) == 6
    assert len(found.plot.curve(simultaneous=False, top_n=1).axes[0].collections) == 1
    row = found.plot.curve(row=4, top_n=1).axes[0]
    np.testing.assert_allclose(row.lines[0].get_ydata(), found.values[4, 0])
    assert "Largest: age" in figure.description


def test_the_band_of_all_outputs_holds_the_complete_curve():
    """In samples of one law the pointwise band misses a curve more often than its level, the other does not."""
    rng, truth = np.random.default_rng(0), np.sqrt(2 / np.pi)
    found = explained(survival, table(40))
    whole = pointwise = 0
    for _ in range(400):
        shared, own = rng.normal(size=(40, 1, 1)), rng.normal(size=(40, 1, 8))
        values = np.sqrt(0.3) * shared + np.sqrt(0.7) * own  # eight outputs of standard normal values
        made = type(found)(**{**vars(found), **_like(values)})
        mean, narrow, wide = bands(made, simultaneous=True)
        assert ((narrow[0] < mean) & (mean < narrow[1])).all()
        pointwise += ((truth < narrow[0]) | (truth > narrow[1])).any()
        whole += ((truth < wide[0]) | (truth > wide[1])).any()
    assert pointwise / 400 > 0.12
    assert 0.02 < whole / 400 < 0.08


def _like(values):
    shape = values.shape
    empty = np.zeros(shape)
    return {
        "names": ("x",), "modality": ("table",), "outputs": tuple(map(str, range(shape[2]))), "values": values,
        "std": empty, "low": empty, "high": empty, "p_values": empty, "feature_values": None, "base_values": None,
        "predictions": None, "parts": {}, "part_std": {}, "maps": {}, "groups": {}, "correlation": None,
    }  # fmt: skip


def test_what_has_no_curve_is_refused():
    X = table()
    with pytest.raises(InputError, match="outputs that are numbers in rising order"):
        explained(lambda rows: rows["age"].to_numpy(), X).plot.curve()
    with pytest.raises(InputError, match="row"):
        explained(survival, X).plot.curve(row=60)
    with pytest.raises(InputError, match="local"):
        pg.explain(survival, X, method="permutation", random_state=0, progress=False).plot.curve()
