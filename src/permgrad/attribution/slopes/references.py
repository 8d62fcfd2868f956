"""Where players have slopes, of inputs looked up in embeddings at their vectors, and
the rows compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.players.space import NOBODY
from permgrad.attribution.request import Request
from permgrad.attribution.request.method_registry import Condition
from permgrad.attribution.slopes.unseen import warn_of_unseen
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.lookups import Lookup, with_embeddings
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.tracing import Site
from permgrad.attribution.typed_options import as_typed
from permgrad.base.checks import check_choice, is_whole
from permgrad.base.errors import InputError, listed, shown, text_of, unknown, warn_user
from permgrad.base.late import is_frame, is_series
from permgrad.base.random import generator
from permgrad.base.sequences import values_at

_BACKGROUND = "background"
REFERENCES = ("zeros", "mean", "median", _BACKGROUND)
_CLASS = "class:"
#: Numbers that a mean or a median is taken over, at most: enough for either, and
#: bounded in memory.
_SUMMARISED_NUMBERS = 20_000_000


@dataclass(frozen=True)
class Reference:
    """The references to average over, ``(references, *)`` per input, with the user's
    choice, also in words.
    """

    rows: tuple[Tensor, ...]
    name: str
    words: str


def _averages_rows(method: Any, _scope: Any) -> bool:
    """Return whether a method averages over references, of which it may read fewer.

    What is no number of rows stays for its own check.
    """
    baseline = method.baseline
    if not is_whole(method.references) or method.references < 1:
        return True
    if getattr(method, "reference_class", None) is not None:
        return True
    return isinstance(baseline, str) and baseline.startswith((_BACKGROUND, _CLASS))


#: When a method reads how many references it averages over.
REFERENCES_ARE_READ = Condition(
    "references",
    _averages_rows,
    "baseline='background'",
    {"baseline": "background"},
)


def reference_rows(
    slope_places: Places, choice: Any, most: int, reference_class: Any = None
) -> Reference:
    """Return the rows that the explained rows are compared with.

    Args:
        slope_places: Which numbers of the inputs have slopes.
        choice: ``baseline=`` of ``IntegratedGradients``.
        most: How many rows of the background, at most.
        reference_class: Of which class they are. None: of any.
    """
    request = slope_places.request
    of_user = not isinstance(choice, str)
    if not of_user and choice == "auto":
        if request.subject.encoded_names or not request.shared:
            choice = "median"
        else:
            choice = "zeros"
    named_class = not of_user and choice.startswith(_CLASS)
    if not of_user and not named_class and choice not in REFERENCES:
        raise _unknown(request, choice)
    if reference_class is not None and (of_user or named_class or choice == "zeros"):
        if of_user:
            other_argument = "a table as baseline="
        else:
            other_argument = f"baseline={choice!r}"
        problem = (
            f"reference_class={shown(reference_class)} and {other_argument} "
            "cannot be combined"
        )
        raise InputError(problem, hint="Pass one of them", code="PG006")
    if of_user:
        return _users_rows(request, choice)
    if choice == "zeros":
        return _zeros(slope_places)
    if named_class:
        label = choice.removeprefix(_CLASS)
    else:
        label = reference_class
    return _of_background(request, choice, label=label, most=most)


def _zeros(slope_places: Places) -> Reference:
    """Return a row of zeros.

    Of ids it is that of padding, and held inputs are as in the first row.

    Only the vectors of a lookup are read, so that held inputs merely let the network
    run.
    """
    request = slope_places.request
    subject = slope_places.request.subject
    zero_rows = [torch.zeros_like(tensor[:1]) for tensor in request.inputs]
    words = f"every {'encoded ' if subject.encoded_names else ''}input at 0"
    lookup_inputs = {lookup.place for lookup in slope_places.lookups}
    # What follows the user's inputs says which places are padded, none in a reference.
    for input_index in range(
        len(subject.form.leaves) if slope_places.lookups or slope_places.held else 0
    ):
        if not (subject.real[input_index] or input_index in lookup_inputs):
            zero_rows[input_index] = request.inputs[input_index][:1].clone()
    inputs_by_value = dict[str, list[str]]()
    for lookup in slope_places.lookups:
        if not zero_rows[lookup.place].is_floating_point():
            zero_rows[lookup.place] = torch.full_like(
                zero_rows[lookup.place], lookup.pad or 0
            )
            which = (
                f"{'the padding id' if lookup.pad is not None else 'id'} "
                f"{lookup.pad or 0}"
            )
            inputs_by_value.setdefault(which, []).append(
                request.space.inputs[lookup.place]
            )
    words += "".join(
        f", {listed(list(dict.fromkeys(names)))} at {which}"
        for which, names in inputs_by_value.items()
    )
    return Reference(tuple(zero_rows), "zeros", words)


def _of_background(
    request: Request, choice: str, *, label: Any, most: int
) -> Reference:
    """Return the background rows, or their mean or typical row.

    ``label``: those of one class.
    """
    background_rows = request.donors
    where = request.background_kind
    if request.passed_background:
        where = "background rows"
    if label is not None:
        position, class_name = _class_of(request, label)
        background_rows = tuple(tensor[position] for tensor in background_rows)
        where = f"{where} of class {class_name}"
    count = len(background_rows[0])
    encoded = bool(request.subject.encoded_names)
    widest = max(tensor[:1].numel() for tensor in background_rows)
    average = choice not in ("mean", "median")
    most = most if average else max(50, _SUMMARISED_NUMBERS // widest)
    sample_text = f"{most:,} of " if count > most else ""
    if sample_text:
        sampled_rows = np.sort(
            generator(request.seed, "baseline references").permutation(count)[:most]
        )
        background_rows = tuple(
            tensor[torch.as_tensor(sampled_rows, device=tensor.device)]
            for tensor in background_rows
        )
    if average:
        words = f"average over {sample_text}{count:,} {where} (expected gradients)"
        return Reference(
            tuple(tensor.clone() for tensor in background_rows), choice, words
        )
    subject = request.subject
    row = (
        subject.mean(background_rows)
        if choice == "mean"
        else subject.typical(background_rows)
    )
    if encoded:
        summary_text = (
            "mean of the encoded inputs"
            if choice == "mean"
            else "median of numbers and most frequent level"
        )
    else:
        is_real = [tensor.is_floating_point() for tensor in background_rows]
        of_real = f"{choice} of {'each input' if all(is_real) else 'real numbers'}"
        summary_text = " and ".join(
            [of_real] * any(is_real)
            + ["most frequent of whole numbers"] * (not all(is_real))
        )
    return Reference(
        row, choice, f"{summary_text} over {len(background_rows[0]):,} {where}"
    )


def _users_rows(request: Request, rows: Any) -> Reference:
    """Return the user's rows as the network takes them."""
    if request.subject.encoded_names:
        if is_series(rows):
            rows = rows.to_frame().T.infer_objects()
        elif not is_frame(rows):
            if not isinstance(rows, (list, tuple)) and np.ndim(rows) == 0:
                raise _unknown(request, rows)
            rows = np.atleast_2d(np.asarray(rows))
        if len(rows) == 0:
            raise InputError(
                "baseline has no rows", hint="Pass a row like X", code="PG038"
            )
    tensors = request.subject.read(rows)
    count = len(tensors[0])
    if count == 1:
        words = "a row given by the user"
    else:
        words = f"average over {count:,} rows given by the user"
    return Reference(tensors, "given", words)


