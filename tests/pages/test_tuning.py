"""The page of a study: every trial is there, names are harmless, nothing is asked of
the network.
"""

from __future__ import annotations

import html
import re

import numpy as np
import pandas as pd
from tests.pages.conftest import HOSTILE

from permgrad.pages.tuning import (
    loss_limits,
    settings_of,
    trial_curves,
    tuning_history,
    tuning_page,
    tuning_slices,
)


def table(
    count: int = 20, names: tuple[str, ...] = ("network.dropout", "layout")
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for trial in range(count):
        state = (
            ["complete", "complete", "pruned", "failed"][trial % 4]
            if trial
            else "complete"
        )
        failed = state == "failed"
        values = [
            rng.uniform(0, 0.4)
            if parameter_index % 2 == 0
            else ["tinto", "random"][trial % 2]
            for parameter_index in range(len(names))
        ]
        loss = None if failed else 0.5 - 0.01 * (trial % 7)
        epochs = (None, None) if failed else (5, 3)
        rows.append(
            [
                trial,
                state,
                loss,
                *epochs,
                trial,
                *values,
                "it <b>diverged</b>" if failed else None,
            ]
        )
    columns = [
        "trial",
        "state",
        "validation_loss",
        "epochs",
        "best_epoch",
        "seed",
        *names,
        "reason",
    ]
    return pd.DataFrame(rows, columns=columns, dtype=object)


FACTS = {
    "table": "patients", "target": "outcome", "task": "classification", "space": "default", "space_text": "ours",
    "starts_with": "preset default", "best": 13, "total": 20, "importances": {"network.dropout": 0.7, "layout": 0.3},
    "curves": {0: [0.6, 0.5], 2: [0.7], 13: [0.6, 0.44]}, "seconds": {0: 1.0, 1: 2.5}, "log_scales": [],
    "command": "permgrad tune patients.csv", "again": "permgrad run patients.csv "
                                                      "--preset p.json --seed 9",
    "study": "permgrad", "seed": 0, "split": "60/20/20", "has_report": True,
    "test": {"roc_auc": 0.8765, "not_a_metric": 1.0},
}  # fmt: skip


def test_everything_is_on_the_page():
    page = tuning_page(table(), FACTS)
    assert "Trial 13 is the best of 20: validation loss 0.4400." in page
    assert 'href="report.html"' in page
    assert 'href="preset.json"' in page
    assert (
        "On the test rows, which no trial used: ROC-AUC 0.876." in page
        or "ROC-AUC 0.877." in page
    )
    for anchor in (
        "winner",
        "history",
        "importance",
        "slices",
        "curves",
        "trials",
        "provenance",
    ):
        assert f'<section id="{anchor}"' in page
    body = page[page.index('<section id="trials"') :]
    assert len(re.findall(r"<tr><td", body)) == 20
    assert body.count(">pruned<") == 5
    assert "it &lt;b&gt;diverged&lt;/b&gt;" in body
    assert "Bars of 2 of 2, largest first: network.dropout 70 %, layout 30 %." in page
    assert "permgrad run patients.csv --preset p.json --seed 9" in page
    assert not re.search(r"(?:src|href)=\"https?:", page)


def test_a_study_under_way():
    page = tuning_page(table(3), {"best": 1, "total": 8})
    assert "3 of 8 trials are finished. Run the same command to resume." in page
    assert 'href="report.html"' not in page


def test_no_trial_has_ended_well():
    failed_trials = table(3)
    failed_trials[["state", "validation_loss"]] = ["failed", None]
    page = tuning_page(failed_trials, {"best": None})
    assert "None of 3 trials has succeeded yet." in page
    assert '<section id="history"' not in page


def test_the_base_preset_may_win():
    page = tuning_page(table(), FACTS | {"best": 0})
    assert "No trial was better than preset default itself." in page


def test_hostile_names_do_no_harm():
    names = tuple(name for name in dict.fromkeys(HOSTILE) if name)
    page = tuning_page(
        table(12, names),
        FACTS
        | {"best": 1, "importances": dict.fromkeys(names, 1.0), "target": HOSTILE[1]},
    )
    text = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert html.escape("<script>alert") in text
    assert set(settings_of(table(2, names))) == set(names)


def test_wild_losses_do_not_hide_the_others():
    losses = np.array([0.4, 0.41, 0.42, 0.43, 0.44, 5e3])
    low, high = loss_limits(losses)
    assert low < 0.4 < 0.44 < high < 1
    assert loss_limits(np.array([np.nan])) == (0.0, 1.0)
    assert loss_limits(np.array([0.5, 0.5]))[0] < 0.5


def test_figures_say_what_they_show():
    trial_table = table()
    words = tuning_history(trial_table).words
    assert words.startswith("20 trials: 10 complete, 5 pruned, 5 failed.")
    assert "The best is trial 13" in words
    assert "network.dropout" in tuning_slices(trial_table, ["network.dropout"]).words
    assert (
        "trial 6 in front"
        in trial_curves({6: [0.5, 0.4], 1: [0.6]}, best=6, pruned=[1]).words
    )
