"""Writes the measured figures of README and docs from the records in
``benchmarks/results``: ``make figures``.

    python docs/figures.py            # write them
    python docs/figures.py --check    # only say which differ; exit code 1 if any does

A page holds plain text. ``SENTENCES`` and ``TABLES`` say which of its numbers come from
which record; numbers that are settings or definitions, not measurements, are listed in
``SETTINGS``. A test compares all pages with the records and refuses a number with
decimals, a share or a ratio that is in neither list. To add a figure, write it into the
page and enter the sentence here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_NUMBER = r"[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
_SLOT = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class Sentence:
    """Numbers in running text.

    Attributes:
        page: path from the project's root.
        record: name of the record.
        text: the words around the numbers, each number a slot such as ``{:.3f}``; line
            breaks do not matter.
        values: ``record -> numbers``, in the order of the slots.
    """

    page: str
    record: str
    text: str
    values: Callable[[Any], Sequence[Any]]

    def find(self, page: str) -> re.Match[str] | None:
        """Return where the sentence stands; each number is a group."""
        words = [re.escape(part) for part in _SLOT.split(self.text)]
        pattern = f"({_NUMBER})".join(
            re.sub(r"(\\\s|\s)+", r"\\s+", part) for part in words
        )
        return re.search(pattern, page)

    def written(self, page: str) -> str:
        """Return the page with the record's numbers."""
        match = self.find(page)
        if match is None:
            raise LookupError(
                f"{self.page} does not hold the sentence {self.text!r}. Correct it "
                "here or on the page."
            )
        values = self.values(load(self.record))
        for number, (slot, value) in enumerate(
            reversed(list(zip(_SLOT.findall(self.text), values, strict=True)))
        ):
            start, end = match.span(len(values) - number)
            page = page[:start] + slot.format(value) + page[end:]
        return page


@dataclass(frozen=True)
class Table:
    """The rows of a Markdown table.

    Attributes:
        page: path from the project's root.
        record: name of the record.
        header: the table's first line.
        rows: ``record -> rows``, each a list of cells.
        also: further records that the rows come from.
    """

    page: str
    record: str
    header: str
    rows: Callable[[Any], Sequence[Sequence[str]]]
    also: tuple[str, ...] = ()

    def find(self, page: str) -> re.Match[str] | None:
        """Return where the rows stand, behind the line under the header."""
        return re.search(
            rf"(?<={re.escape(self.header)}\n)(\|[-: |]+\|\n)((?:\|.*\n)*)", page
        )

    def written(self, page: str) -> str:
        """Return the page with the record's rows."""
        match = self.find(page)
        if match is None:
            raise LookupError(
                f"{self.page} does not hold the table {self.header!r}. Correct it here "
                "or on the page."
            )
        rows = "".join(
            f"| {' | '.join(row)} |\n" for row in self.rows(load(self.record))
        )
        return page[: match.start(2)] + rows + page[match.end(2) :]


@cache
def load(record: str) -> Any:
    """Return a record."""
    return json.loads((RESULTS / f"{record}.json").read_text(encoding="utf-8"))


def commits(record: str) -> str:
    """Return the commit or commits that a record was measured on."""
    found = load(record)
    parts = (
        [found["commit"]]
        if "commit" in found
        else [part["commit"] for part in found["sections"].values()]
    )
    return ", ".join(f"`{commit}`" for commit in dict.fromkeys(parts))


def origin(page: str) -> str:
    """Return the line that says where a page's figures come from.

    The page on the benchmark says it for README, too.
    """
    spoken_for = {page, README} if page == BENCHMARK else {page}
    found = [own for own in (*SENTENCES, *TABLES) if own.page in spoken_for]
    records = dict.fromkeys(
        name for own in found for name in (own.record, *getattr(own, "also", ()))
    )
    folder = "../" * page.count("/") + "benchmarks/results"
    listed = [f"[{name}]({folder}/{name}.md) ({commits(name)})" for name in records]
    where = "this page and in README" if README in spoken_for else "this page"
    return (
        f"Figures on {where}, with the commit that was measured: {', '.join(listed)}."
    )


_ORIGIN = re.compile(r"^Figures on this page.*, with the commit.*$", re.MULTILINE)


