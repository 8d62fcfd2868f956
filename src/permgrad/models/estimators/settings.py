"""From an estimator's arguments to checked settings.

All faults are found before any work is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from permgrad.base.checks import MOST, check_choice, is_number, is_whole
from permgrad.base.errors import InputError, did_you_mean, listed, shown, unknown
from permgrad.data.encode.groups import is_blocks
from permgrad.data.read.cells import MissingCodes
from permgrad.data.tasks import CLASSIFICATION
from permgrad.imaging.layout import is_foreign, layouts, make_layout
from permgrad.models.branches import added_branches, branches, joined_branches
from permgrad.models.branches.branch import column_branches
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.decision import check_decision
from permgrad.models.devices import PRECISIONS
from permgrad.models.encoders import image_encoders, is_text_encoder, text_encoders
from permgrad.models.estimators.presets import CLASS_WEIGHTS, Preset, get_preset
from permgrad.models.losses import losses, usual_loss
from permgrad.models.network.options import NetworkOptions, check_network
from permgrad.models.train.learner import OPTIMIZERS, TrainingOptions
from permgrad.models.train.schedules import schedules

NUMERIC_ENCODINGS = ("robust", "standard", "minmax", "quantile")
CALIBRATIONS = ("prior", "temperature", "isotonic")
#: When rows are drawn as images.
IMAGES = ("auto", "always", "never")
#: How images of ordered columns are read in the place of the preset's: measured on
#: MNIST-1D, of 18 networks.
ORDERED: dict[str, Any] = {
    "conv_filters": (32, 64, 128),
    "conv_normalization": "batch",
    "image_readout": "mean",
    "image_shift": 0.05,
    "random_kernels": 512,
}
_CURVE_KERNEL = 5
#: Epochs with such images, and the share of them before which none is the best. The
#: loss of few held-out rows is often smallest by chance, or before the table's branch
#: grows too sure, while the rate is high and weights are worse.
_ORDERED_EPOCHS = 40
_ORDERED_KEPT = 0.75

#: What ``branches`` is by itself: those of the preset, and those beside them that pay.
AUTO = "auto"
MOST_LEVELS = 50
MOST_EMBEDDED_LEVELS = 256
#: Of an automatic batch size.
_SMALLEST_BATCH = 32
_LARGEST_BATCH = 256
_ROWS_PER_BATCH = 64
_LEAST = re.compile(r"a whole number of at least \d+")


@dataclasses.dataclass(frozen=True)
class ArgumentRule:
    """What an argument must be: ``words`` behind "must be", an ``example`` as it is
    written.

    A name is one of ``choices``, a number is ``whole`` or any, from ``least`` to below
    ``below``. All else ``holds``. ``none``: whether None is right.
    """

    name: str
    words: str = ""
    example: str = ""
    holds: Callable[[Any], bool] | None = None
    none: bool = True
    choices: Collection[str] | None = None
    least: int = 0
    below: float = math.inf
    whole: bool = False

    def faults(self, values: Mapping[str, Any]) -> list[InputError]:
        """Return the error for the argument, if it is among some and wrong."""
        value = values.get(self.name)
        if value is None:
            is_right = self.none or self.name not in values
        elif self.choices is not None:
            is_right = isinstance(value, str) and value in self.choices
        elif self.holds is not None:
            is_right = self.holds(value)
        else:
            is_right = (is_whole if self.whole else is_number)(
                value
            ) and self.least <= value < self.below
        if is_right:
            return []
        if self.choices is not None:
            return [unknown(self.name, value, self.choices)]
        if self.none:
            rule_text = f"None{',' if ' or ' in self.words else ' or'} {self.words}"
        else:
            rule_text = self.words
        if is_whole(value) and value > MOST:
            rule_text = _LEAST.sub(rf"\g<0> and at most {MOST}", rule_text)
        example_hint = f"Pass for example {self.name}={self.example}."
        return [
            InputError(
                f"{self.name} must be {rule_text}, got {shown(value)}",
                hint=example_hint,
                code="PG001",
            )
        ]


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


_WHOLE: dict[str, Any] = {
    "words": "a whole number of at least 1",
    "least": 1,
    "below": MOST + 1,
    "whole": True,
}
_SHARE: dict[str, Any] = {"words": "a number from 0 to below 1", "below": 1}
#: Training options that are arguments of the estimators too, where None means: as the
#: preset says.
_TRAINING: tuple[ArgumentRule, ...] = (
    ArgumentRule("max_epochs", example="50", **_WHOLE),
    ArgumentRule(
        "batch_size",
        "'auto' or a whole number of at least 2",
        "128",
        lambda size: (
            size == "auto"
            if isinstance(size, str)
            else is_whole(size) and 2 <= size <= MOST
        ),
    ),
    ArgumentRule(
        "learning_rate",
        "a number above 0",
        "0.001",
        lambda rate: is_number(rate) and 0 < rate < math.inf,
    ),
)
_ARGUMENTS: tuple[ArgumentRule, ...] = (
    *_TRAINING,
    ArgumentRule("pixels", example="20", none=False, **_WHOLE),
    ArgumentRule("validation_fraction", example="0.1", **_SHARE),
    ArgumentRule(
        "progress",
        "'auto', True or False",
        "False",
        lambda mode: (
            isinstance(mode, bool) or (isinstance(mode, str) and mode == "auto")
        ),
        none=False,
    ),
    ArgumentRule(
        "class_weight",
        "'balanced', 'pos_weight' or a mapping of class to weight",
        "'balanced'",
        lambda weight: (
            _is_mapping(weight) or (isinstance(weight, str) and weight in CLASS_WEIGHTS)
        ),
    ),
    ArgumentRule(
        "kinds",
        "a mapping of column to kind",
        "{'postcode': 'categorical'}",
        _is_mapping,
    ),
    ArgumentRule(
        "groups",
        "a mapping of group to a list of columns",
        "{'size': ['width', 'height']}",
        is_blocks,
    ),
    ArgumentRule(
        "image_encoder",
        f"{' or '.join(map(repr, image_encoders))}, a torch.nn.Module or a callable",
        "None",
        lambda encoder: (
            encoder in image_encoders if isinstance(encoder, str) else callable(encoder)
        ),
    ),
    ArgumentRule(
        "text_encoder",
        f"{' or '.join(map(repr, text_encoders))}, a folder with a "
        "Hugging Face model or a callable",
        "'all-minilm-l6-v2'",
        is_text_encoder,
    ),
    ArgumentRule("calibration", choices=CALIBRATIONS),
    ArgumentRule("image", none=False, choices=IMAGES),
)
#: How a preset scales numbers.
_NUMERIC = ArgumentRule("numeric", choices=NUMERIC_ENCODINGS, none=False)
#: Training options as a preset says them. None is right for the patience alone.
_PRESET: tuple[ArgumentRule, ...] = (
    *(dataclasses.replace(training_rule, none=False) for training_rule in _TRAINING),
    ArgumentRule("weight_decay", "a number of at least 0", "0.0001", none=False),
    ArgumentRule(
        "patience",
        "a whole number of at least 1, or float('inf')",
        "10",
        lambda epochs: (
            1 <= epochs <= MOST
            if is_whole(epochs)
            else is_number(epochs) and epochs == math.inf
        ),
    ),
    ArgumentRule("optimizer", choices=OPTIMIZERS, none=False),
    ArgumentRule("schedule", choices=schedules, none=False),
    ArgumentRule("precision", choices=PRECISIONS, none=False),
    ArgumentRule("averaging", example="0.99", none=False, **_SHARE),
    ArgumentRule("kept_from", example="0.75", none=False, **_SHARE),
    ArgumentRule("label_smoothing", example="0.1", none=False, **_SHARE),
    ArgumentRule(
        "refinement",
        "true or false",
        "true",
        lambda value: isinstance(value, bool),
        none=False,
    ),
    ArgumentRule("schedule_unit", choices=("epoch", "step"), none=False),
)


@contextlib.contextmanager
def collecting(faults: list[InputError]) -> Iterator[None]:
    """Add the error that the body raises, if any, to others."""
    try:
        yield
    except InputError as error:
        faults.append(error)


def argument_faults(arguments: Mapping[str, Any], task: str) -> list[InputError]:
    """Return an error for each argument of an estimator that is wrong by itself."""
    rules = (*_ARGUMENTS, ArgumentRule("loss", choices=losses.trained(task)))
    faults = [
        fault for argument_rule in rules for fault in argument_rule.faults(arguments)
    ]
    with collecting(faults):
        if arguments.get("layout") is not None:
            check_layout(arguments["layout"])
    with collecting(faults):
        MissingCodes.of(arguments.get("na"))
    with collecting(faults):
        check_decision(arguments.get("cost"), arguments.get("threshold"))
    encoder = arguments.get("image_encoder")
    layout = arguments.get("layout")
    if (
        callable(encoder)
        and layout is not None
        and not isinstance(layout, str)
        and is_foreign(layout)
    ):
        problem = (
            "A layout of foreign code and an image_encoder of your own cannot be "
            "combined"
        )
        faults.append(
            InputError(
                problem,
                hint="pg.load takes one of them. Use a named one.",
                code="PG006",
            )
        )
    return faults


def training_faults(training: Mapping[str, Any], task: str) -> list[InputError]:
    """Return an error for each training option that is wrong."""
    faults = [
        fault for preset_rule in _PRESET for fault in preset_rule.faults(training)
    ]
    if "loss" in training and training["loss"] not in losses.trained(task):
        problem = (
            f"The loss of a {task} must be "
            f"{' or '.join(map(repr, losses.trained(task)))}, got {training['loss']!r}"
        )
        faults.append(
            InputError(
                problem, hint="Leave loss out, or choose another task.", code="PG036"
            )
        )
    return faults


def check_layout(layout: Any) -> None:
    """Refuse a layout that is neither a known name nor an object that can be one."""
    # An object is looked at when it is fitted: only then is it known what it does.
    if isinstance(layout, str):
        layouts.get(layout)
    elif not (is_foreign(layout) or callable(getattr(layout, "fit", None))):
        make_layout(layout)


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """Checked choices: the preset with the estimator's arguments in place."""

    paths: tuple[str, ...]
    layout: Any
    numeric: str
    network: NetworkOptions
    training: TrainingOptions
    automatic_batch: bool
    device: torch.device
    class_weight: Any = None
    validation_fraction: float = 0.1
    pairs_as_levels: bool = False
    max_levels: int = 50
    #: whether an image is drawn of columns with an order only, which is looked for
    seeks_order: bool = False
    #: options of the network, and whether patience and epochs, that stay as they are
    #: for ordered columns
    fixed: frozenset[str] = frozenset()
    #: what ``branches`` leaves out, as kinds of columns name it: "text", "photo", and
    #: "table" for all others
    left_out: frozenset[str] = frozenset()
    #: branches beside the network that are tried, and whether they were named, and so
    #: are kept in any case
    beside: tuple[str, ...] = ()
    beside_by_name: bool = False

    def for_order(self, shape: Sequence[int]) -> FitSettings:
        """Return the settings for images of ordered columns with this height and width,
        and perhaps channels.
        """
        shape = shape[:2]
        # Pooling leaves about ten places along the longer side.
        blocks = min(max(round(math.log2(max(shape) / 13)), 3), 6)
        filters = (
            *ORDERED["conv_filters"],
            *(ORDERED["conv_filters"][-1:] * (blocks - 3)),
        )
        changes = {
            **ORDERED,
            "conv_filters": filters,
            "kernel_size": _CURVE_KERNEL if min(shape) == 1 else 3,
        }
        changes = {
            option_name: value
            for option_name, value in changes.items()
            if option_name not in self.fixed
        }
        training = self.training
        network = dataclasses.replace(self.network, **changes)
        if "patience" not in self.fixed:
            if "max_epochs" in self.fixed:
                most_epochs = training.max_epochs
            else:
                most_epochs = min(training.max_epochs, _ORDERED_EPOCHS)
            training = dataclasses.replace(
                training, max_epochs=most_epochs, patience=None, kept_from=_ORDERED_KEPT
            )
        return dataclasses.replace(self, network=network, training=training)

    def training_for(self, rows: int) -> TrainingOptions:
        """Return the training options for a number of training rows: an automatic batch
        size is settled.
        """
        if not self.automatic_batch:
            return self.training
        # A power of two near a 64th of the rows: enough steps per epoch for few rows,
        # speed for many.
        power = 2 ** round(math.log2(max(rows, 1) / _ROWS_PER_BATCH))
        return dataclasses.replace(
            self.training,
            batch_size=int(min(max(power, _SMALLEST_BATCH), _LARGEST_BATCH)),
        )


