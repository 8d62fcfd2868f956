"""Options that several commands take, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def named_path(text: str) -> Path:
    """Return the path that a text names; an empty one, such as an unset variable leaves, names none.

    Examples:
        >>> named_path("runs/a").name
        'a'
    """
    return Path(named(text))


def named(text: str) -> str:
    """Return a name as it is.

    Raises:
        typer.BadParameter: it is empty: ``Path("")`` would be the folder that the command is called in.
    """
    if not text:
        raise typer.BadParameter(
            "a file or folder must have a name, however: it is empty; name one, or a dot for the folder that you are in"
        )
    return text


def table_path(text: str) -> Path:
    """Return the path that a text names, or the name of a data set; ``./heloc`` is a file of such a name.

    Examples:
        >>> table_path("heloc").is_absolute(), table_path("./heloc").is_absolute()
        (False, True)
    """
    path = named_path(text)
    return path if text == str(path) else path.absolute()


def folder(default: str, *, what: str = "Folder") -> Any:
    """Return the option that names the folder to write."""
    return typer.Option(help=f"{what} (default: {default}).", metavar="DIR", parser=named_path)


Table = Annotated[
    str,
    typer.Argument(
        metavar="TABLE", parser=named, help="A CSV or Parquet file, or a named data set (permgrad datasets list)."
    ),
]
Target = Annotated[list[str] | None, typer.Option(help="Column to predict (known for named data sets).", metavar="COL")]
Task = Annotated[str, typer.Option(help="auto, classification or regression.")]
Positive = Annotated[
    str | None,
    typer.Option(help="Of two classes the positive one (default: the rarer).", metavar="LEVEL"),
]
Test = Annotated[Path | None, typer.Option(parser=named_path, help="Test rows of your own.", metavar="FILE")]
Validation = Annotated[
    Path | None, typer.Option(parser=named_path, help="Validation rows of your own.", metavar="FILE")
]
Drop = Annotated[list[str] | None, typer.Option(help="Column to leave out; may be given several times.", metavar="COL")]
RowId = Annotated[
    list[str] | None,
    typer.Option("--id", help="Column that names rows: not a feature, kept in predictions.", metavar="COL"),
]
ColumnKind = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        help="What a column is: numeric, categorical, boolean, date or identifier; may be given several times.",
        metavar="COL=KIND",
    ),
]
MissingCodes = Annotated[
    list[str] | None,
    typer.Option(help="Codes that mean missing, separated by commas, such as -9,-8,-7.", metavar="CODES"),
]
NotMissing = Annotated[
    list[str] | None,
    typer.Option(
        "--not-na",
        help="Texts that are categories though they usually mean missing, such as None,NA.",
        metavar="TEXTS",
    ),
]
Groups = Annotated[
    Path | None,
    typer.Option(
        parser=named_path,
        help='JSON file of columns that act as one feature: {"name": ["column", ...]}.',
        metavar="FILE",
    ),
]
Group = Annotated[
    str | None, typer.Option(help="Column whose equal values stay in one part of the split.", metavar="COL")
]
Time = Annotated[
    str | None, typer.Option(help="Column to split by: the latest rows become the test rows.", metavar="COL")
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split.", min=0, max=2**32 - 1)]
Seed = Annotated[int, typer.Option(help="Seed of everything random but the split.", min=0)]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda (or gpu; one of several: cuda:1) or mps.")]
Threads = Annotated[
    int | None, typer.Option(help="Number of threads to compute with, at least 1 (default: as the machine is set).")
]
CsvFormulas = Annotated[
    str,
    typer.Option(
        help="Texts in CSV files that a spreadsheet would take for formulas: quote puts a single quote before them, "
        "keep leaves them.",
        metavar="quote|keep",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]
ModelFolder = Annotated[
    Path, typer.Argument(metavar="MODEL_DIR", parser=named_path, help="A run's folder, or the model folder in it.")
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream",
        help="Read Parquet in parts, so that memory does not grow with rows; goes on where it was stopped "
        "(default: for folders, and for files of 1 GB and more once unpacked).",
    ),
]
Engine = Annotated[
    str, typer.Option(help="Who computes: local (this process), or ray (several processes, or a cluster).")
]
Workers = Annotated[
    int | None,
    typer.Option(help="With --engine ray: how many work at a time (default: one per GPU, or per processor).", min=1),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: the cluster's head, as host:port or auto (default: RAY_ADDRESS, else this machine).",
        metavar="ADDRESS",
    ),
]