def write(page: str, text: str) -> str:
    """Return a page's text with all its figures.

    Raises:
        LookupError: The page does not hold a sentence or table that is listed for it.
    """
    for own in (*SENTENCES, *TABLES):
        if own.page == page:
            text = own.written(text)
    if page == README:
        return text
    if not _ORIGIN.search(text):
        text = text.rstrip("\n") + "\n\n" + "Figures on this page, with the commit\n"
    return _ORIGIN.sub(lambda _: origin(page), text)


def pages() -> list[str]:
    """Return the pages that hold figures."""
    return list(dict.fromkeys(own.page for own in (*SENTENCES, *TABLES)))


def unlisted(page: str, text: str) -> Iterator[str]:
    """Yield the numbers of a page that look measured and are in no list: decimals,
    shares, ratios, sizes and times.
    """
    for own in (*SENTENCES, *TABLES):
        if own.page == page and (match := own.find(text)):
            text = text[: match.start()] + text[match.end() :]
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)|arXiv \d{4}\.\s*\d+|\d{4}\.\d{5}", " ", text)
    looks_measured = (
        rf"(?<![\w.,])({_NUMBER})(?![\w]|\.\d)(\s?%|\s(?:per "
        r"cent|times|[KMG]i?B|s|ms|µs|seconds|minutes|hours)\b)?"
    )
    for match in re.finditer(looks_measured, text):
        number, unit = match.group(1), (match.group(2) or "").strip()
        if ("." in number or unit) and f"{number} {unit}".strip() not in SETTINGS.get(
            page, ()
        ):
            yield f"{number} {unit}".strip()


# ---- what the pages take from the records --------------------------------------------


def _mean(record: Any, name: str, model: str, metric: str) -> float:
    """Return the mean of a model's metric on the test rows of a set."""
    cells = [
        one
        for one in record["results"]["cells"]
        if (one["set"], one["model"]) == (name, model)
    ]
    return fmean(cell["metrics"]["test"][metric] for cell in cells)


_MODELS = {
    "permgrad's default": ("permgrad default", "default"),
    "its network alone": ("permgrad's network alone", "network"),
    "CatBoost": ("CatBoost", "catboost"),
    "TabM": ("TabM", "tabm"),
    "AutoGluon": ("", "autogluon"),
    "RealMLP": ("RealMLP", "realmlp"),
    "LightGBM": ("LightGBM", "lightgbm"),
    "XGBoost": ("XGBoost", "xgboost"),
    "histogram boosting": ("histogram boosting", ""),
    "random forest": ("random forest", "random_forest"),
    "extra trees": ("extra trees", "extra_trees"),
    "linear": ("linear model", "linear"),
    "plain MLP": ("plain MLP", ""),
    "bagging": ("bagging", ""),
}


def _rank_rows(_: Any) -> list[list[str]]:
    """Return each model's mean ranks: on the six tables, on 22 others, and on one split
    of these beside networks.
    """
    six = {
        row["model"]: float(row["mean rank"])
        for row in load("comparison")["results"]["mean rank"]
    }
    unseen = load("comparison_unseen")["results"]
    of_all, with_networks = (
        unseen[f"mean rank, {what}"] for what in ("All 22 tables", "beside networks")
    )
    shown = lambda ranks, name: f"{ranks[name]:.2f}" if name in ranks else "–"  # noqa: E731
    return [
        [words, shown(six, ours), shown(of_all, name), shown(with_networks, name)]
        for words, (ours, name) in _MODELS.items()
    ]


def _rank(record: Any, model: str) -> float:
    return next(
        float(row["mean rank"])
        for row in record["results"]["mean rank"]
        if row["model"] == model
    )


def _seconds_beside(record: Any) -> float:
    """Return how many times the processor seconds of the network alone the default
    takes.
    """
    cells = record["results"]["cells"]
    whole, alone = (
        sum(cell["processor_seconds"] for cell in cells if cell["model"] == name)
        for name in ("default", "network")
    )
    return whole / alone


def _tuned(record: Any, name: str) -> tuple[float, float]:
    row = next(row for row in record["results"] if row["set"] == name)
    return row["default"], row["tuned"]


#: Methods on the pages, and the truth that each is compared with.
GAMES, SLOPES = ("permutation", "permgrad", "shapley"), ("gradient", "lime")


def _function_errors(record: str, method: str) -> list[tuple[float, str]]:
    """Return the errors of a method on the published functions, the largest first."""
    truth = "effect" if method in GAMES else "published"
    rows = [
        row
        for row in load(record)["results"]["errors by function"]
        if row["method"] == method
    ]
    return sorted(
        (
            (row[truth], row["function"])
            for row in rows
            if row["function"].startswith("F")
        ),
        reverse=True,
    )


