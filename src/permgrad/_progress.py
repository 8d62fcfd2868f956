"""A progress bar on stderr with the time left; silent when nobody watches."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Literal, Self

from permgrad._checks import check_flag_or_auto

ProgressMode = Literal["auto"] | bool


class Progress:
    """A bar of ``total`` steps, shown if ``mode`` is true, or ``"auto"`` and stderr is a terminal.

    Examples:
        >>> with Progress(3, "features", mode=False) as bar:
        ...     bar.advance()
    """

    def __init__(self, total: int, label: str, mode: ProgressMode = "auto") -> None:
        wanted = check_flag_or_auto("progress", mode)
        shown = sys.stderr is not None and sys.stderr.isatty() if wanted == "auto" else wanted
        self._bar: Any = None
        if shown and total > 0:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=label, file=sys.stderr, leave=False, dynamic_ncols=True)

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        if self._bar is not None:
            self._bar.update(steps)

    def note(self, text: str) -> None:
        """Show a short text behind the bar, for example the best score so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
