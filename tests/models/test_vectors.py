"""Vectors that are computed once, in memory and in a folder."""

from __future__ import annotations

import numpy as np

from permgrad.models.vectors import VectorCache, vectors_kept_in


def encoded(cells, folder, cache=None, encoder="named", calls=None):
    def encode(cell_positions):
        calls.extend(cells[position] for position in cell_positions.tolist())
        return np.array(
            [
                [len(cells[position]), ord(cells[position][0])]
                for position in cell_positions.tolist()
            ],
            dtype=np.float32,
        )

    with vectors_kept_in(folder):
        cell_vectors = (cache or VectorCache()).vectors(
            cells, encode, encoder, lambda position: cells[position].encode()
        )
    assert cell_vectors.tolist() == [[len(cell), ord(cell[0])] for cell in cells]


def test_another_process_reads_what_one_has_kept(tmp_path):
    calls = []
    encoded(["one", "four"], tmp_path / "features", calls=calls)
    encoded(["four", "three"], tmp_path / "features", calls=calls)
    assert calls == ["one", "four", "three"]
    encoded(["one", "four"], tmp_path / "features", encoder="other", calls=calls)
    assert calls[3:] == ["one", "four"]
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_what_is_kept_may_be_deleted_or_damaged(tmp_path):
    calls = []
    encoded(["one"], tmp_path, calls=calls)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    encoded(["one"], tmp_path, calls=calls)
    file.unlink()
    encoded(["one"], tmp_path, calls=calls)
    assert calls == ["one"] * 3


def test_encoders_without_a_name_are_not_kept(tmp_path):
    calls = []
    encoded(["one"], tmp_path, encoder=None, calls=calls)
    encoded(["one"], None, calls=calls)
    assert calls == ["one"] * 2
    assert not list(tmp_path.iterdir())


def test_many_cells_are_kept_in_pieces(tmp_path):
    cells = [f"{k} cells" for k in range(600)]
    calls = []
    encoded(cells, tmp_path, calls=calls)
    assert len(list(tmp_path.iterdir())) == 3
    encoded(cells[::-1], tmp_path, calls=calls)
    assert calls == cells