IMAGES = {"PneumoniaMNIST": "verify_multimodal", "digits": "verify_multimodal_digits"}


def _trainings(record: Any, table: str) -> list[Any]:
    """Return what each training on a table of PermGrad gave, seed 0 first."""
    return [row for row in record["results"] if row["set"] == table]


def _with_and_without(record: Any) -> list[Any]:
    """Return the scores of a run with images, and of that of the table alone."""
    return [record["results"], record["results"]["table alone"]]


def _method_rows(_: Any) -> list[list[str]]:
    rows = []
    for method in (*GAMES, *SLOPES):
        cells = [f"`{method}`", "effect" if method in GAMES else "slope"]
        for record in IMAGES.values():
            errors = _function_errors(record, method)
            mean = sum(error for error, _ in errors) / len(errors)
            cells += [f"{mean:.3f}", f"{errors[0][0]:.3f} ({errors[0][1]})"]
        rows.append(cells)
    return rows


def _function_rows(_: Any) -> list[list[str]]:
    rows = []
    for method in (*GAMES, *SLOPES, "random"):
        for images, record in IMAGES.items():
            errors = _function_errors(record, method)
            if errors:
                rows.append(
                    [
                        f"`{method}`",
                        images,
                        ", ".join(f"{name} {error:.3f}" for error, name in errors),
                    ]
                )
    return rows


HARDER = ("redundant", "suppressor", "unused", "xor")


def _harder_rows(_: Any) -> list[list[str]]:
    errors = {
        (row["method"], row["function"]): row[
            "effect" if row["method"] in GAMES else "published"
        ]
        for row in load("verify_multimodal")["results"]["errors by function"]
    }
    return [
        [f"`{name}`", *(f"{errors[name, one]:.3f}" for one in HARDER)]
        for name in (*GAMES, *SLOPES)
    ]


_CUTS = {
    "logit 0": "0.5",
    "logit 0.5, as published": "0.622, as published (a logit of 0.5)",
    "logit log 7.55": "0.883, corrected for the class weight",
    "chosen for f1": "best F1 on held-out rows",
    "chosen for balanced_accuracy": "best balanced accuracy on held-out rows",
    "chosen for cost": "`--cost 1 5`: least cost on held-out rows",
}


def _cut_rows(record: Any) -> list[list[str]]:
    columns = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
    cuts = record["results"]["ig_example"]["cuts"]
    return [
        [_CUTS[cut["cut"]], *(f"{cut[column]:.3f}" for column in columns)]
        for cut in cuts
    ]


def _reading_rows(record: Any, rows: str) -> list[list[str]]:
    """Return a line of each published reading of bank's integrated gradients."""
    signed = lambda value: f"{value:.3f}".replace("-", "−")  # noqa: E731
    return [
        [
            f"`{one['input']}`",
            *(signed(one[name]) for name in ("published bar", "mean bar")),
            f"{signed(one['ci_low'])} to {signed(one['ci_high'])}",
            str(one["seeds with the published sign"]),
            "yes" if one["recurs"] else "no",
            *(
                [f"{one['share of yes']:.1%}".replace("%", " %")]
                if "share of yes" in one
                else []
            ),
        ]
        for one in record["results"][rows]
    ]


#: Titles of the tables of PermGrad, as it was published.
_TABLES_OF_PERMGRAD = {
    "heloc": "HELOC",
    "dengue": "dengue",
    "covertype": "covertype",
    "gas": "gas",
    "puma": "Puma",
}


