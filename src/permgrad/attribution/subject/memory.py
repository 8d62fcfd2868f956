"""Refuse a network whose calls change what later calls return, as observers of
quantisation do that are left on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from permgrad.attribution.subject.soundness import changed
from permgrad.base.errors import InputError, listed, warn_user
from permgrad.models.batches import with_fewer
from permgrad.models.installed import Changes, contents_of
from permgrad.models.undisturbed import (
    MOST_COPIED,
    Attributes,
    attributes_of,
    attributes_turn,
    is_plain,
    others_compute_with,
    put_back,
    same_numbers,
    undisturbed,
)

#: Rows that are asked again.
_FEW = 8
#: Names of what has moved that a message shows.
_SHOWN = 5
#: What helps against a network that remembers.
_SWITCH_OFF = (
    "Switch that off before it is explained (observers of quantisation: "
    "net.apply(torch.ao.quantization.disable_observer))"
)


@contextmanager
def check_memory(subject: Any, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Ask a network for the first rows before and after the body, in which nothing is
    restored.
    """

    def outputs(count: int) -> Tensor:
        with torch.no_grad(), subject.open():  # which seeds the generators anew
            return subject.forward([tensor[:count] for tensor in inputs]).cpu()

    with subject.open():
        before = state_of(subject.module)
        first = with_fewer(min(_FEW, len(inputs[0]), subject.most_rows()), outputs)
        chance = changed(first, outputs(len(first)))
        refuse_memory(subject.module, before, chance)
        yield
        # Outputs that depend on a chance that no seed decides were warned of.
        if not chance:
            refuse_memory(
                subject.module, before, changed(first, outputs(len(first))), unseen=True
            )


def refuse_memory(
    module: nn.Module,
    before: Mapping[str, Any],
    difference: float,
    *,
    unseen: bool = False,
) -> None:
    """Refuse outputs that moved by so much with what calls wrote, or, if ``unseen``,
    with whatever they remember.
    """
    if difference:
        moved = written(module, before)
    else:
        moved = []
    if not moved and not (difference and unseen):
        return
    if moved:
        memory_words = f"it writes into {_shown(moved)}"
    else:
        memory_words = "what it remembers is no buffer or attribute of its parts"
    problem = (
        "A call of the network must not change later ones, but the same rows get other "
        f"outputs later (by {difference:.3g}): {memory_words}"
    )
    raise InputError(problem, hint=_SWITCH_OFF, code="PG033")


def call_first(subject: Any, rows: Sequence[Tensor], most: int) -> None:
    """Call a network as its user would, and leave what it does at its first call only.

    What every call does is put back. A network that another thread computes with has
    been called. ``most``: rows of a call.
    """
    with attributes_turn:
        if others_compute_with(subject.module):
            words = []
        else:
            words = _called(subject, rows, most)
    if words:
        warn_user(
            f"The network changes itself at its first call ({listed(words, _SHOWN)}). "
            "permgrad made that call, and the change stays."
        )


def _called(subject: Any, rows: Sequence[Tensor], most: int) -> list[str]:
    """Make the first call and return in words what it has changed for good."""
    attributes = attributes_of(subject.module)
    known_modules = set(subject.module.modules())
    first_rows = [tensor[:most] for tensor in rows]
    state = state_of(subject.module)

    def call() -> tuple[Changes, Sequence[Attributes]] | None:
        """Return what a call changes and the attributes after it. None: it failed."""
        changes: Changes | None = None
        with torch.no_grad(), undisturbed(subject.module, first=True):
            before = contents_of(subject.module)
            with suppress(InputError, RuntimeError, MemoryError):
                subject.returned(first_rows)
                changes = before.changes()
        # In the user's mode again, whose attributes these are.
        if changes is None:
            return None
        return (changes, attributes_of(subject.module))

    first = call()
    if first is None:
        put_back(attributes)
        return []
    changes, after = first
    second = call() if changes else first
    repeated = {} if second is None else second[0]
    one_time_changes = [
        change for change_key, change in changes.items() if change_key not in repeated
    ]
    if not one_time_changes:
        # Attributes of its own, in which it may keep what it made of these rows.
        if moved := written(subject.module, state):
            put_back(attributes)
            refuse_first_call(subject, rows, moved, attributes)
            put_back(after)
        return []
    words = [change.words for change in one_time_changes]
    if not all(change.of_hooks for change in one_time_changes):
        put_back(attributes)
        refuse_first_call(subject, rows, words, attributes)
    put_back(after)
    for change in one_time_changes:
        change.make()
    if getattr(subject.module, "training", False):
        # A part made in that call, in eval mode, would else not be trained.
        for new_module in set(subject.module.modules()) - known_modules:
            new_module.training = True
    return words


