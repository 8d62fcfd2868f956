"""Do explanations of single classes say something about these classes?

    PERMGRAD_DATA=/folder/with/tables python -m verification.verify_classes                    # preset default
    python -m verification.verify_classes --preset fast --class-weight balanced

On Covertype (seven kinds of forest, the sample of 15,000 rows), networks are trained
twice from different seeds, and twice more on shuffled labels. A network trained on
shuffled labels still learns how frequent each class is, which is a true difference
between classes, but not one between features; with ``--class-weight balanced`` it does
not.

1. Effects: for a pair of classes the leading feature of either is looked at; the pair
   counts if the effects of both leading features (of the one, where they are the same)
   have disjoint intervals for rows of the one class and of the other. The intervals
   hold for all features and classes together (Bonferroni, 95 %).
2. Differences: each class has its features' effects, and its mean class activation map
   over its own rows (the same layout in all networks). The mean distance between two
   classes in one network is compared with the mean distance between the two networks
   for one class.

Floors: at least one pair of classes with disjoint intervals in both networks, and for
effects and maps alike a distance between classes above that between refits. Maps are
HiResCAM's and LayerCAM's, which weigh each cell by its own gradient; Grad-CAM's, which
weigh a channel by its mean gradient, are shown beside them without a floor: where a
small part of the prediction goes through the image (preset ``default`` on Covertype: 3
to 5 %), they differ more between refits. With shuffled labels no such pair in both
networks, and what the distance between classes has over that between refits is at most
a tenth of the distance with the true labels. (One network of noise may have such a
pair, and rightly: the features depend on each other, and it reacts by chance to rows
that marginal replacement makes and that cannot occur. These effects are a hundredth of
the true ones.)
"""

from __future__ import annotations

import itertools
import sys
import warnings
from typing import Any

import numpy as np
from benchmarks._results import data_folder, markdown_table, parser, record
from sklearn.metrics import balanced_accuracy_score

import permgrad as pg
from permgrad.attribution.request import tuned
from permgrad.data.datasets import load_dataset
from permgrad.data.splitting import split_rows
from permgrad.imaging import StoredLayout

LEAST_ROWS = 40
VARIANTS = ("hirescam", "layercam")
WITHOUT_FLOOR = ("gradcam",)
CONFIDENCE = 0.95


def load_covertype(
    seed: int, rows: int | None, test_rows: int | None = None
) -> dict[str, Any]:
    """Return training, validation and test rows of the published split."""
    data = load_dataset("covertype")
    split = split_rows(len(data.frame), data.y, task=data.task)
    train = np.random.default_rng(seed).permutation(split.train)[:rows]
    labels = data.y.to_numpy()
    return {
        "X": data.X.iloc[train],
        "y": labels[train],
        "validation": data.X.iloc[split.validation],
        "validation y": labels[split.validation],
        "test": data.X.iloc[split.test[:test_rows]].reset_index(drop=True),
        "test y": labels[split.test[:test_rows]],
        "groups": data.groups,
    }


