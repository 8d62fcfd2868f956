"""What runs on this machine: the processes that a process has started, and those that
carry a mark of ours.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Name of the variable that marks a process and all that it starts, whoever their
#: parent is later.
MARK = "PERMGRAD_MARK"
_TICKS = os.sysconf("SC_CLK_TCK")


def processes() -> dict[int, tuple[int, str, float]]:
    """Return parent, title and processor seconds of every process."""
    found = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            title = (
                (place / "cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
            )
        except OSError:
            continue
        found[int(place.name)] = (
            int(fields[1]),
            title,
            (int(fields[11]) + int(fields[12])) / _TICKS,
        )
    return found


def children(leader: int) -> dict[int, tuple[str, float]]:
    """Return title and processor seconds of all processes that a process has started,
    and those that these have.
    """
    everyone = processes()
    mine = {leader}
    while (
        more := {own for own, (parent, _, _) in everyone.items() if parent in mine}
        - mine
    ):
        mine |= more
    return {own: everyone[own][1:] for own in mine - {leader} if own in everyone}


def marked(mark: str) -> dict[int, str]:
    """Return the titles of the processes that were started with ``MARK`` set to a text;
    those that ended are left out.

    The mark is inherited, so that it also finds processes whose parent is gone.
    """
    wanted, found = f"{MARK}={mark}".encode(), {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            if wanted not in (place / "environ").read_bytes().split(b"\0"):
                continue
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            title = (
                (place / "cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
                .strip()
            )
        except OSError:
            continue
        if state != "Z":
            found[int(place.name)] = title
    return found


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has taken, all its threads together.

    Raises:
        OSError: there is no such process.
    """
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def left_over(mark: str, patience: float) -> dict[int, str]:
    """Wait until no process with a mark is left, so long at most, and return those that
    are.
    """
    deadline = time.monotonic() + patience
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found