def _published_rows(record: Any) -> list[list[str]]:
    """Return a line of each published number, with ours of seed 0 and of all seeds."""
    rows = []
    for table, title in _TABLES_OF_PERMGRAD.items():
        weights = [line["image weight"] for line in _trainings(record, table)]
        ours = [weight["permgrad_paper"] for weight in weights]
        numbers = [weights[0]["published"], ours[0], fmean(ours)]
        cells = [f"{number:.3f}" for number in numbers]
        rows.append([f"weight of the image, {title}", *cells, str(len(ours))])
    bank = load("ig_example")
    runs = bank["results"]["ig_example"]
    first = next(row for row in runs["rows"] if row["seed"] == 0)
    cut = next(name for name in first["cuts"] if "as published" in name)
    accuracies = [row["cuts"][cut]["accuracy"] for row in runs["rows"]]
    scores = {
        "ROC-AUC, bank": ("0.915", first["roc_auc"], runs["means"]["roc_auc"]),
        "accuracy, bank": ("0.850", first["cuts"][cut]["accuracy"], fmean(accuracies)),
    }
    for name, (published, seed_0, mean) in scores.items():
        cells = [published, f"{seed_0:.3f}", f"{mean:.3f}", str(len(bank["seeds"]))]
        rows.append([name, *cells])
    bars = load("ig_message")
    for title, key in (("bar", "zeros"), ("bar of client 100", "client, zeros")):
        for line in bars["results"][key]:
            published, mean = (
                f"{line[name]:.3f}".replace("-", "−")
                for name in ("published bar", "mean bar")
            )
            name = f"{title}, `{line['input']}`"
            seeds = str(len(bars["seeds"]))
            rows.append([name, published, "–", mean, seeds])
    return rows


#: What of the speed page stands in docs: section, words in "what", words in "peer" ->
#: how it is called.
_SPEED = {
    ("imaging", "heloc (23 columns), blur: mean", "png"): (
        "pictures of HELOC rows",
        "TINTOlib, PNG files",
    ),
    ("imaging", "heloc (23 columns), blur: mean", "npy"): (
        "the same",
        "TINTOlib, npy files",
    ),
    ("training", "both branches", "PyTorch"): (
        "training, both branches",
        "a bare PyTorch loop",
    ),
    ("training", "table alone", "PyTorch"): (
        "training, the table alone",
        "a bare PyTorch loop",
    ),
    ("keras", "puma, threads: 1", "as published"): (
        "training in batches of 32, Puma",
        "Keras, `model.fit` as published",
    ),
    ("path-game", "path game", "plain forward"): (
        "path game: three coalitions, with intervals",
        "scikit-learn, one coalition, over a plain forward",
    ),
    ("path-game", "path game", "predict"): (
        "the same",
        "scikit-learn over permgrad's `predict`",
    ),
    ("path-game", "path game", "Captum"): ("the same", "Captum `FeaturePermutation`"),
    ("path-game", "permutation", "plain forward"): (
        "`permutation`, one coalition",
        "scikit-learn over a plain forward",
    ),
    ("cam", "Grad-CAM", "batches of 128"): (
        "Grad-CAM",
        "Captum at its best batch size",
    ),
    ("cam", "Grad-CAM", "one row"): ("the same", "Captum, one row at a time"),
    ("integrated-gradients", "bank", "Captum"): (
        "integrated gradients, MLP on bank",
        "Captum, 50 steps",
    ),
    ("integrated-gradients", "preset default", "Captum"): (
        "the same, preset `default` on HELOC",
        "Captum, 50 steps",
    ),
    ("integrated-gradients", "expected", "shap"): (
        "expected gradients, bank",
        "shap GradientExplainer, 20,000 draws",
    ),
    ("shapley", "HyNN", "l1_reg=0, auto"): (
        "Shapley values, hybrid network",
        "shap KernelExplainer, all players",
    ),
    ("shapley", "HyNN", "10 pairs"): (
        "the same",
        "shap PermutationExplainer, its default",
    ),
    ("shapley", "HyNN", "budget 2048"): ("the same", "shapiq, 2,048 coalitions"),
    ("shapley", "HyNN", "25 orders"): ("the same", "Captum, 25 orders"),
    ("shapley", "HyNN", "1 orders"): ("the same", "Captum, one order"),
    ("shapley", "MLP", "l1_reg=0, auto"): (
        "Shapley values, MLP",
        "shap KernelExplainer, all players",
    ),
    ("shapley", "MLP", "1 orders"): ("the same", "Captum, one order"),
    ("loss-shapley", "HyNN", "512 walks"): (
        "Shapley values of the loss, hybrid network",
        "sage-importance, 512 walks",
    ),
    ("loss-shapley", "MLP", "512 walks"): (
        "the same, MLP",
        "sage-importance, 512 walks",
    ),
    ("lime", "HyNN", "Captum"): ("LIME, hybrid network", "Captum"),
    ("lime", "HyNN", "lime"): ("the same", "lime"),
    ("lime", "MLP", "Captum"): ("LIME, MLP", "Captum"),
    ("lime", "MLP", "lime"): ("the same", "lime"),
}


