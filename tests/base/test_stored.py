"""Files that somebody else may have made: depth of JSON, arrays, seals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from permgrad.base.stored import is_intact, parse_json, read_npz, sealed, write_npz


def test_documents():
    assert parse_json(b'{"rows": [1, 2.5, null]}') == {"rows": [1, 2.5, None]}
    with pytest.raises(ValueError, match="it is nested more than 100 levels deep"):
        parse_json("[" * 200 + "]" * 200)


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_come_back(packed, tmp_path):
    write_npz(tmp_path / "a.npz", {"a": np.arange(3)}, packed=packed)
    arrays = read_npz((tmp_path / "a.npz").read_bytes())
    assert list(arrays) == ["a"]
    assert arrays["a"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no complete npz file"):
        read_npz(Path(__file__))


def test_a_seal_shows_damage():
    description = sealed({"rows": 3})
    assert is_intact(description)
    assert not is_intact({**description, "rows": 4})
    assert not is_intact({"rows": 3}), "one without a seal"