class BranchChoice(NamedTuple):
    """The branches of a network, by what computes them.

    Attributes:
        paths: Those within the network, in order.
        additive: Those beside it, in order.
        left_out: The columns left out, by what reads them.
    """

    paths: tuple[str, ...]
    additive: tuple[str, ...]
    left_out: frozenset[str]


def check_branches(
    named: Any,
) -> BranchChoice:
    """Return the network's paths and the branches beside it in their order, and the
    columns left out, by what reads them.

    Examples:
        >>> choice = check_branches(("trees", "tabular", "image"))
        >>> choice.paths, choice.additive
        (('tabular', 'image'), ('trees',))
        >>> paths, _, left_out = check_branches(["text"])
        >>> paths, sorted(left_out)
        (('tabular',), ['photo', 'table'])
    """
    if isinstance(named, Iterable) and not isinstance(named, str):
        names = tuple(named)
    else:
        names = (named,)
    choices = [*branches]
    if len(names) == 1:
        choices.append(AUTO)
    for branch_name in names:
        check_choice("branches", branch_name, choices)
    if not names or len(set(names)) != len(names):
        known_branches = listed([*branches], 9, repr)
        problem = (
            f"branches must be 'auto', or name one or more of {known_branches}, "
            f"each once, got {names!r}"
        )
        raise InputError(
            problem,
            hint="Pass for example branches=('tabular', 'image').",
            code="PG003",
        )
    additive_branches = tuple(
        branch_path for branch_path in added_branches() if branch_path in names
    )
    if len(additive_branches) == len(names):
        problem = (
            f"branches={names!r} stand beside a network, which has no branch of "
            "its own here"
        )
        raise InputError(
            problem,
            hint=f"Pass for example branches={(TABLE.name, *names)!r}.",
            code="PG003",
        )
    paths = tuple(
        network_path for network_path in joined_branches() if network_path in names
    )
    if len(paths) + len(additive_branches) == len(names):
        return BranchChoice(paths, additive_branches, frozenset())
    left_out = set(column_branches()).difference(names)
    return BranchChoice(
        paths or (TABLE.name,),
        additive_branches,
        frozenset(left_out if paths else {*left_out, "table"}),
    )


