"""Slopes of inputs that are looked up in embeddings, taken at their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from permgrad.attribution.players.space import NOBODY
from permgrad.attribution.request import Request
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.lookups import Lookup
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.tracing import Site

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Places:
    """Where a request's players own numbers that have slopes.

    ``segments`` are the owners in each tensor that ``subject`` takes: the vectors of each lookup, then inputs as they
    are. ``request`` has the players that are left: of inputs in ``held`` there are none. ``facts`` are for an
    explanation's ``meta``.
    """

    request: Request
    subject: Subject
    segments: Tensors
    lookups: tuple[Lookup, ...] = ()
    held: tuple[int, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def with_slopes(request: Request, method: str) -> Places:
    """Return where each player has slopes. Refuse a request without any."""
    subject, segments = request.subject, request.space.segments
    free = [place for place, owners in enumerate(segments) if bool((owners >= 0).any())]
    # The first lookup at each layer's call that reads what players own.
    owned: dict[Site, Lookup] = {}
    for lookup in subject.lookups():
        if lookup.site and bool((segments[lookup.place].cpu().reshape(-1)[lookup.positions] >= 0).any()):
            owned.setdefault(lookup.site, lookup)
    read = {lookup.place for lookup in owned.values()}
    held = tuple(place for place in free if not subject.real[place] and place not in read)
    if len(held) == len(free):
        subject.check_slopes(method, free)
    return _elsewhere(request, owned, held) if owned or held else Places(request, subject, segments)


def _elsewhere(request: Request, owned: Mapping[Site, Lookup], held: tuple[int, ...]) -> Places:
    """Return where players have slopes if some are of inputs that are looked up, or of whole numbers that are held."""
    subject: Any = request.subject
    space, lookups = request.space, tuple(owned.values())
    names, facts, read = space.inputs, dict[str, Any](), dict[str, list[str]]()
    if held:
        before = subject.facts.get("held", [])
        facts["held"] = list(dict.fromkeys([*before, *(names[place] for place in held)]))
    for site, lookup in owned.items():
        read.setdefault(names[lookup.place], []).append(site[0])
    facts |= {"embeddings": read} if read else {}
    # Whole numbers that are looked up have slopes there alone.
    nobody = [torch.full_like(owners, NOBODY) for owners in space.segments]
    as_is = [owners if real else none for owners, real, none in zip(space.segments, subject.real, nobody, strict=True)]
    segments, seen = as_is, subject
    if lookups:
        inner = InnerSubject(subject, list(dict.fromkeys(layer for layer, _ in owned)), request.inputs, owned)
        vectors = [
            space.segments[lookup.place].cpu().unsqueeze(-1).expand(tensor.shape[1:])
            for lookup, tensor in zip(lookups, inner.inputs, strict=False)
        ]
        seen, segments = inner, [*vectors, *(as_is[place] for place in inner.needed)]
    # Players of an input that the network leaves out stay, with slopes of 0.
    left = sorted({owner for owners in (*segments, *as_is) for owner in owners.unique().tolist() if owner >= 0})
    place_of = torch.full((len(space) + 1,), NOBODY, dtype=torch.int64)
    place_of[torch.tensor(left)] = torch.arange(len(left))
    request = replace(request, space=space.without(set(space.names) - {space.names[owner] for owner in left}))
    return Places(request, seen, tuple(place_of[owners.cpu()] for owners in segments), lookups, held, facts)
