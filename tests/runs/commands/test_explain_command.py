"""What ``permgrad explain`` prints, and when it explains the loss: by the targets of
the rows that are asked for.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from invoking import call, train_run
from typer.testing import CliRunner

import permgrad as pg
from permgrad.cli import app
from permgrad.pages.summaries import told as told_of
from permgrad.pages.words import value_text
from permgrad.runs.commands.explain_outcome import outcome_of

NO_TARGET = (
    "so the divergence from the model's own prediction is explained. Fill the column in"
)


def table(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Return rows whose outcome is nearly the sign of ``a``, whose attributions
    therefore cancel over rows.
    """
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    ill = a + 0.3 * rng.normal(size=rows) > 0
    town = rng.choice(["Bonn", "Ulm", "Trier"], rows)
    return pd.DataFrame(
        {
            "code": np.arange(rows),
            "a": a,
            "b": b,
            "town": town,
            "outcome": np.where(ill, "ill", "well"),
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(
        tmp_path_factory.mktemp("explain"), table(), identifier="code", epochs=10
    )


@pytest.fixture(params=["csv", "parts"])
def write(request: pytest.FixtureRequest, tmp_path: Path):
    """Write a table as a file that is read into memory, or as one that is read in
    parts.
    """

    def written(name: str, frame: pd.DataFrame) -> Path:
        if request.param == "csv":
            frame.to_csv(tmp_path / f"{name}.csv", index=False)
            return tmp_path / f"{name}.csv"
        (tmp_path / name).mkdir()
        frame.to_parquet(tmp_path / name / "part.parquet")
        return tmp_path / name

    return written


def told(*words: object) -> tuple[str, str]:
    """Run a command that ends well; return what it prints and what it warns of."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def positive_of(run: Path) -> str:
    """Return the class that is printed of two."""
    return str(json.loads((run / "data.json").read_text())["positive"])


def without(frame: pd.DataFrame, rows: list[int] | slice) -> pd.DataFrame:
    gaps = frame.astype({"outcome": object})
    gaps.loc[gaps.index[rows], "outcome"] = None
    return gaps


LINE = re.compile(
    r"  (?P<name>\S+)(?: = \S+)? +(?P<way>(?:raises|lowers) the probability of \w+ by "
    r")?(?P<value>[-\d.]+)"
    r"(?: points)?.*?(?: signed mean (?P<mean>[-\d.]+))?"
)


def printed(printed_output: str, output: str) -> list[tuple[str, float, float | None]]:
    """Return the features printed for an output: name, value with its sign, and the
    signed mean.
    """
    lines = printed_output.replace("−", "-").split(f" for {output}.\n")[1].splitlines()
    line_matches = [match for line in lines if (match := LINE.fullmatch(line))]
    assert line_matches
    scale = {None: 1.0, "r": 0.01, "l": -0.01}  # of probabilities in points
    return [
        (
            line_match["name"],
            scale[line_match["way"] and line_match["way"][0]]
            * float(line_match["value"]),
            line_match["mean"] and float(line_match["mean"]),
        )
        for line_match in line_matches
    ]


# --- what is printed ------------------------------------------------------------------
@pytest.mark.parametrize(
    "method", ["shapley", "integrated_gradients", "gradient", "lime", "deeplift"]
)
def test_several_rows_are_printed_by_their_mean_size(tmp_path, run, method):
    rows = tmp_path / "rows.csv"
    positive = positive_of(run)
    table(60, seed=1).to_csv(rows, index=False)
    printed_output = call(
        "explain",
        run,
        rows,
        "--method",
        method,
        "--max-rows",
        25,
        "--out",
        tmp_path / "out",
    )
    explanation = pg.Explanation.load(tmp_path / "out")
    assert (
        f"\n{len(explanation.values)} rows explained. Values are means of absolute "
        "values over the rows." in printed_output
    )
    assert len(explanation.values) == 25
    assert (
        printed_output.count(" for ill.") + printed_output.count(" for well.") == 1
    ), "of two classes, the positive one"
    listed = printed(printed_output, positive)
    output_index = explanation.outputs.index(positive)
    assert [name for name, _, _ in listed] == explanation.ranking(positive), (
        "the order of its own ranking"
    )
    listed_values = explanation.values[
        :, [explanation.names.index(name) for name, _, _ in listed], output_index
    ]
    np.testing.assert_allclose(
        [size for _, size, _ in listed], np.abs(listed_values).mean(axis=0), atol=5e-3
    )
    signed = [signed_mean for _, _, signed_mean in listed]
    if method == "gradient":
        assert signed == [None] * 3, "its sizes have no sign"
    else:
        np.testing.assert_allclose(
            np.array(signed, dtype=float),
            listed_values.mean(axis=0),
            rtol=5e-3,
            atol=5e-4,
        )
    assert explanation.ranking()[0] == "a", "the precondition"


def test_single_rows_stay_signed_and_have_their_values(tmp_path, run, write):
    rows = write("rows", table(60, seed=1))
    positive = positive_of(run)
    words = ("--method", "shapley", "--row", 4)
    printed_output = call("explain", run, rows, *words, "--out", tmp_path / "out")
    explanation = pg.Explanation.load(tmp_path / "out")
    assert "means of absolute values" not in printed_output
    assert (
        "Rows are counted from 0."
        + (" Row 4 is line 6 of rows.csv." if rows.is_file() else "")
        in printed_output.splitlines()
    )
    value = table(60, seed=1)["a"][4]
    assert f"  a = {value_text(value)} " in printed_output
    frame = pd.read_csv(tmp_path / "out" / "importance.csv")
    assert float(frame.set_index("feature")["value"]["a"].iloc[0]) == pytest.approx(
        value
    )
    printed_lines = printed(printed_output, positive)
    assert [name for name, _, _ in printed_lines] == explanation.ranking(positive)
    output_index = explanation.outputs.index(positive)
    listed_values = explanation.values[
        0, [explanation.names.index(name) for name, _, _ in printed_lines], output_index
    ]
    np.testing.assert_allclose(
        [value for _, value, _ in printed_lines], listed_values, atol=5e-3
    )
    assert (listed_values < 0).any(), "the precondition"


def test_rows_that_are_written_in_parts_are_printed_by_their_mean_size(tmp_path, run):
    (tmp_path / "rows").mkdir()
    table(60, seed=1).to_parquet(tmp_path / "rows" / "part.parquet")
    positive = positive_of(run)
    printed_output = call(
        "explain",
        run,
        tmp_path / "rows",
        "--method",
        "shapley",
        "--out",
        tmp_path / "out",
    )
    assert (
        "\n60 rows explained. Values are means of absolute values over the rows."
        in printed_output
    )
    explanation = pg.Explanation.load(tmp_path / "out")
    assert [
        name for name, _, _ in printed(printed_output, positive)
    ] == explanation.ranking(positive)


def test_global_importances_are_printed_in_the_order_of_the_ranking():
    values = np.array([[0.1], [-0.5], [np.nan], [0.3]])
    explanation = pg.Explanation(
        values, ("a", "b", "c", "d"), ("table",) * 4, ("all",), "permutation", "global"
    )
    lines = [
        line
        for line, about in told_of(explanation, None, 8)
        if about["kind"] == "feature"
    ]
    assert (
        [line.split()[0] for line in lines]
        == explanation.ranking()
        == ["d", "a", "b", "c"]
    )


# --- targets --------------------------------------------------------------------------
@pytest.mark.parametrize("named", [(), ("--option", "y=outcome")])
def test_the_loss_of_a_single_row_is_explained_if_asked_for(
    tmp_path, run, write, named
):
    rows = write("rows", without(table(60, seed=1), [5]))
    words = ("explain", run, rows, "--option", "scope=global", "--repeats", 2, *named)
    printed_output, errors = told(*words, "--row", 3, "--out", tmp_path / "out")
    assert "permgrad measures the increase of the log loss" in printed_output
    assert errors == "", "row 5 is not asked for"
    printed_output = call(*words, "--row", 5, "--out", tmp_path / "never", code=2)
    assert (
        "None of the chosen rows has a target, so no loss can be explained. Choose "
        "others" in printed_output
    )
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_a_column_without_any_target_is_told_of(tmp_path, run, write):
    rows = write("rows", without(table(60, seed=1), slice(None)))
    for row_options in ((), ("--row", 3, "--option", "scope=global")):
        words = (
            "explain",
            run,
            rows,
            "--repeats",
            1,
            *row_options,
            "--overwrite",
            "--out",
            tmp_path / "out",
        )
        printed_output, errors = told(*words)
        assert "divergence from the model's own prediction" in printed_output
        assert errors.startswith(
            f"warning: The target's column 'outcome' is empty in {rows}, {NO_TARGET}"
        )
        assert errors.count("\n") == 1
        printed_output = call(*words, "--option", "y=outcome", code=2)
        assert "'outcome'" in printed_output
        assert "ame another column" in printed_output
    # Where no loss is measured, nobody misses a target.
    assert (
        told("explain", run, rows, "--method", "gradient", "--out", tmp_path / "g")[1]
        == ""
    )
    assert (
        told("explain", run, rows, "--row", 3, "--repeats", 1, "--out", tmp_path / "r")[
            1
        ]
        == ""
    )


def test_a_table_without_the_column_needs_no_warning(tmp_path, run, write):
    rows = write("rows", table(60, seed=1).drop(columns="outcome"))
    printed_output, errors = told(
        "explain", run, rows, "--repeats", 1, "--out", tmp_path / "out"
    )
    assert "divergence" in printed_output
    assert errors == ""


def test_groups_none_are_raw_columns(tmp_path, run):
    table(60, seed=1).to_csv(tmp_path / "rows.csv", index=False)
    call(
        "explain",
        run,
        tmp_path / "rows.csv",
        "--groups",
        "none",
        "--repeats",
        1,
        "--out",
        tmp_path / "out",
    )
    assert pg.Explanation.load(tmp_path / "out").level == "column"


def test_the_published_method_needs_several_rows(tmp_path, run):
    table(60, seed=1).to_csv(tmp_path / "rows.csv", index=False)
    words = (
        "explain",
        run,
        tmp_path / "rows.csv",
        "--method",
        "permgrad_paper",
        "--out",
        tmp_path / "never",
    )
    for row_options, fix in (
        (("--row", 3), "Leave --row out and choose"),
        (("--max-rows", 1), "Choose"),
    ):
        message = call(*words, *row_options, code=2)
        assert (
            f"among the explained rows and needs several, got 1. {fix} more rows"
            in message
        )
        assert "y=None" not in message


def test_a_row_without_a_target_has_no_truth(tmp_path, run, write):
    rows = write("rows", without(table(60, seed=1), [1]))
    words = ("explain", run, rows, "--method", "gradient")
    printed_output, errors = told(*words, "--row", 1, "--out", tmp_path / "one")
    assert printed_output.startswith("row 1, prediction ")
    assert "truth" not in pd.read_csv(tmp_path / "one" / "rows.csv").columns
    assert errors == "", "no loss is measured"
    printed_output, errors = told(*words, "--row", 2, "--out", tmp_path / "two")
    assert printed_output.startswith("row 2, truth ")
    assert errors == ""
    printed_output, errors = told(*words, "--out", tmp_path / "all")
    assert errors == ""
    shown = pg.Explanation.load(tmp_path / "all").meta
    assert shown.get("rows_explained", shown.get("rows_summarised")) == 60, (
        "also the row without a target"
    )


@pytest.mark.parametrize("method", ["permutation", "shapley"])
def test_the_json_states_quantity_and_unit_as_the_terminal_does(method, tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 2)), columns=["soil", "slope"])
    y = X["soil"].to_numpy() + 1.0
    explanation = pg.explain(
        pg.Model(lambda rows: np.asarray(rows)[:, 0], task="regression"),
        X,
        y if method == "permutation" else None,
        method=method,
        random_state=0,
        progress=False,
    )
    request = SimpleNamespace(row=None, method=method, target=(), folder=tmp_path)
    outcome = outcome_of(request, explanation)
    assert outcome.facts["quantity"]
    assert (
        f"{method} measures the {outcome.facts['quantity']} ({outcome.facts['unit']})."
        in outcome.text
    )
