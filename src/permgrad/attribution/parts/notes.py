"""Warnings of parts: hundreds of them would say the same, so they are kept as text and said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from permgrad.base.errors import warn_user


def say_once(said: Mapping[str, int]) -> None:
    """Warn of the first of several notes, and say how many more there were.

    Args:
        said: each note with the number of the part that first gave rise to it.
    """
    if said:
        say_first(said, f"in part {next(iter(said.values()))} of the table: ")


def say_first(said: Iterable[str], where: str) -> None:
    """Warn of the first of several notes, and say how many others there were.

    Args:
        said: the notes; equal ones count once.
        where: what the note begins with.
    """
    notes = list(dict.fromkeys(said))
    if notes:
        more = f"; and {len(notes) - 1} more such notes" if len(notes) > 1 else ""
        warn_user(f"{where}{notes[0]}{more}")
