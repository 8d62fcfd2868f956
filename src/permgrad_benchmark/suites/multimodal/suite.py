"""The multimodal suite: what is done in one cell, and what becomes a record."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, forked_torch
from permgrad.evaluation.faithfulness import faithfulness_curves
from permgrad.evaluation.ranking import importance_shares, kendall, relative_error, share_error, spearman
from permgrad.evaluation.stability import stability
from permgrad_benchmark.contestants import Contestant, Scores, enrolled
from permgrad_benchmark.records import ANY, Record, Records
from permgrad_benchmark.settings import Settings
from permgrad_benchmark.suites import suites
from permgrad_benchmark.suites.multimodal.autoencoder import EPOCHS, QUICK_EPOCHS, SEED
from permgrad_benchmark.suites.multimodal.case import (
    FULL,
    QUICK,
    Case,
    Sizes,
    draw_test_pairs,
    make_case,
    make_oracle,
)
from permgrad_benchmark.suites.multimodal.functions import COLUMNS_OF, MODALITIES, DecisionFunction, functions
from permgrad_benchmark.suites.multimodal.images import TRAINING_SHARE, read_images
from permgrad_benchmark.suites.multimodal.network import FusedNetwork
from permgrad_benchmark.suites.multimodal.ours import LOSSES
from permgrad_benchmark.suites.multimodal.pairs import Design, make_design
from permgrad_benchmark.suites.multimodal.training import FULL as FULL_TRAINING
from permgrad_benchmark.suites.multimodal.training import QUICK as QUICK_TRAINING
from permgrad_benchmark.suites.multimodal.training import TrainingSettings, accuracy, train
from permgrad_benchmark.suites.multimodal.truth import ESTIMANDS, Estimand, true_importance

Floats = npt.NDArray[np.float64]

#: The images of the design as it is run; the published work had organamnist and organcmnist.
IMAGE_SETS = ("pneumoniamnist",)
#: Where networks are trained again, for stability and randomised networks: in the cells of one seed and two
#: functions, because it takes longer than all the rest.
REPEATED_SEED, REPEATED_FUNCTIONS = 0, ("F6", "F7")
#: Contestants whose explanations are not repeated, by how they begin: they would take minutes and show nothing new.
NOT_REPEATED = ("captum:", "shap:", "random")
#: Rows along which curves are computed.
_CURVE_ROWS = 1_000
#: Decimals of shares that make a ranking: the order of two shares of nothing is no ranking.
_RANKED_DECIMALS = 2


class MultimodalSuite:
    """Two images and two tables through one fused network; eight published decision functions and four further ones.

    Args:
        image_sets: one set of images for X1 and X2, or one for each: names of MedMNIST sets or paths of such files.
        training: how networks are trained; None: as the scale says.
    """

    name = "multimodal"
    title = "Pairs of images with clinical columns, through one fused network"

    def __init__(self, image_sets: tuple[str, ...] = IMAGE_SETS, training: TrainingSettings | None = None) -> None:
        self.image_sets = image_sets
        self.training = training

    @property
    def functions(self) -> tuple[str, ...]:
        """All decision functions, the published ones first."""
        return tuple(functions.names())

    def contestants(self, settings: Settings) -> list[Contestant]:
        """Return who takes part, without those whose packages are missing."""
        return [
            contestant
            for contestant in (enrolled(self.name).get(name) for name in enrolled(self.name))
            if settings.wants(contestant.name)
            and (settings.peers or contestant.kind != "peer")
            and not contestant.missing()
        ]

    def methods(self, settings: Settings) -> tuple[str, ...]:
        """Return the names of the contestants, in the order of the tables."""
        return tuple(contestant.name for contestant in self.contestants(settings))

    def facts(self, settings: Settings) -> dict[str, Any]:
        """Return what the page says beside the numbers."""
        everyone = [enrolled(self.name).get(name) for name in enrolled(self.name)]
        decisions = [functions.get(name) for name in self.functions]
        return {
            "contestants": {one.name: one.facts() for one in self.contestants(settings)},
            "left_out": {one.name: one.missing() for one in everyone if settings.wants(one.name) and one.missing()},
            "estimands": dict(ESTIMANDS),
            "function_titles": {one.name: one.formula for one in decisions},
            "function_notes": {one.name: one.note for one in decisions if one.note},
            "published_functions": [one.name for one in decisions if one.published],
            "players": {one.name: list(MODALITIES) for one in decisions},
            "relevant": {one.name: _relevant(one) for one in decisions},
            "sizes": vars(_sizes(settings)),
            "training": vars(self._training(settings)),
            "training_share": TRAINING_SHARE,
            "images": self._image_facts(settings),
            "repeated": {"seed": REPEATED_SEED, "functions": list(REPEATED_FUNCTIONS)},
        }

    def check(self, settings: Settings) -> None:
        """Read the images.

        Raises:
            InputError: a set cannot be read.
            EnvironmentProblem: a named set is nowhere and cannot be downloaded.
        """
        for path in self._images(settings):
            read_images(path)

    def run(self, function: str, seed: int, settings: Settings) -> list[Record]:
        """Compute one cell: split, train, draw test pairs, let every contestant explain the network and F itself."""
        decision = functions.get(function)
        contestants = self.contestants(settings)
        design = self.design(function, seed, settings)
        training, sizes = self._training(settings), _sizes(settings)
        records = Records()

        def add(method: str, estimand: str, metric: str, value: float | None) -> None:
            records.add(self.name, function, seed, method, estimand, metric, value)

        started = time.perf_counter()
        network = train(design, seed, training, progress=settings.progress)
        add("network", ANY, "seconds", time.perf_counter() - started)
        pairs = draw_test_pairs(design, sizes.test, seed)
        add("network", ANY, "accuracy", accuracy(network, design, pairs))
        truths = {estimand: true_importance(decision, design.population(), estimand) for estimand in ESTIMANDS}
        for estimand, values in truths.items():
            for name, share in zip(MODALITIES, importance_shares(values), strict=True):
                add("truth", estimand, f"truth_share:{name}", float(share))
        case = make_case(design, network, pairs, seed, sizes)
        oracle = make_oracle(design, case, pairs)
        by_contestant: dict[str, Floats] = {}
        with Progress(len(contestants), f"{function}, seed {seed}", settings.progress, lines=False) as bar:
            for contestant in contestants:
                bar.note(contestant.name)
                scores = scored(contestant, case)
                by_contestant[contestant.name] = scores.values
                for about, metric, value in judge(case, truths, scores):
                    add(contestant.name, about, metric, value)
                for about, metric, number in compare(truths, scored(contestant, oracle).values):
                    add(f"oracle:{contestant.name}", about, metric, number)
                bar.advance()
        if seed == REPEATED_SEED and function in REPEATED_FUNCTIONS:
            repeated = [one for one in contestants if not one.name.startswith(NOT_REPEATED)]
            repeated = [one for one in repeated if not one.name.endswith(tuple(LOSSES))]
            for name, metric, value in repeat(design, case, network, repeated, by_contestant, training):
                add(name, ANY, metric, value)
        return list(records)

    def design(self, function: str, seed: int, settings: Settings) -> Design:
        """Return the images, features and splits of one cell.

        Raises:
            InputError, EnvironmentProblem: the images cannot be had; the message says how they can.
        """
        return make_design(functions.get(function), self._images(settings), seed, quick=settings.quick)

    def _images(self, settings: Settings) -> tuple[str, ...]:
        """Return paths of files in the folder asked for, and names of all others."""
        folder = settings.data_folder
        sets = settings.images or self.image_sets
        local = [folder / f"{name}.npz" if folder is not None else None for name in sets]
        return tuple(
            str(path) if settings.data is not None and path is not None and path.is_file() else name
            for path, name in zip(local, sets, strict=True)
        )

    def _training(self, settings: Settings) -> TrainingSettings:
        return self.training or (QUICK_TRAINING if settings.quick else FULL_TRAINING)

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


def _relevant(function: DecisionFunction) -> list[str]:
    return [
        name
        for name, columns in COLUMNS_OF.items()
        if any(columns.start <= position < columns.stop for position in function.relevant)
    ]


def _sizes(settings: Settings) -> Sizes:
    return QUICK if settings.quick else FULL


def scored(contestant: Contestant, case: Case) -> Scores:
    """Let a contestant score; what it warns about is for people who explain their own models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return contestant.score(case)


