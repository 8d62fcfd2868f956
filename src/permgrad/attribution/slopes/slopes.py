"""Any network seen from the inputs that players own: leaves to differentiate by, and sums over players.

Nothing of the user's takes part: leaves are copies, gradients are asked for by name and never accumulate, weights that
are frozen stay so, and it does not matter whether the caller switched gradients off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.attribution.method import Request
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.slopes.gradients import network_gradients, outputs_sum_constant
from permgrad.attribution.slopes.rescale import SecantWalk
from permgrad.attribution.subject.output_range import output_range
from permgrad.attribution.subject.untouched import as_written
from permgrad.base.errors import InputError
from permgrad.base.threads import Undo, together
from permgrad.models.batches import in_batches

Tensors = tuple[Tensor, ...]

#: Numbers that a batch's layers may hold: on a processor they should stay near its caches.
_NUMBERS_CPU, _NUMBERS_ACCELERATOR = 1_000_000, 200_000_000
_MOST_CPU, _MOST_ACCELERATOR = 4096, 65_536
#: Background rows over which the range of the outputs is taken, at most.
_RANGE_ROWS = 1000


class Slopes:
    """Gradients of the outputs asked for towards the inputs that players own.

    Args:
        request: the call.
        method: its name, for messages.
        by_path: whether the paths of a hybrid network are kept apart.

    Attributes:
        parts: names of what is kept apart: the paths, or one nameless part.
        free: positions of the inputs that players own.
        space: the players, over the free inputs alone.
        whole: whether players own every position of every input, so that a baseline is one row for all.
        batch: rows per backward pass.
        evaluations: how many backward passes of one row were made.
        model_rows: rows of the network evaluated.

    Raises:
        InputError: an owned input is not floating point, or pictures are drawn without a gradient.
    """

    def __init__(self, request: Request, method: str, *, by_path: bool = False) -> None:
        self.request, self.subject = request, request.subject
        self.targets = list(request.targets)
        segments = request.space.segments
        self.free = tuple(place for place, own in enumerate(segments) if bool((own >= 0).any()))
        _refuse(request, method, self.free)
        hybrid = self.subject.kind == "hybrid"
        self.parts = tuple(self.subject.paths) if hybrid and by_path else ("",)
        self._by_path = hybrid and by_path
        self._masks = tuple(None if bool((own >= 0).all()) else (own >= 0).to(self.subject.device) for own in segments)
        self.whole = len(self.free) == len(segments) and all(mask is None for mask in self._masks)
        self.space = PlayerSpace(
            request.space.names,
            request.space.modality,
            tuple(request.space.inputs[place] for place in self.free),
            tuple(segments[place] for place in self.free),
        )
        self.constant_sum = constant_sum(request)
        self.batch = 1
        self.evaluations = 0
        self.model_rows = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the subject, choose the batch size, and let every part be differentiated."""
        with self.subject.open(), differentiable(self.subject):
            self.batch = self._batch_size()
            yield

    def _batch_size(self) -> int:
        row = self.rows(slice(0, 1))
        walk = self.walk(row)
        walk.stand(self.leaves(row))
        return batch_size(self.request, walk.numbers() + sum(tensor.numel() for tensor in row))

    # ---- rows --------------------------------------------------------------------------------------------------------

    def rows(self, part: slice, source: Sequence[Tensor] | None = None) -> Tensors:
        """Return copies of rows on the network's device, one tensor per input; fit to be differentiated by."""
        return copied_rows(self.subject.device, self.request.inputs if source is None else source, part)

    def at_baseline(self, rows: Tensors, baselines: Sequence[Tensor]) -> Tensors:
        """Return the rows with what players own taken from baselines ``(b or 1, *)``; the rest is the row's own."""
        points = list(rows)
        for place in self.free:
            own, mask = rows[place], self._masks[place]
            other = baselines[place].to(own).expand_as(own)
            points[place] = other if mask is None else torch.where(mask, other, own)
        return tuple(points)

    # ---- forwards ----------------------------------------------------------------------------------------------------

    def leaves(self, points: Tensors) -> list[Tensor]:
        """Return what is differentiated by at points: the free inputs, or the table once for each path."""
        return [points[0] for _ in self.parts] if self._by_path else [points[place] for place in self.free]

    def explained(self, fixed: Tensors, leaves: Sequence[Tensor]) -> Tensor:
        """Return all outputs in the quantity explained, ``(b, K)``; inputs that nobody owns come from ``fixed``."""
        subject: Any = self.subject
        if self._by_path:
            module = subject.module
            embeddings = {path: module.embed(path, leaf) for path, leaf in zip(self.parts, leaves, strict=True)}
            raw = module.fuse(embeddings)
        else:
            tensors = list(fixed)
            for place, leaf in zip(self.free, leaves, strict=True):
                tensors[place] = leaf
            raw = subject.forward(tensors)
        out: Tensor = subject.readout(raw, self.request.output)
        return out

    def walk(self, fixed: Tensors) -> SecantWalk:
        """Return a walk of secants for rows whose other inputs are ``fixed``."""
        return SecantWalk(partial(self.explained, fixed))

    def outputs(self, points: Tensors) -> Tensor:
        """Return the outputs asked for, float64 ``(b, targets)``."""
        count = len(points[0])
        found = torch.empty(count, len(self.targets), dtype=torch.float64, device=self.subject.device)

        def work(part: slice) -> None:
            own = tuple(tensor[part] for tensor in points)
            with torch.no_grad():
                found[part] = self.explained(own, self.leaves(own))[:, self.targets].double()

        self.batch = in_batches(count, self.batch, work)
        self.model_rows += count
        return found

    def output_range(self, base: Tensor) -> Tensor:
        """Return each output's range over background rows and baselines, ``(targets,)``; 1 where it does not vary.

        Not over the rows explained, unless these are the background.
        """
        count = len(self.request.donors[0])
        some = slice(0, count, max(1, -(-count // _RANGE_ROWS)))
        seen = torch.cat([self.outputs(self.rows(some, self.request.donors)), base])
        alike = all(torch.equal(tensor, tensor[:1].expand_as(tensor)) for tensor in self.request.donors)
        return output_range(seen, self.subject.dtype, alike=alike)

    # ---- gradients ---------------------------------------------------------------------------------------------------

    def gradients(self, points: Tensors) -> tuple[Tensor, list[Tensor]]:
        """Return outputs ``(b, K)`` and gradients ``(targets, b, *)`` towards each leaf at points of one batch."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaves = [leaf.detach().clone().requires_grad_() for leaf in self.leaves(points)]
            outputs = self.explained(points, leaves)
            slopes = network_gradients(outputs, self.targets, leaves, constant_sum=self.constant_sum)
        self.evaluations += len(points[0])
        self.model_rows += len(points[0])
        return outputs.detach(), slopes

    def sums(self, values: Sequence[Tensor]) -> Tensor:
        """Add up ``(targets, b, *)`` of each leaf over the positions of each player: ``(b, parts, players, targets)``.

        A hybrid network's paths each have one leaf; otherwise all leaves together make one part.
        """
        groups = [[own] for own in values] if self._by_path else [list(values)]
        found = []
        for own in groups:
            flat = self.space.sums([value.flatten(0, 1) for value in own])
            found.append(flat.unflatten(0, own[0].shape[:2]).permute(1, 2, 0))
        return torch.stack(found, dim=1)

    def attributions(self, slopes: Sequence[Tensor], start: Tensors, stop: Tensors) -> Tensor:
        """Return slopes times changes from ``start`` to ``stop``, added up by player: float64."""
        pairs = zip(slopes, self.leaves(start), self.leaves(stop), strict=True)
        return self.sums([own.double() * (after.double() - before.double()) for own, before, after in pairs])


def walks_truly(slopes: Slopes, rows: Tensors, outputs: Tensor) -> bool:
    """Return whether outputs met on a walk of secants are the network's own.

    A forward that differentiates meets others.

    Args:
        slopes: the network, open.
        rows: a few rows, one tensor per input.
        outputs: all outputs found for them, ``(b, K)``.
    """
    wanted = slopes.outputs(rows)
    found = outputs[:, slopes.targets].double()
    finite = torch.isfinite(wanted) & torch.isfinite(found)
    if not bool(finite.any()):
        return True
    allowed = min(1024 * torch.finfo(outputs.dtype).eps, 0.02) * float(wanted[finite].abs().max())
    return float((wanted - found)[finite].abs().max()) <= allowed


def batch_size(request: Request, numbers: int) -> int:
    """Return the rows per backward pass, where each row's layers hold about so many numbers."""
    if request.batch_size != "auto":
        return int(request.batch_size)
    on_cpu = request.subject.device.type == "cpu"
    budget, most = (_NUMBERS_CPU, _MOST_CPU) if on_cpu else (_NUMBERS_ACCELERATOR, _MOST_ACCELERATOR)
    return max(1, min(most, budget // max(numbers, 1)))


def copied_rows(device: torch.device, source: Sequence[Tensor], part: slice) -> Tensors:
    """Return copies of rows on a device, one tensor per input; fit to be differentiated by."""
    with torch.inference_mode(mode=False), torch.no_grad():
        # Cloned also where it moves nothing: what was made in inference mode may not be saved for a backward pass.
        return tuple(tensor[part].detach().to(device).clone() for tensor in source)


def _refuse(request: Request, method: str, free: Sequence[int]) -> None:
    """Refuse inputs without a gradient."""
    subject: Any = request.subject
    if subject.kind == "hybrid":
        if "image" in subject.paths and not getattr(subject.module.renderer, "differentiable", True):
            raise InputError(
                f"{method} needs a gradient through the picture, however: the pictures are drawn by foreign code; "
                "choose method='permgrad', 'permutation' or 'ablation', or a layout of permgrad"
            )
        return
    if not free:
        raise InputError(
            f"{method} needs players to attribute to, however: nobody owns any position of the inputs; pass segments= "
            "or inputs with columns"
        )
    whole = [subject.input_names[place] for place in free if not subject.real[place]]
    if whole:
        others = [subject.input_names[place] for place in free if subject.real[place]]
        apart = f", a dict of methods ({method!r} for {others[0]!r} alone)" if others else ""
        raise InputError(
            f"{method} needs inputs of real numbers, however: {', '.join(map(repr, whole))} holds whole numbers "
            f"({request.inputs[list(subject.input_names).index(whole[0])].dtype}), towards which there is no gradient; "
            f"choose method='permutation', 'shapley' or 'lime'{apart}, or layer= with the name of the embedding"
        )


def constant_sum(request: Request) -> bool:
    """Return whether the outputs of every row have the same sum."""
    subject: Any = request.subject
    if subject.kind == "hybrid":
        return outputs_sum_constant(subject, request.output)
    # Probabilities that the network gives itself need not add up to exactly 1.
    ours = subject.outputs_form.kind in ("logits", "log_probabilities")
    return bool(
        ours and request.output == "probability" and subject.task == "classification" and len(subject.output_names) > 1
    )


def _without_cudnn() -> Undo:
    cudnn = torch.backends.cudnn
    before, cudnn.enabled = cudnn.enabled, False

    def put_back() -> None:
        cudnn.enabled = before

    return put_back


@contextmanager
def differentiable(subject: Any) -> Iterator[None]:
    """Let every part of a network be differentiated, and met where it calls torch.

    cuDNN's recurrent layers refuse a gradient in eval mode, so that plain kernels take their place; parts that the user
    has compiled run as they were written, since batches change their size and modes look on.
    """
    parts = list(subject.module.modules())
    with ExitStack() as stack:
        if subject.device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in parts):
            stack.enter_context(together({"cuDNN": _without_cudnn}))
        stack.enter_context(as_written(subject.module))
        yield
