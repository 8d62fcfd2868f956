"""permgrad's own methods as contestants: every method of the registry that can explain
this network takes part.

All act at the fusion layer. Replacing all ten encoded features of an image there is the
same as replacing the image (a test says so), and the encoder runs once. A method that
is not named here enters in its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from permgrad import methods
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.model import Model
from permgrad.attribution.request import tuned
from permgrad.base.arrays import Floats
from permgrad_benchmark.contestants import Scores
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.multimodal.case import LAYER, PairsCase
from permgrad_benchmark.suites.multimodal.functions import MODALITIES
from permgrad_benchmark.suites.suite import Entry, enrol_methods, timed_explanation

SUITE = "multimodal"
#: Losses whose games stand beside those of the margin, so that a reader sees what the
#: choice does.
LOSSES = ("cross_entropy", "brier", "zero_one")


def whole(case: PairsCase, **more: Any) -> dict[str, Any]:
    """Whole modalities as players of a global game."""
    return {
        "scope": "global",
        "groups": "modality",
        "n_repeats": case.sizes.repeats,
        **more,
    }


def _game(
    name: str, label: str, losses: Iterable[str], **more: Any
) -> tuple[Entry, ...]:
    """A game of modalities on the margin, and beside it the same game on classification
    losses.
    """
    margin = Entry(
        name,
        label,
        "effect",
        "all",
        lambda case: whole(case, **more),
        note="whole modalities; squared change of the network's log-odds",
    )
    arguments = tuple(
        Entry(
            f"{name}:{loss}",
            f"{label}, {loss.replace('_', ' ')}",
            ANY,
            "all",
            lambda case: whole(case, **more),
            loss=loss,
            note="whole modalities; a loss against the labels, which saturates where "
            "the log-odds still follow F",
        )
        for loss in losses
    )
    return (margin, *arguments)


#: How methods with an estimand, or with a price, are called. An empty tuple: the method
#: cannot explain this network.
ENTRIES: dict[str, tuple[Entry, ...]] = {
    "permgrad": _game(
        "permgrad",
        "permgrad",
        LOSSES[:1],
        method=tuned(methods.PermGrad(), branches=False),
    ),
    "permutation": _game("permutation", "permutation", LOSSES),
    "shapley": (
        *_game(
            "shapley",
            "Shapley values",
            LOSSES[:1],
            method=methods.Shapley(references=25),
        ),
        Entry(
            "shapley:output",
            "Shapley values of the output",
            "published",
            "some",
            lambda _: {"scope": "local", "groups": "modality"},
            note="mean absolute value of whole modalities",
        ),
    ),
    "ablation": (
        Entry(
            "ablation", "ablation", ANY, "all", whole, note="replaces by a fixed value"
        ),
    ),
    "gradient": (
        Entry(
            "gradient",
            "gradient",
            "published",
            "all",
            note="mean |∂f/∂x|, added up by modality",
        ),
    ),
    "lime": (
        Entry(
            "lime",
            "LIME",
            "published",
            "some",
            lambda _: {
                "method": tuned(methods.Lime(samples=2_000), neighbourhood="gaussian")
            },
            note="mean absolute weight, added up by modality; numbers are moved by "
            "noise",
        ),
        Entry(
            "lime:coalition",
            "LIME of coalitions",
            ANY,
            "some",
            note="features are kept or replaced, half of them at a time: the errors of "
            "forty weights add up",
        ),
    ),
    "integrated_gradients": (
        Entry("integrated_gradients", "integrated gradients", "published", "some"),
    ),
    "deeplift": (Entry("deeplift", "DeepLIFT", "published", "some"),),
    "aggregate": (
        Entry(
            "aggregate",
            "mean of normalised methods",
            ANY,
            "some",
            lambda _: {"scope": "global", "groups": "modality"},
            note="gradient, permutation, LIME and Shapley values, as in the published "
            "work",
        ),
    ),
    # The first explains permgrad's own networks only, the second is a map over an
    # image.
    "permgrad_paper": (),
    "gradcam": (),
    "ale": (),  # of columns alone
}


def score(case: PairsCase, method: str, entry: Entry) -> Scores:
    """Call a method at the fusion layer and bring its answer to one number per
    modality.

    A local answer is summed up as the mean absolute value over rows of every feature,
    added up by modality.
    """
    count = case.sizes.rows(entry.rows)
    arguments: dict[str, Any] = {
        "method": method,
        "random_state": case.seed,
        **entry.options(case),
    }
    model, y = Model(case.network, layer=LAYER, task="regression"), None
    if entry.loss is not None:
        network, y = case.classifier(), case.labels[:count].numpy()
        model = Model(
            network, layer=f"network.{LAYER}", task="classification", returns="logits"
        )
        arguments["loss"] = entry.loss
    explanation, cost = timed_explanation(model, case.rows(count), y, **arguments)
    return Scores(by_modality(explanation), **cost)


def by_modality(explanation: Explanation) -> Floats:
    """Return one number for each modality, in their order.

    0 for one that has no player.
    """
    values = explanation.values
    sizes = (
        np.abs(np.nan_to_num(values[:, :, 0])).mean(axis=0)
        if explanation.scope == "local"
        else values[:, 0]
    )
    sums = np.zeros(len(MODALITIES))
    for value, modality in zip(np.nan_to_num(sizes), explanation.modality, strict=True):
        sums[MODALITIES.index(modality)] += value
    return sums


enrol_methods(SUITE, ENTRIES, score)
