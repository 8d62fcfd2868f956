"""Any Captum attribution object as ``method=``: its numbers in an ``Explanation``, by the players of the call.

Captum is never imported here: an object is recognised by what it offers, so that it works with any version.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution.build import describe, finish, input_maps, shown_values
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Method, Request, Scope, methods
from permgrad.attribution.players.segments import image_shape
from permgrad.attribution.replace.coalitions import CoalitionGame
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.network import NetworkSubject, unwrap
from permgrad.base.errors import InputError, PermgradError, is_out_of_memory
from permgrad.base.progress import Progress
from permgrad.base.threads import captum_turn
from permgrad.models.batches import in_batches
from permgrad.models.devices import rows_at_once

#: Rows per call; Captum multiplies them by steps or perturbations itself.
_BATCH, _BATCH_ACCELERATOR = 256, 4096
#: These draw within the batch, so that all rows go in at once.
_WHOLE = ("FeaturePermutation",)
#: The baselines of these are a sample that every row meets, however many rows there are.
_DISTRIBUTIONS = ("GradientShap", "DeepLiftShap")


class CaptumMethod(Method):
    """A Captum attribution object behind the face of a method.

    Values are what ``attribute`` returns, added up over each player's positions; perturbation methods are given the
    players as ``feature_mask``, so that a segment acts as one, and then the player's value is the one they return. The
    options of the call go to ``attribute`` as they are; ``baselines`` may be given in the form of the inputs.

    Args:
        attribution: for example ``captum.attr.IntegratedGradients(net)``.

    Raises:
        InputError: the object offers no ``attribute``.

    Examples:
        >>> import permgrad as pg
        >>> from captum.attr import InputXGradient
        >>> net = torch.nn.Linear(3, 1)
        >>> explanation = pg.explain(net, torch.ones(2, 3), method=InputXGradient(net))
        >>> explanation.method, explanation.values.shape
        ('captum.InputXGradient', (2, 3, 1))
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    options: ClassVar[Mapping[str, Any]] = {"**": None}

    def __init__(self, attribution: Any) -> None:
        if isinstance(attribution, type) or not callable(getattr(attribution, "attribute", None)):
            shown = attribution.__name__ if isinstance(attribution, type) else type(attribution).__name__
            raise InputError(
                f"method must be a name ({', '.join(methods)}), a Captum attribution object or a dict of them by "
                f"input, however: it is {shown}; pass for example method='permgrad' or "
                "captum.attr.IntegratedGradients(net)"
            )
        self.attribution = attribution
        self.kind = type(attribution).__name__
        self.name = f"captum.{self.kind}"

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        started = time.perf_counter()
        if not isinstance(request.subject, NetworkSubject):
            raise InputError(
                "a Captum object explains a torch network, however: model is an estimator of permgrad; pass "
                "model.module_ and the encoded rows, or choose one of permgrad's own methods"
            )
        self._check_network(request.subject)
        values = np.zeros((request.count, len(request.space), len(request.targets)))
        usual = rows_at_once(request.subject.device, on_processor=_BATCH, on_accelerator=_BATCH_ACCELERATOR)
        size = usual if request.batch_size == "auto" else int(request.batch_size)

        def work(part: slice) -> None:
            rows = tuple(tensor[part] for tensor in request.inputs)
            for column, target in enumerate(request.targets):
                values[part, :, column] = self._attribute(request, rows, target, part)
                bar.advance(part.stop - part.start)

        # Captum keeps what it sees of a call in the object, and hooks on the network, for whoever calls it.
        bar = Progress(request.count * len(request.targets), self.name, request.progress)
        with bar, captum_turn, request.subject.open(), torch.inference_mode(mode=False), torch.enable_grad():
            if self.kind in _WHOLE and request.batch_size == "auto":
                work(slice(0, request.count))
            else:
                in_batches(request.count, size, work)
            outputs = CoalitionGame(request).base()
        explanation = Explanation(
            values=values,
            names=request.space.names,
            modality=request.space.modality,
            outputs=tuple(request.subject.output_names[target] for target in request.targets),
            method=self.name,
            scope="local",
            level=request.level,
            groups=request.groups,
            feature_values=shown_values(request),
            predictions=outputs[:, list(request.targets)].double().cpu().numpy(),
            maps=input_maps(request),
            meta=describe(
                request,
                quantity=f"attribution by {self.name}",
                unit="as the network returns it",
                seconds=time.perf_counter() - started,
            ),
        )
        return finish(request, explanation)

    def _check_network(self, subject: NetworkSubject) -> None:
        """Refuse an object that was made for another network or layer: its numbers would be taken for this one's."""
        if isinstance(subject, InnerSubject) and getattr(self.attribution, "layer", None) is not subject.layer:
            raise InputError(
                f"layer={subject.names[0]!r} is not the layer that {self.name} was made for. Leave layer= out, or make "
                "a Captum object for that layer."
            )
        function = getattr(self.attribution, "forward_func", None)
        owner = getattr(function, "__self__", function)
        if isinstance(owner, nn.Module):
            inside = unwrap(owner)
            if not any(part is subject.module for part in inside.modules()):
                raise InputError(
                    f"{self.name} must be made for the network that is explained, however: it was made for another "
                    f"{type(inside).__name__}; pass {self.kind}(model)"
                )

    def _attribute(self, request: Request, rows: tuple[Tensor, ...], target: int, part: slice) -> Any:
        """Return the players' values for some rows, which stand at ``part``, and one output, ``(rows, players)``."""
        inner = request.subject if isinstance(request.subject, InnerSubject) else None
        subject: Any = request.subject if inner is None else inner.outer
        sources = rows if inner is None else tuple(tensor[part] for tensor in subject.inputs)
        order = _call_order(subject)
        inputs = tuple(sources[position].to(subject.device).clone() for position in order)
        options = dict(request.options)
        if self.kind.endswith(_DISTRIBUTIONS) and inner is None and "baselines" not in options:
            options["baselines"] = tuple(request.donors[position].to(subject.device) for position in order)
        if "baselines" in options and not isinstance(options["baselines"], (Tensor, int, float)):
            given = subject.read(options["baselines"])
            options["baselines"] = tuple(given[position].to(subject.device) for position in order)
        whole = {"feature_mask", *(["baselines"] if self.kind.endswith(_DISTRIBUTIONS) else [])}
        options = {
            name: value if name in whole else _of_rows(value, part, request.count) for name, value in options.items()
        }
        masked = inner is None and self._masks(request, order, options)
        if _takes_target(subject, sources):
            options.setdefault("target", target)
        try:
            found = self.attribution.attribute(inputs, **options)
        except PermgradError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self.name} must be able to attribute these inputs, however: it raised {type(error).__name__}: "
                f"{reason}; pass what it needs (baselines=, …) as options"
            ) from error
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        if inner is None:
            own = self._on_inputs(parts, [rows[position] for position in order])
            own = [own[order.index(position)] for position in range(len(rows))]
        else:
            # Inputs that are needed behind the layer belong to nobody.
            rest = [torch.zeros_like(tensor, dtype=torch.float32) for tensor in rows[inner.calls :]]
            own = [*self._on_inputs(parts, list(rows[: inner.calls])), *rest]
        by_player = request.space.sums([values.detach() for values in own])
        if masked:
            # Every position of a segment holds the segment's value.
            by_player = by_player / torch.as_tensor(request.space.sizes().clip(min=1), device=by_player.device)
        return by_player.cpu().numpy()

    def _masks(self, request: Request, order: list[int], options: dict[str, Any]) -> bool:
        """Hand the players over as ``feature_mask`` where the object takes one; return whether it was."""
        takes = "feature_mask" in inspect.signature(self.attribution.attribute).parameters
        if not takes or "feature_mask" in options:
            return "feature_mask" in options
        segments = [request.space.segments[position] for position in order]
        # Positions of nobody become one more feature, whose value is dropped.
        spare = len(request.space)
        options["feature_mask"] = tuple(
            torch.where(own < 0, spare, own)[None].to(request.subject.device) for own in segments
        )
        return True

    def _on_inputs(self, parts: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
        """Return attributions shaped like the inputs.

        What an embedding gives each token is added up; a layer's map is spread over the one image there is.
        """
        pairs = list(zip(parts, rows, strict=False))
        if len(parts) == len(rows) and all(own.shape[: row.ndim] == row.shape for own, row in pairs):
            return [own.reshape(*row.shape, -1).sum(dim=-1) for own, row in pairs]
        images = [place for place, tensor in enumerate(rows) if image_shape(tuple(tensor.shape[1:]))]
        maps = [part for part in parts if part.ndim == 4]
        if len(parts) == 1 and len(maps) == 1 and len(images) == 1:
            shape = image_shape(tuple(rows[images[0]].shape[1:]))
            if shape is not None:
                size = (shape.height, shape.width)
                heat = functional.interpolate(
                    maps[0].sum(dim=1, keepdim=True), size=size, mode="bilinear", align_corners=False
                )
                spread = (
                    heat if shape.channels == 0 else heat[:, 0] if shape.channels is None else heat.permute(0, 2, 3, 1)
                )
                whole = [torch.zeros_like(tensor, dtype=torch.float32) for tensor in rows]
                channels = 1 if shape.channels is None else rows[images[0]].shape[shape.channels + 1]
                whole[images[0]] = spread.expand(rows[images[0]].shape) / channels
                return whole
        shapes = [tuple(part.shape) for part in parts]
        wanted = [tuple(row.shape) for row in rows]
        raise InputError(
            f"{self.name} must give one number for each number of the inputs {wanted}, however: it gave {shapes}; for "
            "a layer's units pass layer= with its name too"
        )


def _call_order(subject: NetworkSubject) -> list[int]:
    """Return the inputs in the order of the forward's parameters: Captum passes them by position."""
    form = subject.form
    named = list(inspect.signature(subject.module.forward).parameters) if form.passing == "keywords" else form.arguments
    places = [] if form.passing == "whole" else [named.index(leaf.place[0]) for leaf in form.leaves]
    order = sorted(range(len(places)), key=places.__getitem__)
    if not places or [places[position] for position in order] != list(range(len(order))):
        raise InputError(
            "A Captum object passes every input by position, and this network takes them in another way (a list or "
            "dict, or None before an input). Wrap it in a module whose forward has one parameter for each input."
        )
    return order


def _takes_target(subject: NetworkSubject, rows: tuple[Tensor, ...]) -> bool:
    """Return whether the network's own output has columns to choose from."""
    with torch.no_grad():
        moved = [tensor[:2].to(subject.device).clone() for tensor in rows]
        returned = subject.form.call(subject.module, moved)
    return isinstance(returned, Tensor) and returned.ndim > 1


def _of_rows(value: Any, part: slice, count: int) -> Any:
    """Return the part of an option that has one entry for each row, also of each tensor of several."""
    if isinstance(value, tuple):
        return tuple(_of_rows(own, part, count) for own in value)
    return value[part] if isinstance(value, Tensor) and value.ndim > 0 and len(value) == count else value