# ---- what each contestant gets ---------------------------------------------------------------------------------------
def compare(truths: dict[Estimand, Floats], values: Floats) -> Iterator[tuple[str, str, float]]:
    """Yield ``(estimand, metric, value)``: shares, and their errors against both truths."""
    for name, share in zip(MODALITIES, importance_shares(values), strict=True):
        yield ANY, f"share:{name}", float(share)
    for estimand, truth in truths.items():
        yield estimand, "share_error", share_error(truth, values)
        yield estimand, "relative_error", relative_error(truth, values)


def judge(case: Case, truths: dict[Estimand, Floats], scores: Scores) -> Iterator[tuple[str, str, float | None]]:
    """Yield ``(estimand, metric, value)`` of one contestant: shares, errors, ranks, curves and cost."""
    values = scores.values
    yield from compare(truths, values)
    for estimand, truth in truths.items():
        yield estimand, "spearman", spearman(truth, _ranked(values))
        yield estimand, "kendall", kendall(truth, _ranked(values))
    yield from _curves(case, values)
    yield ANY, "seconds", scores.seconds
    yield ANY, "model_rows", scores.model_rows
    if scores.completeness_gap is not None:
        yield ANY, "completeness_gap", scores.completeness_gap


def _ranked(values: Floats) -> Floats:
    return np.round(importance_shares(values), _RANKED_DECIMALS)


