"""Rows, backgrounds and targets in every form, and forwards that take them in every
way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from network_cases import Case, kind, make_case
from torch import Tensor, nn

# ---- forms of inputs -----------------------------------------------------------------


def _formed(
    case: Case, rng: np.random.Generator, form: Callable[[Tensor], Any]
) -> Case:
    """Hand the inputs over in another form, the background in the usual one."""
    formed_inputs = [form(input_tensor) for input_tensor in case.tensors]
    case.inputs = (
        dict(zip(case.names, formed_inputs, strict=True))
        if len(formed_inputs) > 1 or rng.random() < 0.5
        else formed_inputs[0]
    )
    if case.others is not None:
        case.background = (
            dict(zip(case.names, case.others, strict=True))
            if isinstance(case.inputs, dict)
            else case.others[0]
        )
    return case


@kind
def not_contiguous(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.must = "explain"

    def form(input_tensor: Tensor) -> Any:
        way = int(rng.integers(5))
        if way == 0:
            return input_tensor.repeat_interleave(2, dim=0)[::2]
        if way == 1:
            return (
                input_tensor.flatten(1).T.contiguous().T.reshape(input_tensor.shape)
                if input_tensor.ndim == 4
                else input_tensor.T.contiguous().T
            )
        if way == 2:
            return np.asfortranarray(input_tensor.numpy())
        if way == 3:
            return np.ascontiguousarray(input_tensor.numpy()[::-1])[::-1]
        return input_tensor[:, None].expand(
            len(input_tensor), 3, *input_tensor.shape[1:]
        )[:, 1]

    return _formed(case, rng, form)


@kind
def expanded_rows(rng: np.random.Generator) -> Case:
    """All rows lie at the same place in memory."""
    case = make_case(rng)
    count = len(case.tensors[0])
    case.tensors = [
        input_tensor[:1].expand(count, *input_tensor.shape[1:])
        for input_tensor in case.tensors
    ]
    return case


@kind
def arrays_of_other_kinds(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.must = "explain"

    def form(input_tensor: Tensor) -> Any:
        array = input_tensor.numpy()
        if input_tensor.is_floating_point():
            return array.astype(rng.choice([">f4", "f8", ">f8", "<f4"]))
        return array.astype(rng.choice(["i4", "u1", ">i8", "u2", "i2"]))

    return _formed(case, rng, form)


@kind
def arrays_that_are_locked(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.must = "explain"

    def form(input_tensor: Tensor) -> Any:
        array = input_tensor.numpy().copy()
        array.flags.writeable = False
        return array

    return _formed(case, rng, form)


@kind
def tensors_with_gradients(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.must = "explain"

    def form(input_tensor: Tensor) -> Any:
        if not input_tensor.is_floating_point():
            return input_tensor
        leaf = input_tensor.clone().requires_grad_()
        return [leaf, leaf * 1, nn.Parameter(input_tensor.clone())][
            int(rng.integers(3))
        ]

    return _formed(case, rng, form)


@kind
def tensors_of_inference_mode(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.must = "explain"
    with torch.inference_mode():
        inference_tensors = [case_tensor.clone() for case_tensor in case.tensors]
    return _formed(
        case,
        rng,
        lambda input_tensor: inference_tensors[
            [known_tensor is input_tensor for known_tensor in case.tensors].index(True)
        ],
    )


@kind
def whole_numbers_for_real_ones(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    dtype = [torch.int64, torch.int32, torch.uint8, torch.bool, torch.int8][
        int(rng.integers(5))
    ]
    case.tensors = [
        input_tensor.abs().mul(2).round()
        if input_tensor.is_floating_point()
        else input_tensor
        for input_tensor in case.tensors
    ]
    if dtype is torch.bool:
        case.tensors = [
            (input_tensor > 0).to(input_tensor.dtype)
            if input_tensor.is_floating_point()
            else input_tensor
            for input_tensor in case.tensors
        ]
    return _formed(
        case,
        rng,
        lambda input_tensor: (
            input_tensor.to(dtype) if input_tensor.is_floating_point() else input_tensor
        ),
    )


@kind
def other_precisions(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    dtype = [torch.float64, torch.float16, torch.bfloat16][int(rng.integers(3))]
    case.tensors = [
        input_tensor.to(dtype).float()
        if input_tensor.is_floating_point()
        else input_tensor
        for input_tensor in case.tensors
    ]
    return _formed(
        case,
        rng,
        lambda input_tensor: (
            input_tensor.to(dtype) if input_tensor.is_floating_point() else input_tensor
        ),
    )


@kind
def frames_of_every_type(rng: np.random.Generator) -> Case:
    case = make_case(rng, table=True)
    count = len(case.tensors[0])
    table = pd.DataFrame(case.tensors[0].numpy())
    way = int(rng.integers(9))
    if way == 0:
        table.columns = ["a"] * table.shape[1]
    elif way == 1:
        table = table.round().astype("Int64")
    elif way == 2:
        table = table.round().astype("Int64").mask(table > 0.5)
    elif way == 3:
        table[0] = pd.Categorical(["x", "y"] * count)[:count]
    elif way == 4:
        table[0] = pd.date_range("2020", periods=count)
    elif way == 5:
        table.index = pd.Index(["same"] * count)
    elif way == 6:
        table = table.astype("float64[pyarrow]")
    elif way == 7:
        table[0] = table[0].astype(object)
    else:
        table = table.astype(pd.SparseDtype("float"))
    case.twins = False
    other_tensors = case.tensors[1:]
    case.inputs = (
        dict(zip(case.names, [table, *other_tensors], strict=True))
        if other_tensors
        else table
    )
    case.others = None
    return case


@kind
def what_is_no_table(rng: np.random.Generator) -> Case:
    case = make_case(rng, table=True)
    first = case.tensors[0]
    odd: list[Any] = [
        None, "text", 3.0, object(), {}, [], (), np.array(["a", "b"]), np.array([object()] * 2), first.to_sparse(),
        first + 1j, first.numpy().astype("datetime64[s]"), [[1.0], [1.0, 2.0]], pd.Series(["a"]), {"strange": first},
        {**dict(zip(case.names, case.tensors, strict=True)), "extra": first}, [first] * 5, first[0, 0], np.float32(1),
        lambda: first, iter([first]), first.numpy().tolist(), np.ma.masked_array(first.numpy(), first.numpy() > 0),
    ]  # fmt: skip
    case.inputs = odd[int(rng.integers(len(odd)))]
    case.others = None
    case.twins = False
    case.y = None
    return case


@kind
def lengths_that_differ(rng: np.random.Generator) -> Case:
    case = make_case(rng, least=2, chain=False)
    case.inputs = dict(
        zip(case.names, [case.tensors[0][:-1], *case.tensors[1:]], strict=True)
    )
    case.others = None
    case.must = "refuse"
    case.twins = False
    return case


@kind
def shapes_that_do_not_fit(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.tensors[0] = (
        torch.cat([case.tensors[0]] * 2, dim=1)
        if rng.random() < 0.5
        else case.tensors[0][..., None]
    )
    case.must = "either"
    case.twins = False
    case.others = None
    return case


@kind
def background_that_does_not_fit(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    case.must = "refuse"
    case.twins = False
    first = case.tensors[0]
    odd: list[Any] = [
        first[:0], torch.cat([first, first], dim=1), "text", 3, None, {"strange": first}, [first] * 5,
        first.to_sparse(), first.numpy().astype(str), pd.DataFrame({"a": ["x", "y"]}), [], {},
    ]  # fmt: skip
    case.background = odd[int(rng.integers(len(odd)))]
    if case.background is None:
        case.others = None
        case.must = "either"
    return case


@kind
def signatures_of_every_sort(rng: np.random.Generator) -> Case:
    case = make_case(rng, chain=False, table=True)
    work = type(case.net).work
    way = int(rng.integers(6))
    base = type(case.net)

    def any_number(self: Any, *inputs: Tensor) -> Any:
        return work(self, *inputs)

    def with_a_default(self: Any, *inputs: Tensor, scale: float = 1.0) -> Any:
        return work(self, *inputs) * scale

    forwards: list[Any] = [
        any_number,
        with_a_default,
        lambda self, first, second=None, third=None, *, flag=False: work(
            self,
            *[
                input_tensor
                for input_tensor in (first, second, third)
                if input_tensor is not None
            ],
        ),
        lambda self, first, /, second=None, third=None: work(
            self,
            *[
                input_tensor
                for input_tensor in (first, second, third)
                if input_tensor is not None
            ],
        ),
        lambda self, **named: work(
            self,
            *[named[name] for name in ("first", "second", "third") if name in named],
        ),
        lambda self, batch: work(
            self,
            *(
                batch.values()
                if isinstance(batch, dict)
                else batch
                if isinstance(batch, (list, tuple))
                else [batch]
            ),
        ),
    ]
    case.net.__class__ = type("Odd", (base,), {"forward": forwards[way]})
    case.inputs = dict(zip(case.names, case.tensors, strict=True))
    case.background = (
        None if case.others is None else dict(zip(case.names, case.others, strict=True))
    )
    case.twins = False
    return case


@kind
def codes_beyond_the_table(rng: np.random.Generator) -> Case:
    """Codes that the network has no entry for: in a row, in the background, or at
    zero.
    """
    case = make_case(rng, chain=False)
    codes_position = next(
        (k for k, input_kind in enumerate(case.parts) if input_kind == "codes"), None
    )
    if codes_position is None:
        return case
    case.twins = False
    way = int(rng.integers(3))
    if way == 0:
        case.tensors[codes_position][-1] = 99
        case.must = "refuse"
    elif way == 1 and case.others is not None:
        case.others[codes_position][0] = -9
    else:
        case.tensors[codes_position] = case.tensors[codes_position].clamp_min(1)
        case.others = None
        case.net.before = lambda _, *inputs: [
            input_tensor - 1 if k == codes_position else input_tensor
            for k, input_tensor in enumerate(inputs)
        ]
    return case


# ---- targets -------------------------------------------------------------------------
@kind
def targets_that_do_not_fit(rng: np.random.Generator) -> Case:
    case = make_case(rng)
    rows = len(case.tensors[0])
    odd: list[Any] = [
        np.zeros(rows + 1), "text", 3, np.full(rows, np.nan), np.full(rows, 99), np.full(rows, -1), ["?"] * rows,
        [None] * rows, np.zeros((rows, 7)), np.full(rows, np.inf), np.zeros((rows, 0)), [], {},
        np.array([object()] * rows), torch.zeros(rows, 1, 1), np.full(rows, 1 + 1j),
        pd.Series(pd.date_range("2020", periods=rows)), pd.Series([pd.NA] * rows, dtype="Int64"),
        np.full(rows, 0.5), [[0], [1, 2]], pd.DataFrame({"a": ["x"] * rows}),
    ]  # fmt: skip
    case.y = odd[int(rng.integers(len(odd)))]
    case.twins = False
    return case
