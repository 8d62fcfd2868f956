"""Class activation maps of any network, read where a layer or function is called: one
for each image input.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.attribution.maps.drawn import Drawing, Picture, Read, weighted_maps
from permgrad.attribution.maps.fields import changed_cells
from permgrad.attribution.maps.heard import (
    NORMALISING,
    RECTIFYING,
    Call,
    Heard,
    Listener,
    hands_on,
    version,
)
from permgrad.attribution.maps.placed import (
    ROUNDING,
    Layout,
    Lie,
    even_lines,
    in_order,
    layout_of,
    measured,
    seen_along,
    strip,
    strips,
)
from permgrad.attribution.players.segments import ImageShape
from permgrad.attribution.request import Request
from permgrad.attribution.slopes.gradients import (
    Tensors,
    batch_size,
    copied_rows,
    differentiating,
    output_gradients,
)
from permgrad.attribution.subject.inputs import first_names
from permgrad.attribution.subject.remedies import (
    BY_IDENTITY,
    is_scripted,
    of_unheard,
)
from permgrad.attribution.subject.soundness import out_of_order
from permgrad.attribution.subject.subject import twice
from permgrad.attribution.subject.tracing import listening
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, counted
from permgrad.base.random import seeded
from permgrad.base.sequences import values_at

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: What helps where a network makes an image inside, such as a spectrogram.
MADE_INSIDE = (
    "To see a map of an image that the network makes inside, pass that image to a "
    "module of what follows it"
)
#: Rows on which it is found out which calls see which input.
_PROBE_ROWS = 2
#: Inputs that a message names.
_NAMED = 5
#: Rounding of values by how many rows are computed together.
_TOGETHER = 1e-4


# ---- which call belongs to which image -----------------------------------------------
@dataclass(frozen=True)
class Place:
    """Where a map is read: whose value, how it is laid out (None: channels, then
    cells), and its size.
    """

    call: Call
    layout: Layout | None
    shape: tuple[int, ...]
    # entries for each row, such as frames (0: other rows'), and whether they come
    # before the rows
    copies: int = 1
    before: bool = False
    views: tuple[
        tuple[Call, Layout], ...
    ] = ()  # of the same function for each view of the image, if several
    along: int | None = (
        None  # the image's dimension along which these lie (None: on the same cells)
    )

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls whose maps are read."""
        return tuple(layer_call for layer_call, _ in self.views) or (self.call,)

    def taken(self, values: Sequence[Tensor], rows: int, row_axis: int = 0) -> Tensor:
        """Return the values of all calls, with rows at dimension ``row_axis``, as one
        map.
        """
        row_maps = [self.by_row(value, rows, row_axis) for value in values]
        if self.layout is None:
            return row_maps[0]
        layouts = [layout for _, layout in self.views] or [self.layout]
        feature_maps = []
        for layout, row_map in zip(layouts, row_maps, strict=True):
            feature_maps.append(layout.take(row_map, row_map.ndim - row_axis - 1))
        return torch.cat(
            feature_maps, dim=row_axis + (1 if self.along is None else 2 + self.along)
        )

    def __str__(self) -> str:
        """Return the name of the call, or of the function whose calls are read."""
        alone = replace(self.call, number=0, again=0)
        if len(self.calls) == 1:
            return str(self.call)
        return f"{alone} ({len(self.calls)} calls)"

    def by_row(self, value: Tensor, rows: int, row_axis: int = 0) -> Tensor:
        """Return a value with the dimension ``row_axis`` split into rows and copies, if
        there are several.
        """
        if self.copies <= 1:
            return value
        if self.before:
            sizes = (self.copies, rows)
        else:
            sizes = (rows, self.copies)
        return value.unflatten(row_axis, sizes).transpose(
            row_axis, row_axis + int(self.before)
        )