def _curves(case: Case, values: Floats) -> Iterator[tuple[str, str, float]]:
    """Yield the areas of the deletion and insertion curves of whole modalities, by the cross entropy."""
    count = min(_CURVE_ROWS, len(case.fused))
    rows = case.fused[:count].double().numpy()
    labels = case.labels[:count].numpy()
    columns = {name: np.arange(block.start, block.stop, dtype=np.intp) for name, block in COLUMNS_OF.items()}
    order = [MODALITIES[place] for place in np.argsort(-values, kind="stable")]
    before = case.meter.rows
    curves = faithfulness_curves(_cross_entropy(case, labels), rows, np.roll(rows, count // 2, axis=0), columns, order)
    case.meter.rows = before
    yield ANY, "deletion", curves.deletion_area
    yield ANY, "insertion", curves.insertion_area


def _cross_entropy(case: Case, labels: npt.NDArray[np.int64]) -> Callable[[npt.NDArray[Any]], Floats]:
    head = case.head()

    def losses(rows: npt.NDArray[Any]) -> Floats:
        with torch.no_grad():
            margin = head(torch.from_numpy(np.asarray(rows)).to(case.fused.dtype))[:, 0].double().numpy()
        return np.asarray(np.logaddexp(0.0, np.where(labels == 1, -margin, margin)))

    return losses


# ---- repetitions -----------------------------------------------------------------------------------------------------
def repeat(
    design: Design,
    case: Case,
    network: FusedNetwork,
    contestants: list[Contestant],
    own: dict[str, Floats],
    training: TrainingSettings,
) -> Iterator[tuple[str, str, float]]:
    """Yield ``(method, metric, value)`` of stability and of randomised networks.

    Stability over retrainings: networks of other seeds on the same split, explained on the same rows. Over resampling:
    other test pairs. Randomised, after Adebayo et al. 2018 (arXiv 1810.03292): the Spearman correlation of the shares
    with those of the network with its weights drawn anew (``parameters``), or trained on shuffled labels (``labels``).
    """
    sizes = replace(case.sizes, test=min(case.sizes.test, 3_000))
    pairs = draw_test_pairs(design, sizes.test, case.seed)
    again = [
        make_case(design, train(design, _other(case.seed, number), training), pairs, case.seed, sizes)
        for number in range(sizes.retrainings - 1)
    ]
    fresh_pairs = [draw_test_pairs(design, sizes.test, case.seed, 1 + number) for number in range(sizes.retrainings)]
    samples = [make_case(design, network, other, case.seed + number, sizes) for number, other in enumerate(fresh_pairs)]
    changed = {
        "parameters": make_case(design, _untrained(case.seed), pairs, case.seed, sizes),
        "labels": make_case(design, train(shuffled(design, case.seed), case.seed, training), pairs, case.seed, sizes),
    }
    for contestant in contestants:
        name, first = contestant.name, own[contestant.name]
        for what, cases, start in (("retraining", again, [first]), ("resampling", samples, [])):
            values = np.stack([*start, *(scored(contestant, other).values for other in cases)])
            yield name, f"stability_kendall:{what}", stability(np.stack([_ranked(row) for row in values])).kendall
            yield name, f"stability_spread:{what}", stability(values).spread
        for what, other in changed.items():
            likeness = spearman(first, scored(contestant, other).values)
            yield name, f"randomised:{what}", likeness if math.isfinite(likeness) else math.nan


def _other(seed: int, number: int) -> int:
    return derive_seed(seed, "multimodal benchmark", "retraining", number) % 2**31


def _untrained(seed: int) -> FusedNetwork:
    with forked_torch(derive_seed(seed, "multimodal benchmark", "randomised")):
        return FusedNetwork().eval()


def shuffled(design: Design, seed: int) -> Design:
    """Return the design with labels that say nothing: F reads the features of other images and other rows."""
    return replace(design, function=replace(design.function, score=_Noise(seed)), threshold=0.0)


class _Noise:
    """A score that has nothing to do with its features, the same for the same row."""

    def __init__(self, seed: int) -> None:
        with forked_torch(derive_seed(seed, "multimodal benchmark", "shuffled")):
            self.waves = 1e3 * torch.randn(4 * COLUMNS_OF["X1"].stop, dtype=torch.float64)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sin(features.double() @ self.waves).to(features.dtype)


suites.register("multimodal")(MultimodalSuite())
