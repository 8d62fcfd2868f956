import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import permgrad as pg
from permgrad.data.encode.encoding import TableEncoder


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(size=90), "town": rng.choice(["Bonn", "Ulm"], 90)}
    )
    frame.loc[3, "age"] = np.nan
    return frame


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_gives_frames_with_the_names_of_encoded_columns(table, library):
    module = pytest.importorskip(library)
    transformer = clone(pg.TableTransformer(numeric="minmax")).set_output(
        transform=library
    )
    frame = transformer.fit_transform(table)
    assert isinstance(frame, module.DataFrame)
    assert list(frame.columns) == list(transformer.get_feature_names_out())
    expected_values = TableEncoder("minmax").fit(table).transform(table)
    assert np.ptp(expected_values, axis=0).min() > 0
    assert np.array_equal(frame.to_numpy(), expected_values)


def test_it_is_a_step_of_a_pipeline(table):
    y = table["town"] == "Ulm"
    pipeline = make_pipeline(pg.TableTransformer(), LogisticRegression()).fit(table, y)
    assert pipeline.score(table, y) == 1
    assert pipeline[:-1].get_feature_names_out().tolist()[-2:] == [
        "town=Bonn",
        "town=Ulm",
    ]
    with pytest.raises(NotFittedError):
        pg.TableTransformer().transform(table)
