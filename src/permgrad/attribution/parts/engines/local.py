"""The engine that needs nothing: tasks run here, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from permgrad.attribution.parts.engines.base import engines
from permgrad.base.errors import InputError, shown

T = TypeVar("T")
R = TypeVar("R")


@engines.register("local")
class LocalEngine:
    """Runs tasks in this process, in their order; memory holds one of them.

    Examples:
        >>> list(LocalEngine().run(["a", "b"], str.upper))
        ['A', 'B']
    """

    def __init__(self, *, workers: int | None = None, address: str | None = None) -> None:
        if address is not None:
            raise InputError(
                f"an address is that of a Ray cluster, however: engine='local' and the address is {shown(address)}; "
                "add engine='ray' (--engine ray), or leave the address out"
            )
        if workers not in (None, 1):
            raise InputError(
                f"engine='local' works in this process alone, however: workers={workers}; "
                "add engine='ray' (--engine ray) to let several processes work, or leave workers out"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What an explanation's ``meta`` says of the engine."""
        return {"engine": "local", "workers": 1}

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        """Yield the tasks' results in the tasks' order."""
        for task in tasks:
            yield work(task)
