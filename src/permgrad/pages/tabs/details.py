"""The tab Details: the network, its training, its paths and layouts, and what was
run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.assess.assessment import entries_of, is_hybrid, value_of
from permgrad.base.numerals import compact, number
from permgrad.base.significance import deserves_words
from permgrad.imaging.layout import extent
from permgrad.models.branches import added_branches, title_of
from permgrad.models.branches.head_branches import IMAGE
from permgrad.pages.charts.chart import Chart
from permgrad.pages.charts.error_charts import learning_curves
from permgrad.pages.charts.explained import branches as drawn_branches
from permgrad.pages.charts.explained import signed_bars
from permgrad.pages.content import PageContent
from permgrad.pages.methods_text import BIBTEX, methods_text
from permgrad.pages.part_colours import part_colour
from permgrad.pages.pictures import activation
from permgrad.pages.sentences import map_words, path_words, share_words
from permgrad.pages.summaries import part_words
from permgrad.pages.views import (
    SectionView,
    Tab,
    figures_of,
    frame_table,
    names,
    table_of,
)
from permgrad.pages.words import clean, quantity_of

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.gradients import GradientSection
    from permgrad.assess.sections.network import LayoutSection, TrainingSection
    from permgrad.assess.sections.provenance import ProvenanceSection


#: The lane behind all branches.
_HEAD = "head"
_TITLES = {
    "Linear": "Dense",
    "Conv2d": "Convolution",
    "PeriodicDenseEmbedding": "Embedding",
}
_TITLES |= {"LinearBranch": "Line"}
_SHORT = {
    "BatchNorm1d": "BatchNorm",
    "BatchNorm2d": "BatchNorm",
    "MaxPool2d": "max pool",
    "Dropout": "dropout",
}
#: Width of a block with the arrow behind it, in CSS pixels.
_STEP = 150


def blocks(layers: pd.DataFrame) -> Chart:
    """Return a network's ``layers`` (``part, layer, shape per row, parameters``) as
    blocks, a lane for each branch.

    A block is a layer, the shape of what leaves it for one row, its parameters, and the
    layers behind it without own blocks, such as activations.
    """
    lanes: dict[str, list[dict[str, Any]]] = {}
    for layer_part, layer, shape, count in layers.itertuples(index=False, name=None):
        lane_blocks = lanes.setdefault(layer_part, [])
        if layer == "input":
            if layer_part == IMAGE.name:
                lane_blocks.append(
                    {
                        "title": "Renderer",
                        "shape": shape,
                        "count": 0,
                        "more": ["row to picture"],
                    }
                )
        elif layer == "RandomKernels":
            lane_blocks[-1]["more"].append("random kernels beside")
        elif layer in _TITLES or not lane_blocks:
            lane_blocks.append(
                {
                    "title": _TITLES.get(layer, layer),
                    "shape": shape,
                    "count": count,
                    "more": [],
                }
            )
        else:
            lane_blocks[-1]["more"].append(
                f"flattened to {shape}"
                if layer == "Flatten"
                else _SHORT.get(layer, layer)
            )
            lane_blocks[-1]["count"] += count
            if layer == "Flatten":
                lane_blocks[-1]["shape"] = lane_blocks[-1]["shape"]
            else:
                lane_blocks[-1]["shape"] = shape
    lanes[_HEAD] = lanes.pop(_HEAD, [])  # behind all branches
    if lanes[_HEAD]:
        lanes[_HEAD][-1]["title"] = "Output"
    shown: list[dict[str, Any]] = []
    for lane_part, lane_blocks in lanes.items():
        if lane_blocks:
            shown.append(
                {
                    "name": title_of(lane_part),
                    "colour": part_colour(lane_part, "series-2"),
                    "added": lane_part in added_branches(),
                    "blocks": lane_blocks,
                }
            )
    longest = max((len(shown_lane["blocks"]) for shown_lane in shown[:-1]), default=0)
    words = "; ".join(
        f"{shown_lane['name']}: "
        f"{', '.join(block['title'] for block in shown_lane['blocks'])}"
        for shown_lane in shown
    )
    return Chart(
        "blocks",
        f"Layers of the network. {words}.",
        {"lanes": shown},
        _STEP * (longest + len(lanes[_HEAD])),
    )


def branches(section: SectionView, content: Assessment, is_shown: bool) -> None:
    """How much each path of the network matters as a whole."""
    stored = content.paths
    if not is_shown or not entries_of(stored):
        return
    hybrid = is_hybrid(stored)
    has_two_paths = len(entries_of(stored)) == 2
    if not hybrid:
        section.title = "Input by input"
    words = path_words(stored)
    section.text(
        "Here a complete branch is shuffled: its result for a row is replaced by that "
        "for another row. The bar is the branch's fair share (its Shapley value) of "
        f"the loss that {'both' if has_two_paths else 'all'} cause together."
        if hybrid
        else "Here a complete input is shuffled: all columns of a kind, such as a "
        "row's photos, are replaced by those of another row. The bar is the input's "
        "fair share (its Shapley value) of the loss that all cause together.",
        f"There are no shares, because they would not be parts of a whole: {words}."
        if words
        else share_words(stored),
    )
    if content.explanation is not None:
        label = quantity_of(content.explanation)
    else:
        label = "increase of the loss"
    shuffled_kind = "branch" if hybrid else "input"
    if hybrid and has_two_paths:
        after = "the other"
    else:
        after = "all others"
    caption = (
        f"Importance of each {shuffled_kind} with its interval. Circle: shuffled "
        f"alone. Square: shuffled after {after}."
    )
    section.figure(drawn_branches(stored, label=label), caption)
    interaction_keys = ("interaction_low", "interaction_high", "importance")
    lower, upper, effect = (
        value_of(stored.get("total"), interaction_key)
        for interaction_key in interaction_keys
    )
    value = value_of(stored, "interaction")
    if effect > 0:
        share = value / effect
    else:
        share = math.nan
    # One that may be chance, or is less than 5 % of the total, needs no words.
    if not math.isnan(lower + upper + effect + value) and deserves_words(
        lower, upper, share
    ):
        if value < 0:
            meaning = (
                f"each makes up for {'the other' if has_two_paths else 'others'} in "
                "part"
            )
        else:
            meaning = "they need each other"
        size_words = (
            f"{compact(value)} (interval {compact(lower)} to "
            f"{compact(upper)}), {round(100 * abs(share))} % of the total"
        )
        section.text(
            f"Interaction of the branches: {size_words}: {meaning}. The bars include "
            "it in equal parts."
        )


def network(section: SectionView, content: Assessment) -> None:
    """The network."""
    trained = content.network
    if trained is not None:
        words = [
            f"Preset {clean(trained.preset)}",
            f"branches: {', '.join(map(clean, trained.branches))}",
        ]
        section.text(
            "; ".join([*words, f"{trained.parameters:,} trainable parameters."]),
            trained.order,
        )
        if trained.summary is not None:
            section.figure(
                blocks(trained.summary),
                "Layers, what leaves each of them for one row, and its parameters.",
            )
            titled = trained.summary.assign(part=trained.summary["part"].map(title_of))
            section.table(
                frame_table(titled, "Layers, output shapes and parameters."),
                "Layers",
            )
        section.pairs(trained.options, "Options")


def curves(section: SectionView, _: Assessment, training: TrainingSection) -> None:
    """How the network was trained."""
    section.text(
        f"{len(training.history)} epochs. The weights are those of epoch "
        f"{training.best_epoch}."
    )
    section.figure(
        learning_curves(
            training.history,
            best_epoch=training.best_epoch,
            label=clean(training.loss),
        ),
        "Loss on the training rows and on the validation rows after each epoch.",
    )


def layout(section: SectionView, _: Assessment, drawn: LayoutSection) -> None:
    """The place of each column in the image."""
    picture_size = extent(drawn.shape or (drawn.pixels, drawn.pixels))
    section.text(f"Layout {clean(drawn.name)}, {picture_size}.", clean(drawn.text))
    section.figure(
        drawn.drawing, "The place of each column.", "Labelled picture of the layout."
    )
    if drawn.table is not None:
        section.table(
            frame_table(drawn.table, "Positions.", sortable=True), "Positions"
        )


def methods(section: SectionView, content: PageContent) -> None:
    """The methods behind the numbers of the other tabs."""
    explanation = content.explanation
    local = content.local
    if explanation is None:
        shown = {}
    else:
        shown = {"importance": f"{explanation.method}, {quantity_of(explanation)}"}
    if local is not None:
        baseline = local.meta.get("baseline")
        shown["parts of single predictions"] = f"{local.method}" + (
            f" from the {baseline}" if baseline else ""
        )
    if content.paper is not None:
        shown["the published method"] = "permgrad_paper"
    if (content.what_if or {}).get("form"):
        shown["What if?"] = f"Shapley values, from the {content.noun} in this page"
    section.pairs(shown)
    if content.data is not None:
        section.add("heading", "For a paper")
        section.add("paste", methods_text(content))
        section.add("paste", BIBTEX)


def provenance(section: SectionView, _: Assessment, origin: ProvenanceSection) -> None:
    """What was run."""
    section.add("code", origin.command)
    pairs: dict[str, Any] = {
        "seed": origin.seed,
        "machine": origin.machine,
        "configuration": origin.configuration_hash,
        "versions": ", ".join(
            f"{package_name} {version}"
            for package_name, version in origin.versions.items()
        ),
    }
    section.pairs(
        {
            fact_name: value
            for fact_name, value in pairs.items()
            if value not in (None, "")
        }
    )
    section.pairs(origin.configuration, "Complete configuration")


def gradients(section: SectionView, _: Assessment, stored: GradientSection) -> None:
    """Integrated gradients over all test rows, for features and for encoded inputs."""
    facts = stored.facts
    frame = stored.table
    section.text(
        f"Attributions of {facts['rows']:,} test rows to the logit of "
        f"{clean(facts['output'])}. Those of a row add up to its logit minus the "
        "baseline's. They depend on the baseline, so two are shown.",
        "A single level of a category is attributed where it differs from the "
        "baseline. If the baseline has that level, its bar comes from the rows without "
        "it, with the opposite sign. The sum over a feature's levels is not affected.",
        f"{part_words(facts['part'])}." if facts.get("part") else "",
    )
    for baseline in facts["baselines"]:
        section.add("heading", f"From the baseline: {clean(baseline['baseline'])}")
        section.text(
            "Largest gap between the sum and the difference: "
            f"{number(baseline['completeness_gap'])} of the output's "
            f"range. Largest error of a value, as a share of its row's largest: "
            f"{number(baseline['quadrature_error'])}. Nothing is corrected afterwards."
        )
        of_baseline = frame[frame["baseline"] == baseline["baseline_name"]]
        for level, named in (("feature", "raw features"), ("input", "encoded inputs")):
            baseline_rows = of_baseline[of_baseline["level"] == level]
            section.figure(
                signed_bars(
                    list(map(str, baseline_rows["name"])),
                    baseline_rows["published"].to_numpy(dtype=np.float64),
                    label="sum over rows, divided by the L1 norm of all sums",
                ),
                f"The {len(baseline_rows)} {named} in the published form: sums over "
                "the test rows, divided so that their absolute values add up to 1. "
                f"Right: towards {clean(facts['output'])}. Baseline: "
                f"{clean(baseline['baseline'])}.",
            )
            lines = baseline_rows.sort_values(
                "mean_absolute", ascending=False, kind="stable"
            )
            headings = {
                "mean": "signed mean",
                "mean_absolute": "mean absolute",
                "published": "published form",
            }
            columns = [names(lines["name"], "name")]
            for column_name, heading in headings.items():
                columns.append(figures_of(heading, lines[column_name]))
            caption = (
                f"Integrated gradients of the {named}, by falling mean absolute "
                "attribution."
            )
            fold_title = (
                f"All {len(baseline_rows)} {named}: signed mean, mean "
                "absolute, published form"
            )
            section.table(table_of(caption, columns), fold_title)


def paths(section: SectionView, content: Assessment) -> None:
    """The paths of a network beside whose table hardly anything counts."""
    branches(section, content, not content.paths_count)


def maps(section: SectionView, content: Assessment) -> None:
    """The activation map of one row, of a network whose image hardly counts."""
    if content.image_counts:
        drawn = []
    else:
        drawn = [
            mapped_row for mapped_row in content.rows if mapped_row.heat is not None
        ][:1]
    section.text(map_words(content.paths) if drawn else "")
    for drawn_row in drawn:
        assert drawn_row.heat is not None
        section.add("heading", clean(drawn_row.title))
        section.figure(
            activation(drawn_row.image, drawn_row.heat), clean(drawn_row.heat_title)
        )


TAB = Tab(
    name="details",
    title="Details",
    sections=(
        ("network", "Network", network),
        ("training", "Learning curves", curves, "training"),
        ("paths", "Branch by branch", paths),
        ("layout", "How a row becomes an image", layout, "layout"),
        ("maps", "Activation maps", maps),
        ("gradients", "Integrated gradients", gradients, "gradients"),
        ("how", "Methods", methods),
        ("run", "What was run", provenance, "provenance"),
    ),
    halves=("network", "training", "paths"),
)
