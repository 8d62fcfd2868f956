"""Run a network in eval mode and leave it and the process as they were, whatever its
code does besides computing.

A forward may count its calls in a buffer, keep averaging in eval mode, hold a weight's
norm below a bound, freeze a layer or draw from NumPy's generator. A network's own
``eval`` may merge, fuse or choose more than a flag says: its own ``train`` undoes that.
Generators are seeded, so that what is computed can be repeated. Everything is restored,
also after an error.
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
from permgrad.base.threads import Change, Undo, others_need, this_needs, turn

#: Weights above so many numbers are not copied: what a forward writes into them stays.
MOST_COPIED = 2**27
#: Where a part keeps its weights, buffers, parts and hooks.
REGISTRIES = tuple(
    registry_name
    for registry_name, value in vars(nn.Module()).items()
    if isinstance(value, dict)
)

#: Held by who puts back attributes of a network that nobody computes with. Who begins
#: or ends to compute with a network waits for it.
attributes_turn = turn()


def others_compute_with(module: nn.Module) -> bool:
    """Return whether another thread computes with a network or with a part of it.

    Its attributes are those of eval mode then, and must stay.
    """
    return others_need(("part", id(submodule)) for submodule in module.modules())


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
    """Run the body with a network in eval mode and seeded generators, and restore both
    afterwards.

    ``first``: the body is a first call, whose attributes stay even if it adds hooks.

    Threads may do so at the same time: the last to leave restores the state from before
    the first. A network that another thread trains keeps what that thread changes, and
    the explanation is refused.
    """
    # A forward may switch gradients. This sets them to their present state, which is
    # restored at the end.
    followed = torch.set_grad_enabled(torch.is_grad_enabled())
    # Whoever of this thread opened it before restores all of it.
    if not first and this_needs(("all or none", id(module))):
        with followed, seeded():
            if any(submodule.training for submodule in module.modules()):
                _evaluate(module)
            yield
        return
    weights = set(map(id, module.parameters()))
    steps = list[Any]()
    training = list[nn.Module]()

    def note(optimizer: Any, *_: Any) -> None:
        steps.extend(
            stepped_weight
            for group in optimizer.param_groups
            for stepped_weight in group["params"]
            if id(stepped_weight) in weights
        )

    handle = register_optimizer_step_post_hook(note)
    submodules = list(module.modules())
    changes = _changes_of(module, submodules, steps)
    if not first:
        changes["all or none", id(module)] = partial(_all_or_none, module)
    try:
        with followed, _in_turn(seeded(changes)):
            # Another thread may have begun to train it. Else once: an own eval may add
            # to a weight each time.
            if any(
                getattr(checked_module, "training", True)
                for checked_module in submodules
            ):
                _evaluate(module)
            try:
                yield
            finally:
                training = [
                    training_module
                    for training_module in module.modules()
                    if training_module.training
                ]
    finally:
        handle.remove()
        for restored_module in training if steps else ():
            restored_module.training = True
    if steps:
        problem = "The network was trained while it was explained, by another thread"
        raise InputError(
            problem,
            hint="Explain a copy, made between two steps: copy.deepcopy(network)",
            code="PG031",
        )


def _changes_of(
    module: nn.Module, submodules: Sequence[nn.Module], steps: list[Any]
) -> dict[Hashable, Change]:
    """Return what changes a network and restores it, part by part: another thread may
    explain a part of the network.

    Weights above the limit are not copied, and those that parts share are copied once.
    """
    fresh = list[_OwnMode]()
    owners = {}
    for owner_module in submodules:
        for owned_weight in owner_module.parameters(recurse=False):
            owners[id(owned_weight)] = owner_module
    tensors = (*module.buffers(), *module.parameters())
    has_few_numbers = sum(tensor.numel() for tensor in tensors) <= MOST_COPIED
    changes: dict[Hashable, Change] = {}
    for changed_module in submodules:
        copied = [
            part_weight
            for part_weight in changed_module.parameters(recurse=False)
            if has_few_numbers and owners[id(part_weight)] is changed_module
        ]
        changes["part", id(changed_module)] = partial(
            _kept, changed_module, copied, steps
        )
    # The last is undone first: outer parts, which may call inner ones, and then what is
    # kept of all.
    for candidate_module in reversed(submodules):
        if _has_own_mode(candidate_module):
            changes["own mode", id(candidate_module)] = partial(
                _OwnMode.begin, candidate_module, fresh
            )
    changes["eval", id(module)] = partial(_evaluate, module, fresh)
    return changes


# ---- the mode ------------------------------------------------------------------------
def _has_own_mode(submodule: nn.Module) -> bool:
    if isinstance(submodule, torch.jit.ScriptModule):
        return False
    plain = (
        type(submodule).train is nn.Module.train
        and type(submodule).eval is nn.Module.eval
    )
    return not plain or not {"train", "eval"}.isdisjoint(vars(submodule))


class _OwnMode:
    """A part of a network with its own ``train`` or ``eval``, and its attributes before
    and after these.
    """

    def __init__(self, submodule: nn.Module) -> None:
        self.part = submodule
        self.before = dict(vars(submodule))
        self.after = self.before

    @classmethod
    def begin(cls, submodule: nn.Module, fresh: list[_OwnMode]) -> Undo:
        """Note the part among those that are switched now."""
        fresh.append(cls(submodule))
        return fresh[-1].undo

    def undo(self) -> None:
        """Put the part back by its own ``train``, then the attributes that ``eval`` has
        replaced and it did not.
        """
        if self.before["training"] or self.part.training:
            with suppress(
                Exception
            ):  # it may refuse to be trained, as what ``torch.export`` made does
                self.part.train(self.before["training"])
        current_attributes = vars(self.part)
        before = self.before
        after = self.after
        for changed_name in (
            attribute_name
            for attribute_name in {**before, **after}
            if before.get(attribute_name, current_attributes)
            is not after.get(attribute_name, current_attributes)
        ):
            current_attributes.pop(changed_name, None)
            current_attributes.update(
                {changed_name: before[changed_name]} if changed_name in before else {}
            )


def _evaluate(module: nn.Module, fresh: Sequence[_OwnMode] = ()) -> Undo:
    try:
        module.eval()
    except (
        NotImplementedError
    ):  # what ``torch.export`` made has one mode only, the one it was exported in
        for submodule in module.modules():
            submodule.training = False
    for own_mode in fresh:
        own_mode.after = dict(vars(own_mode.part))
    return lambda: None


# ---- what is kept of a part ----------------------------------------------------------
def _kept(submodule: nn.Module, copied: Sequence[Tensor], steps: Sequence[Any]) -> Undo:
    """Return a function that restores a part's mode, weights, buffers, parts and hooks,
    and which weights are trained.

    Of the weights, the numbers of those ``copied`` are kept. What ``steps`` of another
    thread's training wrote stays.
    """
    part_attributes = vars(submodule)
    with ExitStack() as undone:
        if hasattr(submodule, "training"):
            undone.callback(setattr, submodule, "training", submodule.training)
        else:  # a frozen module of TorchScript, which is left without
            undone.callback(part_attributes.pop, "training", None)
        if (
            "forward" not in part_attributes
        ):  # where TorchScript stores the method that was asked for
            undone.callback(part_attributes.pop, "forward", None)
        if not isinstance(submodule, torch.jit.ScriptModule):
            undone.callback(
                _put_back_registries,
                part_attributes,
                {
                    registry_name: dict(part_attributes[registry_name])
                    for registry_name in REGISTRIES
                },
                steps,
            )
            for weight_name, tensor in _without_inference(submodule):
                undone.callback(
                    setattr, submodule, weight_name, tensor
                )  # a recurrent layer lists its weights, too
        for parameter in (
            part_parameter
            for part_parameter in submodule.parameters(recurse=False)
            if not part_parameter.is_inference()
        ):
            undone.callback(parameter.requires_grad_, parameter.requires_grad)
        buffers = list(submodule.buffers(recurse=False))
        for buffer in (
            part_buffer
            for part_buffer in buffers
            if part_buffer.is_leaf and not part_buffer.is_inference()
        ):
            undone.callback(_cut_off, buffer, buffer.requires_grad)
        # Each weight and buffer, its numbers and a copy of them.
        with torch.inference_mode(mode=False):
            numbers = []
            for copied_tensor in (*buffers, *copied):
                if is_plain(copied_tensor):
                    numbers.append(
                        (
                            copied_tensor,
                            copied_tensor.data,
                            copied_tensor.detach().clone(),
                        )
                    )
        undone.callback(_put_back_numbers, numbers, steps)
        return undone.pop_all().close


def _all_or_none(module: nn.Module) -> Undo:
    """Return a function that puts attributes back where hooks, parts or weights differ.

    These are put back too. A network that remembers that it has added them would wait
    for them for ever.
    """
    before = attributes_of(module)
    entries = [_entries_of(part_state.part) for part_state in before]

    def undo() -> None:
        if entries != [_entries_of(part_state.part) for part_state in before]:
            put_back(before)

    return undo


def _entries_of(submodule: nn.Module) -> list[list[Any]]:
    """Return the names in the registries of a part."""
    return [list(vars(submodule)[registry_name]) for registry_name in REGISTRIES]


def _put_back_registries(
    part_attributes: dict[str, Any],
    before: Mapping[str, dict[str, Any]],
    steps: Sequence[Any],
) -> None:
    for registry_name, entries in before.items():
        current_entries = part_attributes[registry_name]
        # Places count too: an optimizer's state is loaded by them.
        is_same = list(current_entries) == list(entries) and all(
            current_entries[entry_key] is entries[entry_key] for entry_key in entries
        )
        if not is_same and not (steps and registry_name == "_buffers"):
            current_entries.clear()
            current_entries.update(entries)


def _without_inference(submodule: nn.Module) -> list[tuple[str, Tensor]]:
    """Put copies in the place of weights made in inference mode, which have no
    gradients. Return the weights.
    """
    named = (
        *submodule.named_parameters(recurse=False),
        *submodule.named_buffers(recurse=False),
    )
    inference_weights = []
    for named_weight, inference_tensor in named:
        if inference_tensor.is_inference():
            inference_weights.append((named_weight, inference_tensor))
    with torch.inference_mode(mode=False), torch.no_grad():
        for weight_name, weight_tensor in inference_weights:
            trained = isinstance(weight_tensor, nn.Parameter)
            setattr(
                submodule,
                weight_name,
                nn.Parameter(
                    weight_tensor.clone(), requires_grad=weight_tensor.requires_grad
                )
                if trained
                else weight_tensor.clone(),
            )
    return inference_weights


def _cut_off(buffer: Tensor, trained: bool) -> None:
    """Cut an average, which a forward with gradients has updated in place, off from
    what it was computed from.
    """
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

    Others, quantised or divided over processes, do little else than multiply: they are
    neither copied nor compared.
    """
    return (
        tensor.layout == torch.strided
        and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    )


