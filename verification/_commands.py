"""The fixed commands of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FASTER = ("--preset", "fast:tabular+image", "--seed", "1")
RUN = ("run", "cancer.csv", "--target", "diagnosis", "--out", "cancer", *_FASTER)
_MIXED = (
    "run", "mixed.csv", "--target", "amount", "--out", "mixed", "--id", "visits", "--drop", "noise",
    "--groups", "groups.json", "--kind", "grade=categorical", *_FASTER,
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command of the command line: its arguments, what it leaves behind, and where it
    starts.

    Attributes:
        arguments: As typed after ``permgrad``.
        leaves: Files and folders that are compared.
        finished: Whether it starts beside the runs that the old code finished, else
            beside the tables alone.
        says: What the old code is known to say, and its exit code; the case shows
            nothing if it does not.
        code: See ``says``.
    """

    arguments: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    finished: bool = True
    says: str = ""
    code: int = 0

    def trivial(self, folder: Path) -> Iterator[str]:
        """Yield why the old result would show nothing."""
        said = (folder / "said.txt").read_text(encoding="utf-8")
        if not said.startswith(f"exit code {self.code}\n") or self.says not in said:
            yield f"the old code should end with exit code {self.code} and say {self.says!r}, however: {said[:300]!r}"
        yield from (
            f"the old code left no {name}"
            for name in self.leaves
            if not (folder / name).exists()
        )


COMMANDS = {
    "command-run": Command(RUN, ("cancer",), finished=False),
    "command-run-mixed": Command(_MIXED, ("mixed",), finished=False),
    "command-run-again": Command(RUN, ("cancer",), says="This run is already finished"),
    "command-predict": Command(
        ("predict", "cancer", "cancer.csv", "--out", "predicted.csv"),
        ("predicted.csv",),
    ),
    "command-predict-mixed": Command(
        ("predict", "mixed", "mixed.csv", "--out", "p.csv"), ("p.csv",)
    ),
    "command-explain": Command(
        ("explain", "cancer", "--method", "permutation", "--out", "why"), ("why",)
    ),
    "command-explain-row": Command(
        (
            "explain",
            "mixed",
            "mixed.csv",
            "--method",
            "integrated_gradients",
            "--row",
            "8",
            "--out",
            "row",
        ),
        ("row",),
    ),
    "command-report": Command(("report", "cancer"), ("cancer",)),
    "command-report-mixed": Command(("report", "mixed"), ("mixed",)),
    "command-refused": Command(
        ("run", "cancer.csv", "--target", "diagnose", "--out", "new"),
        says="Did you mean",
        code=2,
    ),
    "command-datasets": Command(("datasets", "list"), says="heloc"),
    **{
        f"command-help-{name or 'all'}": Command(
            (*name.split(), "--help"), says="--help"
        )
        for name in (
            "",
            "run",
            "predict",
            "explain",
            "report",
            "compare",
            "tune",
            "benchmark",
        )
    },
}
