"""Name the records that are older than the code they speak of.

    python -m tools.record_ages

A record says by which commit it was made. The code that it speaks of is named here, by
the first pattern that its name matches. A commit counts if it changes a Python file
there, whether or not a number could change: whoever reads the list decides what to
measure again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SOURCE = "src/permgrad"
_SHAPLEY = ("attribution/method/shapley", "attribution/replace")
_SLOPES = ("attribution/slopes",)
_MODELS = ("models", "data/encode", "imaging")
_EFFECTS = ("attribution/method", "attribution/replace", "attribution/request")
#: Patterns of records' names, the more particular first, and folders or files of
#: ``src/permgrad``.
SUBJECTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("reasons", ("attribution/reasons.py", *_SHAPLEY)),
    ("*gradients*", _SLOPES),
    ("ig_*", _SLOPES),
    ("first_cam", ("attribution/maps", "attribution/subject")),
    ("keras_speed", _SLOPES),
    ("lime_speed", ("attribution/method",)),
    ("*shapley*", _SHAPLEY),
    ("tree_*", _SHAPLEY),
    ("path_game_speed", _SHAPLEY),
    ("counterfactuals", ("attribution/counterfactuals.py",)),
    ("report_peers", ("pages", "assess")),
    ("fuzz_readers", ("data/read",)),
    ("foreign_*", ("attribution",)),
    ("mutation_testing", ("attribution",)),
    ("multimodal_settings", ("../permgrad_benchmark",)),
    ("verify_multimodal*", ("../permgrad_benchmark", *_EFFECTS)),
    ("verify_what_if", ("pages/templates", "assess/network_form.py")),
    ("verify_verdict", ("pages", "evaluation")),
    ("verify_first_sentences", ("pages", "evaluation")),
    ("verify_headlines*", ("pages", "evaluation")),
    ("verify_single_rows", ("attribution", "pages")),
    ("verify_tuning", ("tuning",)),
    ("verify_resume", ("runs", "models/train")),
    ("verify_streaming*", ("models/streaming.py", "attribution/explain.py")),
    ("verify_options", ("attribution", "runs")),
    ("verify_ray", ("integrations", "attribution/explain.py")),
    ("verify_kinds", ("data/kinds", "data/types", "data/encode")),
    ("verify_leaks", ("evaluation",)),
    ("verify_groups", ("evaluation", "attribution/replace")),
    ("verify_changes", ("evaluation",)),
    ("verify_intervals", ("models/estimators",)),
    ("verify_classes_*", _MODELS),
    ("verify_*", _EFFECTS),
    ("published_permgrad", _EFFECTS),
    ("first_output", ("runs", "pages")),
    ("growth", ("runs", "models", "attribution")),
    ("speed", ("attribution", "models", "imaging")),
    ("gpu", ("attribution", "models")),
    ("image_*", _MODELS),
    ("roofline", ("models/train", "models/network")),
    ("training_*", ("models/train", "models/network")),
    ("*", _MODELS),
)


class Age(NamedTuple):
    """A record, the commit that made it, and how many commits changed its subject."""

    record: str
    commit: str
    changes: int | None


def subjects_of(record: str) -> tuple[str, ...]:
    """Return the folders and files of the code that a record speaks of.

    Examples:
        >>> subjects_of("verify_tuning")
        ('src/permgrad/tuning',)
    """
    for pattern, places in SUBJECTS:
        if fnmatch(record, pattern):
            return tuple(f"{SOURCE}/{name}" for name in places)
    raise KeyError(record)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def ages() -> Iterator[Age]:
    """Yield each record with the number of later commits that changed its subject.

    None: its commit is not in this history.
    """
    for file in sorted(RESULTS.glob("*.json")):
        commit = str(json.loads(file.read_bytes()).get("commit", ""))
        try:
            changed = _git(
                "log",
                "--format=%h",
                f"{commit}..HEAD",
                "--",
                *subjects_of(file.stem),
            )
        except subprocess.CalledProcessError:
            yield Age(file.stem, commit, None)
        else:
            yield Age(file.stem, commit, len(changed.split()))


def main() -> int:
    """Print the records that are older than their code, the oldest first."""
    older = [age for age in ages() if age.changes != 0]
    older.sort(key=lambda age: -(age.changes or 10**6))
    for age in older:
        since = f"{age.changes} commits"
        if age.changes is None:
            since = "a commit that is not in this history"
        print(f"{age.record} ({age.commit}): {since} since changed its code")
    print(f"{len(older)} records are older than the code they speak of")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