def _unknown(request: Request, choice: Any) -> InputError:
    if request.subject.encoded_names:
        return unknown(
            "baseline", choice, REFERENCES, ["class:<label>", "a table of rows"]
        )
    return unknown("baseline", choice, ("auto", *REFERENCES), ["rows in the form of X"])


def _class_of(request: Request, label: Any) -> tuple[Tensor, str]:
    """Return the background rows of one class and its name.

    ``label`` is the value or text of the class.
    """
    subject = request.subject
    classes = request.subject.background_classes
    needed = ""
    of_rows = f"{as_typed(request.method, baseline=...)} with rows of that class"
    hint = f"Pass {of_rows}"
    if not subject.task.has_classes:
        needed = "a classifier, and the model is a regression"
        hint = f"Pass {as_typed(request.method, baseline='median')}, or rows"
    elif classes is None:
        needed = (
            "an estimator of permgrad, which keeps training rows, and the model "
            "is a torch network"
        )
    elif request.passed_background:
        needed = (
            "the training rows kept in the model, and the rows of background= "
            "have no classes"
        )
    if needed:
        raise InputError(f"A reference class needs {needed}", hint=hint, code="PG006")
    names = list(subject.outputs.class_names)
    check_choice("class in baseline", text_of(label), names)
    position = names.index(text_of(label))
    class_rows = np.flatnonzero(classes == position)
    if not len(class_rows):
        problem = (
            f"Class {names[position]!r} has no rows in the background kept in the model"
        )
        hint = f"Fit with a larger background_size in the preset, or pass {of_rows}"
        raise InputError(problem, hint=hint, code="PG038")
    return torch.as_tensor(class_rows), repr(names[position])


