"""Random numbers that depend on a seed and on their *purpose*, never on order, batch or
worker.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.errors import InputError, shown
from permgrad.base.threads import Change, Undo, together

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


# What draws from Python's own generator as it is imported (by scikit-learn) is imported
# here, and the state put back.
_state = random.getstate()
with suppress(ImportError):
    import rich.style  # noqa: F401 — it stays imported, and draws no more
random.setstate(_state)

#: The generators of the process: what keeps their states until the last thread that
#: draws from them is done.
GENERATORS: dict[Hashable, Change] = {
    "Python's generator": lambda: partial(random.setstate, random.getstate()),
    "NumPy's generator": lambda: partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002 — the user's
}


def resolve_seed(random_state: Any) -> int:
    """Turn ``None`` (fresh entropy), an integer, or a NumPy generator (advanced by one
    draw) into an integer seed.
    """
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31 - 1))
    if isinstance(random_state, bool) or not isinstance(
        random_state, (int, np.integer)
    ):
        problem = (
            "random_state must be None, an integer of at least 0, or a NumPy Generator "
            f"or RandomState, got {shown(random_state)}"
        )
        raise InputError(problem, hint="Pass for example random_state=0.", code="PG001")
    if random_state < 0:
        problem = f"random_state must be at least 0, got {random_state}"
        raise InputError(problem, hint="Pass for example random_state=0.", code="PG002")
    return int(random_state)


def derive_seed(seed: int, *keys: object) -> int:
    """Return a 64-bit seed that depends on ``seed`` and the keys' text."""
    key_text = "\x1f".join(
        [
            str(int(seed)),
            *(f"{type(seed_key).__name__}:{seed_key}" for seed_key in keys),
        ]
    )
    return int.from_bytes(
        hashlib.blake2b(
            key_text.encode("utf-8", "surrogatepass"), digest_size=8
        ).digest(),
        "little",
    )


def generator(seed: int, *keys: object) -> np.random.Generator:
    """Return an independent NumPy generator for one purpose."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, *keys)))


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): a bijection of 64-bit words
    with full avalanche.
    """
    values = values ^ (values >> np.uint64(30))
    values *= _MIX_1
    values ^= values >> np.uint64(27)
    values *= _MIX_2
    values ^= values >> np.uint64(31)
    return values


def uniform_integers(
    seed: int, keys: tuple[object, ...], counters: npt.ArrayLike, high: int
) -> Integers:
    """Draw integers in ``0 … high − 1``, one for each counter, independent of every
    other counter.
    """
    return (uniform(seed, keys, counters) * high).astype(np.int64)


def uniform(seed: int, keys: tuple[object, ...], counters: npt.ArrayLike) -> Floats:
    """Draw float64 in [0, 1) with 53 bits, one for each counter of at least 0,
    independent of every other counter.
    """
    seed_key = np.uint64(derive_seed(seed, *keys))
    with np.errstate(over="ignore"):
        words = np.array(counters, dtype=np.uint64)
        words *= _GOLDEN
        words += seed_key
        words = _mix(words)
        words += _GOLDEN
        words = _mix(words)
    drawn = (words >> np.uint64(11)).astype(np.float64)
    drawn *= 2.0**-53
    return drawn


def content_keys(arrays: Iterable[Array]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit number for each row of arrays ``(rows, *)`` that depends on the
    row's bytes alone.
    """
    total: npt.NDArray[np.uint64] | None = None
    with np.errstate(over="ignore"):
        for position, array in enumerate(arrays):
            flat_bytes = (
                np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
            )
            padded = np.pad(flat_bytes, ((0, 0), (0, -flat_bytes.shape[1] % 8))).view(
                np.uint64
            )
            position_words = _mix(
                np.arange(1, padded.shape[1] + 1, dtype=np.uint64) * _GOLDEN
            )
            words = _mix(padded + position_words).sum(axis=1, dtype=np.uint64)
            mixed = _mix(words + np.uint64(position + 1) * _GOLDEN)
            if total is None:
                total = mixed
            else:
                total = _mix(total + mixed)
    if total is None:
        return np.zeros(0, dtype=np.uint64)
    return total


@contextmanager
def forked_torch(seed: int) -> Iterator[None]:
    """Seed torch's generators, which are the process's, for the body and put back the
    caller's, also after an error.
    """
    import torch

    generator_changes: dict[Hashable, Change] = {
        "torch's generator": lambda: partial(
            torch.set_rng_state, torch.get_rng_state()
        ),
    }
    if torch.cuda.is_available():
        devices = list(range(torch.cuda.device_count()))
    else:
        devices = []
    if devices:
        generator_changes["GPUs' generators"] = lambda: partial(
            torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()
        )
    with together(generator_changes), torch.random.fork_rng(devices=devices):
        # torch.manual_seed also seeds the generators of devices that are not here, at 2
        # ms, and puts none of them back.
        torch.default_generator.manual_seed(seed % 2**63)
        if devices:
            torch.cuda.manual_seed_all(seed % 2**63)
        yield


@contextmanager
def seeded(changes: Mapping[Hashable, Change] = MappingProxyType({})) -> Iterator[None]:
    """Run the body with seeded generators of Python, NumPy and torch, and what is
    compiled as it was written.

    Everything is restored, as are the other changes listed.
    """
    # Only what has loaded the compiler can have compiled anything.
    compiler: dict[Hashable, Change]
    if "torch._dynamo" in sys.modules:
        compiler = {"compiler": _as_written}
    else:
        compiler = {}
    with forked_torch(0), together({**GENERATORS, **compiler, **changes}):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 — it is the user's that is kept
        yield


def _as_written() -> Undo:
    """Have all that is compiled run as it was written: every batch size and mode would
    be compiled anew.
    """
    import torch

    stance = torch.compiler.set_stance("force_eager")
    return partial(stance.__exit__, None, None, None)
