"""One-hot blocks are proposed, never assumed; group files are checked."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from permgrad import InputError
from permgrad.data.encode.groups import propose_one_hot_blocks, read_groups


def one_hot(name, levels, n=200, seed=0):
    return pd.get_dummies(pd.Series(np.random.default_rng(seed).choice(levels, n)), prefix=name, dtype=int)


def test_blocks_are_found_by_name_and_content():
    frame = pd.concat(
        [
            pd.DataFrame({"age": np.arange(200)}),
            one_hot("home_town", ["Bonn", "Ulm", "New York"], seed=1),
            one_hot("size", ["S", "M"], seed=2).astype(bool),
            pd.DataFrame({f"soil{i}": np.arange(200) % 4 == i for i in range(4)}),
        ],
        axis=1,
    )
    assert propose_one_hot_blocks(frame) == {
        "home_town": ["home_town_Bonn", "home_town_New York", "home_town_Ulm"],
        "size": ["size_M", "size_S"],
        "soil": ["soil0", "soil1", "soil2", "soil3"],
    }


def test_what_is_no_block_is_not_proposed():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"symptom_{i}": rng.integers(0, 2, 200) for i in range(4)})
    assert (frame.sum(axis=1) > 1).any()
    assert propose_one_hot_blocks(frame) == {}
    # At most one, but nearly never one: rare flags.
    rare = pd.DataFrame({f"flag_{i}": np.arange(200) == i for i in range(3)}).astype(int)
    assert propose_one_hot_blocks(rare) == {}
    # Two columns that are not complementary.
    two = pd.DataFrame({"d_a": [1, 0, 0, 0], "d_b": [0, 1, 0, 0]})
    assert propose_one_hot_blocks(two) == {}
    assert propose_one_hot_blocks(pd.DataFrame({"a_1": [1.0, np.nan], "a_2": [0, 1]})) == {}
    assert propose_one_hot_blocks(pd.DataFrame({"a": ["x"]})) == {}


def test_groups_are_read_from_json(tmp_path):
    expected = {"body": ["height", "mass"], "life": ["smoker"]}
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(expected))
    assert read_groups(file) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": ["x"], "b": ["x"]}', "Column 'x' is listed in two groups, 'a' and 'b'. List it once."),
        ('{"a": "x"}', 'The groups file {} must be a mapping. Write {{"group": ["column", …]}}.'),
        ('{"a": [', "The groups file {} is not valid JSON: {}: line 1 column 8 (char 7). Correct the file."),
        ("column,group\n", "The groups file {} is not valid JSON: {}: line 1 column 1 (char 0). Correct the file."),
        ("{}", "The groups file {} names no group. Add one, or leave --groups out."),
    ],
)
def test_bad_group_files(tmp_path, content, message):
    file = tmp_path / "groups.txt"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read_groups(file)
    assert caught.value.message == message.format(file, "Expecting value")


def test_missing_group_file(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read the groups file .*none.json: .*Correct the path"):
        read_groups(tmp_path / "none.json")
