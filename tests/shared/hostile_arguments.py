"""Values of every kind that a user may pass where another kind is asked for, and what
has to become of them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from docs.error_codes import CODES
from torch import nn

import permgrad as pg


class Unprintable:
    """An object whose ``repr`` raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


#: What no argument of ours means, whichever it is: taking one of them is guessing.
NONSENSE: dict[str, Callable[[], Any]] = {
    "object": object,
    "unprintable": Unprintable,
    "module": lambda: os,
    "complex": lambda: 1j,
    "bytes": lambda: b"x",
    "nested list": lambda: [[["a"]]],
    "number of 401 digits": lambda: 10**400,
    "network": lambda: nn.Linear(2, 2),
    "NA": lambda: pd.NA,
    "NaT": lambda: pd.NaT,
    "word": lambda: "no such",
}
#: What some arguments may be.
SUSPECT: dict[str, Callable[[], Any]] = {
    "array of text": lambda: np.array(["x", "y"]),
    "array of one": lambda: np.float64(3),
    "list": lambda: ["global"],
    "mapping": lambda: {"a": 1},
    "set": lambda: {"a"},
    "7": lambda: 7,
    "-1": lambda: -1,
    "0": lambda: 0,
    "2.5": lambda: 2.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "1e300": lambda: 1e300,
    "1e-300": lambda: 1e-300,
    "None": lambda: None,
    "empty text": str,
    "text with a null": lambda: "a\0b",
    "text of half a character": lambda: "\ud800",
    "long text": lambda: "a" * 5000,
    "empty list": list,
    "True": lambda: True,
    "series": lambda: pd.Series([1.0, 2.0]),
    "frame": lambda: pd.DataFrame({"q": [1]}),
    "tensor": lambda: torch.tensor([1.0, 2.0]),
    "iterator": lambda: iter([1]),
    "type": lambda: int,
}


def check_argument(
    call: Callable[[Any], Any], *, takes: tuple[str, ...] = ()
) -> dict[str, str]:
    """Pass every value; each must be refused in a sentence or taken, nonsense must be
    refused.

    Args:
        call: passes its argument on.
        takes: nonsense that this argument means something by, for example a word where
            any text is right.

    Returns:
        What became of each value: ``"refused"`` or ``"taken"``.
    """
    ends = {}
    raised_errors = {}
    for name, make in {**NONSENSE, **SUSPECT}.items():
        try:
            call(make())
        except pg.PermgradError as error:
            ends[name] = "refused"
            raised_errors[name] = error
        except Exception as error:
            raise AssertionError(
                f"{name} ended in {type(error).__name__}: {error}"
            ) from error
        else:
            ends[name] = "taken"
    for name, error in raised_errors.items():
        text = str(error)
        sentences = re.fullmatch(r"\w.*[.:)] [A-Z].*[.?]", text, flags=re.DOTALL)
        assert error.code in CODES or sentences or ", however" in text, (
            f"{name}: {text}"
        )
        assert len(text) < 3000, (
            f"{name}: {len(text)} characters: {text[:70]}…{text[-120:]}"
        )
    guessed = {name for name in NONSENSE if ends[name] == "taken"} - set(takes)
    assert not guessed, f"taken without a meaning: {sorted(guessed)}"
    return ends


@contextlib.contextmanager
def working_in(folder: Any) -> Iterator[None]:
    """Work in a folder, so that a word that is taken for a path leaves its files
    there.
    """
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
