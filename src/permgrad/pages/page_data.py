"""The data of the page's scripts: JSON that no string in it can close, and arrays in a packed form."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.files import plain

#: What could end the element or be read as markup, and line ends of scripts that JSON allows.
_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
_PACKED = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "|u1", "u2": "<u2"}


def page_data(data: Mapping[str, Any]) -> str:
    r"""Return data as JSON for ``<script type="application/json">``.

    Floats have six significant digits. NaN and infinities become null. NumPy's numbers and arrays are allowed.

    Examples:
        >>> page_data({"rows": {"name": "</script>", "values": np.array([1 / 3, np.nan])}})
        '{"rows":{"name":"\\u003c/script\\u003e","values":[0.333333,null]}}'
    """
    short = json.loads(json.dumps(plain(data)), parse_float=_short)
    text = json.dumps(short, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")


def _short(text: str) -> float:
    """Return a number with six significant digits."""
    short = float(f"{float(text):.6g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def packed(array: npt.ArrayLike, kind: str = "f4") -> dict[str, Any]:
    """Return a numeric array of any shape as text that ``Page.unpack`` turns into a typed array.

    ``kind`` is the type of a number: ``"f4"`` and ``"f8"`` (NaN allowed), ``"i4"``, ``"u1"`` or ``"u2"``. The first
    bytes of all numbers come first, then the second ones, so that they can be compressed better.

    Examples:
        >>> packed([[1, 2]], "u1")
        {'type': 'u1', 'shape': [1, 2], 'base64': 'AQI='}
    """
    numbers = np.ascontiguousarray(array, dtype=_PACKED[kind])
    planes = numbers.reshape(-1).view(np.uint8).reshape(numbers.size, numbers.itemsize).T.tobytes()
    return {"type": kind, "shape": list(np.shape(array)), "base64": base64.b64encode(planes).decode("ascii")}
