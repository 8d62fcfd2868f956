"""What a call may leave behind on a network, its rows and the process; after every call
it must be as before.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def leaves(inputs: Any) -> list[Any]:
    """Return the tensors, arrays and tables in the user's structure."""
    if isinstance(inputs, dict):
        return [leaf for value in inputs.values() for leaf in leaves(value)]
    if isinstance(inputs, (tuple, list)):
        return [leaf for value in inputs for leaf in leaves(value)]
    return [inputs]


def _bytes(leaf: Any) -> bytes:
    if isinstance(leaf, UninitializedTensorMixin):
        return b"uninitialised"
    if isinstance(leaf, Tensor) and leaf.is_meta:
        return b"meta"
    if isinstance(leaf, Tensor):
        dense = (
            leaf.detach().to_dense() if leaf.layout != torch.strided else leaf.detach()
        )
        wide = dense if dense.is_complex() else dense.double()
        return (
            wide.numpy().tobytes()
            + str(
                (
                    leaf.dtype,
                    tuple(leaf.shape),
                    leaf.stride() if leaf is dense else None,
                )
            ).encode()
        )
    if isinstance(leaf, (pd.DataFrame, pd.Series)):
        return repr(
            (leaf.to_dict(), leaf.index.tolist(), str(getattr(leaf, "dtypes", "")))
        ).encode()
    array = np.asarray(leaf)
    return (
        repr(array.tolist()) if array.dtype == object else ""
    ).encode() + array.tobytes() * (array.dtype != object)


def state_of(net: nn.Module, inputs: Any) -> dict[str, Any]:
    """Return a copy of everything that a call could leave behind."""
    submodules = dict(net.named_modules())
    tensors = dict(net.named_parameters()) | dict(net.named_buffers())
    return {
        "hooks": {
            f"{name}.{kind}": len(getattr(submodule, kind))
            for name, submodule in submodules.items()
            for kind in _HOOKS
        },
        "modes": {name: submodule.training for name, submodule in submodules.items()},
        "requires_grad": {
            name: tensor.requires_grad for name, tensor in tensors.items()
        },
        "grad": {name: tensor.grad is None for name, tensor in net.named_parameters()},
        "weights": {name: _bytes(tensor) for name, tensor in tensors.items()},
        "identity": {name: id(tensor) for name, tensor in tensors.items()},
        "inputs": [_bytes(leaf) for leaf in leaves(inputs)],
        "inputs' gradients": [
            (leaf.requires_grad, not leaf.is_leaf or leaf.grad is None)
            for leaf in leaves(inputs)
            if isinstance(leaf, Tensor)
        ],
        "random": (
            random.getstate(),
            str(np.random.get_state()),
            torch.get_rng_state().numpy().tobytes(),
        ),
        "grad enabled": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "precision": (torch.get_default_dtype(), torch.get_float32_matmul_precision()),
        "threads": torch.get_num_threads(),
        "filters": list(warnings.filters),
        "error handling": np.geterr(),
    }


def assert_untouched(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raise ``AssertionError`` with the name of what has changed."""
    for name, value in before.items():
        if after[name] != value:
            raise AssertionError(name)