def _speed_rows(record: Any) -> list[list[str]]:
    rows = []
    for (section, what, peer), (ours, theirs) in _SPEED.items():
        lines = record["sections"][section]["lines"]
        line = next(one for one in lines if what in one["what"] and peer in one["peer"])
        rows.append(
            [
                ours,
                theirs,
                line["equal"],
                f"{line['ratio']:,.3g}" if line["ratio"] < 1000 else "> 1,000",
            ]
        )
    return rows


def _named(record: Any, words: str) -> list[float]:
    return [value for name, value in record["results"].items() if words in name]


def _coverage(record: Any, *, owen: bool) -> list[float]:
    shares = [
        row["coverage"]
        for row in record["results"]["coverage"]
        if ("Owen" in row["setting"]) == owen
    ]
    return [min(shares), max(shares)]


def _interval_rows(record: Any, measure: str) -> list[list[str]]:
    return [
        [
            *(
                row["table"],
                str(row["splits"]),
                f"{row['coverage']:.3f}",
                f"{row['lowest group']:.3f}",
            ),
            *(
                f"{row[measure]:.4g}",
                f"{_percent(row['against LightGBM, %'])} ± {row['±']:.1f} %",
            ),
        ]
        for row in record["results"]
        if f"{measure} of LightGBM" in row
    ]


