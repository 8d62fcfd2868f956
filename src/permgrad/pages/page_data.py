"""The data of the page's scripts: JSON that no string in it can close, and arrays in a packed form."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.6g}")
        return int(short) if short.is_integer() and abs(short) < 2**53 else short
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (Sequence, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value)


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
