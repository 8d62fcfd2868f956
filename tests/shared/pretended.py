"""A device of its own without the hardware: numbers live in the processor's memory,
manners are those of a GPU.

Its tensors say ``pretended:0``. As on a GPU, an operation that mixes them with the
processor's tensors is an error (single numbers, and the processor's indexes into a
tensor of the device, are allowed), so is ``.numpy()``. Values are the processor's own,
so that results can be compared closely. It is registered at torch's own extension point
for devices, which cannot be undone: only a process that does nothing else may call
``install``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "pretended"
#: Kinds of numbers that the device does not have, as Apple's has no float64.
LACKING: set[torch.dtype] = set()
#: Operations that bring numbers from one device to another.
_COPIES = ("aten::_to_copy", "aten::copy_")
#: Operations that take the processor's indexes into a tensor of any device.
_KEPT: list[torch.library.Library] = []
_INDEXED = (
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index",
)


class Pretended(Tensor):
    """A tensor of the device: ``inner`` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Self:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:
        return f"{NAME}({self.inner})"


class _Mode(TorchDispatchMode):
    """Sees the calls without a tensor of the device among their arguments: those that
    make the first ones.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # there is no compiler to keep away, and each call would pass through it
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _check(
    func: Any,
    args: Any,
    pretended_tensors: list[Pretended],
    other_tensors: list[Tensor],
) -> None:
    name = func.name().partition(".")[0]
    if not pretended_tensors or name in _COPIES:
        return
    if "mkldnn" in name:
        raise RuntimeError(f"{func.name()} is for the processor alone")
    strangers = [tensor for tensor in other_tensors if tensor.dim() > 0]
    if name in _INDEXED and isinstance(args[0], Pretended):
        values = [args[2]] if len(args) > 2 else []
        strangers = [
            tensor for tensor in strangers if any(tensor is value for value in values)
        ]
    if strangers:
        shapes = [tuple(tensor.shape) for tensor in strangers]
        raise RuntimeError(
            f"{func.name()} mixes {NAME} tensors with the processor's, of shapes "
            f"{shapes}"
        )


def _inside(value: Any) -> Any:
    """Return what the processor computes with in the place of a tensor or of the device
    itself.
    """
    if isinstance(value, Pretended):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _changed(change: Callable[[Any], Any], value: Any) -> Any:
    """Return arguments or a result with every leaf changed.

    Torch's ``tree_map`` takes longer than the operations.
    """
    if isinstance(value, dict):
        return {
            name: _changed(change, inner_value) for name, inner_value in value.items()
        }
    return (
        type(value)([_changed(change, inner_value) for inner_value in value])
        if type(value) in (list, tuple)
        else change(value)
    )


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat: list[Any] = []
    _changed(flat.append, (args, kwargs))
    pretended_tensors = [value for value in flat if isinstance(value, Pretended)]
    _check(
        func,
        args,
        pretended_tensors,
        [v for v in flat if isinstance(v, Tensor) and not isinstance(v, Pretended)],
    )
    named = [value for value in flat if isinstance(value, torch.device)]
    if named:
        there = named[0].type == NAME
    elif func.name() == "aten::copy_":
        there = isinstance(args[0], Pretended)
    else:
        there = bool(pretended_tensors)
    args, kwargs = _changed(_inside, (args, kwargs))
    result = func(*args, **kwargs)
    if not there:
        # What comes to the processor must not share memory with the device.
        return _changed(
            lambda value: (
                value.clone()
                if isinstance(value, Tensor) and pretended_tensors
                else value
            ),
            result,
        )
    known_tensors = {id(value.inner): value for value in pretended_tensors}

    def outside(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.dtype in LACKING:
            raise TypeError(f"{NAME} has no {value.dtype}, which {func.name()} gives")
        # Operations in place give back the tensor that they were given.
        return (
            known_tensors[id(value)] if id(value) in known_tensors else Pretended(value)
        )

    return _changed(outside, result)


def _empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    **other_options: Any,
) -> Pretended:
    return Pretended(torch.empty_strided(size, stride, dtype=dtype))


def _copy(target_tensor: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    _inside(target_tensor).copy_(_inside(source))
    return target_tensor


def install() -> torch.device:
    """Register the device for the rest of the process and return it."""
    from torch.utils import backend_registration

    class Backend(backend_registration._DummyBackendModule):
        """What ``torch.random.fork_rng`` asks of a device; chance comes from the
        processor's generator.
        """

        def get_rng_state(self, device: Any = None) -> Tensor:
            return torch.zeros(1, dtype=torch.uint8)

        def set_rng_state(self, state: Tensor, device: Any = None) -> None:
            """Leave things as they are."""

    backend_registration._setup_privateuseone_for_python_backend(
        rename=NAME, backend_module=Backend()
    )
    # Tensors that wrap others cannot be made in inference mode; without gradients is
    # near enough.
    torch.inference_mode = lambda mode=True: (
        torch.no_grad() if mode else contextlib.nullcontext()
    )  # type: ignore[assignment,misc]
    # Lists used as indexes become tensors of the device below every mode.
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("copy_", _copy, "PrivateUse1")
    _KEPT.append(library)
    _Mode().__enter__()
    return torch.device(NAME, 0)
