"""The readers of saved files on changed files, by the hundred, and what counts as a
fault there.

``tools/fuzz/fuzz_readers.py`` is the long form, guided by coverage; here the same
changes are drawn at random.
"""

from __future__ import annotations

import dataclasses
import mmap
import pickle
import random
import socket
from pathlib import Path

import numpy as np
import pytest
from tools.diff_runs import differences
from tools.fuzz import _fuzz_readers
from tools.fuzz._fuzz_mutations import Canary, mutate, pack, scramble, unpack
from tools.fuzz._fuzzing import Faults, Mutator, Trial

from permgrad import InputError

#: Cases of each reader; those of whole runs take seconds each and are left to the long
#: form.
CASES = {
    "model": 25, "image-model": 10, "explanation": 40, "streamed": 20, "diff": 10, "folders": 40, "presets": 40,
    "checkpoint": 15, "csv": 40, "parquet": 25, "images": 40, "medmnist": 40,
}  # fmt: skip


def test_every_reader_is_tried_here_or_in_the_long_form():
    assert set(CASES) | {"report", "explain"} == set(_fuzz_readers.readers)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_changed_files_are_read_or_refused(name, tmp_path):
    reader = _fuzz_readers.readers[name]
    valid = [pack(reader.seal(files)) for files in _fuzz_readers.corpus(reader)]
    trial = Trial(reader, tmp_path, Faults(tmp_path / "faults"))
    try:
        for case in valid:
            trial(case)
        assert trial.ends == {"read": len(valid), "refused": 0, "fault": 0}, (
            trial.faults.found
        )
        change = Mutator(reader, trial.canary)
        draw = random.Random(0)
        for _ in range(CASES[name]):
            trial(change(draw.choice(valid), draw))
        assert trial.faults.found == {}
        # Readers of several files swallow the refusals of each; for ``diff`` a damaged
        # file is a difference.
        assert name in ("presets", "folders", "diff") or trial.ends["refused"] > 3
    finally:
        trial.close()


def test_changed_files_are_told_as_differences(tmp_path):
    """``diff`` refuses nothing that it can compare, so that it must see what was
    changed.
    """
    reader = _fuzz_readers.readers["diff"]
    (valid,) = _fuzz_readers.corpus(reader)
    change = Mutator(reader, tmp_path / "canary")
    draw = random.Random(0)
    differences_told = unequal = 0
    for number in range(20):
        files = valid if number == 0 else unpack(change(pack(valid), draw))
        folder = tmp_path / str(number)
        _fuzz_readers.write_folder(files, folder)
        sides = [{name.partition("/")[2]: content for name, content in files.items() if name.startswith(side)}
                 for side in ("one/", "two/")]  # fmt: skip
        found_differences, _ = differences(folder / "one", folder / "two")
        assert found_differences == [] or sides[0] != sides[1]
        differences_told = differences_told + bool(found_differences)
        unequal = unequal + (sides[0] != sides[1])
    # Some changes are of times, of the order of keys or of blanks, which are no
    # difference.
    assert unequal > 10
    assert differences_told > unequal / 2


# ---- what counts as a fault ----------------------------------------------------------


def tried(tmp_path, read, files=None, **options):
    """Return the kinds of faults of a reader that does what it should not."""
    reader = dataclasses.replace(_fuzz_readers.readers["csv"], read=read)
    trial = Trial(reader, tmp_path, Faults(tmp_path / "faults"), **options)
    try:
        trial.settle()
        Canary.path = str(trial.canary)
        trial(pack(files or {"a.csv": b"a"}))
        return list(trial.faults.found), trial.ends
    finally:
        trial.close()


def test_a_quiet_reader_has_no_fault(tmp_path):
    assert tried(tmp_path, lambda folder, _: (folder / "out").write_text("x")) == (
        [],
        {"read": 1, "refused": 0, "fault": 0},
    )


