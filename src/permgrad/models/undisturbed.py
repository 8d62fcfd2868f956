"""Run a network in eval mode and leave it and the process as they were, whatever its code does besides computing.

A forward may count its calls in a buffer, keep averaging in eval mode, hold a weight's norm below a bound, freeze a
layer or draw from NumPy's generator. A network's own ``eval`` may merge, fuse or choose more than a flag says: its own
``train`` undoes that. Generators are seeded, so that what is computed can be repeated. Everything is restored, also
after an error.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from operator import is_ as _is
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from permgrad.base.errors import InputError
from permgrad.base.random import seeded
from permgrad.base.threads import Change, Undo, others_need, turn

#: Weights above so many numbers are not copied: what a forward writes into them stays.
MOST_COPIED = 2**27
#: Where a part keeps its weights, buffers, parts and hooks.
REGISTRIES = tuple(
    name for name, value in vars(nn.Module()).items() if isinstance(value, dict)
)

#: Held by who puts back attributes of a network that nobody computes with. Who begins
#: or ends to compute with a network waits for it.
attributes_turn = turn()


def others_compute_with(module: nn.Module) -> bool:
    """Return whether another thread computes with a network or with a part of it.

    Its attributes are those of eval mode then, and must stay.
    """
    return others_need(("part", id(part)) for part in module.modules())


@contextmanager
def _in_turn(opened: AbstractContextManager[None]) -> Iterator[None]:
    """Open and close a context while nobody puts attributes back."""
    with ExitStack() as closing:
        with attributes_turn:
            closing.enter_context(opened)
        try:
            yield
        finally:
            with attributes_turn:
                closing.close()


@contextmanager
def undisturbed(module: nn.Module, *, first: bool = False) -> Iterator[None]:
    """Run the body with a network in eval mode and seeded generators, and restore both afterwards.

    ``first``: the body is a first call, whose attributes stay even if it adds hooks.

    Threads may do so at the same time: the last to leave restores the state from before the first. A network that
    another thread trains keeps what that thread changes, and the explanation is refused.
    """
    # A forward may switch gradients. This sets them to their present state, which is restored at the end.
    followed = torch.set_grad_enabled(torch.is_grad_enabled())
    weights, steps, training = (
        set(map(id, module.parameters())),
        list[Any](),
        list[nn.Module](),
    )

    def note(optimizer: Any, *_: Any) -> None:
        steps.extend(
            one
            for group in optimizer.param_groups
            for one in group["params"]
            if id(one) in weights
        )

    handle = register_optimizer_step_post_hook(note)
    # Weights above the limit are not copied, and those that parts share are copied once.
    parts, fresh = list(module.modules()), list[_OwnMode]()
    owners = {id(one): part for part in parts for one in part.parameters(recurse=False)}
    few = (
        sum(one.numel() for one in (*module.buffers(), *module.parameters()))
        <= MOST_COPIED
    )
    # Part by part: another thread may explain a part of the network.
    changes: dict[Hashable, Change] = {
        ("part", id(part)): partial(
            _kept,
            part,
            [
                one
                for one in part.parameters(recurse=False)
                if few and owners[id(one)] is part
            ],
            steps,
        )
        for part in parts
    }
    # The last is undone first: outer parts, which may call inner ones, and then what is kept of all.
    for part in reversed([part for part in parts if _has_own_mode(part)]):
        changes["own mode", id(part)] = partial(_OwnMode.begin, part, fresh)
    changes["eval", id(module)] = partial(_evaluate, module, fresh)
    if not first:
        changes["all or none", id(module)] = partial(_all_or_none, module)
    try:
        with followed, _in_turn(seeded(changes)):
            # Another thread may have begun to train it. Else once: an own eval may add to a weight each time.
            if any(getattr(part, "training", True) for part in parts):
                _evaluate(module)
            try:
                yield
            finally:
                training = [part for part in module.modules() if part.training]
    finally:
        handle.remove()
        for part in training if steps else ():
            part.training = True
    if steps:
        problem = "The network was trained while it was explained, by another thread"
        raise InputError(
            problem,
            hint="Explain a copy, made between two steps: copy.deepcopy(network)",
            code="PG031",
        )


# ---- the mode --------------------------------------------------------------------------------------------------------
def _has_own_mode(part: nn.Module) -> bool:
    if isinstance(part, torch.jit.ScriptModule):
        return False
    plain = type(part).train is nn.Module.train and type(part).eval is nn.Module.eval
    return not plain or not {"train", "eval"}.isdisjoint(vars(part))


class _OwnMode:
    """A part of a network with its own ``train`` or ``eval``, and its attributes before and after these."""

    def __init__(self, part: nn.Module) -> None:
        self.part, self.before = part, dict(vars(part))
        self.after = self.before

    @classmethod
    def begin(cls, part: nn.Module, fresh: list[_OwnMode]) -> Undo:
        """Note the part among those that are switched now."""
        fresh.append(cls(part))
        return fresh[-1].undo

    def undo(self) -> None:
        """Put the part back by its own ``train``, then the attributes that ``eval`` has replaced and it did not."""
        if self.before["training"] or self.part.training:
            with suppress(
                Exception
            ):  # it may refuse to be trained, as what ``torch.export`` made does
                self.part.train(self.before["training"])
        own, before, after = vars(self.part), self.before, self.after
        for name in (
            name
            for name in {**before, **after}
            if before.get(name, own) is not after.get(name, own)
        ):
            own.pop(name, None)
            own.update({name: before[name]} if name in before else {})


def _evaluate(module: nn.Module, fresh: Sequence[_OwnMode] = ()) -> Undo:
    try:
        module.eval()
    except (
        NotImplementedError
    ):  # what ``torch.export`` made has one mode only, the one it was exported in
        for part in module.modules():
            part.training = False
    for one in fresh:
        one.after = dict(vars(one.part))
    return lambda: None


# ---- what is kept of a part ------------------------------------------------------------------------------------------
def _kept(part: nn.Module, copied: Sequence[Tensor], steps: Sequence[Any]) -> Undo:
    """Return a function that restores a part's mode, weights, buffers, parts and hooks, and which weights are trained.

    Of the weights, the numbers of those ``copied`` are kept. What ``steps`` of another thread's training wrote stays.
    """
    own = vars(part)
    with ExitStack() as undone:
        if hasattr(part, "training"):
            undone.callback(setattr, part, "training", part.training)
        else:  # a frozen module of TorchScript, which is left without
            undone.callback(own.pop, "training", None)
        if (
            "forward" not in own
        ):  # where TorchScript stores the method that was asked for
            undone.callback(own.pop, "forward", None)
        if not isinstance(part, torch.jit.ScriptModule):
            undone.callback(
                _put_back_registries,
                own,
                {name: dict(own[name]) for name in REGISTRIES},
                steps,
            )
            for name, tensor in _without_inference(part):
                undone.callback(
                    setattr, part, name, tensor
                )  # a recurrent layer lists its weights, too
        for parameter in (
            one for one in part.parameters(recurse=False) if not one.is_inference()
        ):
            undone.callback(parameter.requires_grad_, parameter.requires_grad)
        buffers = list(part.buffers(recurse=False))
        for buffer in (
            one for one in buffers if one.is_leaf and not one.is_inference()
        ):
            undone.callback(_cut_off, buffer, buffer.requires_grad)
        # Each weight and buffer, its numbers and a copy of them.
        with torch.inference_mode(mode=False):
            numbers = [
                (one, one.data, one.detach().clone())
                for one in (*buffers, *copied)
                if is_plain(one)
            ]
        undone.callback(_put_back_numbers, numbers, steps)
        return undone.pop_all().close


def _all_or_none(module: nn.Module) -> Undo:
    """Return a function that puts attributes back where hooks, parts or weights differ.

    These are put back too. A network that remembers that it has added them would wait
    for them for ever.
    """
    before = attributes_of(module)
    entries = [_entries_of(one.part) for one in before]

    def undo() -> None:
        if entries != [_entries_of(one.part) for one in before]:
            put_back(before)

    return undo


def _entries_of(part: nn.Module) -> list[list[Any]]:
    """Return the names in the registries of a part."""
    return [list(vars(part)[name]) for name in REGISTRIES]


def _put_back_registries(
    own: dict[str, Any], before: Mapping[str, dict[str, Any]], steps: Sequence[Any]
) -> None:
    for name, entries in before.items():
        now = own[name]
        # Places count too: an optimizer's state is loaded by them.
        same = list(now) == list(entries) and all(
            now[key] is entries[key] for key in entries
        )
        if not same and not (steps and name == "_buffers"):
            now.clear()
            now.update(entries)


def _without_inference(part: nn.Module) -> list[tuple[str, Tensor]]:
    """Put copies in the place of weights made in inference mode, which have no gradients. Return the weights."""
    named = (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    taken = [(name, one) for name, one in named if one.is_inference()]
    with torch.inference_mode(mode=False), torch.no_grad():
        for name, one in taken:
            trained = isinstance(one, nn.Parameter)
            setattr(
                part,
                name,
                nn.Parameter(one.clone(), requires_grad=one.requires_grad)
                if trained
                else one.clone(),
            )
    return taken


def _cut_off(buffer: Tensor, trained: bool) -> None:
    """Cut an average, which a forward with gradients has updated in place, off from what it was computed from."""
    if not buffer.is_leaf:
        buffer.detach_().requires_grad_(trained)


def _put_back_numbers(
    numbers: Sequence[tuple[Tensor, Tensor, Tensor]], steps: Sequence[Any]
) -> None:
    for tensor, alias, before in () if steps else numbers:
        # What was resized has the same place, but other numbers.
        if tensor.data_ptr() != alias.data_ptr() or tensor.shape != alias.shape:
            tensor.data = alias
        if not same_numbers(alias, before):
            alias.copy_(before)


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor holds its numbers itself.

    Others, quantised or divided over processes, do little else than multiply: they are neither copied nor compared.
    """
    return (
        tensor.layout == torch.strided
        and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    )