# ---- where players have slopes -------------------------------------------------------
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Places:
    """Where a request's players own numbers that have slopes.

    ``segments`` are the owners in each tensor that ``subject`` takes: the vectors of
    each lookup, then inputs as they are. ``request`` has the players that are left: of
    inputs in ``held`` there are none. ``facts`` are for an explanation's ``meta``.
    """

    request: Request
    subject: Subject
    segments: Tensors
    lookups: tuple[Lookup, ...] = ()
    held: tuple[int, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def with_slopes(request: Request, method: str) -> Places:
    """Return where each player has slopes. Refuse a request without any."""
    subject = _with_layers(request.subject)
    segments = request.space.segments
    free_inputs = [
        input_index
        for input_index, owners in enumerate(segments)
        if bool((owners >= 0).any())
    ]
    # The first lookup at each layer's call that reads what players own.
    owned: dict[Site, Lookup] = {}
    for lookup in subject.lookups():
        if lookup.site and bool(
            (segments[lookup.place].cpu().reshape(-1)[lookup.positions] >= 0).any()
        ):
            owned.setdefault(lookup.site, lookup)
    lookup_inputs = {lookup.place for lookup in owned.values()}
    held_inputs = tuple(
        input_index
        for input_index in free_inputs
        if not subject.real[input_index] and input_index not in lookup_inputs
    )
    if len(held_inputs) == len(free_inputs):
        subject.check_slopes(method, free_inputs)
    # A mask has the players of its tokens.
    remaining_players = torch.cat(
        [
            owners.flatten().cpu()
            for input_index, owners in enumerate(segments)
            if input_index not in held_inputs
        ]
    ).unique()
    lost_inputs = [
        input_index
        for input_index in held_inputs
        if not bool(torch.isin(segments[input_index].cpu(), remaining_players).all())
    ]
    if lost_inputs:
        names = listed(values_at(request.space.inputs, lost_inputs))
        is_single = len(lost_inputs) == 1
        stays = (
            "it: it stays with its row"
            if is_single
            else "them: they stay with their rows"
        )
        warn_user(
            f"{names} {'holds' if is_single else 'hold'} whole numbers that no "
            f"nn.Embedding looks up, so {method} does not "
            f"explain {stays}. Choose method='shapley' or 'lime', or pass real numbers "
            "where the network takes them."
        )
    request = replace(request, subject=subject)
    return (
        _elsewhere(request, owned, held_inputs, method)
        if owned or held_inputs
        else Places(request, subject, segments)
    )


def _with_layers(subject: Any) -> Any:
    """Return a subject with a layer for each look-up of a network that is a graph."""
    module: Any = getattr(subject, "module", None)
    if (
        isinstance(subject, InnerSubject)
        or (embedded_module := with_embeddings(module)) is module
    ):
        return subject
    subject = copy(subject)
    subject.module = embedded_module
    if hasattr(subject, "outer"):  # each row has an output of its own
        subject.outer = copy(subject.outer)
        subject.outer.module = embedded_module
    return subject


def _elsewhere(
    request: Request,
    owned: Mapping[Site, Lookup],
    held_inputs: tuple[int, ...],
    method: str,
) -> Places:
    """Return where players have slopes if some are of inputs that are looked up, or of
    whole numbers that are held.
    """
    subject: Any = request.subject
    space = request.space
    lookups = tuple(owned.values())
    names = space.inputs
    facts = dict[str, Any]()
    read_layers = dict[str, list[str]]()
    if held_inputs:
        before = subject.facts.get("held", [])
        facts["held"] = list(dict.fromkeys([*before, *values_at(names, held_inputs)]))
    for layer_site, lookup in owned.items():
        read_layers.setdefault(names[lookup.place], []).append(layer_site[0])
    if read_layers:
        facts |= {"embeddings": read_layers}
    # Whole numbers that are looked up have slopes there alone.
    nobody = [torch.full_like(owners, NOBODY) for owners in space.segments]
    as_is = []
    for owners, is_real, unowned in zip(
        space.segments, subject.real, nobody, strict=True
    ):
        if is_real:
            as_is.append(owners)
        else:
            as_is.append(unowned)
    segments = as_is
    slope_subject = subject
    if lookups:
        inner = InnerSubject(
            subject,
            list(dict.fromkeys(layer for layer, _ in owned)),
            request.inputs,
            owned,
        )
        vectors = [
            space.segments[lookup.place].cpu().unsqueeze(-1).expand(tensor.shape[1:])
            for lookup, tensor in zip(lookups, inner.inputs, strict=False)
        ]
        slope_subject = inner
        segments = [*vectors, *values_at(as_is, inner.needed)]
        warn_of_unseen(method, inner, request.inputs, space.segments, lookups)
    # Players of an input that the network leaves out stay, with slopes of 0.
    remaining_players = sorted(
        {
            owner
            for owners in (*segments, *as_is)
            for owner in owners.unique().tolist()
            if owner >= 0
        }
    )
    place_of = torch.full((len(space) + 1,), NOBODY, dtype=torch.int64)
    place_of[torch.tensor(remaining_players)] = torch.arange(len(remaining_players))
    request = replace(
        request,
        space=space.without(
            set(space.names) - set(values_at(space.names, remaining_players))
        ),
    )
    return Places(
        request,
        slope_subject,
        tuple(place_of[owners.cpu()] for owners in segments),
        lookups,
        held_inputs,
        facts,
    )
