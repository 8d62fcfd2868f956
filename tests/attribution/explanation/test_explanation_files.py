"""Explanations are saved and loaded unchanged, and files that are damaged, newer or
pickled are refused.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tests.attribution.explanation.test_explanation import make_global, make_local

from permgrad import Explanation, InputError


@pytest.mark.parametrize("make", [make_local, make_global])
def test_save_and_load_give_back_everything(tmp_path, make):
    original = make()
    original.save(tmp_path / "why")
    files = sorted(path.name for path in (tmp_path / "why").iterdir())
    assert files == ["explanation.json", "times.json", "values.npz"]
    loaded = Explanation.load(tmp_path / "why")
    pd.testing.assert_frame_equal(loaded.to_frame(), original.to_frame())
    for name in (
        "names",
        "modality",
        "outputs",
        "method",
        "scope",
        "level",
        "additive",
        "branches",
        "direction",
    ):
        assert getattr(loaded, name) == getattr(original, name)
    if original.feature_values is not None:
        assert (
            loaded.feature_values["b"].tolist() == original.feature_values["b"].tolist()
        )
        np.testing.assert_allclose(
            loaded.feature_values["a"].to_numpy(float),
            original.feature_values["a"].to_numpy(),
        )
        np.testing.assert_array_equal(loaded.base_values, original.base_values)


def test_save_never_overwrites_in_silence(tmp_path):
    make_local().save(tmp_path / "why")
    with pytest.raises(InputError, match="Pass overwrite=True"):
        make_local().save(tmp_path / "why")
    make_global().save(tmp_path / "why", overwrite=True)
    assert Explanation.load(tmp_path / "why").method == "permgrad"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="Choose another folder"):
        make_local().save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_damaged_newer_and_pickled_files_are_refused(tmp_path):
    make_local().save(tmp_path / "why")
    header = tmp_path / "why" / "explanation.json"
    arrays = tmp_path / "why" / "values.npz"
    whole_header = header.read_text()
    whole_arrays = arrays.read_bytes()

    arrays.write_bytes(whole_arrays[: len(whole_arrays) // 2])
    with pytest.raises(InputError, match="damaged"):
        Explanation.load(tmp_path / "why")
    np.savez(arrays, values=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        Explanation.load(tmp_path / "why")
    arrays.write_bytes(whole_arrays)

    content = json.loads(whole_header)
    for version, hint in ((99, "Install a newer permgrad"), (2, "Create it again")):
        header.write_text(json.dumps({**content, "schema_version": version}))
        with pytest.raises(
            InputError,
            match=rf"has format {version}, and this permgrad reads .* of format 3\. "
            rf"{hint}",
        ):
            Explanation.load(tmp_path / "why")
    header.write_text(json.dumps({k: v for k, v in content.items() if k != "names"}))
    with pytest.raises(InputError, match="'names' is missing or wrong"):
        Explanation.load(tmp_path / "why")
    header.write_text(whole_header[:100])
    with pytest.raises(InputError, match="damaged"):
        Explanation.load(tmp_path / "why")
    header.unlink()
    with pytest.raises(InputError, match="not found"):
        Explanation.load(tmp_path / "why")


def test_two_files_of_the_same_numbers_are_equal_and_times_are_in_one_of_their_own(
    tmp_path,
):
    saved_paths = []
    for name, seconds in (("first", 1.25), ("second", 3.5)):
        explanation = make_local()
        explanation.meta.update(
            seconds=seconds, by_input={"scan": {"seed": 4, "seconds": 2 * seconds}}
        )
        saved_paths.append(explanation.save(tmp_path / name))
    for file in ("explanation.json", "values.npz"):
        assert (saved_paths[0] / file).read_bytes() == (
            saved_paths[1] / file
        ).read_bytes()
    assert (saved_paths[0] / "times.json").read_bytes() != (
        saved_paths[1] / "times.json"
    ).read_bytes()
    again = Explanation.load(saved_paths[1])
    assert again.meta["seconds"] == 3.5
    assert again.meta["by_input"] == {"scan": {"seed": 4}}
    (saved_paths[1] / "times.json").unlink()
    assert "seconds" not in Explanation.load(saved_paths[1]).meta, (
        "all else can be read"
    )