def shuffled(data: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the same rows with labels in another order within each part."""
    rng = np.random.default_rng(seed)
    return {
        **data,
        **{
            part: rng.permutation(data[part])
            for part in ("y", "validation y", "test y")
        },
    }


def fit(
    data: dict[str, Any], seed: int, layout: Any, **parameters: Any
) -> pg.HyNNClassifier:
    model = pg.HyNNClassifier(
        layout=layout,
        groups=data["groups"],
        random_state=seed,
        progress=False,
        **parameters,
    )
    # The validation rows are given: drawn from the training rows by label, they would
    # leave each network other rows to fit the encoder on.
    return model.fit(
        data["X"], data["y"], eval_set=(data["validation"], data["validation y"])
    )


def counted_classes(data: dict[str, Any]) -> list[str]:
    """Return the classes with enough test rows for an interval."""
    names, counts = np.unique(data["test y"], return_counts=True)
    return [
        str(name)
        for name, count in zip(names, counts, strict=True)
        if count >= LEAST_ROWS
    ]


def class_effects(
    model: pg.HyNNClassifier, data: dict[str, Any], seed: int
) -> tuple[list[str], np.ndarray]:
    """Return the pairs of classes whose leading features' effects are disjoint, and the
    effects (classes, features).
    """
    classes = counted_classes(data)
    intervals = len(classes) * len(model.preprocessor_.features("feature"))
    explained = pg.explain(
        model,
        data["test"],
        data["test y"],
        method=tuned(pg.methods.PermGrad(), branches=False, direction=False),
        confidence=1 - (1 - CONFIDENCE) / intervals,
        random_state=seed,
        progress=False,
    )
    low, high = explained.ci()
    found = []
    for one, other in itertools.combinations(classes, 2):
        first, second = explained.outputs.index(one), explained.outputs.index(other)
        leading = {
            int(np.argmax(explained.values[:, column])) for column in (first, second)
        }
        if all(
            low[j, first] > high[j, second] or low[j, second] > high[j, first]
            for j in leading
        ):
            found.append(
                f"{one} and {other} "
                f"({' and '.join(explained.names[j] for j in sorted(leading))})"
            )
    return found, np.array(
        [explained.values[:, explained.outputs.index(name)] for name in classes]
    )


def class_maps(
    model: pg.HyNNClassifier, data: dict[str, Any], rows: int, variant: str
) -> np.ndarray:
    """Return each class's mean map over up to ``rows`` rows of that class, ``(classes,
    pixels)``.
    """
    maps = []
    for name in counted_classes(data):
        own = np.flatnonzero(
            np.array([str(label) == name for label in data["test y"]])
        )[:rows]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", pg.PermgradWarning
            )  # maps without a cell above zero
            explained = pg.explain(
                model,
                data["test"].iloc[own],
                method=tuned(pg.methods.GradCam(variant=variant), maps=True),
                target=name,
                random_state=0,
                progress=False,
            )
        maps.append(explained.maps["cam"][:, 0].mean(axis=0).ravel())
    return np.array(maps, dtype=np.float64)


def distances(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean distance between two classes in one network, and between two
    networks for one class.

    Shape:
        one, other ``(classes, numbers)``: what two networks say of the classes.
    """
    between = [
        np.linalg.norm(first - second)
        for own in (one, other)
        for first, second in itertools.combinations(own, 2)
    ]
    return float(np.mean(between)), float(np.linalg.norm(one - other, axis=1).mean())


def examine(
    data: dict[str, Any],
    seed: int,
    labels: str,
    layout: Any,
    rows: int,
    **parameters: Any,
) -> dict[str, Any]:
    """Train twice and return what the two networks say."""
    models = [fit(data, 100 * seed + refit, layout, **parameters) for refit in (1, 2)]
    pairs, effects = zip(
        *(class_effects(model, data, seed) for model in models), strict=True
    )
    both = sorted(set(pairs[0]) & set(pairs[1]))
    line: dict[str, Any] = {
        "labels": labels,
        "seed": seed,
        "balanced accuracy": float(
            np.mean(
                [
                    balanced_accuracy_score(data["test y"], model.predict(data["test"]))
                    for model in models
                ]
            )
        ),
        "disjoint pairs": f"{len(pairs[0])}, {len(pairs[1])}",
        "in both networks": len(both),
    }
    said = {"effects": effects} | {
        variant: [class_maps(model, data, rows, variant) for model in models]
        for variant in (*VARIANTS, *WITHOUT_FLOOR)
    }
    for name, numbers in said.items():
        line[f"{name} between classes"], line[f"{name} between refits"] = distances(
            *numbers
        )
    return {**line, "pairs": both}


