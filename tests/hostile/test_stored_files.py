"""Models and explanations on disk: anything changed is refused in one sentence, and
nothing it says is believed.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import shutil
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.base.stored import is_intact, read_npz, sealed

ODD = (
    None,
    True,
    -1,
    0,
    10**12,
    2**63,
    1e308,
    "",
    "x" * 50,
    [],
    {},
    [[]],
    {"a": 1},
    "../../x",
    0.5,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A model and an explanation, saved, with rows to use the model on."""
    base_folder = tmp_path_factory.mktemp("stored")
    draw = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=60)
    X = pd.DataFrame(
        {"a": draw.normal(size=60), "b": draw.choice(["x", "y", "z"], 60), "day": days}
    )
    network = {"dense_units": [4], "conv_filters": [2], "fusion_units": [4]}
    model = pg.HyNNClassifier(
        preset="fast", network=network, max_epochs=1, progress=False, random_state=0
    )
    model.fit(X, draw.choice(["p", "q"], 60))
    model.save(base_folder / "model")
    pg.explain(model, X, n_repeats=2, method="shapley", progress=False).save(
        base_folder / "explanation"
    )
    return base_folder, X


LOADERS = {
    "model": (pg.load, "model.json"),
    "explanation": (pg.Explanation.load, "explanation.json"),
}


