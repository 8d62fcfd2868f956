"""The multimodal suite: which images and functions, how networks are trained, and what
is done again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

from permgrad.attribution.request import Configured
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.random import derive_seed, forked_torch
from permgrad_benchmark.contestants import Scores
from permgrad_benchmark.settings import Settings
from permgrad_benchmark.suites import suites
from permgrad_benchmark.suites.multimodal.autoencoder import (
    EPOCHS,
    QUICK_EPOCHS,
    SEED,
    TRAINING_SHARE,
    read_images,
)
from permgrad_benchmark.suites.multimodal.case import (
    FULL,
    QUICK,
    PairsCase,
    draw_test_pairs,
    make_case,
    make_oracle,
)
from permgrad_benchmark.suites.multimodal.functions import (
    COLUMNS_OF,
    ESTIMANDS,
    MODALITIES,
    DecisionFunction,
    functions,
    register_function,
    true_importance,
)
from permgrad_benchmark.suites.multimodal.ours import LOSSES, score, whole
from permgrad_benchmark.suites.multimodal.pairs import PairsDesign, make_design
from permgrad_benchmark.suites.multimodal.training import FULL as FULL_TRAINING
from permgrad_benchmark.suites.multimodal.training import QUICK as QUICK_TRAINING
from permgrad_benchmark.suites.multimodal.training import (
    FusedNetwork,
    TrainingSettings,
    accuracy,
    train,
)
from permgrad_benchmark.suites.suite import (
    Entry,
    Options,
    Suite,
    SuiteCell,
    is_new,
)

#: The images of the design as it is run. The published work had organamnist and
#: organcmnist.
IMAGE_SETS = ("pneumoniamnist",)


class MultimodalSuite(Suite):
    """Two images and two tables through one fused network.

    Eight published decision functions and four further ones.

    ``image_sets`` is one set of images for X1 and X2, or one for each: names of
    MedMNIST sets or paths of such files.
    """

    name = "multimodal"
    title = "Pairs of images with clinical columns, through one fused network"
    estimands = ESTIMANDS  # type: ignore[assignment]
    function_kind = "a DecisionFunction"
    full, quick = FULL, QUICK
    # Training again takes longer than all the rest. Other packages would take minutes
    # and show nothing new.
    repeated_functions = ("F6", "F7")
    quick_functions = ("F1", "F4")
    not_repeated = ("captum:", "shap:", "random")
    not_repeated_ends = LOSSES
    ranked_decimals = 2

    def __init__(self, image_sets: tuple[str, ...] = IMAGE_SETS) -> None:
        self.image_sets = image_sets

    @property
    def functions(self) -> tuple[str, ...]:
        """All decision functions, the published ones first."""
        return tuple(functions)

    def function_facts(self, settings: Settings) -> dict[str, Any]:
        """Return formulas, modalities, training and images."""
        decisions = [functions.get(name) for name in self.functions]
        return {
            "function_titles": {one.name: one.formula for one in decisions},
            "function_notes": {one.name: one.note for one in decisions if one.note},
            "published_functions": [one.name for one in decisions if one.published],
            "players": {one.name: list(MODALITIES) for one in decisions},
            "relevant": {
                one.name: [
                    name
                    for name, columns in COLUMNS_OF.items()
                    if any(
                        columns.start <= position < columns.stop
                        for position in one.relevant
                    )
                ]
                for one in decisions
            },
            "training": vars(_training(settings)),
            "training_share": TRAINING_SHARE,
            "images": self._image_facts(settings),
        }

    def score(self, case: PairsCase, method: str, entry: Entry) -> Scores:
        """Call a method at the fusion layer."""
        return score(case, method, entry)

    def own_options(self, method: type[Configured]) -> Options:
        """Explain whole modalities where the method measures all rows at once."""
        if "global" in method.scopes:
            return whole
        return super().own_options(method)

    def enter_function(self, function: Any) -> str | None:
        """Enter a ``DecisionFunction``, or a class of one."""
        if isinstance(function, type) and issubclass(function, DecisionFunction):
            own_class: Any = function
            function = own_class()
        if not isinstance(function, DecisionFunction):
            return None
        if is_new(functions, function.name, function):
            register_function(function)
        return function.name

    def check(self, settings: Settings) -> None:
        """Read the images."""
        for path in self._images(settings):
            read_images(path)

    def cell(self, function: str, seed: int, settings: Settings) -> SuiteCell:
        """Split, train, draw test pairs. F itself is the oracle."""
        decision, design = (
            functions.get(function),
            self.design(function, seed, settings),
        )
        training, started = _training(settings), time.perf_counter()
        network = train(design, seed, training, progress=settings.progress)
        seconds = time.perf_counter() - started
        pairs = draw_test_pairs(design, self.sizes(settings).test, seed)
        case = make_case(design, network, pairs, seed, self.sizes(settings))
        truths = {
            name: true_importance(decision, design.population(), name)
            for name in ESTIMANDS
        }
        quality = {"seconds": seconds, "accuracy": accuracy(network, design, pairs)}
        return SuiteCell(
            case,
            truths,  # type: ignore[arg-type]
            quality,
            make_oracle(design, case),
            (design, training),
        )

    def repetitions(
        self, cell: SuiteCell
    ) -> tuple[list[PairsCase], list[PairsCase], dict[str, PairsCase]]:
        """Train on the same split with other seeds. Draw other test pairs."""
        case: PairsCase = cell.case
        (design, training), seed, sizes = cell.design, case.seed, case.sizes

        assert case.trained is not None, "only the network's case is repeated"

        def trained(design: PairsDesign, network_seed: int) -> PairsCase:
            return make_case(
                design, train(design, network_seed, training), case.pairs, seed, sizes
            )

        seeds = (
            derive_seed(seed, "multimodal benchmark", "retraining", one)
            for one in range(sizes.retrainings - 1)
        )
        retrained = [trained(design, other % 2**31) for other in seeds]
        samples = [
            make_case(
                design,
                case.trained,
                draw_test_pairs(design, sizes.test, seed, 1 + number),
                seed + number,
                sizes,
            )
            for number in range(sizes.retrainings)
        ]
        with forked_torch(derive_seed(seed, "multimodal benchmark", "randomised")):
            untrained = FusedNetwork().eval()
        changed = {
            "parameters": make_case(design, untrained, case.pairs, seed, sizes),
            "labels": trained(shuffled(design, seed), seed),
        }
        return retrained, samples, changed

    def design(self, function: str, seed: int, settings: Settings) -> PairsDesign:
        """Return the images, features and splits of one cell."""
        return make_design(
            functions.get(function), self._images(settings), seed, quick=settings.quick
        )

    def _images(self, settings: Settings) -> tuple[str, ...]:
        """Return paths of files in the folder asked for, and names of all others."""
        folder = settings.data_folder
        sets = settings.images or self.image_sets
        local = [
            folder / f"{name}.npz" if folder is not None else None for name in sets
        ]
        return tuple(
            str(path)
            if settings.data is not None and path is not None and path.is_file()
            else name
            for path, name in zip(local, sets, strict=True)
        )

    def _image_facts(self, settings: Settings) -> dict[str, Any]:
        epochs = QUICK_EPOCHS if settings.quick else EPOCHS
        facts: dict[str, Any] = {
            "sets": list(settings.images or self.image_sets),
            "autoencoder": {"seed": SEED, "epochs": epochs},
        }
        try:
            design = self.design(self.functions[0], 0, settings)
        except (InputError, EnvironmentProblem) as error:
            return {**facts, "problem": str(error)}
        return {
            **facts,
            "counts": [len(features) for features in design.features],
            "checksums": [made.checksum for made in design.bottlenecks],
            "checksums_as_recorded": [made.known for made in design.bottlenecks],
            "variance_explained": [made.explained for made in design.bottlenecks],
        }


def _training(settings: Settings) -> TrainingSettings:
    return QUICK_TRAINING if settings.quick else FULL_TRAINING


def shuffled(design: PairsDesign, seed: int) -> PairsDesign:
    """Return the design with labels that say nothing: F reads the features of other
    images and other rows.
    """
    return replace(
        design, function=replace(design.function, score=_Noise(seed)), threshold=0.0
    )


class _Noise:
    """A score that has nothing to do with its features, the same for the same row."""

    def __init__(self, seed: int) -> None:
        with forked_torch(derive_seed(seed, "multimodal benchmark", "shuffled")):
            self.waves = 1e3 * torch.randn(
                4 * COLUMNS_OF["X1"].stop, dtype=torch.float64
            )

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sin(features.double() @ self.waves).to(features.dtype)


suites.register("multimodal")(MultimodalSuite())
