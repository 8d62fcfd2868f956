"""Shares of the network's paths where they mean something, and words where they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from permgrad.base.significance import deserves_words

NOT_BRANCHES = ("interaction", "paper", "total")
#: Below this share of the branch weights class activation maps say little about the prediction: what they show is a
#: small part of it. On Covertype it is 3 to 5 % for preset default and 11 % for preset fast.
LEAST_IMAGE_SHARE = 0.1


def entries_of(branches: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of ``branches.json`` that are paths.

    Examples:
        >>> list(entries_of({"image": {"importance": 0.1}, "interaction": {"importance": 0.0}, "paper": {}}))
        ['image']
    """
    return {name: entry for name, entry in branches.items() if name not in NOT_BRANCHES and isinstance(entry, Mapping)}


def is_hybrid(branches: Mapping[str, Any]) -> bool:
    """Whether the entries are the paths of a hybrid network; else they are the inputs of another network.

    Examples:
        >>> is_hybrid({"tabular": {}, "image": {}}), is_hybrid({"scan": {}, "table": {}})
        (True, False)
    """
    return set(entries_of(branches)) <= {"tabular", "image"}


def path_shares(branches: Mapping[str, Any]) -> dict[str, float]:
    """Return each path's share, or nothing if one of them lies outside 0 … 1: then they are not parts of a whole.

    Examples:
        >>> path_shares({"tabular": {"share": 0.7}, "image": {"share": 0.3}})
        {'tabular': 0.7, 'image': 0.3}
        >>> path_shares({"tabular": {"share": 1.05}, "image": {"share": -0.05}})
        {}
    """
    shares = {name: float(entry["share"]) for name, entry in entries_of(branches).items() if _known(entry, "share")}
    return shares if all(0 <= share <= 1 for share in shares.values()) else {}


def map_words(branches: Mapping[str, Any]) -> str:
    """Say that activation maps mean little where the image path hardly counts; empty where it does, or is alone.

    Examples:
        >>> map_words({"tabular": {"share": 0.97}, "image": {"share": 0.03}})
        'The image path carries 3 % of the branch weights: ...'
        >>> map_words({"tabular": {"share": 0.6}, "image": {"share": 0.4}})
        ''
    """
    if not is_hybrid(branches) or len(entries_of(branches)) < 2:
        return ""
    entry = entries_of(branches)["image"]
    share = float(entry["share"]) if _known(entry, "share") else math.nan
    if not share < LEAST_IMAGE_SHARE:
        return ""
    amount = f"{round(100 * share)} %" if share >= 0.005 else "next to nothing"
    return (
        f"The image path carries {amount} of the branch weights: its activation maps speak for a small part of "
        "the prediction only. Go by the attributions; where pictures are what you want to read, train a network on "
        'them alone (branches=("image",)).'
    )


def path_words(branches: Mapping[str, Any]) -> str:
    """Say how the paths compare where a share lies outside 0 … 1; empty where shares say it well.

    Examples:
        >>> path_words({
        ...     "tabular": {"importance": 0.42, "ci_low": 0.4, "ci_high": 0.44, "share": 1.05},
        ...     "image": {"importance": -0.02, "ci_low": -0.03, "ci_high": 0.01, "share": -0.05},
        ... })
        'The tabular path carries it (0.42, interval 0.4 to 0.44); the image path is within noise (−0.02, interval −0.03 to 0.01).'
    """  # noqa: E501 — the sentence of the example is one line
    entries = {name: entry for name, entry in entries_of(branches).items() if _known(entry, "importance")}
    if path_shares(branches) or len(entries) < 2 or not any(_known(entry, "share") for entry in entries.values()):
        return ""
    order = sorted(entries, key=lambda name: -float(entries[name]["importance"]))
    noun = "path" if is_hybrid(branches) else "input"
    words = [f"{_one_line(name)} {noun} {_role(entries[name], place == 0)}" for place, name in enumerate(order)]
    return f"The {'; the '.join(words)}."


def interaction_words(branches: Mapping[str, Any]) -> str:
    """Say what the interaction of the paths means; empty where it may be chance, or is less than 5 % of the total.

    Examples:
        >>> total = {"importance": 0.4, "interaction_low": 0.04, "interaction_high": 0.08}
        >>> interaction_words({"interaction": 0.06, "total": total})
        'Interaction of the paths: 0.06 (interval 0.04 to 0.08), 15 % of the total; they need each other. It is shared out in the bars.'
        >>> interaction_words({"interaction": 0.06, "total": {**total, "importance": 2.0}})
        ''
    """  # noqa: E501 — the sentence of the example is one line
    total = branches.get("total")
    complete = isinstance(total, Mapping) and all(_known(total, key) for key in ("interaction_low", "interaction_high"))
    if not (complete and _known(branches, "interaction") and _known(branches["total"], "importance")):
        return ""  # of a run of an older permgrad
    low, high, effect = (float(branches["total"][key]) for key in ("interaction_low", "interaction_high", "importance"))
    value = float(branches["interaction"])
    share = value / effect if effect > 0 else math.nan
    if not deserves_words(low, high, share):
        return ""
    meaning = "each makes up for the other in part" if value < 0 else "they need each other"
    size = f"{_text(value)} (interval {_text(low)} to {_text(high)}), {round(100 * abs(share))} % of the total"
    return f"Interaction of the paths: {size}; {meaning}. It is shared out in the bars."


def no_share_words(branches: Mapping[str, Any]) -> str:
    """Say why no path has a share; empty where one has, or where shares are not asked for.

    Examples:
        >>> paths = {"tabular": {"importance": -0.02, "share": None}, "image": {"importance": -0.01, "share": None}}
        >>> no_share_words({**paths, "total": {"importance": -0.03, "ci_low": -0.05, "ci_high": -0.01}})
        'the effect of all paths together is not certainly above 0 (−0.03, interval −0.05 to −0.01), so that there is nothing to share out'
    """  # noqa: E501 — the sentence of the example is one line
    entries = entries_of(branches)
    if len(entries) < 2 or not all("share" in entry and not _known(entry, "share") for entry in entries.values()):
        return ""
    total, keys = branches.get("total"), ("importance", "ci_low", "ci_high")
    complete = isinstance(total, Mapping) and all(_known(total, key) for key in keys)
    shown = (
        " ({}, interval {} to {})".format(*(_text(float(branches["total"][key])) for key in keys)) if complete else ""
    )
    noun = "paths" if is_hybrid(branches) else "inputs"
    return f"the effect of all {noun} together is not certainly above 0{shown}, so that there is nothing to share out"


def _role(entry: Mapping[str, Any], first: bool) -> str:
    low, high = (float(entry[key]) if _known(entry, key) else math.nan for key in ("ci_low", "ci_high"))
    value = float(entry["importance"])
    share = float(entry["share"]) if _known(entry, "share") else math.nan
    if not (low > 0 or high < 0):
        role = "is within noise"
    elif not deserves_words(low, high, share):
        role = "has next to no effect"
    elif value < 0:
        role = "has a negative effect: exchanging it makes the loss smaller"
    else:
        role = "carries it" if first else "adds to it"
    interval = "" if math.isnan(low + high) else f", interval {_text(low)} to {_text(high)}"
    return f"{role} ({_text(value)}{interval})"


def _known(entry: Mapping[str, Any], key: str) -> bool:
    value = entry.get(key)
    return isinstance(value, (int, float)) and math.isfinite(value)


def _text(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