def places(value, key_path=()):
    """Return the path of every node of a JSON document but its root."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:6])
        if isinstance(value, list)
        else ()
    )
    return [
        found_path
        for key, inner in items
        for found_path in [(*key_path, key), *places(inner, (*key_path, key))]
    ]


def change(document, draw):
    """Remove a node, or put something odd in its place."""
    *way, last = draw.choice(places(document))
    node = document
    for key in way:
        node = node[key]
    if draw.random() < 0.3 and isinstance(node, dict):
        del node[last]
    else:
        node[last] = draw.choice([odd for odd in ODD if odd != node[last]])


@pytest.mark.parametrize("what", LOADERS)
def test_a_changed_description_is_refused(stored, tmp_path, what):
    load, name = LOADERS[what]
    draw = random.Random(0)
    whole_description = json.loads(
        (stored[0] / what / name).read_text(encoding="utf-8")
    )
    assert len(places(whole_description)) > 40
    for number in range(60):
        changed_folder = tmp_path / str(number)
        shutil.copytree(stored[0] / what, changed_folder)
        changed = json.loads(json.dumps(whole_description))
        change(changed, draw)
        if "seal" not in changed:
            continue
        (changed_folder / name).write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(pg.InputError, match=r"however|\[PG\d+\]"):
            load(changed_folder)


@pytest.mark.parametrize("what", LOADERS)
def test_who_renews_seal_and_checksums_still_gets_a_sentence(stored, tmp_path, what):
    """Nobody is kept from writing files of their own; what they say must not crash, or
    ask for memory.
    """
    load, name = LOADERS[what]
    draw = random.Random(1)
    whole_description = json.loads(
        (stored[0] / what / name).read_text(encoding="utf-8")
    )
    refused = 0
    messages = []
    for number in range(120):
        changed_folder = tmp_path / str(number)
        shutil.copytree(stored[0] / what, changed_folder)
        changed = json.loads(json.dumps(whole_description))
        change(changed, draw)
        (changed_folder / name).write_text(
            json.dumps(sealed(changed)), encoding="utf-8"
        )
        try:
            loaded_object = load(changed_folder)
            assert repr(loaded_object)
            if what == "explanation":
                loaded_object.to_frame()
        except pg.InputError as error:
            refused += 1
            messages.append(str(error))
    assert all(re.search(r"however|\[PG\d+\]", sentence) for sentence in messages)
    assert refused > 20


@pytest.mark.parametrize("what", LOADERS)
def test_flipped_and_missing_bytes_are_refused(stored, tmp_path, what):
    load, _ = LOADERS[what]
    draw = random.Random(2)
    messages = []
    for number in range(80):
        changed_folder = tmp_path / str(number)
        shutil.copytree(stored[0] / what, changed_folder)
        path = draw.choice(
            sorted(
                file_path
                for file_path in changed_folder.iterdir()
                if file_path.name not in ("times.json", "requirements.txt")
            )
        )
        content = bytearray(path.read_bytes())
        if number % 4 == 0:
            content = content[: draw.randrange(len(content))]
        else:
            byte_index = draw.randrange(len(content))
            content[byte_index] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(content))
        try:
            load(changed_folder)
        except pg.InputError as error:
            messages.append(str(error))
        else:
            # What a zip file says of times and of its maker may be anything, and
            # numbers have digits beyond their own.
            saved = (stored[0] / what / path.name).read_bytes()
            same = path.suffix == ".json" and json.loads(content) == json.loads(saved)
            assert path.suffix == ".npz" or same
            assert what == "explanation" or same
    assert all(re.search(r"however|\[PG\d+\]", sentence) for sentence in messages)
    assert len(messages) > 60


@pytest.mark.parametrize("what", LOADERS)
@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff", b"[]", b'{"seconds": "soon"}', b'{"seconds": [1, null]}'],
)
def test_times_are_no_part_of_what_is_stored(stored, tmp_path, what, content):
    """They have no checksum, so whatever became of them, all else is read as it was."""
    copied_folder = tmp_path / what
    shutil.copytree(stored[0] / what, copied_folder)
    assert (copied_folder / "times.json").exists()
    (copied_folder / "times.json").unlink() if content is None else (
        copied_folder / "times.json"
    ).write_bytes(content)
    LOADERS[what][0](copied_folder)


# ---- arrays --------------------------------------------------------------------------


def packed(header, numbers=b"", **options):
    """Return an npz file whose array says what the header says."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        array, {"descr": "<f8", "fortran_order": False, "shape": (1,), **header}
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        archive.writestr("a.npy", array.getvalue() + numbers)
    return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 3)), np.array("text"),
     np.array(["a", "ß"]), np.array(True), np.zeros((2, 0, 2), dtype="<U3"), np.array([np.datetime64("2020-01-01")])],
)  # fmt: skip
def test_arrays_are_read_as_numpy_reads_them(array):
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, a=array, **{"b/c": array})
        with np.load(io.BytesIO(file.getvalue())) as expected:
            arrays_read = read_npz(file.getvalue())
            assert list(arrays_read) == expected.files
            for name in expected.files:
                assert arrays_read[name].dtype == expected[name].dtype
                np.testing.assert_array_equal(arrays_read[name], expected[name])
                assert arrays_read[name].flags.writeable


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            packed({"shape": (10**12,)}, b"\0" * 8),
            "says it has 1,000,000,000,000 values",
        ),
        (
            packed({"shape": (2**40, 2**40)}, b"\0" * 8),
            "values of float64, and has not",
        ),
        (packed({"shape": (2,)}, b"\0" * 8), "says it has 2 values"),
        (packed({"shape": (-1,)}, b""), "and has not"),
        (packed({"descr": "|O"}, b"\0" * 8), "holds a pickle"),
        (b"\x80\x04K\x01.", "looks like a pickle"),
        (b"", "it is no complete npz file"),
        (b"PK\x03\x04", "it is no complete npz file"),
        (packed({}, b"\0" * 8)[:-30], "it is no complete npz file"),
    ],
)
def test_arrays_that_lie_about_their_size_are_refused_without_the_memory(content, said):
    tracemalloc.start()
    with pytest.raises(ValueError, match=said):
        read_npz(content)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7


def test_seals_see_every_change_and_forgive_order():
    content = {
        "a": [1, 2.5, None, "ü"],
        "b": {"c": (1, 2)},
        "d": float(np.float32(0.1)),
    }
    closed = json.loads(json.dumps(sealed(content)))
    assert is_intact(closed)
    assert is_intact(dict(reversed(closed.items())))
    for key_path in places(closed):
        changed = json.loads(json.dumps(closed))
        node = changed
        for key in key_path[:-1]:
            node = node[key]
        node[key_path[-1]] = "other"
        assert not is_intact(changed), key_path
    assert len(hashlib.sha256(b"").hexdigest()) == len(closed["seal"])
