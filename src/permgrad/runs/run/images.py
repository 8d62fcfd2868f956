"""The image columns of a run: their files are read once before there is work, and their contents are recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.base.errors import option_of
from permgrad.data.image_table import check_image_cells, pages_said
from permgrad.data.read.cells import Distinct, MissingCodes
from permgrad.data.read.image_cells import source_of
from permgrad.data.read.table import blank_codes


def check_images(
    columns: Sequence[str], parts: dict[str, pd.DataFrame], codes: MissingCodes, notes: list[str]
) -> dict[str, Any]:
    """Return what the configuration of a run holds of its images: the columns, and a hash of all contents.

    Refuses images that cannot be read. Notes files of several pages, and test rows that show the same image as a
    training row.
    """
    digest = hashlib.sha256()
    for name in columns:
        cells = {part: Distinct.of(blank_codes(table[[name]], codes)[name], name) for part, table in parts.items()}
        every = list(dict.fromkeys(text for one in cells.values() for text in one.texts))
        check_image_cells(name, every)
        sources = {text: source_of(text) for text in every}
        for text, source in sources.items():
            content = source.read_bytes() if isinstance(source, Path) else text.encode()  # which hashes the pixels
            digest.update(hashlib.sha256(content).digest())
        notes += pages_said(name, [source for source in sources.values() if isinstance(source, Path)])
        # A part may have a file, and a folder, of its own.
        shown = {part: [_identity(text) for text in one.texts] for part, one in cells.items()}
        index = cells["test"].index
        both = [image in set(shown["train"]) for image in shown["test"]]
        if count := sum(both[at] for at in index.tolist() if at >= 0):
            notes.append(
                f"{count} of {len(index)} test rows show the same image of column {name!r} as a training row, so "
                "figures on the test rows are too good. Keep equal images together with "
                f"{option_of('--split-group', name)}."
            )
    return {"images": list(columns), "image content": digest.hexdigest()} if columns else {}


def _identity(text: str) -> str:
    source = source_of(text)
    return str(source.absolute()) if isinstance(source, Path) else text
