import numpy as np
import pandas as pd
import pytest

import permgrad as pg


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries_hold_the_same(library):
    pytest.importorskip(library)
    X = np.random.default_rng(0).normal(size=(40, 3))
    explanation = pg.explain(
        lambda rows: rows[:, 0] + rows[:, 1],
        X,
        X[:, 0] + X[:, 1],
        random_state=0,
        n_repeats=2,
    )
    frame = explanation.to_frame(library)
    expected_frame = explanation.to_frame()
    assert isinstance(expected_frame, pd.DataFrame)
    assert expected_frame["importance"].std() > 0
    assert type(frame).__module__.partition(".")[0] == library
    pd.testing.assert_frame_equal(frame.to_pandas(), expected_frame, check_dtype=False)


def test_other_libraries_are_refused():
    X = np.zeros((40, 3))
    with pytest.raises(pg.InputError, match="library must be one of"):
        pg.explain(lambda rows: rows[:, 0], X).to_frame("dask")