def same_numbers(tensor: Tensor, other_tensor: Tensor) -> bool:
    """Return whether numbers are the same, NaN too: writing them once more would
    disturb a graph of the user's.
    """
    if torch.equal(tensor, other_tensor):
        return True
    # NaN alone is not itself.
    both_missing = (tensor != tensor) & (other_tensor != other_tensor)  # noqa: PLR0124
    return bool(((tensor == other_tensor) | both_missing).all())


# ---- attributes ----------------------------------------------------------------------
@dataclass(frozen=True)
class Attributes:
    """A part of a network with its class and attributes, and what those held."""

    part: nn.Module
    kind: type[nn.Module]
    values: dict[str, Any]
    contents: dict[str, Any]

    def put_back(self) -> None:
        """Put back the class and the attributes, and remove those that are new."""
        current_attributes = vars(self.part)
        if type(self.part) is not self.kind:
            self.part.__class__ = self.kind
        for new_name in current_attributes.keys() - self.values.keys():
            del current_attributes[new_name]
        for attribute_name, value in self.values.items():
            if current_attributes.get(attribute_name, current_attributes) is not value:
                current_attributes[attribute_name] = value
        for container_name, held_content in self.contents.items():
            _refill(self.values[container_name], held_content)


def attributes_of(module: nn.Module) -> list[Attributes]:
    """Return the attributes of each part, where a forward may keep a flag or what it
    has seen.
    """
    module_attributes = []
    for submodule in module.modules():
        if isinstance(submodule, torch.jit.ScriptModule):
            continue
        values = dict(vars(submodule))
        contents = {}
        for attribute_name, value in values.items():
            if type(value) in (list, dict, set) and attribute_name not in REGISTRIES:
                contents[attribute_name] = copy.copy(value)
        module_attributes.append(
            Attributes(submodule, type(submodule), values, contents)
        )
    return module_attributes


def put_back(attributes: Sequence[Attributes]) -> None:
    """Put the attributes of parts back, and remove those that are new."""
    for module_attributes in attributes:
        module_attributes.put_back()


def attributes_at_rest(module: nn.Module) -> list[Attributes] | None:
    """Return the attributes of each part, or None if another thread computes with
    it.
    """
    with attributes_turn:
        if others_compute_with(module):
            return None
        return attributes_of(module)


def put_back_at_rest(
    module: nn.Module, attributes: Sequence[Attributes] | None
) -> None:
    """Put the attributes of parts back, unless another thread computes with them."""
    with attributes_turn:
        if attributes is not None and not others_compute_with(module):
            put_back(attributes)


def _refill(container: Any, held_content: Any) -> None:
    """Give a list, a dict or a set what it held, if it holds something else."""
    if len(container) == len(held_content) and all(map(_is, container, held_content)):
        return
    if isinstance(container, list):
        container[:] = held_content
    else:
        container.clear()
        container.update(held_content)