def examine_both(
    seed: int,
    rows: int | None,
    map_rows: int,
    test_rows: int | None = None,
    **parameters: Any,
) -> list[dict[str, Any]]:
    """Return the lines for true and for shuffled labels."""
    data = load_covertype(seed, rows, test_rows)
    # One layout for all, so that pixels can be compared.
    drawn = fit(
        data, seed, "assignment", **{**parameters, "max_epochs": 1}
    ).renderer_.layout
    layout = StoredLayout(drawn.positions, drawn.pixels, drawn.overlap, drawn.blur)
    return [
        examine(data, seed, "true", layout, map_rows, **parameters),
        examine(shuffled(data, seed), seed, "shuffled", layout, map_rows, **parameters),
    ]


def excess(line: dict[str, Any], name: str) -> float:
    """Return by how much classes differ more than refits."""
    return line[f"{name} between classes"] - line[f"{name} between refits"]


def holds(lines: list[dict[str, Any]]) -> bool:
    """Return whether the floors are met; lines come in pairs, true labels first."""
    for true, noise in zip(lines[::2], lines[1::2], strict=True):
        if true["in both networks"] < 1 or noise["in both networks"] > 0:
            return False
        for name in ("effects", *VARIANTS):
            if not (
                excess(true, name) > 0
                and excess(noise, name) <= 0.1 * true[f"{name} between classes"]
            ):
                return False
    return True


def _summary(found: list[dict[str, Any]], name: str) -> str:
    """Return a sentence on how well one kind of map separates classes."""
    true, noise = found[::2], found[1::2]
    ratios = [
        line[f"{name} between classes"] / line[f"{name} between refits"]
        for line in true
    ]
    left = max(
        excess(b, name) / a[f"{name} between classes"]
        for a, b in zip(true, noise, strict=True)
    )
    return (
        f"Maps of {name} differ {', '.join(f'{ratio:.2f}' for ratio in ratios)} times "
        "as much between classes as between refits; with shuffled labels the excess is "
        f"at most {left:.1%} of the distance with the true ones."
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument(
        "--rows", type=int, help="training rows; all 9,000 if left out"
    )
    options.add_argument("--preset", default="default")
    options.add_argument("--class-weight", choices=("none", "balanced"), default="none")
    arguments = options.parse_args()
    if data_folder() is None:
        print(
            "PERMGRAD_DATA must name the folder that holds covertype_sample.csv, "
            "however: it does not",
            file=sys.stderr,
        )
        return 3
    seeds = range(1 if arguments.quick else arguments.seeds)
    preset = "fast" if arguments.quick else arguments.preset
    class_weight = None if arguments.class_weight == "none" else arguments.class_weight
    found: list[dict[str, Any]] = []
    for seed in seeds:
        found += examine_both(
            seed, arguments.rows, 500, preset=preset, class_weight=class_weight
        )
        print(found[-2:], flush=True)
    shown = [
        {key: value for key, value in line.items() if key != "pairs"} for line in found
    ]
    text = (
        f"Covertype, {arguments.rows or 9000} training rows, 3000 test rows explained, "
        f"preset {preset}, class weights "
        f"{arguments.class_weight}, classes with at least {LEAST_ROWS} test rows. "
        "Distances are Euclidean: of effects in nats, of maps as they are.\n\n"
        + markdown_table(shown)
    )
    text += "\n\n" + " ".join(
        _summary(found, name) for name in (*VARIANTS, *WITHOUT_FLOOR)
    )
    text += (
        "\n\nPairs of classes with disjoint intervals in both networks, and their "
        "leading features:\n\n"
    )
    text += "\n".join(
        f"- seed {line['seed']}: {'; '.join(line['pairs'])}"
        for line in found
        if line["pairs"]
    )
    name = f"verify_classes_{preset}" + ("_balanced" if class_weight else "")
    title = f"Class by class: preset {preset}" + (
        ", balanced classes" if class_weight else ""
    )
    return record(
        arguments, title, text, found, passed=holds(found), seeds=list(seeds), name=name
    )


if __name__ == "__main__":
    sys.exit(main())
