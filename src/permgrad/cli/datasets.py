"""``permgrad datasets``: which named data sets there are, and bringing them to this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from permgrad.cli.command import app, command, say
from permgrad.runs.requests import Outcome, argument

datasets_app = typer.Typer(help="Named data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(datasets_app, name="datasets")


@dataclass(frozen=True, kw_only=True)
class _ListRequest:
    """``permgrad datasets list`` has no options."""


@command(datasets_app, _ListRequest, "list")
def datasets_list(_: _ListRequest) -> Outcome:
    """List the named data sets: target, size, licence, home, and whether they are on this machine."""
    from permgrad.data.datasets import cache_folder, get_card, list_datasets

    folders = [Path(folder) for folder in (os.environ.get("PERMGRAD_DATA"), cache_folder()) if folder]
    facts = []
    for name in list_datasets():
        card = get_card(name)
        files = [folder / card.file_name for folder in folders if card.file_name is not None]
        where = next((os.fspath(file) for file in files if file.is_file()), None)
        where = "scikit-learn" if card.file_name is None else where
        facts.append({**card.to_dict(), "on_this_machine": where is not None, "where": where})
    width = max(len(str(fact["name"])) for fact in facts)
    lines = []
    for fact in facts:
        size = f"{fact['rows']:,} × {fact['columns']}"
        here = f"here ({fact['where']})" if fact["on_this_machine"] else "not here"
        lines.append(f"{fact['name']:<{width}}  {size:>13}  {fact['task']:<14}  target {fact['target']}; {here}")
        lines.append(f"{'':<{width}}  {fact['title']}; {fact['licence']}; {fact['home']}")
    return Outcome({"datasets": facts, "cache": os.fspath(cache_folder())}, "\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class _FetchRequest:
    """The options of ``permgrad datasets fetch``."""

    names: tuple[str, ...] = argument("Names of data sets, or all.", "NAME...")


@command(datasets_app, _FetchRequest, "fetch")
def datasets_fetch(request: _FetchRequest) -> Outcome:
    """Bring named data sets to this machine and check their content."""
    from permgrad.data.datasets import fetch_dataset, get_card, list_datasets

    names = list_datasets() if request.names == ("all",) else list(request.names)
    for name in names:
        get_card(name)  # an unknown name is refused before anything is fetched
    facts = {}
    for name in names:
        say(f"{name} ...")
        file = fetch_dataset(name)
        facts[name] = "scikit-learn" if file is None else os.fspath(file)
    return Outcome({"datasets": facts}, "\n".join(f"{name}: {where}" for name, where in facts.items()))
