"""Memory that a training gives back and takes again a thousand times a second stays with the process."""

from __future__ import annotations

import contextlib

import torch

#: Below glibc's upper limit for the block size from which memory is mapped and unmapped singly (32 MiB).
_BLOCK = 31 * 2**20


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of some megabytes for the next step instead of returning them.

    glibc returns free memory at the end of its heap as soon as there is more than twice the largest block that was ever
    freed, and a small network's step frees and takes about that much: measured on the published network, 250 page
    faults, half a millisecond, in every step. It learns from blocks that are freed (mallopt(3), "M_MMAP_THRESHOLD"):
    after one of 31 MiB it keeps up to 62. The block here is never written to, so it takes no memory itself; other C
    libraries have their own ways, and nothing happens there.
    """
    # Where there is not even room for this, the training goes on without.
    with contextlib.suppress(RuntimeError):
        torch.empty(_BLOCK, dtype=torch.uint8)
