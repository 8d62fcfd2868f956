"""Read a torch network: its arguments, its rows and background, and the features of
its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.request.asked_outputs import said_of_outputs
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.request.read_rows import (
    Background,
    ReadRows,
    at_level,
    donors_for,
    passed_background,
)
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.attribution.subject.tokens import (
    Cuts,
    Roles,
    find_roles,
    follow_tokens,
    pad_of,
    with_tokens,
    without_starts,
)
from permgrad.attribution.subject.vocabulary import speller_of
from permgrad.attribution.subject.word_tokens import Words, as_tokens
from permgrad.base.checks import check_kind
from permgrad.base.errors import InputError, shown
from permgrad.base.late import is_frame
from permgrad.base.progress import Progress


@dataclass(frozen=True)
class _ReadModel:
    """A network as it takes its arguments.

    Attributes:
        subject: The network with the rows explained.
        is_settled: Whether an earlier call of the same ``pg.Model`` found out how it
            depends on its rows.
        speller: What writes tokens as text, or None.
        padding: The id of the padding token.
        readings: How each input is read: as an image, a volume, a series or tokens.
        titles: The names of each input's channels.
        roles: Which inputs are tokens, and masks of them. None at an inner layer.
        cuts: How inputs of tokens are cut into features.
    """

    subject: NetworkSubject
    is_settled: bool
    speller: Any
    padding: int
    readings: Mapping[int, str]
    titles: Mapping[str, tuple[str, ...]]
    roles: Roles | None = None
    cuts: Cuts = field(default_factory=dict)


def read_network(call: MethodCall) -> ReadRows:
    """Return a network with its rows, background and features.

    Each of three steps calls the network a few times, which may be slow.

    Raises:
        InputError: The network does not take the rows, or nothing in them is a feature.
    """
    with Progress(3, "reading the network", call.arguments.progress) as progress:
        network = _read_model(call, progress)
        background = _read_background(call, network)
        progress.advance()
        explained = _read_features(call, network, background)
        progress.advance()
    return ReadRows(explained, background)


def _read_model(call: MethodCall, progress: Progress) -> _ReadModel:
    """Return the network as it reads the rows explained."""
    model = call.arguments.model
    speller = speller_of(model.tokenizer, model.vocabulary)
    padding = pad_of(model.model, speller) or 0
    tokens = as_tokens(call.arguments.X, model.tokenizer, model.model, padding)
    network = _known_network(call, tokens.inputs)
    if network is None:
        network = _new_network(call, tokens.inputs)
        is_settled = False
    else:
        is_settled = True
    progress.advance()
    readings = network.readings()
    titles = titles_of_channels(model.channel_names)
    if call.options.get("sampling") == "conditional":
        check_conditional(network.input_names, network.inputs)
    read_model = _ReadModel(network, is_settled, speller, padding, readings, titles)
    if model.layer is not None:
        return read_model
    roles = find_roles(network, model.hold, tokens.masks, model.segments)
    cuts = with_tokens(
        network,
        roles,
        model.tokenizer,
        tokens.texts,
        vocabulary=model.vocabulary,
        by_word=call.by_word,
    )
    return replace(read_model, roles=roles, cuts=cuts)


def _output_facts(call: MethodCall) -> dict[str, Any]:
    """Return what the call says about the network's outputs."""
    arguments = call.arguments
    return said_of_outputs(
        arguments.model, arguments.loss, classes=arguments.speaks_of_classes
    )


def _network_key(call: MethodCall) -> tuple[Any, ...]:
    """Return under what a ``pg.Model`` remembers how its network was read."""
    facts = _output_facts(call)
    without_y = call.arguments.y is None
    weight = next(iter(call.arguments.model.model.parameters()), None)
    key = ("network", without_y, facts["task"], facts["classes"])
    if weight is None:
        return key
    return (*key, weight.dtype, weight.device)


def _known_network(call: MethodCall, rows: Any) -> NetworkSubject | None:
    """Return the network as an earlier call of the same ``pg.Model`` read it, with
    other rows.
    """
    remembered = call.arguments.model.found.get(_network_key(call))
    if remembered is None:
        return None
    network: NetworkSubject | None = remembered.with_rows(rows)
    return network


def _new_network(call: MethodCall, rows: Any) -> NetworkSubject:
    """Return the network with its rows, and let the ``pg.Model`` remember it."""
    model = call.arguments.model
    network = NetworkSubject(
        model.model,
        rows,
        call.arguments.y,
        head=model.head,
        **_output_facts(call),
        batch_size=model.batch_size,
    )
    if network.place is None:  # what masks mean is said by their rows
        model.found[_network_key(call)] = network.without_rows()
    return network


