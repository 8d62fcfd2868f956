"""What only POSIX systems have is called in ``permgrad.base`` alone; all else calls
what every system has.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src"
#: Modules that Python has on POSIX systems only.
MODULES = {
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "resource",
    "syslog",
    "termios",
    "tty",
}
#: Names that modules lack on Windows, or that do something else there: a rename onto an
#: existing file is refused.
NAMES = {
    "os": """chown chroot fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getuid
    kill killpg lchown mkfifo mknod nice openpty pathconf pread pwrite rename sched_getaffinity sched_setaffinity setgid
    setsid setuid statvfs sync sysconf ttyname uname wait wait3 wait4 waitid waitpid O_CLOEXEC O_DIRECTORY O_NOFOLLOW
    O_NONBLOCK O_SYNC WNOHANG""".split(),  # noqa: SIM905
    "signal": [
        "SIGALRM",
        "SIGCHLD",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "alarm",
        "pause",
    ],
    "time": ["tzset"],
}
#: Places of a file system that other systems lack.
TEXTS = ("/proc/", "/dev/", "/tmp", "/bin/", "/etc/")
#: A file without any of these words has nothing to find, and is not parsed.
WORDS = "|".join(
    [*MODULES, *(name for names in NAMES.values() for name in names), "forkserver"]
)
SUSPECT = re.compile(rf"\b(?:{WORDS})\b|{'|'.join(TEXTS)}")


def only_posix(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the words of whatever other systems lack."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (
                    (node.lineno, alias.name)
                    for alias in names
                    if alias.name in MODULES
                )
            case ast.ImportFrom(module=module, names=names) if module is not None:
                only = [
                    alias.name
                    for alias in names
                    if module in MODULES or alias.name in NAMES.get(module, ())
                ]
                yield from ((node.lineno, f"{module}.{name}") for name in only)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if (
                name in NAMES.get(module, ())
            ):
                yield node.lineno, f"{module}.{name}"
            case ast.Call(
                func=ast.Attribute(attr="rename"), args=[ast.BinOp(op=ast.Div())]
            ):
                yield (
                    node.lineno,
                    "Path.rename",
                )  # Path.replace is the same on every system
            case ast.Call(
                func=ast.Attribute(attr="get_context" | "set_start_method"),
                args=[ast.Constant(value="fork" | "forkserver")],
            ):
                yield node.lineno, "fork"
            case ast.Constant(value=str(text)) if text.startswith(TEXTS):
                yield node.lineno, text


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import fcntl", ["fcntl"]),
        ("from os import fork, path", ["os.fork"]),
        ("import os\nos.rename('a', 'b')\nos.replace('a', 'b')", ["os.rename"]),
        (
            "import signal\nsignal.signal(signal.SIGKILL, signal.SIGTERM)",
            ["signal.SIGKILL"],
        ),
        (
            "a.rename(folder / 'b')\na.replace(folder / 'b')\ntable.rename({'a': 'b'})",
            ["Path.rename"],
        ),
        (
            "multiprocessing.get_context('fork')\nmultiprocessing.get_context('spawn')",
            ["fork"],
        ),
        ("open('/proc/stat')\nopen('a/proc/stat')", ["/proc/"]),
    ],
)
def test_what_is_found(code, found):
    assert [
        words[:6] if words.startswith("/") else words
        for _, words in only_posix(ast.parse(code))
    ] == found


def test_only_base_calls_what_other_systems_lack():
    base = ROOT / "permgrad" / "base"
    files = [
        path for path in sorted(ROOT.rglob("*.py")) if not path.is_relative_to(base)
    ]
    assert len(files) > 100
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for path in files
        if SUSPECT.search(text := path.read_text(encoding="utf-8"))
        for line, words in only_posix(ast.parse(text))
    ]
    assert not faults, (
        "move to permgrad.base, or use what every system has:\n" + "\n".join(faults)
    )
