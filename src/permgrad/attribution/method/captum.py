"""Captum objects as ``method=``, recognised by their ``attribute``.

Captum is never imported, and any version works.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.players.segments import ImageShape, image_shape
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.request import Method, Request, Scope
from permgrad.attribution.request.method_registry import in_scopes
from permgrad.attribution.request.result import build
from permgrad.attribution.scopes import LOCAL
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.network import NetworkSubject, unwrap
from permgrad.attribution.subject.scales import RAW, Scale
from permgrad.attribution.subject.subject import numbers_by_row
from permgrad.base.errors import Fault, InputError, error_in_words, refusing, turned
from permgrad.base.sequences import values_at
from permgrad.base.threads import captum_turn
from permgrad.models.batches import in_batches

#: Rows per call. Captum itself multiplies them by steps or perturbations.
_BATCH = 256
_BATCH_ACCELERATOR = 4096
#: Classes whose baselines are a sample that is used for every row.
_DISTRIBUTIONS = ("GradientShap", "DeepLiftShap")


class CaptumMethod(Method):
    """Adapter that makes a Captum attribution object a method.

    Values are the result of ``attribute``, summed over each player's positions.
    Perturbation methods get the players as ``feature_mask``, so that a segment is one
    feature, and the player's value is the one they return. The options of the call,
    ``method=(object, {"n_steps": 20})``, are passed to ``attribute`` unchanged.
    ``baselines`` may have the form of the inputs. With a ``feature_mask`` of your own,
    the value of each of its groups is divided equally among the group's positions.

    Examples:
        >>> import permgrad as pg
        >>> from captum.attr import InputXGradient
        >>> net = torch.nn.Linear(3, 1)
        >>> explanation = pg.explain(net, torch.ones(2, 3), method=InputXGradient(net))
        >>> explanation.method, explanation.values.shape
        ('captum.InputXGradient', (2, 3, 1))
    """

    scopes: ClassVar[tuple[Scope, ...]] = (LOCAL,)
    takes: ClassVar[frozenset[str]] = frozenset(
        {"network", "sample_weight"}
    ) | in_scopes("background", "confidence", "row_groups", "row_time")
    by_word: ClassVar[bool] = False
    scales: ClassVar[Mapping[Scope, Scale]] = {LOCAL: RAW}
    scale_reason: ClassVar[str] = ""
    by_output: ClassVar[bool] = True

    def __init__(
        self, attribution: Any, options: Mapping[str, Any] | None = None
    ) -> None:
        if isinstance(attribution, type) or not callable(
            getattr(attribution, "attribute", None)
        ):
            if isinstance(attribution, type):
                shown = attribution.__name__
            else:
                shown = type(attribution).__name__
            raise InputError(
                "method must be a name, one of pg.methods, a Captum attribution object "
                f"or a dict of them by input, got {shown}",
                hint="Pass for example method='permgrad' or "
                "captum.attr.IntegratedGradients(net).",
                code="PG001",
            )
        self.attribution = attribution
        self._given = dict(options or {})
        self.kind = type(attribution).__name__
        self.name = f"captum.{self.kind}"
        self.why_zero = (
            f"{self.name} returns nothing for them, even if the model uses them."
        )

    def settings(self) -> dict[str, Any]:
        """Return the options of the call of ``attribute``."""
        return dict(self._given)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        subject: Any = request.subject
        subject.check_network(self.name)
        self._check_network(subject)
        values = np.zeros((request.count, len(request.space), len(request.targets)))
        if request.subject.device.type == "cpu":
            usual = _BATCH
        else:
            usual = _BATCH_ACCELERATOR
        if request.batch_size == "auto":
            rows_per_batch = usual
        else:
            rows_per_batch = int(request.batch_size)

        def work(row_slice: slice) -> None:
            batch_rows = tuple(tensor[row_slice] for tensor in request.inputs)
            for column, target in enumerate(request.targets):
                values[row_slice, :, column] = self._attribute(
                    request, batch_rows, target, row_slice
                )
                progress_bar.advance(row_slice.stop - row_slice.start)

        # During a call, Captum stores state in the object and hooks on the network,
        # which other threads would see.
        progress_bar = request.bar(request.count * len(request.targets), self.name)
        with (
            progress_bar,
            captum_turn,
            request.subject.open(),
            torch.inference_mode(mode=False),
            torch.enable_grad(),
        ):
            # It permutes within the batch, so all rows are passed at once.
            if self.kind == "FeaturePermutation" and request.batch_size == "auto":
                work(slice(0, request.count))
            else:
                in_batches(request.count, rows_per_batch, work)
            outputs = Blend(request).base()
        facts = {
            "quantity": f"attribution by {self.name}",
            "unit": "as the network returns it",
        }
        predictions = outputs[:, list(request.targets)].double().cpu().numpy()
        return build(request, self.name, values, facts, predictions=predictions)

    @refusing
    def _check_network(self, subject: NetworkSubject) -> Iterator[Fault]:
        """Refuse an object made for another network or layer."""
        layer = getattr(self.attribution, "layer", None)
        if isinstance(layer, list):
            layers = layer
        else:
            layers = [layer]
        if isinstance(subject, InnerSubject) and [*map(id, layers)] != [
            *map(id, subject.layers.values())
        ]:
            layer_names = ", ".join(map(repr, subject.layers))
            problem = (
                f"layer={layer_names} is not the layer that {self.name} was created for"
            )
            yield (
                problem,
                "Leave layer= out, or create a Captum object for that layer.",
                "PG037",
            )
        function = getattr(self.attribution, "forward_func", None)
        owner = getattr(function, "__self__", function)
        if isinstance(owner, nn.Module):
            inside = unwrap(owner)
            if not any(submodule is subject.module for submodule in inside.modules()):
                problem = (
                    f"{self.name} was created for another network (a "
                    f"{type(inside).__name__}) than the one explained"
                )
                yield problem, f"Pass {self.kind}(model).", "PG031"

    def _attribute(
        self, request: Request, rows: tuple[Tensor, ...], target: int, row_slice: slice
    ) -> Any:
        """Return the players' values for the rows at ``row_slice`` and one output,
        ``(rows, players)``.
        """
        if isinstance(request.subject, InnerSubject):
            inner = request.subject
        else:
            inner = None
        subject: Any
        if inner is None:
            subject = request.subject
        else:
            subject = inner.outer
        if inner is None:
            sources = rows
        else:
            sources = tuple(tensor[row_slice] for tensor in subject.inputs)
        order = _call_order(subject)
        space = request.space
        options = self._options(
            request, subject, order, row_slice, inside=inner is not None
        )
        if _has_columns(subject, sources):
            options.setdefault("target", target)
        returned = self._call(
            tuple(
                sources[input_index].to(subject.device).clone() for input_index in order
            ),
            options,
        )
        if inner is None:
            attributions = self._on_inputs(returned, values_at(rows, order))
            if self._given.get("feature_mask") is not None:
                attributions = _shared(attributions, options["feature_mask"])
            attributions = [
                attributions[order.index(input_index)]
                for input_index in range(len(rows))
            ]
        else:
            # Inputs that are used after the layer belong to no player.
            unowned = []
            for tensor in rows[inner.calls :]:
                unowned.append(torch.zeros_like(tensor, dtype=torch.float32))
            attributions = [
                *self._on_inputs(returned, list(rows[: inner.calls])),
                *unowned,
            ]
        by_player = space.sums([values.detach() for values in attributions])
        if (
            inner is None
            and "feature_mask" in options
            and "feature_mask" not in self._given
        ):
            # Every position of a segment holds the segment's value.
            by_player = by_player / torch.as_tensor(
                space.sizes().clip(min=1), device=by_player.device
            )
        return by_player.cpu().numpy()

    def _options(
        self,
        request: Request,
        subject: Any,
        order: list[int],
        row_slice: slice,
        *,
        inside: bool,
    ) -> dict[str, Any]:
        """Return the call's options for the rows at ``row_slice``, with baselines and
        players in Captum's form.
        """
        options = self.settings()
        samples = self.kind.endswith(_DISTRIBUTIONS)
        if samples and not inside:
            baselines = request.donors
        else:
            baselines = None
        if "baselines" in options:
            plain = isinstance(options["baselines"], (Tensor, int, float))
            if plain:
                baselines = None
            else:
                baselines = subject.read(options["baselines"])
        if baselines is not None:
            options["baselines"] = tuple(
                baselines[input_index].to(subject.device) for input_index in order
            )
        takes_mask = (
            "feature_mask" in inspect.signature(self.attribution.attribute).parameters
        )
        if not inside and takes_mask and "feature_mask" not in options:
            # Each player is one feature. Positions without a player are one more, whose
            # value is dropped.
            segments = []
            for input_index in order:
                segments.append(request.space.segments[input_index].to(subject.device))
            options["feature_mask"] = tuple(
                torch.where(owners < 0, len(request.space), owners)[None]
                for owners in segments
            )
        common = {"feature_mask", *(["baselines"] if samples else [])}  # to all rows
        return {
            option_name: option_value
            if option_name in common
            else _of_rows(option_value, row_slice, request.count)
            for option_name, option_value in options.items()
        }

    def _call(
        self, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> list[Tensor]:
        """Return the result of ``attribute``.

        Turn its errors into an ``InputError``.
        """
        which = f"{self.name} failed on these inputs"
        hint = "Pass what it needs beside it: method=(object, {'baselines': …})."
        with turned(
            lambda error: InputError(
                f"{which} with {error_in_words(error)}", hint, "PG032"
            ),
            memory=True,
        ):
            returned = self.attribution.attribute(inputs, **options)
        if isinstance(returned, (tuple, list)):
            return list(returned)
        return [returned]

    def _on_inputs(
        self, returned_maps: list[Tensor], rows: list[Tensor]
    ) -> list[Tensor]:
        """Return attributions shaped like the inputs.

        A layer's map is spread over the image, if there is only one.
        """
        pairs = list(zip(returned_maps, rows, strict=False))
        if len(returned_maps) == len(rows) and all(
            attribution.shape[: input_rows.ndim] == input_rows.shape
            for attribution, input_rows in pairs
        ):
            on_inputs: list[Tensor] = []
            for attribution, input_rows in pairs:
                on_inputs.append(attribution.reshape(*input_rows.shape, -1).sum(dim=-1))
            return on_inputs
        layouts = []
        for input_index, tensor in enumerate(rows):
            layouts.append((input_index, image_shape(tuple(tensor.shape[1:]))))
        images = [
            (input_index, layout)
            for input_index, layout in layouts
            if layout is not None
        ]
        if len(returned_maps) == len(images) == 1 and returned_maps[0].ndim == 4:
            ((image_index, layout),) = images
            attributions = []
            for tensor in rows:
                attributions.append(torch.zeros_like(tensor, dtype=torch.float32))
            attributions[image_index] = _spread(
                returned_maps[0], layout, rows[image_index]
            )
            return attributions
        problem = (
            f"{self.name} must return attributions of shapes "
            f"{[tuple(input_rows.shape) for input_rows in rows]}, as the inputs, got "
            f"{[tuple(attribution.shape) for attribution in returned_maps]}"
        )
        raise InputError(
            problem,
            hint="To explain the units of a layer, also pass layer= with its name to "
            "pg.Model.",
            code="PG007",
        )


def _spread(maps: Tensor, layout: ImageShape, rows: Tensor) -> Tensor:
    """Return a layer's maps ``(rows, channels, height, width)`` over the pixels of an
    image, equal for all channels.
    """
    image_size = layout.size[-2:]
    heat_map = functional.interpolate(
        maps.sum(dim=1, keepdim=True),
        size=image_size,
        mode="bilinear",
        align_corners=False,
    )
    if layout.channels is None:
        return heat_map[:, 0].expand(rows.shape)
    if layout.channels != 0:
        heat_map = heat_map.permute(0, 2, 3, 1)
    return heat_map.expand(rows.shape) / rows.shape[layout.channels + 1]


def _shared(values: list[Tensor], masks: Any) -> list[Tensor]:
    """Divide the value of each group of a user's own mask among its positions, which
    all hold it.
    """
    if not isinstance(masks, (tuple, list)):
        masks = (masks,)
    expanded_masks = []
    for mask, attribution in zip(masks, values, strict=True):
        expanded_masks.append(mask.to(attribution.device).expand(attribution.shape))
    counts = []
    for row in torch.cat(list(map(numbers_by_row, expanded_masks)), dim=1):
        _, groups, sizes = row.unique(return_inverse=True, return_counts=True)
        counts.append(sizes[groups])
    group_sizes = torch.stack(counts).split(
        [mask[0].numel() for mask in expanded_masks], dim=1
    )
    return [
        attribution / group_size.reshape(attribution.shape)
        for attribution, group_size in zip(values, group_sizes, strict=True)
    ]


def _call_order(subject: NetworkSubject) -> list[int]:
    """Return the inputs in the order of the forward's parameters, because Captum passes
    them by position.
    """
    input_form = subject.form
    if input_form.passing == "keywords":
        named = list(inspect.signature(subject.module.forward).parameters)
    else:
        named = input_form.arguments
    parameter_positions: list[int] = []
    if not input_form.whole:
        for input_leaf in input_form.leaves:
            parameter_positions.append(named.index(input_leaf.place[0]))
    order = sorted(range(len(parameter_positions)), key=parameter_positions.__getitem__)
    if not parameter_positions or values_at(parameter_positions, order) != list(
        range(len(order))
    ):
        raise InputError(
            "Captum passes every input by position, but this network takes a list or "
            "dict, or None before an input",
            hint="Wrap it in a module whose forward has one parameter for each input.",
            code="PG034",
        )
    return order


def _of_rows(value: Any, row_slice: slice, count: int) -> Any:
    """Return the rows at ``row_slice`` of an option with one entry per row, also inside
    a tuple.
    """
    if isinstance(value, tuple):
        return tuple(_of_rows(option_item, row_slice, count) for option_item in value)
    if isinstance(value, Tensor) and value.ndim > 0 and len(value) == count:
        return value[row_slice]
    return value


def _has_columns(subject: Any, sources: Sequence[Tensor]) -> bool:
    """Return whether the network's outputs have columns to choose from."""
    with torch.no_grad():
        outputs = subject.form.call(
            subject.module,
            [tensor[:2].to(subject.device).clone() for tensor in sources],
        )
    return isinstance(outputs, Tensor) and outputs.ndim > 1
