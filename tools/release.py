"""A release, rehearsed: build the source archive and the wheel, and try the wheel in a
bare environment of each Python.

Nothing is published. It ends with an error while the repository's address is undecided
(``[tool.permgrad]`` in ``pyproject.toml``), as the last step, so that all others can be
rehearsed.

    python -m tools.release                  # build into dist/, try every Python that is here
    python -m tools.release --python python3.12
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Pythons that are tried, those of them that are on this machine.
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
#: What a wheel may hold: the packages, and its metadata.
_IN_WHEEL = re.compile(r"(permgrad|permgrad_benchmark)/|permgrad-[^/]+\.dist-info/")
#: What is no part of a wheel, by the names of folders and files.
_NOT_IN_WHEEL = re.compile(
    r"(^|/)(tests?|results|records|fixtures|conftest\.py|test_[^/]*)(/|$)"
)


def refusal(repository: str) -> str:
    """Return why nothing may be released, or nothing."""
    if "//example.org/" not in repository:
        return ""
    return (
        f"The repository's address is undecided ({repository}), so nothing can be "
        "released. Set repository under [tool.permgrad] in pyproject.toml."
    )


def strangers(names: Iterable[str]) -> list[str]:
    """Return the files of a wheel that do not belong there: tests, records and
    fixtures, and files beside packages.

    Examples:
        >>> strangers(["permgrad/cli/__init__.py", "permgrad-0.1.0.dist-info/METADATA"])
        []
        >>> strangers(
        ...     ["tests/test_a.py", "permgrad/tests/a.py", "permgrad_benchmark/results/a.json"]
        ... )
        ['tests/test_a.py', 'permgrad/tests/a.py', 'permgrad_benchmark/results/a.json']
    """
    return [
        name
        for name in names
        if not _IN_WHEEL.match(name) or _NOT_IN_WHEEL.search(name)
    ]


def first_lines(readme: str) -> str:
    r"""Return the first example in Python of a README.

    Examples:
        >>> first_lines("Text\n```console\nls\n```\n```python\na = 1\n```\n")
        'a = 1\n'
    """
    found = re.search(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert found is not None, "README has an example"
    return found[1]


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MB"


def _run(words: Sequence[object], **options: object) -> None:
    """Run a command, and end with its output if it fails."""
    made = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )  # type: ignore[call-overload]
    if made.returncode:
        print(made.stdout, made.stderr, sep="\n", file=sys.stderr)
        sys.exit(f"error: {' '.join(map(str, words))} ended with {made.returncode}")


def build(folder: Path) -> Path:
    """Build the source archive and, from it, the wheel.

    Say how large they are, and return the wheel.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "build", "--outdir", folder, ROOT])
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(archive) as opened:
        print(
            f"{archive.name}: {_size(archive.stat().st_size)}, "
            f"{len(opened.getnames()):,} files and folders"
        )
    with zipfile.ZipFile(wheel) as opened_wheel:
        names, unpacked = (
            opened_wheel.namelist(),
            sum(one.file_size for one in opened_wheel.infolist()),
        )
    print(
        f"{wheel.name}: {_size(wheel.stat().st_size)}, {len(names):,} files, "
        f"{_size(unpacked)} installed"
    )
    if odd := strangers(names):
        sys.exit(
            f"error: The wheel holds {', '.join(odd[:5])}. Only the packages belong "
            "there."
        )
    return wheel


def try_wheel(python: str, wheel: Path) -> None:
    """Install the wheel in a bare environment, and run the help, the demonstration and
    the example of README there.
    """
    with tempfile.TemporaryDirectory() as place:
        bare, work = Path(place) / "bare", Path(place) / "work"
        work.mkdir()
        _run([python, "-m", "venv", bare])
        pip = [
            bare / "bin" / "python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--quiet",
            "install",
        ]
        _run([*pip, "-c", ROOT / "constraints.txt", wheel])
        (packages,) = (bare / "lib").glob("python*/site-packages")
        own = [packages / "permgrad", packages / "permgrad_benchmark"]
        sizes = [
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            for folder in (*own, packages)
        ]
        print(
            f"{python}: installed {_size(sizes[0] + sizes[1])} with compiled files, "
            f"{_size(sizes[2])} with dependencies"
        )
        for words in (["--help"], ["demo", "--out", "demo", "--quiet"]):
            _run([bare / "bin" / "permgrad", *words], cwd=work)
        example = first_lines((ROOT / "README.md").read_text(encoding="utf-8"))
        _run([bare / "bin" / "python", "-c", example], cwd=work)
        print(
            f"{python}: permgrad --help, permgrad demo and the first example of README "
            "run"
        )


def _runs(python: str) -> bool:
    """Whether a Python is here.

    A launcher of several Pythons has names that end in an error.
    """
    words = [python, "-c", ""]
    return (
        shutil.which(python) is not None
        and not subprocess.run(words, check=False, capture_output=True).returncode
    )


def main(arguments: list[str] | None = None) -> int:
    """Rehearse a release. Return 1 if it could not be published."""
    parser = argparse.ArgumentParser(description="Rehearse a release.")
    parser.add_argument(
        "--python",
        action="append",
        help="A Python to try (repeatable; default: all that are here).",
    )
    options = parser.parse_args(arguments)
    wheel = build(ROOT / "dist")
    wanted = options.python or PYTHONS
    here = [python for python in wanted if _runs(python)]
    for python in wanted:
        if python in here:
            try_wheel(python, wheel)
        else:
            print(f"{python}: not here, skipped")
    if not here:
        sys.exit("error: None of these Pythons is here.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    words = refusal(project["tool"]["permgrad"]["repository"])
    print(words or f"Ready: push the tag v{wheel.name.split('-')[1]}.")
    return int(bool(words))


if __name__ == "__main__":
    sys.exit(main())
