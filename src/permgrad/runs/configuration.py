"""What makes a command's result: the fields of its request that change it, and the
content of the files they name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from permgrad.base import __version__
from permgrad.base.files import file_hash, plain
from permgrad.base.folders import configuration_hash
from permgrad.data.read.addresses import table_address
from permgrad.data.read.table import is_parquet_folder
from permgrad.runs.options import (
    CommandRequest,
    data_sets,
    file_of,
    options_of,
    separated,
    table_name,
)
from permgrad.runs.run.early import no_such_file


def configuration(request: CommandRequest) -> dict[str, Any]:
    """Return the fields of a request that change its result, but for those without a
    value.

    A file is its name without folder, and a hash as ``"<field> content"``. Several
    names are a set, and codes keep their order. The version is part of it: work of
    another version is neither resumed nor taken for this one.
    """
    content: dict[str, Any] = {"permgrad": __version__}
    for option_name, option in options_of(request).items():
        value = getattr(request, option_name)
        if value in (None, ()) or not option.changes_result:
            continue
        if option_name == "table":
            content |= {
                option_name: table_name(value),
                "table content": content_of(value),
            }
        elif option.lists == "codes":
            # Codes may be cells with commas.
            stripped_codes = [code_text.strip() for code_text in value]
            if option_name == "na":
                content[option_name] = stripped_codes
            else:
                content[option_name] = list(separated(value))
        elif isinstance(value, tuple) and isinstance(value[0], str):
            several = []
            for entry_name in sorted(set(value)):
                several.append((entry_name, _inside(option_name, entry_name)))
            content[option_name] = [
                entry_name if inside is None else [entry_name, inside]
                for entry_name, inside in several
            ]
        else:
            inside = _inside(option_name, value)
            content[option_name] = value if inside is None else Path(value).name
            if inside is not None:
                content |= {f"{option_name} content": inside}
    return plain(content)


def _inside(name: str, value: Any) -> str | None:
    """Return what is in the file or the function that a field names.

    None: it names none.
    """
    if (file_path := file_of(name, value)) is not None:
        return content_of(file_path, name)
    if name == "model" and ":" in value:
        from permgrad.runs.run.choosing import estimator_of  # few runs train one

        return repr(estimator_of(value))
    return None


def content_of(source: str | Path, role: str = "table") -> str:
    """Return a hash of the content of a file, or the name of a data set (``./heloc`` is
    a file of that name).
    """
    path = table_address(source).file
    if role == "table":
        names = data_sets()
    else:
        names = ()
    if source in names:
        from permgrad.data.datasets import fetch_dataset  # a file needs none of them

        data_file = fetch_dataset(str(source))
        if data_file is None:
            return f"data set {source}"
        return file_hash(data_file)
    if path.is_file():
        return file_hash(path)
    if role in ("table", "test") and is_parquet_folder(path):
        from permgrad.data.partitions import open_partitioned

        table = open_partitioned(path)
        table.check_memory()
        return configuration_hash(
            {
                part_file.name: file_hash(Path(table.root, part_file.name))
                for part_file in table.files
            }
        )
    raise no_such_file(path, role, names)