class _Probe:
    """A network asked for a few rows, of which parts of one image are disturbed."""

    def __init__(
        self, request: Request, input_index: int, shape: ImageShape, listener: Listener
    ) -> None:
        self.request = request
        self.place = input_index
        self.shape = shape
        self.listener = listener
        self.rows = _few_rows(request)
        #: rows of which parts are disturbed: one where the two are the same
        self.disturbed_rows = self.rows
        if len(request.inputs[0]) == 1 and not request.subject.in_pairs:
            self.disturbed_rows = tuple(row_tensor[:1] for row_tensor in self.rows)
        self.modules = dict(request.subject.module.named_modules())
        numbers = self.rows[input_index].double()
        lowest_value = numbers.amin()
        highest_value = numbers.amax()
        if bool(lowest_value == highest_value):
            replacement = (numbers == 0).double()
        else:
            replacement = torch.where(
                numbers > (lowest_value + highest_value) / 2,
                lowest_value,
                highest_value,
            )
        self.other = replacement.to(self.rows[input_index].dtype)
        #: how the value of each call that sees the image is read, and those whose
        #: entries are of other rows
        self.layouts: dict[Call, Place] = {}
        self.astray: set[Call] = set()
        self._asked: set[Call] = set()
        #: those whose cells lie in the order of the image's pixels
        self._heard: dict[Call, Heard | None] = {}
        #: the shapes of what values are made of
        self._made_of: dict[Call, set[tuple[int, ...]]] = {}
        #: rows that go through the network together
        self._most = max(len(self.rows[0]), request.subject.most_rows())
        if request.batch_size != "auto":
            self._most = min(self._most, int(request.batch_size))

    def look(self, call_values: Iterable[tuple[Call, Tensor]]) -> None:
        """Find out which calls see the image, and how the values they made are laid
        out.

        The few cells of a last stage all see the whole image. They lie in the order of
        those that they are made of by convolutions, which tell where they lie.
        """
        call_values = list(call_values)
        for call, value in call_values:
            self._made_of[call] = self.listener.made_of(value)
            if call not in self._asked and self._lies_in_order(value):
                self._asked.add(call)
                self.layouts[call] = Place(call, in_order(len(self.shape.size)), ())
                self._heard[call] = self.listener.maker(value)
        call_values = [pair for pair in call_values if pair[0] not in self._asked]
        first = {
            layer_call: self.listener.first_map(value)
            for layer_call, value in call_values
        }
        before = {
            layer_call: source
            for layer_call, source in first.items()
            if source is not None
        }
        self._look({*first, *before.values()} - self._asked)
        for later_call, source in before.items():
            call_place = self.layouts.get(later_call)
            source_place = self.layouts.get(source)
            if (
                call_place is not None
                and source_place is not None
                and call_place.layout is None
                and source_place.layout is not None
                and (call_place.copies, call_place.before)
                == (source_place.copies, source_place.before)
            ):
                self.layouts[later_call] = replace(
                    call_place, layout=source_place.layout
                )

    def _lies_in_order(self, value: Tensor) -> bool:
        """Return whether convolutions and functions of each cell alone make a value of
        the image, so that its cells lie as the image's pixels do.
        """
        cells = value.shape[2:]
        return (
            self.shape.channels == 0
            and len(value) == len(self.rows[0])
            and len(cells) == len(self.shape.size)
            and cells.numel() > 1
            and self.listener.image_of(value) == self.place
        )

    def _look(self, new: Collection[Call]) -> None:
        """Find out which new calls see the image, and how they are laid out alone."""
        self._asked |= set(new)
        if not new:
            return
        before = self._values(new, self.rows[self.place])
        call_places = self._rows_of(before)
        self.astray |= {
            layer_call
            for layer_call, call_place in call_places.items()
            if not call_place.copies
        }
        image_places = {}
        for layer_call, call_place in call_places.items():
            if call_place.copies:
                image_places[layer_call] = call_place
        if self.disturbed_rows is not self.rows:
            before = self._values(new, self.disturbed_rows[self.place])
        along = self._by_strips(image_places, before)
        middles = [middle for middle, _ in along]
        for image_call, image_place in image_places.items():
            by_dim = [strip_sums[image_call] for _, strip_sums in along]
            layout: Layout | None = None
            if all(by_dim):
                layout = layout_of(
                    middles, by_dim, self._made_of.get(image_call, set())
                )
            call_places[image_call] = replace(image_place, layout=layout)
        self.layouts |= call_places

    def lie(self, read: Place) -> Lie | None:
        """Return where the map of one call lies."""
        heard = self._heard.get(read.call)
        if heard is not None and heard.fields is not None:
            cells = heard.value.shape[2:]
            size = self.shape.size
            return measured(
                self.shape,
                read.layout,
                partial(changed_cells, heard.fields, cells, size),
            )
        count = len(self.disturbed_rows[0])
        before = self._values({read.call}, self.disturbed_rows[self.place])

        def changes(blocks: Sequence[Tensor]) -> list[Tensor | None]:
            cells = list[Tensor | None]()
            for value_changes in self._changes(blocks, before, {read.call: read}):
                cell = None
                if value_changes:
                    cell = (
                        read.taken([value_changes[read.call]], count).sum(dim=1).cpu()
                    )
                cells.append(cell)
            return cells

        return measured(self.shape, read.layout, changes)

    def _values(self, calls: Collection[Call], image: Tensor) -> dict[Call, Tensor]:
        """Return the values of calls for the rows with other images, once or several
        times.
        """
        subject: Any = self.request.subject
        times = len(image) // len(self.disturbed_rows[0])
        rows = self.disturbed_rows
        if times > 1:
            rows = tuple(torch.cat([row_tensor] * times) for row_tensor in rows)
        listener = Listener(calls)
        # What depends on chance is the same each time.
        with (
            seeded(),
            torch.no_grad(),
            listening(self.modules, listener.leave, listener.enter),
            listener,
        ):
            subject.forward([*rows[: self.place], image, *rows[self.place + 1 :]])
        return listener.values

    def _changes(
        self,
        blocks: Sequence[Tensor],
        before: Mapping[Call, Tensor],
        call_places: Mapping[Call, Place],
    ) -> list[dict[Call, Tensor]]:
        """Return how much values change where blocks of the image are disturbed, one by
        one.

        Several go through the network together, beside the image as it is. A network
        that computes otherwise for more rows is asked of each block by itself.
        """
        count = len(self.disturbed_rows[0])
        image_changes = list[dict[Call, Tensor]]()
        size = max(1, self._most // count - 1)
        for start in range(0, len(blocks), size):
            few = list(map(self._disturbed, blocks[start : start + size]))
            if len(few) > 1:
                pairs = self._together(few, before, call_places)
            else:
                pairs = None
            if pairs is None:
                if len(few) != 1:
                    self._most = count
                pairs = [(dict(before), self._values(before, image)) for image in few]
            image_changes += [_changed(*pair) for pair in pairs]
        return image_changes

    def _disturbed(self, block: Tensor) -> Tensor:
        """Return the images with other pixels in a block."""
        block = block.to(self.other.device)
        if block.ndim < self.other.ndim and self.shape.channels is not None:
            block = block.unsqueeze(self.shape.channels)
        image = self.disturbed_rows[self.place]
        return torch.where(block, self.other[: len(image)], image)

    def _together(
        self,
        images: Sequence[Tensor],
        before: Mapping[Call, Tensor],
        call_places: Mapping[Call, Place],
    ) -> list[tuple[dict[Call, Tensor], dict[Call, Tensor]]] | None:
        """Return values of the rows as they are and with each of several images, from
        one call of the network.

        None where values of the rows as they are differ from those of ``before``.
        """
        times = 1 + len(images)
        try:
            image = self.disturbed_rows[self.place]
            after = self._values(before, torch.cat([*images, image]))
        except (InputError, RuntimeError, MemoryError):  # of so many rows
            return None
        by_image: list[dict[Call, Tensor]] = [{} for _ in range(times)]
        for call, value in before.items():
            values = after.get(call)
            if values is None or len(values) != times * len(value):
                return None
            if call_places[call].before:
                copies = call_places[call].copies
            else:
                copies = 1
            split = values.unflatten(0, (copies, times, -1)).unbind(1)
            for call_values, image_values in zip(by_image, split, strict=True):
                call_values[call] = image_values.flatten(0, 1)
            changes = _changed({call: value}, by_image[-1], _TOGETHER)
            if not changes or bool(changes[call].any()):
                return None
        return [(by_image[-1], changed_values) for changed_values in by_image[:-1]]

    def _rows_of(self, before: Mapping[Call, Tensor]) -> dict[Call, Place]:
        """Return which calls see the image, and which of their entries belong to the
        first row.
        """
        count = len(self.rows[0])
        call_places = dict[Call, Place]()
        first = torch.zeros_like(self.other, dtype=torch.bool)
        first[0] = True
        disturbed = self._values(
            before, torch.where(first, self.other, self.rows[self.place])
        )
        for call, change in _changed(before, disturbed).items():
            several, remainder = divmod(len(change), count)
            changed_entries = set(
                torch.nonzero(change.flatten(1).any(dim=1)).flatten().tolist()
            )
            entry_ranges = {False: range(several), True: range(0, len(change), count)}
            fitting = [
                before
                for before, entry_range in entry_ranges.items()
                if not remainder and changed_entries <= set(entry_range)
            ]
            if changed_entries:
                if fitting:
                    call_places[call] = Place(call, None, (), several, fitting[0])
                else:
                    call_places[call] = Place(call, None, (), 0)
        return call_places

    def _by_strips(
        self, call_places: Mapping[Call, Place], before: Mapping[Call, Tensor]
    ) -> list[tuple[list[float], dict[Call, list[Floats]]]]:
        """Return for each dimension the middles of strips along it, and how much each
        changes the places of values.

        These are, for each dimension of a row's value, ``(strips, places)``, and
        nothing for a call that was left out.
        """
        selected_values = {call: before[call] for call in call_places}

        def changes(pairs: Sequence[tuple[int, int, int]]) -> list[dict[Call, Any]]:
            blocks = [strip(self.shape, *pair) for pair in pairs]
            return [
                {
                    layer_call: _sums(
                        call_places[layer_call]
                        .by_row(value_change, len(self.disturbed_rows[0]))
                        .sum(dim=0)
                    )
                    for layer_call, value_change in call_changes.items()
                }
                for call_changes in self._changes(blocks, selected_values, call_places)
            ]

        sizes = self.shape.size
        ends = [strips(0, pixels - 1) for pixels in sizes]
        strip_requests = [
            (dim, *pair) for dim, pairs in enumerate(ends) for pair in pairs
        ]
        answers = iter(changes(strip_requests))
        by_dim = [list(itertools.islice(answers, len(pairs))) for pairs in ends]
        for dim, pixels in enumerate(sizes):
            if sum(map(_any_changes, by_dim[dim])) > len(ends[dim]) // 2:
                continue

            def changed(start: int, end: int, dim: int = dim) -> bool:
                return _any_changes(changes([(dim, start, end)])[0])

            ends[dim] = strips(*seen_along(pixels, changed))  # a crop
            by_dim[dim] = changes([(dim, *pair) for pair in ends[dim]])
        return [
            _stacked(pairs, strip_changes, call_places)
            for pairs, strip_changes in zip(ends, by_dim, strict=True)
        ]


def _changed(
    before: Mapping[Call, Tensor], after: Mapping[Call, Tensor], least: float = ROUNDING
) -> dict[Call, Tensor]:
    """Return how much values change, as far as it is no rounding."""
    call_changes = {}
    for call, value in before.items():
        if call in after and after[call].shape == value.shape:
            change = (value - after[call]).abs().nan_to_num(0, 0, 0)
            call_changes[call] = change * (
                change > least * value.abs().nan_to_num(0, 0, 0).amax()
            )
    return call_changes


def _any_changes(call_changes: Mapping[Call, list[Floats]]) -> bool:
    return any(bool(sums[0].any()) for sums in call_changes.values())


def _stacked(
    ends: Sequence[tuple[int, int]],
    strip_changes: Sequence[Mapping[Call, list[Floats]]],
    calls: Iterable[Call],
) -> tuple[list[float], dict[Call, list[Floats]]]:
    """Return the middles of strips, and for each call the changes by strip, nothing if
    it was left out of any.
    """
    always = {}
    for call in calls:
        always[call] = [
            changes_by_call[call]
            for changes_by_call in strip_changes
            if call in changes_by_call
        ]
    stacked = {}
    for call, sums in always.items():
        if len(sums) == len(ends):
            stacked[call] = [
                np.stack(sum_parts) for sum_parts in zip(*sums, strict=True)
            ]
        else:
            stacked[call] = []
    return [(start + end - 1) / 2 for start, end in ends], stacked


def _sums(change: Tensor) -> list[Floats]:
    """Return the sums of a tensor over all of its dimensions but one, for each of
    them.
    """
    change_values = change.double().cpu()
    sums: list[Floats] = []
    for dimension, cell_count in enumerate(change_values.shape):
        sums.append(
            change_values.movedim(dimension, 0)
            .reshape(cell_count, -1)
            .sum(dim=1)
            .numpy()
        )
    return sums


def _few_rows(request: Request) -> Tensors:
    """Return a few rows. Two tell which dimension is theirs."""
    probe_rows = copied_rows(request.subject, request.inputs, slice(0, _PROBE_ROWS))
    if len(probe_rows[0]) > 1:
        return probe_rows
    return twice(probe_rows)


def image_calls(
    request: Request,
    layer: str | None,
    shapes: Mapping[int, ImageShape],
    *,
    before_activation: bool,
) -> tuple[dict[int, tuple[Place, Lie | None]], int]:
    """Return where the map of each image is read and lies, and numbers held for each
    row.

    It is the last value with spatial extent whose cells the output uses. Functions that
    only move, copy or pool a map do not count, nor do queries, keys and values. A named
    convolution is read after its activation, as in the papers.
    """
    subject: Any = request.subject
    modules = dict(subject.module.named_modules())
    if layer is not None:
        check_choice(
            "layer", layer, [layer_name for layer_name in modules if layer_name]
        )
    probe_rows = _few_rows(request)
    listener = Listener()
    with torch.inference_mode(mode=False), torch.enable_grad():
        for input_index in shapes:
            listener.follow(probe_rows[input_index], input_index)
            if probe_rows[input_index].is_floating_point():
                probe_rows[input_index].requires_grad_()
        with listening(modules, listener.leave, listener.enter), listener:
            outputs = subject.forward(probe_rows)
        if layer:
            candidates = []
        else:
            candidates = _candidates(
                listener, len(outputs), before_activation=before_activation
            )
        named = _named_values(
            listener, modules, layer, before_activation=before_activation
        )
        candidate_maps = [(heard.call, heard.value) for heard in candidates] + named
        probes = {}
        for image_index, shape in shapes.items():
            probes[image_index] = _Probe(request, image_index, shape, listener)
        last_maps = _last_maps(probes, outputs, candidates)
        for input_index, probe in probes.items():
            if input_index not in last_maps:
                last_maps |= _last_named(probe, input_index, named)
        image_places = {}
        for input_index, (map_call, value) in last_maps.items():
            _refuse_other_axes(
                listener,
                probes[input_index],
                map_call,
                value,
                subject.input_names[input_index],
            )
            image_places[input_index] = _read_at(
                listener,
                probes[input_index],
                map_call,
                value,
                candidate_maps,
                subject.input_names[input_index],
            )
    if not image_places:
        raise _nothing_to_read(request, list(shapes), layer, listener)
    numbers = sum(heard.value.numel() for heard in listener.heard) + sum(
        probe_row.numel() for probe_row in probe_rows
    )
    return image_places, -(-numbers // len(probe_rows[0]))


def _named_values(
    listener: Listener,
    modules: Mapping[str, nn.Module],
    layer: str | None,
    *,
    before_activation: bool,
) -> list[tuple[Call, Tensor]]:
    """Return what a layer returned, without one what each convolution did."""
    convolutions = set()
    for module_name, module in modules.items():
        if isinstance(module, _CONVOLUTIONS):
            convolutions.add(module_name)
    named = _returned(listener, {layer} if layer else convolutions)
    if before_activation or layer not in convolutions:
        return named
    named_values: list[tuple[Call, Tensor]] = []
    for layer_call, value in named:
        named_values.append(_rectified(layer_call, value, listener.heard))
    return named_values


def _last_named(
    probe: _Probe, input_index: int, named: Sequence[tuple[Call, Tensor]]
) -> dict[int, tuple[Call, Tensor]]:
    """Return the last call of a layer that sees an image, of those whose value is a map
    if there are any.
    """
    probe.look(named)
    seeing_calls = []
    for layer_call, value in named:
        if layer_call in probe.layouts:
            seeing_calls.append((layer_call, value))
    map_calls = []
    for call_value in seeing_calls:
        if probe.layouts[call_value[0]].layout is not None:
            map_calls.append(call_value)
    if seeing_calls:
        return {input_index: (map_calls or seeing_calls)[-1]}
    return {}


def _read_at(
    listener: Listener,
    probe: _Probe,
    call: Call,
    value: Tensor,
    candidate_maps: Sequence[tuple[Call, Tensor]],
    name: str,
) -> tuple[Place, Lie | None]:
    """Return how a value is read as maps of an image, with the shape of one row's.

    Refuse one that lies elsewhere.
    """
    map_place = probe.layouts[call]
    count = len(probe.rows[0])
    if call in probe.astray and len(value) == count:
        raise out_of_order()
    if map_place.layout is None and value.ndim in (3, 4, 5) and value[0, 0].numel() > 1:
        raise _lies_elsewhere(name, map_place)
    map_location: Lie | None = None
    if map_place.layout is not None or (
        value.ndim in (3, 4, 5) and value.ndim <= 2 + len(probe.shape.size)
    ):
        map_place, map_location = _with_views(
            listener, probe, map_place, value, candidate_maps, name
        )
    return replace(
        map_place,
        shape=tuple(map_place.taken([value] * len(map_place.calls), count).shape[1:]),
    ), map_location


def _refuse_other_axes(
    listener: Listener, probe: _Probe, call: Call, value: Tensor, name: str
) -> None:
    """Refuse a map whose sides are not those of the input, such as that of a
    spectrogram made inside.
    """
    names = [
        function_name
        for function_name in listener.functions
        if "fft" in function_name or "stft" in function_name
    ]
    turned = bool(names) and not any(
        "ifft" in function_name or "irfft" in function_name or "istft" in function_name
        for function_name in names
    )
    map_place = probe.layouts[call]
    image_size = probe.shape.size
    cells = tuple(map_place.taken([value], len(probe.rows[0])).shape[1:])
    sides = (
        zip(cells[1:], image_size, strict=True)
        if len(cells) == 1 + len(image_size)
        else ()
    )
    if turned or any(lines > 1 == image_side for lines, image_side in sides):
        raise InputError(
            f"The network makes another image of {name!r}, such as a spectrogram, "
            f"which a map {cells} would be of",
            hint=MADE_INSIDE,
            code="PG034",
        )


def _with_views(
    listener: Listener,
    probe: _Probe,
    read: Place,
    value: Tensor,
    candidate_maps: Sequence[tuple[Call, Tensor]],
    name: str,
) -> tuple[Place, Lie]:
    """Return a place and where it lies, with all calls that read views of an input, if
    there is one for each.

    Their maps lie one behind the other along a dimension of the image, or on the same
    cells.
    """
    views: dict[Call, tuple[Place, Lie]] = {}
    for view_call in _views(listener, probe, read.call, value, candidate_maps):
        map_location = probe.lie(view_place := probe.layouts[view_call])
        if map_location is None:
            raise _lies_elsewhere(name, view_place)
        views[view_call] = view_place, map_location
    seen_ends = {
        layer_call: view_location.seen
        for layer_call, (_, view_location) in views.items()
    }
    along = [
        dimension
        for dimension, end_pairs in enumerate(zip(*seen_ends.values(), strict=True))
        if len(set(end_pairs)) > 1
    ]
    ordered = sorted(
        views, key=lambda call: seen_ends[call][along[0]] if along else (0, 0)
    )
    pairs = (
        itertools.pairwise(seen_ends[layer_call][along[0]] for layer_call in ordered)
        if along
        else ()
    )
    if len(along) > 1 or any(
        earlier_ends[1] >= later_ends[0] for earlier_ends, later_ends in pairs
    ):
        raise InputError(
            f"The network runs layer {read.call.layer!r} for parts of {name!r} one "
            "after the other, and a map would show the last one alone",
            hint="Choose method='integrated_gradients', or pass all parts through it "
            "at once",
            code="PG034",
        )
    map_location = views[read.call][1]
    if read.layout is None or len(views) == 1:
        return read, map_location
    if along:
        map_location = _joined_lie(
            [views[layer_call][1] for layer_call in ordered], map_location, along[0]
        )
    layouts = [
        (layer_call, layout)
        for layer_call in ordered
        if (layout := views[layer_call][0].layout) is not None
    ]
    return replace(
        read, views=tuple(layouts), along=along[0] if along else None
    ), map_location


def _joined_lie(part_lies: Sequence[Lie], read_lie: Lie, along: int) -> Lie:
    """Return where maps lie that follow each other along a dimension, and else lie as
    one does.
    """
    lines = list(read_lie.lines)
    seen_pixels = list(read_lie.seen)
    lines[along] = torch.cat([part_lie.lines[along] for part_lie in part_lies])
    seen_pixels[along] = (part_lies[0].seen[along][0], part_lies[-1].seen[along][1])
    return Lie(tuple(lines), tuple(seen_pixels))


def _views(
    listener: Listener,
    probe: _Probe,
    read: Call,
    value: Tensor,
    candidate_maps: Sequence[tuple[Call, Tensor]],
) -> list[Call]:
    """Return a call that reads an input, and those like it that it is not made of."""
    ancestor_ids = set[int]()
    before = [listener.maker(value)]
    while before:
        heard = before.pop()
        if heard is not None and id(heard) not in ancestor_ids:
            ancestor_ids.add(id(heard))
            before += heard.sources
    similar_values = {read: value}
    for candidate_call, candidate_value in dict(candidate_maps).items():
        maker = listener.maker(candidate_value)
        alike = (
            candidate_call.layer,
            candidate_call.function,
            candidate_value.shape,
        ) == (
            read.layer,
            read.function,
            value.shape,
        )
        if (
            candidate_call != read
            and alike
            and candidate_value.requires_grad
            and maker is not None
            and id(maker) not in ancestor_ids
        ):
            similar_values[candidate_call] = candidate_value
    probe.look(similar_values.items())
    views = []
    for layer_call in similar_values:
        if layer_call in probe.layouts and probe.layouts[layer_call].layout is not None:
            views.append(layer_call)
    return views or [read]


def _last_maps(
    probes: Mapping[int, _Probe], outputs: Tensor, candidates: Sequence[Heard]
) -> dict[int, tuple[Call, Tensor]]:
    """Return for each image the last value with spatial extent whose cells the output
    uses.
    """
    total: Any = None
    if outputs.requires_grad and candidates:
        weights = 1 + torch.arange(
            outputs.numel(), dtype=outputs.dtype, device=outputs.device
        ).reshape(outputs.shape)
        total = (outputs * weights.sqrt()).sum()
    last_values: dict[int, tuple[Call, Tensor]] = {}
    pending = list(probes)
    behind = len(candidates)
    chunk_size = 4
    # From the last backwards, ever more at a time: the slopes of all would take as much
    # memory as all values.
    while pending and behind:
        candidate_chunk = candidates[max(0, behind - chunk_size) : behind][::-1]
        behind = max(0, behind - chunk_size)
        chunk_size = 2 * chunk_size
        slopes: Sequence[Tensor | None] = [None] * len(candidate_chunk)
        if total is not None:
            with differentiating():
                values = [heard.value for heard in candidate_chunk]
                slopes = torch.autograd.grad(
                    total, values, retain_graph=True, allow_unused=True
                )
        used_candidates = [
            (heard, slope)
            for heard, slope in zip(candidate_chunk, slopes, strict=True)
            if not heard.inward and (slope is not None or not outputs.requires_grad)
        ]
        for input_index in list(pending):
            probes[input_index].look(
                [(heard.call, heard.value) for heard, _ in used_candidates]
            )
            for heard, slope in used_candidates:
                call_place = probes[input_index].layouts.get(heard.call)
                if call_place is None or call_place.layout is None:
                    continue
                cells = slope is not None and bool(
                    (call_place.taken([slope], len(outputs)) != 0).any()
                )
                # If no map has cells that the output uses, the first one.
                if cells or input_index not in last_values:
                    last_values[input_index] = (heard.call, heard.value)
                if cells:
                    pending.remove(input_index)
                    break
    return last_values


def _candidates(
    listener: Listener, rows: int, *, before_activation: bool
) -> list[Heard]:
    """Return the values that may be maps of rows: with slopes, unchanged since, and not
    merely passed on.
    """
    if before_activation:
        skipped = RECTIFYING | NORMALISING
    else:
        skipped = frozenset()
    return [
        heard
        for heard in listener.heard
        if heard.version == version(heard.value) and heard.value.requires_grad
        and (heard.value.ndim > 2 or len(heard.value) > rows)
        and heard.value.ndim > 1 and len(heard.value) % rows == 0
        and not hands_on(heard.function) and heard.function not in skipped
    ]  # fmt: skip


def _returned(listener: Listener, layers: set[str]) -> list[tuple[Call, Tensor]]:
    """Return the calls of some layers, with their values."""
    returned: list[tuple[Call, Tensor]] = []
    for layer_call, value in listener.returned:
        if layer_call.layer in layers and value.is_floating_point() and value.ndim > 1:
            returned.append((layer_call, value))
    return returned


def _rectified(call: Call, value: Tensor, heard: list[Heard]) -> tuple[Call, Tensor]:
    """Return the call of the activation of a convolution's value, or the convolution's
    own if there is none.
    """
    current = next((candidate for candidate in heard if candidate.call == call), None)
    while current is not None and (
        current.call == call or current.function in NORMALISING
    ):
        source = current
        current = next(
            (
                behind
                for behind in heard
                if any(behind_source is source for behind_source in behind.sources)
            ),
            None,
        )
    rectified = current is not None and current.function in RECTIFYING
    if rectified and current is not None:
        return (current.call, current.value)
    return (call, value)


def _lies_elsewhere(name: str, read: Place) -> InputError:
    return InputError(
        f"Cannot tell where in {name!r} a class activation map of layer {str(read)!r} "
        "lies",
        hint=f"Pass {as_typed('GradCam', layer=...)} with the name of an earlier "
        "layer, or choose "
        "method='integrated_gradients'",
        code="PG034",
    )


def _nothing_to_read(
    request: Request, images: list[int], layer: str | None, listener: Listener
) -> InputError:
    subject: Any = request.subject
    if layer is not None and images:
        return _nothing_at(subject, images, layer, listener)
    names = subject.form.names  # what keeps the row's tokens follows the user's inputs
    shapes = first_names(
        f"{input_name} {tuple(tensor.shape)}"
        for input_name, tensor in zip(names, request.inputs, strict=False)
    )
    if not images:
        convolves = any(
            isinstance(submodule, _CONVOLUTIONS)
            for submodule in subject.module.modules()
        )
        return InputError(
            "gradcam needs an image that enters a convolution or is cut into patches, "
            f"got {shapes}",
            hint=MADE_INSIDE
            if convolves
            else "Choose method='integrated_gradients' or 'permutation'",
            code="PG034",
        )
    inputs = " or ".join(repr(names[input_index]) for input_index in images)
    hint = (
        f"Pass {as_typed('GradCam', layer=...)} with the name of a layer whose value "
        "is (rows, channels, height, width)"
    )
    if is_scripted(subject.module):
        hint = (
            "TorchScript lets nobody read its layers: pass the network as it was "
            "before torch.jit, or choose method='integrated_gradients'"
        )
    return InputError(
        f"gradcam finds no convolution of {inputs} and no tokens of its patches",
        hint=hint,
        code="PG034",
    )


def _nothing_at(
    subject: Any, images: list[int], layer: str, listener: Listener
) -> InputError:
    """Return the error of a named layer that has no map of an image."""
    problem, hint = of_unheard(subject.module, layer)
    returned = []
    for layer_call, value in listener.returned:
        if layer_call.layer == layer:
            returned.append(value)
    if layer in listener.other_types:
        value_type = listener.other_types[layer]
        problem = (
            "gradcam reads a layer whose value is one tensor, and layer "
            f"{layer!r} returns a {value_type}"
        )
        hint = BY_IDENTITY
    elif returned and returned[-1].ndim < 2:
        problem = (
            f"A class activation map has cells, and layer {layer!r} returns "
            f"{tuple(returned[-1].shape)}"
        )
        hint = "Name a layer whose value is (rows, channels, height, width)"
    elif returned:
        names = []
        for input_index in images[:_NAMED]:
            names.append(repr(subject.input_names[input_index]))
        problem = (
            f"gradcam reads a layer of an image encoder, and layer {layer!r} "
            f"does not depend on {' or '.join(names)}"
        )
        hint = "Name a layer of its encoder"
    return InputError(problem, hint=hint, code="PG037")


def _calls_of(places: Sequence[Place]) -> list[tuple[Place, Call]]:
    """Return every call of every place."""
    calls = []
    for place in places:
        for layer_call in place.calls:
            calls.append((place, layer_call))
    return calls


def _checked_map(place: Place, call: Call, value: Tensor | None, rows: int) -> Tensor:
    """Return the value of a call, and refuse one that is no map."""
    if value is None:
        problem = f"The network does not call {str(call)!r} for every batch of rows"
        hint = (
            f"Pass {as_typed('GradCam', layer=...)} with the name of a layer that it "
            "always calls"
        )
        raise InputError(problem, hint=hint, code="PG037")
    is_map = place.layout is not None or value.ndim in (3, 4, 5)
    if is_map and len(value) == place.copies * rows:
        return value
    raise InputError(
        "A class activation map needs a layer whose value is (rows, channels, height, "
        f"width), got {tuple(value.shape)} from layer {place.call.layer!r} for "
        f"{counted(rows, 'row')}",
        hint=f"Pass {as_typed('GradCam', layer=...)} with the name of a convolution or "
        "of a block of tokens, or choose method='integrated_gradients'",
        code="PG037",
    )


# ---- maps of a batch -----------------------------------------------------------------
class _Slopes(NamedTuple):
    """What the calls returned that maps are read of, and its slopes.

    Attributes:
        activations: Of each call.
        gradients: Of each call, ``(targets, *activation)``.
        outputs: Of the rows, ``(b, outputs)``.
    """

    activations: list[Tensor]
    gradients: list[Tensor]
    outputs: Tensor


class CalledMaps:
    """Maps of the image inputs of any network, read at calls of a layer or a function,
    with the subject open.
    """

    quantity = "mean of the class activation map over the player's pixels"

    def __init__(self, request: Request, drawing: Drawing) -> None:
        self.request = request
        self.drawing = drawing
        subject = request.subject
        inputs = request.subject.input_names
        self._shapes = {
            image_index: image_shape
            for image_index, image_shape in enumerate(request.shapes)
            if image_shape is not None and not image_shape.vectors
        }
        # Where a layer lies is measured once for each ``pg.Model``.
        sizes = tuple(tensor.shape[1:] for tensor in request.inputs)
        layer = drawing.layer
        which = layer if isinstance(layer, str) else id(layer)
        cache_key = ("maps", which, drawing.before_activation, sizes)
        if cache_key not in request.found:
            request.found[cache_key] = image_calls(
                request,
                drawing.layer,
                self._shapes,
                before_activation=drawing.before_activation,
            )
        image_places, numbers = request.found[cache_key]
        self._places = {
            image_index: map_place
            for image_index, (map_place, _) in image_places.items()
        }
        self._lies = {
            image_index: map_location
            for image_index, (_, map_location) in image_places.items()
        }
        self.pictures = []
        for input_index, call_place in self._places.items():
            self.pictures.append(self._picture(inputs[input_index], call_place))
        space = request.space
        segments = tuple(values_at(space.segments, self._places))
        self._space = replace(
            space,
            inputs=tuple(values_at(space.inputs, self._places)),
            segments=segments,
        )
        # The players that own positions of inputs with maps.
        self._owners = np.flatnonzero(self._space.sizes()).tolist()
        self._sizes = torch.as_tensor(
            self._space.sizes()[self._owners], device=subject.device
        )
        self.names = tuple(values_at(space.names, self._owners))
        self.modality = tuple(values_at(space.modality, self._owners))
        weights = sum(parameter.numel() for parameter in subject.module.parameters())
        self.batch = batch_size(request, numbers, weights=weights)

    def _picture(self, input_name: str, call_place: Place) -> Picture:
        """Return what is kept of the maps of an input."""
        request = self.request
        words = (
            f"of {input_name!r} at layer {str(call_place)!r} are all zero, and so "
            "are their players' values"
        )
        return Picture(
            f"maps:{input_name}",
            f"images:{input_name}",
            words,
            np.zeros((request.count, len(request.targets)), dtype=bool),
            self.drawing.maps,
        )

    def read(self, row_slice: slice) -> Read:
        """Return the maps, and their means over each player's positions.

        All channels of a pixel share its value.
        """
        subject: Any = self.request.subject
        batch_rows = subject.in_company(
            copied_rows(subject, self.request.inputs, row_slice)
        )
        slopes = self._slopes(batch_rows)
        batch_size = len(slopes.outputs)
        of_calls = iter(zip(slopes.activations, slopes.gradients, strict=True))
        image_maps = []
        large = []
        spread = []
        for image_index, map_place in self._places.items():
            call_slopes = itertools.islice(of_calls, len(map_place.calls))
            image_maps.append(self._map(map_place, call_slopes, batch_size))
            large.append(self._enlarged(image_index, image_maps[-1]))
            spread.append(self._over_cells(image_index, large[-1]))
        means = self._space.sums(spread)[:, self._owners] / self._sizes
        values = means.unflatten(0, (batch_size, -1)).transpose(1, 2).cpu().numpy()
        images = values_at(batch_rows, self._places)
        row_count = row_slice.stop - row_slice.start
        return Read(
            [tensor[:row_count] for tensor in image_maps],
            [tensor[:row_count] for tensor in large],
            [tensor[:row_count] for tensor in images],
            values[:row_count],
            slopes.outputs[:row_count].detach(),
        )

    def _slopes(self, batch_rows: Tensors) -> _Slopes:
        """Predict rows once, and return what the calls returned, with its slopes."""
        request = self.request
        subject: Any = request.subject
        calls = _calls_of(list(self._places.values()))
        listener = Listener({layer_call for _, layer_call in calls})
        modules = dict(subject.module.named_modules())
        with torch.inference_mode(mode=False), torch.enable_grad():
            with listening(modules, listener.leave, listener.enter), listener:
                outputs = request.scale.read(
                    subject.outputs, subject.forward(batch_rows)
                )
            batch_size = len(outputs)
            activations = []
            for map_place, read_call in calls:
                value = listener.values.get(read_call)
                activations.append(
                    _checked_map(map_place, read_call, value, batch_size)
                )

            def by_row(layer_tensor: Tensor, number: int) -> Tensor:
                """Return what a layer passed on in a call, row by row."""
                return calls[number][0].by_row(layer_tensor, batch_size)

            gradients = output_gradients(
                outputs,
                request.targets,
                activations,
                constant_sum=request.scale.sum_is_constant(subject.outputs),
                by_row=by_row,
            )
        return _Slopes(activations, gradients, outputs)

    def _map(
        self,
        map_place: Place,
        call_slopes: Iterable[tuple[Tensor, Tensor]],
        batch_size: int,
    ) -> Tensor:
        """Return the maps ``(b, targets, *cells)`` of an image by the activation and
        the gradient of each of its calls.
        """
        activations, gradients = zip(*call_slopes, strict=True)
        with torch.no_grad():
            return weighted_maps(
                map_place.taken(activations, batch_size),
                map_place.taken(gradients, batch_size, row_axis=1),
                self.drawing.variant,
                relu=self.drawing.relu,
            ).float()

    def _enlarged(self, image_index: int, cells: Tensor) -> Tensor:
        """Return maps at their image's size."""
        size = self._shapes[image_index].size
        map_location = self._lies[image_index] or Lie(
            even_lines(cells.shape[2:], size), ()
        )
        return map_location.enlarged(cells, size, self.drawing.upsample)

    def _over_cells(self, image_index: int, enlarged_map: Tensor) -> Tensor:
        """Return maps ``(b * targets, *input)`` with a value for each cell of the
        input, channels included.
        """
        channels = self._shapes[image_index].channels
        if channels is not None:
            enlarged_map = enlarged_map.unsqueeze(2 + channels).expand(
                *enlarged_map.shape[:2], *self.request.inputs[image_index].shape[1:]
            )
        return enlarged_map.flatten(0, 1)

    def facts(self) -> dict[str, Any]:
        """Return the layers, which inputs have no map, and how many maps are all
        zero.
        """
        inputs = self.request.subject.input_names
        empty = [int(picture.empty.sum()) for picture in self.pictures]
        segments = self.request.space.segments
        without = []
        for input_index, owners in enumerate(segments):
            if input_index not in self._places and (owners >= 0).any():
                without.append(input_index)
        return {
            "layer": {
                inputs[input_index]: str(map_place)
                for input_index, map_place in self._places.items()
            },
            "layer_shape": {
                inputs[input_index]: list(map_place.shape)
                for input_index, map_place in self._places.items()
            },
            "without_map": values_at(inputs, without),
            "empty_maps": dict(
                zip(map(inputs.__getitem__, self._places), empty, strict=True)
            ),
            "model_rows": self.request.count,
        }