def same_numbers(one: Tensor, two: Tensor) -> bool:
    """Return whether numbers are the same, NaN too: writing them once more would disturb a graph of the user's."""
    if torch.equal(one, two):
        return True
    return bool(((one == two) | ((one != one) & (two != two))).all())  # noqa: PLR0124 — NaN alone is not itself


# ---- attributes ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Attributes:
    """A part of a network with its class and attributes, and what those held."""

    part: nn.Module
    kind: type[nn.Module]
    values: dict[str, Any]
    contents: dict[str, Any]

    def put_back(self) -> None:
        """Put back the class and the attributes, and remove those that are new."""
        own = vars(self.part)
        if type(self.part) is not self.kind:
            self.part.__class__ = self.kind
        for name in own.keys() - self.values.keys():
            del own[name]
        for name, value in self.values.items():
            if own.get(name, own) is not value:
                own[name] = value
        for name, held in self.contents.items():
            _refill(self.values[name], held)


def attributes_of(module: nn.Module) -> list[Attributes]:
    """Return the attributes of each part, where a forward may keep a flag or what it has seen."""
    found = []
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        values = dict(vars(part))
        contents = {
            name: copy.copy(value)
            for name, value in values.items()
            if type(value) in (list, dict, set) and name not in REGISTRIES
        }
        found.append(Attributes(part, type(part), values, contents))
    return found


def put_back(attributes: Sequence[Attributes]) -> None:
    """Put the attributes of parts back, and remove those that are new."""
    for one in attributes:
        one.put_back()


def attributes_at_rest(module: nn.Module) -> list[Attributes] | None:
    """Return the attributes of each part, or None if another thread computes with it."""
    with attributes_turn:
        return None if others_compute_with(module) else attributes_of(module)


def put_back_at_rest(
    module: nn.Module, attributes: Sequence[Attributes] | None
) -> None:
    """Put the attributes of parts back, unless another thread computes with them."""
    with attributes_turn:
        if attributes is not None and not others_compute_with(module):
            put_back(attributes)


def _refill(container: Any, held: Any) -> None:
    """Give a list, a dict or a set what it held, if it holds something else."""
    if len(container) == len(held) and all(map(_is, container, held)):
        return
    if isinstance(container, list):
        container[:] = held
    else:
        container.clear()
        container.update(held)