def joined(faults: Sequence[InputError], what: str = "arguments") -> InputError:
    """Return the error, or one that lists all of several."""
    listed = "".join(f"\n  - {fault.message}" for fault in faults)
    if len(faults) == 1:
        return faults[0]
    return InputError(f"{len(faults)} {what} are wrong:{listed}", code="PG001")


def _most_levels(options: NetworkOptions, paths: Sequence[str]) -> int:
    """Return how many levels of a category are distinguished.

    More are if they are embedded. In an image each takes a pixel.
    """
    if options.level_embedding_size and IMAGE.name not in paths:
        return MOST_EMBEDDED_LEVELS
    return MOST_LEVELS


def resolve_settings(arguments: Mapping[str, Any], task: str) -> FitSettings:
    """Check all arguments of an estimator together, and then what its preset says
    beside them.
    """
    branch_choice, preset, network, device = _check_alone(arguments, task)
    passed = {}
    for argument_name, value in arguments.items():
        if value is not None:
            passed[argument_name] = value
    chosen_layout = passed.get("layout", preset.layout)
    training = _training_of(preset, passed)
    options = dataclasses.replace(preset.network, **network)

    faults = training_faults(training, task)
    faults += _NUMERIC.faults({"numeric": preset.numeric})
    with collecting(faults):
        check_layout(chosen_layout)
    faults = _of_preset(arguments["preset"], faults)
    with collecting(faults):
        # either of the options that exclude each other may be an argument
        options.check()
    if faults:
        raise joined(faults, "settings")

    training.setdefault("loss", usual_loss(task).name)
    preset_settings: Mapping[str, Any] = {}
    if isinstance(arguments["preset"], Mapping):
        preset_settings = arguments["preset"]
    placed = (
        branch_choice is not None
        or "layout" in passed
        or not preset_settings.keys().isdisjoint(("branches", "layout"))
    )
    image_use = passed.get("image", "auto")
    named_paths = preset.branches if branch_choice is None else branch_choice.paths
    paths = _paths_with(image_use, named_paths)
    most_levels = preset.max_levels
    if most_levels is None:
        most_levels = _most_levels(options, paths)
    return FitSettings(
        paths=paths,
        layout=chosen_layout,
        numeric=preset.numeric,
        network=options,
        training=_training_options(training),
        automatic_batch=training.get("batch_size") == "auto",
        device=device,
        class_weight=passed.get("class_weight", preset.class_weight),
        validation_fraction=float(
            passed.get("validation_fraction", preset.validation_fraction)
        ),
        pairs_as_levels=preset.pairs_as_levels,
        max_levels=int(most_levels),
        seeks_order=preset.seeks_order and not placed and image_use == "auto",
        # What a file says is for all tables. Who writes a mapping, or an argument,
        # writes it for this one.
        fixed=frozenset(
            (
                *network,
                *(preset_settings.get("network") or ()),
                *({"patience", "max_epochs"} & {*passed, *preset_settings}),
            )
        ),
        left_out=frozenset() if branch_choice is None else branch_choice.left_out,
        beside=_beside(
            None if branch_choice is None else branch_choice.additive, preset, training
        ),
        beside_by_name=branch_choice is not None,
    )


