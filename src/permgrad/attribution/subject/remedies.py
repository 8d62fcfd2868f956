"""What helps where a user's forward fails, or is no function of single rows: hints that
work.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.attribution.typed_options import as_typed
from permgrad.base.errors import error_in_words, listed
from permgrad.base.sequences import values_at

#: How a setting of a forward, such as a flag, is passed. It is no input, of which each
#: row has its own.
SETTING = "net.forward = functools.partial(net.forward, {})"
#: How a network on a graph is explained, whose nodes are no rows.
ONE_GRAPH = (
    "If rows are nodes of a graph, pass one graph a row, (graphs, nodes, features), to "
    "a module whose forward returns "
    "torch.stack([net(nodes, edges) for nodes in x]).flatten(1)"
)
#: How a network is explained that takes one row a call.
ONE_BY_ONE = "It takes rows one by one: pass pg.Model(net, batch_size=1)"
#: What helps where rows that take values from others are refused.
OF_MIXED_ROWS = (
    "If it refuses rows that take values from others, join features that belong "
    "together with groups=, or name "
    "inputs that are never replaced with pg.Model(..., hold=)"
)
#: How a part of what a layer returns is named.
BY_IDENTITY = (
    "Have the forward pass the tensor through an nn.Identity() of the "
    "network, and name that layer"
)
#: How states of recurrent layers are passed, whose second dimension are rows.
_ROWS_FIRST = (
    "rows first, such as {}.transpose(0, 1), to a module whose forward turns them "
    "back: return self.net(x, state.transpose(0, 1).contiguous())"
)
_STATES = re.compile(r"Expected hidden(\[\d\])? size")
#: How texts of an EmbeddingBag are passed, one after the other with offsets.
_OFFSETS = (
    "Pass ids (rows, places) alone, to a module whose forward(self, ids) returns "
    "self.net(ids.flatten(), torch.arange(0, ids.numel(), ids.shape[1]))"
)
_MISSING = re.compile(
    r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'"
)


#: What models of other libraries say of cells that they do not take, and what helps.
_CELLS = (
    (
        r"\bNaNs?\b|missing values",
        "Fill the missing cells, or pass a pipeline that does.",
    ),
    (
        r"could not convert string|dtypes .*must be",
        "Write texts as numbers, or pass a pipeline that does.",
    ),
)


def remedy_of(error: BaseException, otherwise: str) -> str:
    """Return what helps against an error that a model of another library raises for its
    rows.

    Args:
        error: That the model raised.
        otherwise: What is said where no more is known.
    """
    words = error_in_words(error)
    return next(
        (hint for error_pattern, hint in _CELLS if re.search(error_pattern, words)),
        otherwise,
    )


def remedy(words: str) -> str | None:
    """Return what helps against an error of a forward by its words, if that is
    known.
    """
    if "does not require grad and does not have a grad_fn" in words:
        return (
            "Its forward computes gradients: have it do so inside `with "
            "torch.enable_grad():`"
        )
    if "autograd.Function with functorch transforms" in words:
        return (
            "Its forward differentiates by torch.func, and mean slopes cannot be "
            f"followed through that: pass {as_typed('IntegratedGradients', steps=64)}, "
            "or choose method='gradient' or 'shapley'"
        )
    if _STATES.search(words):
        return f"Pass states with {_ROWS_FIRST.format('h')}"
    if missing := _MISSING.search(words):
        return (
            "Pass it as an input, or, if it is a setting: "
            f"{SETTING.format(f'{missing[1]}=…')}"
        )
    return None


def of_lengths(names: Sequence[str], tensors: Sequence[Tensor]) -> str:
    """Return what helps where inputs have different numbers of rows, by their
    shapes.
    """
    row_count = len(tensors[0])
    other_inputs = []
    for input_name, input_tensor in zip(names, tensors, strict=True):
        if len(input_tensor) != row_count:
            other_inputs.append(input_name)
    if len(tensors) == 2 and _are_offsets(*tensors):
        return _OFFSETS
    if turned := _rows_second(names, tensors):
        return f"Pass {listed(turned, 5)} with {_ROWS_FIRST.format(turned[0])}"
    lengths = set()
    for input_tensor in tensors:
        if len(input_tensor) != row_count:
            lengths.add(len(input_tensor))
    if lengths == {1}:
        parameter_name = other_inputs[0].rpartition(".")[2]
        setting = SETTING.format(f"{parameter_name}={parameter_name}")
        return (
            f"If {parameter_name} has one value a row, pass it for each of the "
            f"{row_count:,} rows, with pg.Model(net, hold={other_inputs[:5]}) if it is "
            f"no feature. If it is one for all rows, leave it out of X: {setting}"
        )
    # The edges of a graph are pairs of numbers of its nodes.
    pairs = any(
        input_tensor.ndim == 2 == len(input_tensor)
        and not input_tensor.is_floating_point()
        for input_tensor in tensors
    )
    return "Pass the same rows of each input" + f". {ONE_GRAPH}" * pairs


def _are_offsets(ids: Tensor, offsets: Tensor) -> bool:
    """Return whether whole numbers say where texts begin, as for an EmbeddingBag."""
    are_integers = not (ids.is_floating_point() or offsets.is_floating_point())
    if not are_integers or ids.ndim != 1 or offsets.ndim != 1 or not len(offsets):
        return False
    ordered = bool((offsets.diff() >= 0).all())
    return ordered and int(offsets[0]) == 0 and int(offsets[-1]) <= len(ids)


def _rows_second(names: Sequence[str], tensors: Sequence[Tensor]) -> list[str]:
    """Return inputs (layers, rows, numbers), whose second dimension counts the rows."""
    first = tensors[0]
    for row_count in (len(first), *first.shape[1:2]):
        other_inputs = []
        for input_index, input_tensor in enumerate(tensors):
            if len(input_tensor) != row_count:
                other_inputs.append(input_index)
        if all(
            tensors[input_index].ndim == 3
            and tensors[input_index].shape[1] == row_count
            for input_index in other_inputs
        ):
            return values_at(names, other_inputs)
    return []


def is_scripted(module: nn.Module) -> bool:
    """Return whether a network has parts compiled by TorchScript, inside which nothing
    is heard.
    """
    return any(
        isinstance(submodule, torch.jit.ScriptModule) for submodule in module.modules()
    )


def of_unheard(module: nn.Module, layer: str) -> tuple[str, str]:
    """Return why a layer is not heard, and what helps.

    Args:
        module: The network.
        layer: The layer's name.
    """
    # A scripted module refuses get_submodule.
    if isinstance(dict(module.named_modules())[layer], torch.jit.ScriptModule):
        return (
            f"Layer {layer!r} is compiled by TorchScript, which lets nobody read it",
            (
                "Pass the network as it was before torch.jit, or choose "
                "method='integrated_gradients' without layer="
            ),
        )
    problem = f"The network does not call layer {layer!r} for these inputs"
    return problem, "Name a layer that it calls"


#: Where a module keeps its hooks, and what empties it.
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks")
#: Packages whose hooks belong to a network, or go with the call.
_AT_HOME = ("torch", "permgrad")


def of_hooks(module: nn.Module) -> str | None:
    """Return whose hooks a network has and how they are removed, None without any.

    A package that failed may have left its own there.
    """
    hooked_modules: dict[str, dict[str, None]] = {}
    kinds: dict[str, None] = {}
    for module_name, submodule in module.named_modules():
        for hook_kind in _HOOKS:
            owners = set()
            for module_hook in vars(submodule).get(hook_kind, {}).values():
                owners.add(_package_of(module_hook))
            for owner in sorted(owners.difference(_AT_HOME)):
                if module_name:
                    module_label = repr(module_name)
                else:
                    module_label = "the network"
                hooked_modules.setdefault(owner, {})[module_label] = kinds.setdefault(
                    hook_kind
                )
    if not hooked_modules:
        return None
    owned = [
        f"{owner} on {listed(list(hooked_labels), 5)}"
        for owner, hooked_labels in hooked_modules.items()
    ]
    clear = ", ".join(f"part.{hook_attribute}.clear()" for hook_attribute in kinds)
    return (
        f"The network has hooks of {', and of '.join(owned)}. If they are left over, "
        f"remove them: for part in net.modules(): {clear}"
    )


def _package_of(hook: Any) -> str:
    """Return the package that a hook is of."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    where = getattr(hook, "__module__", None) or type(hook).__module__
    if where == "__main__":
        return "your script"
    return where.partition(".")[0]


def of_nested(module: nn.Module) -> str | None:
    """Return what helps a network with transformers that write 0 into padded places
    where no gradient is followed.
    """
    module_pairs = module.named_modules()
    names = []
    for module_name, submodule in module_pairs:
        if isinstance(submodule, nn.TransformerEncoder) and getattr(
            submodule, "use_nested_tensor", False
        ):
            names.append(f"net.{module_name}".removesuffix("."))
    if not names:
        return None
    return (
        "Without gradients an nn.TransformerEncoder with enable_nested_tensor=True "
        "writes 0 into padded places. If the forward reads them, set "
        f"{' = '.join(f'{module_path}.use_nested_tensor' for module_path in names)} = "
        "False"
    )