def test_other_exceptions_and_messages_without_a_hint_are_faults(tmp_path):
    def fail(error):
        raise error

    found_faults, ends = tried(tmp_path / "a", lambda *_: fail(KeyError("x")))
    assert found_faults == ["KeyError "]
    assert ends["fault"] == 1
    for number, words in enumerate(
        ("a must be b", "There is no column 'a'.", "a must be b, however: it is c")
    ):
        found_faults, _ = tried(
            tmp_path / f"b{number}", lambda *_, words=words: fail(InputError(words))
        )
        assert found_faults == ["a message without problem and hint "]
    for number, words in enumerate(
        ("There is no column 'a'. Name b.", "a must be b, however: it is c; say b")
    ):
        assert (
            tried(
                tmp_path / f"c{number}", lambda *_, words=words: fail(InputError(words))
            )[0]
            == []
        )


def test_pickles_processes_connections_and_strange_files_are_noticed(tmp_path):
    Canary.path = "unset"
    found_faults, _ = tried(
        tmp_path / "a", lambda folder, _: [Canary(), pickle.loads((folder / "a.bin").read_bytes())],
        {"a.bin": pickle.dumps(np.array([1.0]))},
    )  # fmt: skip
    assert found_faults == ["code or files: pickle.find_class"]

    def unpickle(folder, _):
        Canary.path = str(folder.parent / "canary")
        pickle.loads(pickle.dumps(Canary()))

    assert "a pickle was executed" in tried(tmp_path / "b", unpickle)[0]
    elsewhere = tmp_path / "elsewhere"
    assert tried(tmp_path / "c", lambda *_: elsewhere.write_text("x"))[0] == [
        "code or files: writes"
    ]

    def connect(*_):
        with socket.socket() as open_socket:
            open_socket.settimeout(0.01)
            open_socket.connect_ex(("127.0.0.1", 9))

    assert tried(tmp_path / "d", connect)[0] == ["code or files: socket.connect"]


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="peak memory is measured on Linux",
)
def test_memory_is_noticed(tmp_path):
    def fill(*_):  # memory of its own: what earlier tests left free does not count
        with mmap.mmap(-1, 2**27) as memory_block:
            memory_block.write(bytes(2**27))

    found_faults, _ = tried(tmp_path, fill, memory_mb=60)
    assert found_faults == ["memory: more than 60 MB"]


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="peak memory is measured on Linux",
)
def test_memory_that_the_making_of_a_case_took_is_none_of_the_readers(tmp_path):
    reader = dataclasses.replace(_fuzz_readers.readers["csv"], read=lambda *_: None)
    trial = Trial(reader, tmp_path, Faults(tmp_path / "faults"), memory_mb=60)
    try:
        trial.settle()
        assert np.ones(2**24).sum() > 0  # as if a case were being made
        trial(pack({"a.csv": b"a"}))
        assert trial.faults.found == {}
        assert trial.most < 60
    finally:
        trial.close()


def test_faults_keep_the_smallest_case(tmp_path):
    faults = Faults(tmp_path)
    for case in (b"long case", b"short", b"middling"):
        faults.note("KeyError", "told", case)
    (smallest_fault,) = Faults(tmp_path).found.values()
    assert smallest_fault["bytes"] == 5
    assert (tmp_path / smallest_fault["case"]).read_bytes() == b"short"
    assert faults.found["KeyError"]["cases"] == 3


def test_cases_are_packed_without_loss():
    files = {"a/b.json": b"{}", "ü": b"", "c": bytes(range(256))}
    assert unpack(pack(files)) == files
    assert unpack(pack(files)[:-200])["c"] == bytes(range(56))


def test_every_form_is_changed_and_stays_a_form(tmp_path):
    """A change that only ever scrambles bytes would not get past the first check."""
    from tools.fuzz._fuzz_mutations import FORMS

    draw = random.Random(0)
    files = {}
    for name in ("model", "csv", "parquet", "images", "checkpoint"):
        for case in _fuzz_readers.corpus(_fuzz_readers.readers[name]):
            files |= {
                file.rpartition(".")[2]: (file, content)
                for file, content in case.items()
            }
    assert set(files) >= set(FORMS) - {"jpg"}
    for form, change in FORMS.items():
        if form not in files:
            continue
        name, content = files[form]
        changed_files = [change(content, draw) for _ in range(8)]
        assert len({*changed_files, content}) > 4, form
        assert mutate({name: content}, draw, scramble, [b"\x80\x04."])
