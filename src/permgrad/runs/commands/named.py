"""``permgrad datasets``: which named data sets there are, and bringing them to this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from permgrad.data.datasets import cache_folder, fetch_dataset, get_card, list_datasets
from permgrad.runs.run.request import Outcome


def list_named() -> Outcome:
    """List all named data sets and where they are."""
    facts = []
    for name in list_datasets():
        card = get_card(name)
        where = "scikit-learn" if card.file_name is None else _found(card.file_name)
        facts.append({**card.to_dict(), "on_this_machine": where is not None, "where": where})
    width = max(len(str(fact["name"])) for fact in facts)
    lines = []
    for fact in facts:
        size = f"{fact['rows']:,} × {fact['columns']}"
        here = f"here ({fact['where']})" if fact["on_this_machine"] else "not here"
        lines.append(f"{fact['name']:<{width}}  {size:>13}  {fact['task']:<14}  target {fact['target']}; {here}")
        lines.append(f"{'':<{width}}  {fact['title']}; {fact['licence']}; {fact['home']}")
    return Outcome({"datasets": facts, "cache": os.fspath(cache_folder())}, "\n".join(lines))


def _found(file_name: str) -> str | None:
    folders = [os.environ.get("PERMGRAD_DATA"), os.fspath(cache_folder())]
    found = [Path(folder, file_name) for folder in folders if folder]
    return next((os.fspath(file) for file in found if file.is_file()), None)


def fetch_named(names: Sequence[str], *, say: Callable[[str], None]) -> Outcome:
    """Make sure that data sets are on this machine, with the content that their cards say.

    Raises:
        InputError: No such name; nothing was fetched.
        EnvironmentProblem: A set cannot be had; the message says which file to put where.
    """
    wanted = list_datasets() if list(names) == ["all"] else list(names)
    for name in wanted:
        get_card(name)
    facts = {}
    for name in wanted:
        say(f"{name} ...")
        file = fetch_dataset(name)
        facts[name] = "scikit-learn" if file is None else os.fspath(file)
    return Outcome({"datasets": facts}, "\n".join(f"{name}: {where}" for name, where in facts.items()))