def _percent(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _interactions(record: Any) -> list[float]:
    figures = record["results"]["functions"]["figures"]
    rows = [
        row
        for row in figures["rows"]
        if row["R²"] > 0.95 and row["output, 100 rows"] is not None
    ]
    output, many = (
        sum(row[name] for row in rows)
        for name in ("output, 100 rows", "loss, 20000 rows")
    )
    few = [100 * row["loss, 500 rows × 2"] for row in rows]
    shares = (
        sum(few) / len(few),
        min(few),
        100 * figures["covered"],
        100 * figures["rejected"],
    )
    return [output, len(rows), many, len(rows), *shares]


README, DOCS = "README.md", "docs/"
BENCHMARK = DOCS + "benchmark.md"


def _gpu_section(record: Any, name: str) -> list[Any]:
    return next(part["rows"] for part in record["results"] if part["section"] == name)


_METHODS_ON = "Methods on the default network"


def _on_a_gpu(record: Any) -> list[float]:
    faster = next(
        row for row in _gpu_section(record, "Prediction") if row["preset"] == "default"
    )["times"]
    trained = {
        (row["preset"], row["side"]): row for row in _gpu_section(record, "Training")
    }["default", "device"]
    shares = sorted(
        row["device, s"] / row["processor, s"]
        for row in _gpu_section(record, _METHODS_ON)
    )
    return [
        faster,
        trained["times"],
        trained["batch"],
        shares[-1],
        shares[0],
        median(shares),
    ]


SENTENCES = (
    Sentence(
        DOCS + "how-sure-is-an-importance.md",
        "verify_ranks",
        "{:.1f} % of {:,} simulated cases with tied and close effects had no false "
        "statement. {:.1f} % of the tied "
        "pairs were named as ties, and {:.1f} % of the intervals of importances "
        "covered the truth. Of the {} cases "
        "whose first five 24 repeats put in a certain order, 8 repeats did so in "
        "{:.0f} %, and 16 in {:.0f} %",
        lambda record: [
            100 * record["results"]["cases without a false statement"],
            record["results"]["cases"],
            100 * record["results"]["tied pairs that are named as ties"],
            100 * record["results"]["intervals of importances that cover"],
            int(record["results"]["separable cases"]),
            100 * record["results"]["… in which 8 repeats state the order"],
            100 * record["results"]["… in which 16 repeats state the order"],
        ],
    ),
    Sentence(
        DOCS + "serving.md",
        "verify_serving",
        "half of {:,} answers of one row came within {:.0f} ms from a network, and "
        "within {:.0f} ms from LightGBM.",
        lambda record: [
            record["results"][0]["requests"],
            record["results"][0]["median"],
            record["results"][1]["median"],
        ],
    ),
    Sentence(
        DOCS + "interactions.md",
        "verify_interactions",
        "came before all others in {} of {} models that fit well, and by the loss of "
        "20,000 rows in {} of {}. By the "
        "loss of 500 rows with two donors each they did in {:.0f} % of the samples "
        "({:.0f} % for the model with the "
        "weakest pairs). Intervals of the loss covered the model's own value in {:.1f} "
        "% of the cases, "
        "and {:.1f} % of the pairs",
        _interactions,
    ),
    Sentence(
        DOCS + "how-sure-is-an-importance.md",
        "verify_refits",
        "these intervals cover the mean over trainings in {:.1f} % of the cases. The "
        "interval "
        "of a single fit covers it in {:.1f} %.",
        lambda record: [
            100 * record["results"]["summary"][-1][key]
            for key in ("covered", "single fit")
        ],
    ),
    Sentence(
        DOCS + "coming-from/shap.md",
        "tree_shapley",
        "it takes {:.2f} of the time of `TreeExplainer` for LightGBM and {:.2f} for a "
        "forest",
        lambda record: [
            line["ratio"] for line in record["results"] if line["rows"] == 100
        ],
    ),
    Sentence(
        DOCS + "tuning.md",
        "verify_tuning",
        "the accuracy on Covertype rose from {:.3f} to {:.3f}",
        lambda record: _tuned(record, "covertype"),
    ),
    Sentence(
        README,
        "comparison_unseen",
        "On 22 others it is first, {:.2f} (its network alone {:.2f}, CatBoost {:.2f}, "
        "LightGBM {:.2f})",
        lambda record: [
            record["results"]["mean rank, All 22 tables"][name]
            for name in ("default", "network", "catboost", "lightgbm")
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "A fit takes {:.2f} times the processor seconds of the network alone",
        lambda record: [_seconds_beside(record)],
    ),
    Sentence(
        README,
        "comparison",
        "best mean rank of twelve models, {:.2f} (TabM {:.2f}, RealMLP {:.2f}, "
        "CatBoost {:.2f}, LightGBM {:.2f})",
        lambda record: [
            _rank(record, name)
            for name in ("permgrad default", "TabM", "RealMLP", "CatBoost", "LightGBM")
        ],
    ),
    Sentence(
        DOCS + "uneven-classes.md",
        "ig_example",
        "Always answering no has an accuracy of {:.3f}. The ROC-AUC is {:.3f}. "
        "The threshold with the best accuracy finds {:.0f} %",
        lambda record: [
            record["results"]["majority"],
            record["results"]["ig_example"]["means"]["roc_auc"],
            100
            * max(
                record["results"]["ig_example"]["cuts"], key=lambda cut: cut["accuracy"]
            )["recall"],
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "published_permgrad",
        "Without it, R² on test rows is {:.2f} to {:.2f} over {} trainings",
        lambda record: [
            *(
                end(row["score"] for row in _trainings(record, "puma"))
                for end in (min, max)
            ),
            len(_trainings(record, "puma")),
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "published_permgrad",
        "The published maps have {} to {} different values a table",
        lambda record: [
            end(row["values of the published maps"] for row in record["results"])
            for end in (min, max)
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "published_permgrad",
        "Spearman's correlation with the published bars is {} to {} on the five "
        "tables, {} trainings each",
        lambda record: [
            *(
                f"{end(row['rank correlation']['permgrad_paper'] for row in record['results']):.2f}".replace(
                    "-", "−"
                )
                for end in (min, max)
            ),
            len(_trainings(record, "puma")),
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "comparison",
        "The default network has an RMSE of {:.3f}, [a random forest {:.3f}]",
        lambda record: [
            _mean(record, "puma", model, "rmse")
            for model in ("default", "random_forest")
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "ig_example",
        "The shorter schedule of `ig_example` has {:.3f}",
        lambda record: [record["results"]["ig_example"]["means"]["roc_auc"]],
    ),
    Sentence(
        DOCS + "published-work.md",
        "ig_example",
        "here {:.3f} at the same cut. The report lists",
        lambda record: [
            next(
                cut["accuracy"]
                for cut in record["results"]["ig_example"]["cuts"]
                if "as published" in cut["cut"]
            )
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "ig_message",
        "Over {} trainings, {} of {} published readings recur in their sign",
        lambda record: [
            len(record["seeds"]),
            sum(one["recurs"] for one in record["results"]["zeros"]),
            len(record["results"]["zeros"]),
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "image_table_example",
        "On PneumoniaMNIST with made columns, the accuracy is {:.3f}, without images "
        "{:.3f}",
        lambda record: [one["accuracy"] for one in _with_and_without(record)],
    ),
    Sentence(
        DOCS + "your-own-network.md",
        "image_memory",
        "On resnet-18 and 32 images of 160 × 160 pixels, no method needs more than "
        "{:.0f} MB in all",
        lambda record: [
            max(
                line["peak, MB"]
                for lines in record["results"].values()
                for line in lines
                if line["who"] == "permgrad"
            )
        ],
    ),
    Sentence(
        DOCS + "images-and-a-table.md",
        "image_table_example",
        "on {} test rows, the accuracy is {:.3f}, and {:.3f} without the images. The "
        "best baseline reaches {:.3f}, and "
        "{:.3f} without them. The shares are {:.0f} % for the images and {:.0f} % for "
        "the table",
        lambda record: [
            record["results"]["rows"]["test"],
            *(
                one[name]
                for name in ("accuracy", "best baseline")
                for one in _with_and_without(record)
            ),
            *(100 * record["results"]["shares"][name] for name in ("photo", "table")),
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "gpu",
        "the default network predicted {:.0f} times as fast, trained {:.1f} times as "
        "fast with batches of {}, and the "
        "methods took from {:.1f} to {:.3f} of the time for the same few hundred rows "
        "(median {:.2f})",
        _on_a_gpu,
    ),
    Sentence(
        DOCS + "counterfactuals.md",
        "counterfactuals",
        "in {:.1f} different ways among four results where dice-ml has {:.1f}",
        lambda record: [
            fmean(row["ways"] for row in record["results"] if row["contestant"] == who)
            for who in ("permgrad", "dice-ml random")
        ],
    ),
    Sentence(
        DOCS + "how-sure-is-an-importance.md",
        "verify_groups",
        "In 100 groups of five equal rows, where nothing is to be found, {:.1f} to "
        "{:.1f} % of samples call something "
        "clear at 5 %, and in 500 rows of a series {:.1f} to {:.1f} %",
        lambda record: [
            100 * end(_named(record, words))
            for words in (", groups", ", time")
            for end in (min, max)
        ],
    ),
    Sentence(
        DOCS + "comparing.md",
        "verify_changes",
        "intervals hold the truth in {:.1f} to {:.1f} % of samples, and the mean "
        "estimates are at most {:.3f} off. "
        "Where nothing changes, {:.1f} % of pairs of samples have any clear score, and "
        "{:.1f} % any clear importance",
        lambda record: [
            100 * min(_named(record, "intervals of")),
            100 * max(_named(record, "intervals of")),
            max(_named(record, "off the truth")),
            *(
                100 * fmean(_named(record, f"no change, {kind}"))
                for kind in ("score", "importance")
            ),
        ],
    ),
    Sentence(
        DOCS + "methods.md",
        "verify_null_conditional",
        "irrelevant features are rejected in {:.1f} % of tests at 5 %, the one "
        "rejected most in {:.0f} %, and the "
        "false discovery rate at 10 % is {:.1f} %",
        lambda record: [
            100 * record["results"][name]
            for name in (
                "bent: irrelevant features rejected",
                "bent: the feature rejected most, both networks",
                "bent: false discovery rate at 10 %",
            )
        ],
    ),
    Sentence(
        DOCS + "methods.md",
        "verify_shapley",
        "intervals cover {:.1f} to {:.1f} % ({:.1f} to {:.1f} % with Owen trees",
        lambda record: [
            100 * share
            for owen in (False, True)
            for share in _coverage(record, owen=owen)
        ],
    ),
    Sentence(
        DOCS + "your-own-network.md",
        "multimodal_shapley_speed",
        "reaches the same error {:.1f} times as fast as the best approximator of "
        "shapiq and {:.1f} times as fast as "
        "Captum with one background row. With 20 background rows it is {:.1f} and "
        "{:.1f} times as fast",
        lambda record: [line["times as fast"] for line in record["results"]["ratios"]],
    ),
    Sentence(
        DOCS + "speed.md",
        "speed",
        "the largest error is {} instead of {}",
        lambda record: re.findall(
            r"(\d\S*e-\d+)",
            next(
                line["note"]
                for line in record["sections"]["integrated-gradients"]["lines"]
                if "preset default" in line["what"]
            ),
        ),
    ),
)
TABLES = (
    Table(
        DOCS + "the-default-network.md",
        "comparison",
        "| model | six tables, five splits | 22 tables, five splits | 22 tables, one "
        "split |",
        _rank_rows,
        also=("comparison_unseen",),
    ),
    Table(
        DOCS + "published-work.md",
        "published_permgrad",
        "| number | published | here, seed 0 | here, mean | seeds |",
        _published_rows,
        also=("ig_example", "ig_message"),
    ),
    Table(
        DOCS + "uneven-classes.md",
        "ig_message",
        "| reading of client 100 | published | mean of 20 trainings | interval | "
        "trainings with the published sign "
        "| recurs |",
        lambda record: _reading_rows(record, "client, zeros"),
    ),
    Table(
        DOCS + "intervals.md",
        "verify_intervals",
        "| table | splits | covered | lowest group | CRPS | against LightGBM |",
        partial(_interval_rows, measure="crps"),
    ),
    Table(
        DOCS + "intervals.md",
        "verify_intervals",
        "| table | splits | covered | lowest group | classes in a set | against "
        "LightGBM |",
        partial(_interval_rows, measure="width"),
    ),
    Table(
        README,
        "verify_multimodal",
        "| method | compared with | PneumoniaMNIST: mean | worst function | digits: "
        "mean | worst function |",
        _method_rows,
        also=("verify_multimodal_digits",),
    ),
    Table(
        BENCHMARK,
        "verify_multimodal",
        "| method | redundant | suppressor | unused | xor |",
        _harder_rows,
    ),
    Table(
        BENCHMARK,
        "verify_multimodal",
        "| method | images | errors, worst first |",
        _function_rows,
        also=("verify_multimodal_digits",),
    ),
    Table(
        DOCS + "uneven-classes.md",
        "ig_example",
        "| threshold | accuracy | balanced accuracy | precision | recall | F1 |",
        _cut_rows,
    ),
    Table(
        DOCS + "speed.md",
        "speed",
        "| permgrad | peer | equal | times as fast |",
        _speed_rows,
    ),
)
#: Numbers that are settings, definitions or examples, not measurements.
SETTINGS: dict[str, tuple[str, ...]] = {
    "docs/any-model.md": ("2.2e-16",),
    README: ("3.11", "3.14", "2.0"),
    BENCHMARK: ("5 %", "1 %", "0.5"),
    DOCS + "how-sure-is-an-importance.md": ("95 %", "5 %"),
    DOCS + "interactions.md": ("95 %", "0.05"),
    DOCS + "comparing.md": (
        "15 %",
        "5 %",
    ),
    DOCS + "intervals.md": ("0.9", "0.1", "0.95", "90 %"),
    DOCS + "uneven-classes.md": ("11.7 %", "0.5"),
    DOCS + "large-tables.md": ("1 GB", "128 MiB", "2.60"),
    # the last five: intervals of ale along time, by verification/verify_ale.py with a
    # series
    DOCS + "methods.md": (
        "1 %",
        "0.75",
        "5 %",
        "2.0",
        "0.8",
        "95 %",
        "94 %",
        "88 %",
        "93 %",
    ),
    DOCS + "published-work.md": ("0.915", "0.850", "6.1", "6.2", "6.3"),
    DOCS + "reading-the-report.md": (
        "3 MB",
        "90 %",
        "95 %",
        "10 %",
        "0.05",
        "30 %",
        "1,999 times",
        "5 %",
        "0.5",
        "0.8",
        "0.9",
        "0.03",
        "4 MB",
    ),
    DOCS + "reproducibility.md": ("0.00002",),
    DOCS + "security.md": (
        "8 MB",
        "2 GB",
        "0.13",
        "12.3",
    ),
    DOCS + "the-default-network.md": (
        "0.003",
        "0.1",
        "0.3",
        "0.5",
        "1 %",
        "5 %",
        "0.01",
        "0.001",
        "0.15",
    ),
    DOCS + "serving.md": ("1 MB",),
    DOCS + "tuning.md": ("0.4",),
    DOCS + "tutorials/ten-minutes-with-a-table.md": ("95 %",),
    DOCS + "versions.md": ("0.1", "0.2", "1.0", "3.11", "3.12", "3.13", "3.14"),
    DOCS + "your-own-table.md": ("60 %", "20 %", "0.1", "10 %", "95 %", "0.98"),
}


def main(words: Sequence[str]) -> int:
    """Write the pages, or say which differ."""
    differing = []
    for page in pages():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        written = write(page, text)
        if written != text:
            differing.append(page)
            if "--check" not in words:
                path.write_text(written, encoding="utf-8")
    if differing:
        print(  # noqa: T201
            ("differ from the records: " if "--check" in words else "written: ")
            + ", ".join(differing)
        )
    return 1 if differing and "--check" in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
