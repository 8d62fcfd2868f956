"""Tables that are composed of numbers keep the user's types, whatever they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from permgrad.attribution.subject.frame_tensors import FrameForm

ROWS = 9
_NUMBERS = np.arange(ROWS * 3, dtype=float).reshape(ROWS, 3)
#: Frames of one type of NumPy's, of several, and of pandas' own.
FRAMES = {
    "one type": pd.DataFrame(_NUMBERS, columns=list("abc")),
    "one narrow type": pd.DataFrame(_NUMBERS.astype(np.float32), columns=list("abc")),
    "whole numbers": pd.DataFrame(_NUMBERS.astype(np.int16), columns=list("abc")),
    "rows of names": pd.DataFrame(
        _NUMBERS, columns=["a", 7, ("b", "c")], index=list("rstuvwxyz")
    ),
    "several types": pd.DataFrame(
        {
            "number": _NUMBERS[:, 0],
            "count": np.arange(ROWS, dtype=np.int32),
            "level": pd.Categorical(
                list("xyzxyzxyz"), categories=list("zyx"), ordered=True
            ),
            "nullable": pd.array([1, None, 3] * 3, dtype="Int64"),
            "flag": [True, False, True] * 3,
            "text": list("abcabcabc"),
            "narrow": _NUMBERS[:, 1].astype(np.float32),
        }
    ),
}


@pytest.mark.parametrize("name", list(FRAMES))
def test_rows_are_written_in_the_types_that_they_were_read_in(name):
    frame = FRAMES[name]
    form = FrameForm(frame)
    rows = form.read(frame)
    order = torch.tensor([3, 0, 8, 8])
    wanted = frame.iloc[order.tolist()].reset_index(drop=True)
    written = form.write(rows[order])
    pd.testing.assert_frame_equal(written, wanted, check_column_type=False)
    shown = form.frame(rows[order])
    assert list(shown.columns) == list(map(str, frame.columns))
    assert list(shown.dtypes) == list(frame.dtypes)
    # It is the user's to write into.
    before = rows.clone()
    written.iloc[:, 0] = written.iloc[::-1, 0].to_numpy()
    assert torch.equal(torch.nan_to_num(rows), torch.nan_to_num(before))