def _read_background(call: MethodCall, network: _ReadModel) -> Background:
    """Return the rows to compare with, by which the network's reading is settled."""
    subject = network.subject
    passed = passed_background(call)
    donors = subject.inputs
    if passed.rows is not None:
        rows = _tokenised(network, call.arguments.model.tokenizer, passed.rows)
        donors = donors_for(subject.inputs, subject.read(rows), call)
    if not network.is_settled:
        subject.settle(None if donors is subject.inputs else donors)
    return Background(donors, passed.kind, passed.drawn_from)


def _read_features(
    call: MethodCall, network: _ReadModel, background: Background
) -> SubjectRows:
    """Return what of the rows is explained: outputs of a layer, or the inputs."""
    model = call.arguments.model
    inputs = network.subject.inputs
    if network.roles is None:
        explained = at_layer(
            network.subject, inputs, background.donors, model.layer, model.segments
        )
        inner: Any = explained.subject
        readings = inner.readings()
    else:
        explained = _features_of_inputs(call, network, network.roles, background.donors)
        readings = network.readings
    input_names = explained.subject.input_names
    shapes = shapes_of(
        input_names, explained.inputs, model.segments, readings, network.titles
    )
    if network.roles is not None:
        # Inputs that hold a row's tokens are not drawn.
        drawn = len(network.roles.names)
        shapes = (*shapes[:drawn], *[None] * (len(shapes) - drawn))
    if not len(explained.space):
        words = shapes_in_words(input_names, explained.inputs)
        problem = f"X has no feature to explain ({words})"
        raise InputError(
            problem, hint="Pass X with at least one column or pixel.", code="PG007"
        )
    space = at_level(explained.space, call)
    return replace(explained, shapes=shapes, space=space)


def _features_of_inputs(
    call: MethodCall, network: _ReadModel, roles: Roles, donors: tuple[Tensor, ...]
) -> SubjectRows:
    """Return the network's rows with columns, pixels, words and others as features."""
    subject = network.subject
    inputs = subject.inputs
    columns = [form_leaf.columns for form_leaf in subject.form.leaves]
    columns.append(None)
    space = build_space(
        subject.input_names,
        inputs,
        columns[: len(inputs)],
        call.arguments.model.segments,
        network.readings,
        network.cuts,
        network.titles,
    )
    space = follow_tokens(space, roles, subject)
    space = without_starts(space, roles, subject, network.speller)
    return SubjectRows(subject, inputs, donors, space)


def _tokenised(network: _ReadModel, tokenizer: Any, background: Any) -> Any:
    """Return a background with texts as ids, as many a row as those explained have.

    Where words are features the subject reads texts itself.
    """
    subject = network.subject
    if isinstance(subject.form.tokens, Words):
        return background
    tokens = as_tokens(background, tokenizer, subject.module, network.padding)
    token_ids = tokens.inputs
    pads_left = getattr(tokenizer, "padding_side", "right") == "left"
    for input_name in (*tokens.texts, *tokens.masks):
        width = subject.inputs[subject.input_names.index(input_name)].shape[1]
        lacking = max(0, width - token_ids[input_name].shape[1])
        if pads_left:
            padding_ends = (lacking, 0)
        else:
            padding_ends = (0, lacking)
        if input_name in tokens.masks:
            filling = 0
        else:
            filling = network.padding
        filled = functional.pad(token_ids[input_name], padding_ends, value=filling)
        if pads_left:
            token_ids[input_name] = filled[:, -width:]
        else:
            token_ids[input_name] = filled[:, :width]
    return token_ids


def titles_of_channels(channel_names: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of each input's channels, of a frame those of its columns."""
    remedy_words = "Pass for example channel_names={'eeg': ['Fz', 'Cz']}"
    if channel_names is None:
        return {}
    check_kind("channel_names", channel_names, Mapping, "names by input", remedy_words)
    titles = dict[str, tuple[str, ...]]()
    for input_name, channels in channel_names.items():
        if is_frame(channels):
            named = channels.columns
        else:
            named = channels
        if isinstance(named, (str, bytes)) or not isinstance(named, Iterable):
            problem = (
                f"The channels of {input_name!r} must be a list of names, got "
                f"{shown(named)}"
            )
            raise InputError(problem, hint=remedy_words, code="PG001")
        titles[input_name] = tuple(map(str, named))
        if not titles[input_name] or len(set(titles[input_name])) < len(
            titles[input_name]
        ):
            problem = (
                f"channel_names of {input_name!r} must be different names, got "
                f"{list(titles[input_name])}"
            )
            raise InputError(problem, hint="Name each channel once", code="PG008")
    return titles


def check_conditional(names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> None:
    """Refuse conditional draws unless the network's input is a table of numbers."""
    if len(inputs) != 1 or inputs[0].ndim != 2 or not inputs[0].is_floating_point():
        problem = (
            "sampling='conditional' needs a network with one input of floats (rows, "
            f"columns), got {shapes_in_words(names, inputs)}"
        )
        raise InputError(
            problem,
            hint="Leave sampling out, or pass groups= of dependent features",
            code="PG006",
        )