def _training_of(preset: Preset, passed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the training: the arguments ``passed``, and else those of
    the preset.
    """
    training = dict(preset.training)
    for training_name in ("loss", *(rule.name for rule in _TRAINING)):
        if training_name in passed:
            training[training_name] = passed[training_name]
    return training


class _Checked(NamedTuple):
    """What the arguments say that are right by themselves.

    Attributes:
        branches: Those that are named. None: as the preset says.
        preset: The preset.
        network: Options of the network beside those of the preset.
        device: Where the network is trained.
    """

    branches: BranchChoice | None
    preset: Preset
    network: dict[str, Any]
    device: torch.device


def _check_alone(arguments: Mapping[str, Any], task: str) -> _Checked:
    """Check each argument of an estimator by itself, and raise all faults together."""
    faults: list[InputError] = []
    branch_choice: BranchChoice | None = None
    preset: Preset | None = None
    with collecting(faults):
        named = arguments.get("branches")
        if not (named is None or (isinstance(named, str) and named == AUTO)):
            branch_choice = check_branches(named)
    with collecting(faults):
        preset = get_preset(arguments["preset"])
    network, network_faults = check_network(arguments.get("network"))
    faults += network_faults + argument_faults(arguments, task)
    with collecting(faults):
        device = choose_device(arguments.get("device"))
    if faults:
        raise joined(faults)
    assert preset is not None
    return _Checked(branch_choice, preset, network, device)


def _beside(
    named: tuple[str, ...] | None, preset: Preset, training: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the branches beside the network, ``named`` or (None) those of its preset.

    The loss says whether other libraries are fitted for it.
    """
    loss = losses[training["loss"]]
    if named and not loss.fitted_by:
        problem = (
            f"branches={named!r} are fitted for means of classes, of numbers or of "
            f"counts, and loss={loss.name!r} does not say by which"
        )
        if not loss.of_mean:
            problem = (
                f"branches={named!r} are trained for means, and loss={loss.name!r} is "
                "not of the mean"
            )
        hint = "Leave these branches out, or choose another loss."
        raise InputError(problem, hint=hint, code="PG006")
    if named is not None:
        return named
    if loss.fitted_by:
        return preset.beside
    return ()


def _of_preset(preset: Any, faults: list[InputError]) -> list[InputError]:
    """Return faults that name the preset that they are of, where that is a mapping or a
    file.
    """
    if isinstance(preset, Preset):
        return faults
    if isinstance(preset, Mapping):
        preset_source = "mapping"
    else:
        preset_source = os.fspath(preset)
    of_preset: list[InputError] = []
    for fault in faults:
        of_preset.append(
            InputError(
                f"Preset {preset_source}: {fault.problem}", fault.hint, fault.code
            )
        )
    return of_preset


def _training_options(training: Mapping[str, Any]) -> TrainingOptions:
    """Return the options of a training, without a size of batches that follows from the
    rows.
    """
    options = {}
    for option_name, value in training.items():
        if (option_name, value) != ("batch_size", "auto"):
            options[option_name] = value
    if options.get("patience") is not None:
        if math.isinf(options["patience"]):
            options["patience"] = None
        else:
            options["patience"] = int(options["patience"])
    return TrainingOptions(**options)


def _paths_with(image: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths that ``image`` leaves."""
    remaining_paths = paths
    if image == "never":
        remaining_paths = without_images(paths)
    if not remaining_paths:
        problem = "branches=('image',) and image='never' leave nothing to learn from"
        raise InputError(problem, hint="Leave one of them out.", code="PG006")
    return remaining_paths


def without_images(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths of a network that draws no images."""
    return tuple(network_path for network_path in paths if network_path != IMAGE.name)


def check_preset(preset: Any, task: str | None = None) -> None:
    """Refuse a preset (a name, a path, a ``Preset``) whose values no training could
    use, listing every fault.
    """
    if task is not None:
        default_loss = None
    else:
        default_loss = usual_loss(CLASSIFICATION).name
    resolve_settings({"preset": preset, "loss": default_loss}, task or CLASSIFICATION)


def choose_device(device: Any) -> torch.device:
    """Return the torch device of a name.

    ``"auto"`` is a CUDA device, else the processor. ``"gpu"`` is ``"cuda"``.
    """
    if device is None or (isinstance(device, str) and device == "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinds = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    available = [
        "auto",
        *(device_kind for device_kind, is_there in kinds.items() if is_there),
    ]
    chosen_device = None
    rejection = ""
    try:
        is_gpu = isinstance(device, str) and device.partition(":")[0] == "gpu"
        chosen_device = torch.device(f"cuda{device[3:]}" if is_gpu else device)
    except (RuntimeError, TypeError, ValueError) as error:
        rejection = str(error).split("\n", 1)[0]
    if chosen_device is not None:
        if chosen_device.type not in kinds:
            rejection = "only processors, CUDA devices and Apple's mps are supported"
        elif chosen_device.type == "mps" and not kinds["mps"]:
            rejection = "torch finds no Apple GPU"
        elif (
            chosen_device.type == "cuda"
            and (chosen_device.index or 0) >= torch.cuda.device_count()
        ):
            rejection = f"{torch.cuda.device_count()} CUDA devices are visible"
        else:
            return chosen_device
    if rejection.startswith("Expected one of"):
        # Torch lists devices that cannot be used here.
        rejection = did_you_mean(
            device, available, "torch knows no device of that name"
        )
    names = ", ".join(map(repr, available))
    problem = f"device must be one of {names} on this machine, got {shown(device)}"
    raise InputError(problem, hint=rejection or "pass 'cpu'", code="PG064")
