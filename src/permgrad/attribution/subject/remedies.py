"""What helps where a user's forward fails, or is no function of single rows: hints that work."""

from __future__ import annotations

import functools
import re
from typing import Any

import torch
from torch import nn

from permgrad.base.errors import error_in_words, listed

#: How a setting of a forward, such as a flag, is passed. It is no input, of which each row has its own.
SETTING = "net.forward = functools.partial(net.forward, {})"
#: How a network on a graph is explained, whose nodes are no rows.
ONE_GRAPH = (
    "If rows are nodes of a graph, pass one graph a row, (graphs, nodes, features), to a module whose forward returns "
    "torch.stack([net(nodes, edges) for nodes in x]).flatten(1)"
)
#: What helps where rows that take values from others are refused.
OF_MIXED_ROWS = (
    "If it refuses rows that take values from others, join features that belong together with groups=, or name "
    "inputs that are never replaced with pg.Model(..., hold=)"
)
#: How a part of what a layer returns is named.
BY_IDENTITY = "Have the forward pass the tensor through an nn.Identity() of the network, and name that layer"
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
    """Return what helps against an error that a model of another library raises for its rows."""
    words = error_in_words(error)
    return next((hint for said, hint in _CELLS if re.search(said, words)), otherwise)


def remedy(words: str) -> str | None:
    """Return what helps against an error of a forward by its words, if that is known."""
    if "does not require grad and does not have a grad_fn" in words:
        return "Its forward computes gradients: have it do so inside `with torch.enable_grad():`"
    if "autograd.Function with functorch transforms" in words:
        return (
            "Its forward differentiates by torch.func, and mean slopes cannot be followed through that: pass steps=64 "
            "to integrated_gradients, or choose method='gradient' or 'shapley'"
        )
    if missing := _MISSING.search(words):
        return f"Pass it as an input, or, if it is a setting: {SETTING.format(f'{missing[1]}=…')}"
    return None


def is_scripted(module: nn.Module) -> bool:
    """Return whether a network has parts compiled by TorchScript, inside which nothing is heard."""
    return any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def of_unheard(module: nn.Module, layer: str) -> tuple[str, str]:
    """Return why a layer is not heard, and what helps."""
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
    parts: dict[str, dict[str, None]] = {}
    kinds: dict[str, None] = {}
    for name, part in module.named_modules():
        for kind in _HOOKS:
            owners = {_package_of(hook) for hook in vars(part).get(kind, {}).values()}
            for owner in sorted(owners.difference(_AT_HOME)):
                on = repr(name) if name else "the network"
                parts.setdefault(owner, {})[on] = kinds.setdefault(kind)
    if not parts:
        return None
    owned = [f"{owner} on {listed(list(on), 5)}" for owner, on in parts.items()]
    clear = ", ".join(f"part.{kind}.clear()" for kind in kinds)
    return (
        f"The network has hooks of {', and of '.join(owned)}. If they are left over, "
        f"remove them: for part in net.modules(): {clear}"
    )


def _package_of(hook: Any) -> str:
    """Return the package that a hook is of."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    where = getattr(hook, "__module__", None) or type(hook).__module__
    return "your script" if where == "__main__" else where.partition(".")[0]


def of_nested(module: nn.Module) -> str | None:
    """Return what helps a network with transformers that write 0 into padded places where no gradient is followed."""
    parts = module.named_modules()
    names = [
        f"net.{name}".removesuffix(".")
        for name, part in parts
        if isinstance(part, nn.TransformerEncoder)
        and getattr(part, "use_nested_tensor", False)
    ]
    if not names:
        return None
    return (
        "Without gradients an nn.TransformerEncoder with enable_nested_tensor=True writes 0 into padded places. If the "
        f"forward reads them, set {' = '.join(f'{name}.use_nested_tensor' for name in names)} = False"
    )
