"""Files that somebody else may have made: depth of JSON, arrays, seals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from permgrad.base.stored import is_intact, parse_json, read_npz, sealed, write_npz


def test_documents():
    assert parse_json(b'{"rows": [1, 2.5, null]}') == {"rows": [1, 2.5, None]}
    with pytest.raises(ValueError, match="it is nested more than 100 levels deep"):
        parse_json("[" * 200 + "]" * 200)


@pytest.mark.parametrize("write", [write_npz, lambda file, arrays: np.savez(file, **arrays)])
def test_arrays_come_back(write):
    file = io.BytesIO()
    write(file, {"a": np.arange(3)})
    arrays = read_npz(file.getvalue())
    assert list(arrays) == ["a"]
    assert arrays["a"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no complete npz file"):
        read_npz(Path(__file__))


def test_a_seal_shows_damage():
    description = sealed({"rows": 3})
    assert is_intact(description)
    assert not is_intact({**description, "rows": 4})
    assert is_intact({"rows": 3}), "one without a seal is older than seals"
