"""How files outside ``docs/`` join the site: README, changelog and records are
included, links to other files lead on.

A page includes a part of a file with

    ```{include} ../README.md
    :start-after: "# permgrad"
    :end-before: "## Install"
    ```

Links of a page, and of what it includes, work in the repository. On the site, a link to
a record or to a script of the gallery leads to its page, and a link to any other file
of the repository leads to the repository.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
#: Files outside this folder that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/whats-new.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/reporting-security-problems.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
}
RECORDS, SCRIPTS = "benchmarks/results", "examples/gallery"
_INCLUDE = re.compile(
    r"^```\{include\} (\.\./\S+)\n((?::[a-z-]+:.*\n)*)```$", re.MULTILINE
)
_OPTION = re.compile(r'^:([a-z-]+): "(.*)"$', re.MULTILINE)
_FENCES = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
#: Where a docstring says how a method differs from its paper; the lines that follow are
#: indented.
_DEPARTURE = re.compile(r"^NOTE\[DIFF\]:(.*(?:\n +.*)*)", re.MULTILINE)
_LINKS = re.compile(r"(\]\()([^)\s]+)(\))")


def _repository() -> Any:
    """Return the module that knows the address of the repository."""
    spec = importlib.util.spec_from_file_location("permgrad_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notice() -> str:
    """Return what readers are told while the address of the repository is a
    placeholder.
    """
    return str(_repository().notice())


def link(target: str, folder: Path, page: Path) -> str:
    """Return where a link of a file in ``folder`` leads from a page of the site."""
    path, sign, heading = target.partition("#")
    if not path or re.match(r"[a-z][a-z+.-]*:", target):
        return target
    file = Path(os.path.normpath(folder / path))
    if not file.is_relative_to(ROOT):
        return target
    name = file.relative_to(ROOT).as_posix()
    if not file.is_relative_to(DOCS):
        record = file.parent == ROOT / RECORDS and file.suffix == ".md"
        script = file.parent == ROOT / SCRIPTS and file.suffix == ".py"
        if script:
            return os.path.relpath(DOCS / f"auto_gallery/{file.stem}.rst", page.parent)
        if not record and name not in PAGES:
            return str(
                _repository().absolute(
                    name + ("/" if file.is_dir() else "") + sign + heading
                )
            )
        file = DOCS / (f"records/{file.name}" if record else PAGES[name])
    return os.path.relpath(file, page.parent) + sign + heading


def with_links(text: str, folder: Path, page: Path) -> str:
    """Return a text of a file in ``folder`` with the links of a page; code stays as it
    is.
    """
    pieces = _FENCES.split(text)
    pieces[::2] = [
        _LINKS.sub(
            lambda found: found[1] + link(found[2], folder, page) + found[3], piece
        )
        for piece in pieces[::2]
    ]
    return "".join(pieces)


def included(name: str, options: dict[str, str], page: Path) -> str:
    """Return the part of a file between two texts; both must be there."""
    file = Path(os.path.normpath(page.parent / name))
    text = file.read_text(encoding="utf-8")
    for option, place in (("start-after", 1), ("end-before", 0)):
        if option in options:
            mark = options[option].replace("\\n", "\n")
            if mark not in text:
                raise ValueError(
                    f"{name} has no {mark!r}, which {page.relative_to(ROOT)} asks for"
                )
            text = text.split(mark, 1)[place]
    return with_links(text, file.parent, page)


def read_page(app: Any, docname: str, source: list[str]) -> None:
    """Put what a page includes into it, and turn its links into those of the site."""
    page = DOCS / f"{docname}.md"
    if not page.is_file():
        return
    text = with_links(source[0], page.parent, page)
    for include in _INCLUDE.finditer(source[0]):
        app.env.note_dependency(
            os.path.normpath(page.parent / include[1]), docname=docname
        )
    source[0] = _INCLUDE.sub(
        lambda it: included(it[1], dict(_OPTION.findall(it[2])), page), text
    )


def write(name: str, text: str) -> None:
    """Write a generated page, unless it says the same already: Sphinx reads again what
    is newer.
    """
    file = DOCS / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def generate(_: Any) -> None:
    """Write a page for each record, and the reference."""
    import reference_pages

    for name, text in reference_pages.pages().items():
        write(f"reference/{name}.rst", text)
    names = sorted(path.name for path in (ROOT / RECORDS).glob("*.md"))
    for name in names:
        write(f"records/{name}", f"```{{include}} ../../{RECORDS}/{name}\n```\n")
    entries = "\n".join(name.removesuffix(".md") for name in names)
    write(
        "records/index.md",
        "# Records\n\nEach record states what was measured, on which machine and at "
        "which commit. A script of the same "
        "name in `benchmarks/` or `verification/` makes it "
        f"again.\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n",
    )


def as_page(text: str) -> str:
    """Turn names of pages in a docstring into links, and departures into paragraphs; a
    bar outside code is a bar.
    """
    text = _DEPARTURE.sub(
        lambda it: "\n**Difference from the source.**" + re.sub(r"\n +", "\n", it[1]),
        text,
    )
    pieces = re.split(
        r"(``.*?``|^ *(?:>>>|\.\.\.) [^\n]*$)", text, flags=re.DOTALL | re.MULTILINE
    )
    pieces[::2] = [
        re.sub(r"docs/([a-z-]+)\.md", r":doc:`/\1`", piece.replace("|", r"\|"))
        for piece in pieces[::2]
    ]
    return "".join(pieces)


def read_docstring(
    _app: Any, _what: str, _name: str, _entry: Any, _options: Any, lines: list[str]
) -> None:
    """Prepare a docstring for Sphinx."""
    lines[:] = as_page("\n".join(lines)).split("\n")


def leave_out(
    _app: Any, _what: str, _name: str, entry: Any, _skip: bool, _options: Any
) -> bool | None:
    """Leave out what a class has from scikit-learn."""
    module = getattr(entry, "__module__", None) or ""
    return True if module.partition(".")[0] == "sklearn" else None


def setup(app: Any) -> None:
    """Connect the site's steps with those of Sphinx."""
    app.connect(
        "autodoc-process-docstring", read_docstring, priority=400
    )  # before napoleon
    app.connect("autodoc-skip-member", leave_out)
    app.connect("builder-inited", generate, priority=100)
    app.connect("source-read", read_page)