def refuse_first_call(
    subject: Any,
    rows: Sequence[Tensor],
    moved: Sequence[str],
    attributes: Sequence[Attributes],
) -> None:
    """Refuse a network that keeps what it computes from the rows of its first call,
    into what that call has moved.

    ``attributes`` are those from before that call.
    """
    if not moved or len(rows[0]) < 2:
        return
    with attributes_turn:
        if not others_compute_with(subject.module):
            _refuse_what_is_kept(subject, rows, moved, attributes)


def _refuse_what_is_kept(
    subject: Any,
    rows: Sequence[Tensor],
    moved: Sequence[str],
    attributes: Sequence[Attributes],
) -> None:
    count = min(_FEW, subject.most_rows(rows))
    first_rows, last_rows = (
        [tensor[row_slice] for tensor in rows]
        for row_slice in (slice(0, count), slice(-count, None))
    )

    def last_of(*calls: Sequence[Tensor]) -> Tensor:
        put_back(attributes)
        with torch.no_grad(), subject.open():  # which puts back weights and buffers
            return list(map(subject.forward, calls))[-1].cpu()

    first = last_of(first_rows)
    difference = changed(first, last_of(last_rows, first_rows))
    if not difference or changed(
        first, last_of(first_rows, first_rows)
    ):  # what changes with every call is told elsewhere
        return
    problem = (
        "The first call of the network must not change later ones, but rows get other "
        "outputs after a call on other "
        f"rows (by {difference:.3g}): it writes into {_shown(moved)}"
    )
    settled = not changed(
        last_of(last_rows, first_rows),
        last_of(last_rows, first_rows, last_rows, first_rows),
    )
    call_hint = (
        "Call it once on typical rows before it is explained (with torch.no_grad(): "
        "net(rows)). " * settled
    )
    put_back(
        attributes
    )  # so that the network can be called once, as if it had not been here
    raise InputError(problem, hint=call_hint + _SWITCH_OFF, code="PG033")


def written(module: nn.Module, before: Mapping[str, Any]) -> list[str]:
    """Return the names of what has another value than in a state before."""
    after = state_of(module)
    return [
        state_name
        for state_name in {**before, **after}
        if not _same(before.get(state_name), after.get(state_name))
    ]


def _shown(names: Sequence[str]) -> str:
    return listed(
        list(map(repr, names[:_SHOWN]))
        + [f"{len(names) - _SHOWN} more"] * (len(names) > _SHOWN)
    )


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return what a forward may write into, by name: buffers, weights by their
    versions, and plain attributes.
    """
    state: dict[str, Any] = {}
    for module_name, submodule in module.named_modules():
        if module_name:
            name_prefix = f"{module_name}."
        else:
            name_prefix = ""
        for attribute_name, value in vars(submodule).items():
            if (
                isinstance(value, (bool, int, float, str, Tensor))
                and attribute_name != "training"
            ):
                if isinstance(value, Tensor):
                    state[name_prefix + attribute_name] = value.detach().clone()
                else:
                    state[name_prefix + attribute_name] = value
            elif isinstance(value, (list, dict)) and not attribute_name.startswith("_"):
                state[name_prefix + attribute_name] = len(value)
    for buffer_name, buffer in module.named_buffers():
        state[buffer_name] = buffer.detach().clone()
    weights = (
        (weight_name, weight)
        for weight_name, weight in module.named_parameters()
        if not weight.is_inference()
    )
    return state | {weight_name: weight._version for weight_name, weight in weights}  # noqa: SLF001 — how torch counts writes


def sums_of_weights(module: nn.Module) -> list[int]:
    """Return a checksum of each weight, which changes if a forward writes into it.

    Large networks have none.
    """
    weights = [weight.detach() for weight in module.parameters() if is_plain(weight)]
    if sum(weight.numel() for weight in weights) > MOST_COPIED:
        return []
    # Sums, not copies: the weights of a network that is explained are in memory once
    # more than they are without this.
    return [
        crc32(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        for weight in weights
    ]


def _same(first_value: Any, two: Any) -> bool:
    if isinstance(first_value, Tensor) and isinstance(two, Tensor):
        if not (is_plain(first_value) and is_plain(two)):
            return True  # nothing is known of them
        return (first_value.dtype, first_value.shape) == (
            two.dtype,
            two.shape,
        ) and same_numbers(first_value, two)
    return type(first_value) is type(two) and bool(first_value == two)
