"""What was run, so that others can repeat it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class ProvenanceSection:
    """What was run, so that others can repeat it: ``command`` is a command line or a
    call in Python.

    ``folder`` is that of a run, beside which advised runs write theirs.
    ``cut`` says what a time limit took away.
    """

    command: str = ""
    folder: str = ""
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    configuration_hash: str = ""
    cut: Sequence[str] = ()


def this_machine() -> str:
    """Return the system, the processor and its cores in words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
