"""``pg.report`` on every kind of model: what the page says, and what is refused before
any work starts.
"""

from __future__ import annotations

import pickle
import re

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import torch
from assessing import assessed, words
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import permgrad as pg
from permgrad.assess.read_model import label_of
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.subject import predictor
from permgrad.base.errors import InputError
from permgrad.pages.html import render_report
from permgrad.pages.report import Report
from permgrad.pages.tabs.rows import row_pictures, where
from permgrad.pages.verdict import verdict
from permgrad.pages.views import SectionView

pytestmark = pytest.mark.usefixtures("undrawn")
QUICK = {"progress": False}


def visits(rows: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "region": pd.Categorical(rng.choice(["north", "south", "west"], rows)),
            "noise": rng.normal(size=rows),
        }
    )
    late = (
        table["age"] / 30 + (table["region"] == "north") + rng.normal(0, 0.3, rows)
        > 2.2
    )
    return table, pd.Series(np.where(late, "late", "on time"), name="arrival")


def age_alone(table: pd.DataFrame) -> np.ndarray:
    return table["age"].to_numpy() / 90


@pytest.fixture(scope="module")
def forest():
    X, y = visits(300, 0)
    encode = make_column_transformer(
        (OneHotEncoder(), ["region"]), remainder="passthrough"
    )
    return make_pipeline(encode, RandomForestClassifier(4, random_state=0)).fit(X, y), (
        X,
        y,
    )


# ---- a predictor on a table ----------------------------------------------------------
def test_a_pipeline_of_classes_has_the_metrics_of_scikit_learn_and_a_page(
    forest, tmp_path, undrawn
):
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    model, train = forest
    X, y = visits(150, 1)
    assessment = assessed(model, X, y, train=train)
    chances = model.predict_proba(X)
    assert assessment.test["accuracy"] == accuracy_score(y, model.predict(X))
    assert assessment.test["log_loss"] == pytest.approx(log_loss(y, chances))
    assert assessment.test["roc_auc"] == pytest.approx(roc_auc_score(y, chances[:, 1]))
    assert assessment.learnt
    assert assessment.target == "arrival"
    share = (train[1] == "late").mean()
    assert assessment.constant["log_loss"] == pytest.approx(
        log_loss(y, np.tile([share, 1 - share], (150, 1)))
    )
    assert assessment.explanation is not None
    assert assessment.explanation.ranking()[-1] == "noise"
    assert assessment.data is not None
    assert assessment.data.class_counts is not None
    assert assessment.data.class_counts["train"].tolist() == [
        (train[1] == name).sum() for name in ("late", "on time")
    ]
    assert assessment.rows
    _check_answers(assessment, model, X, train)
    path = tmp_path / "page.html"
    page = pg.report(model, X, y, path=path, train=train, title="Visits <3", **QUICK)
    assert page.path == path
    assert path.read_text(encoding="utf-8") == page.html
    assert "<title>Visits &lt;3" in page.html
    text = words(page)
    assert "RandomForestClassifier" in text
    assert "region" in text
    assert (
        pg.report(model, X, y, train=train, title="Visits <3", **QUICK).html
        == page.html
        or "started" in text
    )


def _check_answers(assessment, model, X, train):
    """The cards' curves are the model's predictions, and listed rows have their own
    values and explanations.
    """
    assert assessment.cards is not None
    card = next(card for card in assessment.cards.cards if card["feature"] == "region")
    level_index = card["label"].index("north")
    row = int(assessment.cards.curve_rows[0])
    changed = X.iloc[[row]].assign(
        region=pd.Categorical(["north"], X["region"].cat.categories)
    )
    positive = list(model.classes_).index(assessment.cards.classes[0])
    curve = assessment.cards.curves["region"][0, level_index, 0]
    assert curve == pytest.approx(model.predict_proba(changed)[0, positive])
    listed = assessment.listed
    assert listed is not None
    assert listed.table.loc[3, "age"] == X["age"].iloc[listed.numbers[3]]
    explained = [number for local_rows in listed.local for number in local_rows.numbers]
    assert set(explained) <= set(listed.numbers.tolist())
    wrong = np.flatnonzero(listed.predicted.argmax(axis=1) != listed.truth)
    assert set(listed.numbers[wrong].tolist()) <= set(explained), (
        "mistakes are explained"
    )
    assert listed.similar is not None
    near = int(listed.similar.near[0, 0])
    assert (
        listed.similar.table["age"].iloc[near]
        == train[0]["age"].iloc[listed.similar.numbers[near]]
    )


def test_a_regression_without_training_rows_says_where_the_constant_comes_from():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = 3 * X[:, 0] + 0.1 * rng.normal(size=200)
    assessment = assessed(LinearRegression().fit(X[:100], y[:100]), X[100:], y[100:])
    assert assessment.task == "regression"
    assert assessment.test["rmse"] < 0.2
    assert assessment.predictions is not None
    assert assessment.predictions.training_mean == pytest.approx(y[100:].mean())
    assert assessment.constant["rmse"] == pytest.approx(y[100:].std())
    assert assessment.explanation is not None
    assert clearly_matter(assessment.explanation) == ["x0"]
    assert assessment.target == "y"
    assert assessment.listed is not None
    assert assessment.listed.similar is None, "there are no training rows"
    assert assessment.cards is not None
    slope = np.diff(assessment.cards.curves["x0"].mean(axis=0)[:, 0]) / np.diff(
        assessment.cards.cards[0]["at"]
    )
    assert slope == pytest.approx(np.full(len(slope), 3.0), abs=0.1)


def test_functions_and_models_of_labels_alone():
    X, y = visits(120, 2)
    numbers = X[["age", "noise"]]
    assessment = assessed(LinearSVC().fit(numbers, y), numbers, y)
    assert assessment.test["accuracy"] is not None
    assert assessment.test["log_loss"] is None, "labels have no probabilities"
    assert set(assessment.constant["ahead"]) == {"accuracy"}
    model = pg.Model(
        lambda table: (table["age"] > 60).to_numpy(float), returns="probabilities"
    )
    labelled = assessed(model, numbers, y == "late")
    assert labelled.subject == "function"
    assert labelled.predictions is not None
    assert list(labelled.predictions.classes) == ["0", "1"]


@pytest.mark.parametrize("with_train", [False, True])
def test_rows_of_one_class_are_no_test_of_the_model(with_train):
    X, y = visits(400, 0)
    numbers = X[["age", "noise"]]
    late = np.flatnonzero(y == "late")
    model = LogisticRegression().fit(numbers, y)
    train = (numbers, y) if with_train else None
    spoken = verdict(assessed(model, numbers.iloc[late], y.iloc[late], train=train))
    kinds = {
        verdict_entry["facts"]["kind"]: verdict_entry["sentence"]
        for verdict_entry in spoken
    }
    assert kinds["skill"] == "The model LogisticRegression predicts arrival."
    assert not {"constant", "calibration"} & set(kinds)
    assert (
        "have the class late, so nothing is known about the other classes"
        in kinds["one_class"]
    )
    # Training rows that are test rows, too, come first.
    assert kinds["next"].startswith(
        "Check whether equal rows" if with_train else "Test it on rows of every class."
    )


def test_a_single_row_takes_replacement_values_from_the_training_rows():
    X, y = visits(60, 0)
    numbers = X[["age", "noise"]]
    model = LogisticRegression().fit(numbers[1:], y[1:])
    with pytest.raises(InputError, match="A single row has no other row"):
        pg.report(model, numbers[:1], y[:1], **QUICK)
    text = words(
        pg.report(model, numbers[:1], y[:1], train=(numbers[1:], y[1:]), **QUICK)
    )
    assert (
        f"All test rows (1) have the class {y[0]}, so nothing is known about the other "
        "classes" in text
    )


@pytest.mark.slow
def test_without_rows_of_a_class_nothing_is_said_of_the_order():
    X, _ = visits(300, 0)
    grade = pd.cut(X["age"], [0, 40, 60, 200], labels=["a", "b", "c"]).astype(str)
    model = LogisticRegression(C=1e-5).fit(X[["age", "noise"]], grade)
    known_rows = np.flatnonzero(grade != "c")
    assessment = assessed(
        model, X[["age", "noise"]].iloc[known_rows], grade.iloc[known_rows]
    )
    spoken = " ".join(
        verdict_entry["sentence"] for verdict_entry in verdict(assessment)
    )
    assert assessment.test["roc_auc"] is None
    assert "roc_auc" not in assessment.constant["ahead"]
    assert "rank" not in spoken


def test_a_column_that_gives_the_target_away_is_an_alarm(forest, undrawn):
    _, (X, y) = forest
    leak = X.assign(code=np.where(y == "late", 2.0, 5.0))
    model = LogisticRegression(max_iter=500).fit(leak[["age", "code"]][:200], y[:200])
    rows = leak[["age", "code"]]
    assessment = assessed(model, rows[200:], y[200:], train=(rows[:200], y[:200]))
    assert assessment.data is not None
    assert [leak_entry["column"] for leak_entry in assessment.data.leaks] == ["code"]
    alarm = verdict(assessment)[0]["sentence"]
    assert alarm.startswith("Column 'code' alone predicts 'arrival' nearly perfectly")
    assert verdict(assessment)[-1]["sentence"].endswith(
        "If only afterwards, train without it."
    )
    page = words(Report(render_report(assessment)))
    assert "Data: Columns that give the target away" in page, (
        "a link to more about the alarm"
    )
    assert "Each of these columns alone predicts arrival nearly perfectly" in page
    alone = assessed(model, rows[200:], y[200:])
    assert alone.data is not None
    assert not alone.data.leaks, "without training rows nothing can be learned"
    sentences_by_kind = {
        verdict_entry["facts"]["kind"]: verdict_entry["sentence"]
        for verdict_entry in verdict(alone)
    }
    assert sentences_by_kind["nearly_perfect"].startswith(
        "It is nearly perfect (balanced accuracy 1.00)"
    )
    assert (
        "not checked whether a column gives the target away"
        in sentences_by_kind["nearly_perfect"]
    )
    assert sentences_by_kind["next"] == "Pass train=(X_train, y_train) too."
    page = words(Report(render_report(alone)))
    assert "reason for doubt" not in page


@pytest.mark.slow
def test_checks_that_were_not_made_are_named(forest, undrawn):
    model, (X, y) = forest
    rng = np.random.default_rng(0)
    noisy = y.where(rng.random(len(y)) < 0.7, rng.permutation(y))
    assessment = assessed(model, X, noisy)
    assert "nearly_perfect" not in {
        verdict_entry["facts"]["kind"] for verdict_entry in verdict(assessment)
    }, "the model is not perfect"
    page = words(Report(render_report(assessment)))
    assert (
        page.count("It was not checked whether a column gives the target away") == 2
    ), "in Trust and in Data"
    checked = words(Report(render_report(assessed(model, X, noisy, train=(X, y)))))
    assert "It was not checked" not in checked


# ---- networks ------------------------------------------------------------------------
class Both(nn.Module):
    """An image and a table.

    The first column decides, and the upper half of the image.
    """

    def forward(self, image: torch.Tensor, clinical: torch.Tensor) -> torch.Tensor:
        score = 4 * clinical[:, 0] + 6 * image[:, 0, :4].mean(dim=(1, 2))
        return torch.stack([-score, score], dim=1)


class Bag(nn.Module):
    """Words and a table."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.numbers = nn.Embedding(20, 1)

    def forward(self, input_ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return (
            self.numbers(input_ids)[..., 0].sum(dim=1, keepdim=True) + 2 * table[:, :1]
        )


def test_channels_beside_time_are_no_image():
    torch.manual_seed(0)
    waves = torch.randn(40, 3, 60).cumsum(dim=2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(180, 1))
    explanation = pg.explain(net, waves, waves[:, 1].mean(dim=1), progress=False)
    assert explanation.maps["segments:input"].shape == (3, 60)
    assert explanation.meta["read_as"]["input"]["noun"] == "series"
    where(section := SectionView("where", ""), None, explanation)
    assert section.blocks[0] == ("heading", "Where in input")
    assert not re.search("image|patch", str(section.blocks[:2]))


def test_a_network_of_an_image_and_a_table(undrawn):
    torch.manual_seed(0)
    inputs = {"image": torch.randn(60, 1, 8, 8), "clinical": torch.randn(60, 3)}
    net = Both()
    y = net(**inputs).argmax(dim=1).numpy()
    assert 10 < y.sum() < 50, "both classes occur"
    model = pg.Model(net, segments={"image": ("grid", 2)}, class_names=["well", "ill"])
    assessment = assessed(model, inputs, y)
    assert assessment.test["accuracy"] == 1.0
    assert assessment.explanation is not None
    assert assessment.explanation.ranking()[0] == "clinical[0]"
    assert assessment.data is not None
    assert assessment.data.columns is not None
    assert assessment.data.columns["size"].tolist() == ["1 × 8 × 8", "3"]
    assert assessment.cards is None, "the image has no column to change"
    assert [len(row_pictures(row)) for row in assessment.rows] == [1] * len(
        assessment.rows
    )
    where(section := SectionView("where", ""), assessment, assessment.explanation)
    assert section.blocks[0] == ("heading", "Where in the images: image")
    assert assessment.together is not None
    inputs_of = assessment.together.modalities
    assert inputs_of.names == ("image", "clinical", "image × clinical")
    assert (inputs_of.low[1] > 0).all(), "the table clearly matters"
    page = words(Report(render_report(assessment)))
    assert "What each modality tells" in page
    assert "image × clinical" in page


@pytest.mark.slow
def test_pairs_of_features_are_measured_and_shown(undrawn):
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(150, 4)), columns=list("abcd")
    )
    y = X["a"] * X["b"] * 3 + X["c"]

    def model(rows):
        return rows["a"] * rows["b"] * 3 + rows["c"]

    pages = {}
    for count in (3, 0):
        pages[count] = words(
            Report(render_report(assessed(model, X, y, interactions=count)))
        )
    assert "Strongest: a and b" in pages[3] or "Strongest: b and a" in pages[3]
    assert "All 6 pairs of 4 features were looked at." in pages[3], (
        "a single further feature is itself"
    )
    assert "shuffling both costs less than the sum" in pages[3]
    assert "Which features work together" not in pages[0]


@pytest.mark.slow
def test_a_quantile_is_not_judged_by_squared_errors():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"dose": rng.normal(size=300), "noise": rng.normal(size=300)})
    y = X["dose"] + rng.exponential(10, 300)
    model = QuantileRegressor(quantile=0.99, alpha=0).fit(X, y)
    root = np.sqrt(np.mean((y - model.predict(X)) ** 2))
    assert root > np.std(y), "by squared errors the mean is better"
    page = pg.report(model, X, y, **QUICK)
    assert (
        "It predicts the quantile 0.99, and these scores are for models of the mean"
        in page.markdown
    )
    assert "Do not use its predictions" not in page.markdown
    assert "better than a constant" not in words(page)
    mean = pg.report(LinearRegression().fit(X, y), X, y, **QUICK)
    assert "It predicts the quantile" not in mean.markdown


def test_results_of_statsmodels_are_called_by_their_model():
    class OLS:
        pass

    class RegressionResultsWrapper:
        model = OLS()

    assert label_of(RegressionResultsWrapper()) == "OLS"


def test_a_network_of_words_and_a_table_and_a_tuple_of_many_rows():
    torch.manual_seed(1)
    net = Bag()
    ids = torch.randint(0, 20, (50, 4))
    table = torch.randn(50, 2)
    y = net(ids, table).detach().numpy()[:, 0]
    assessment = assessed(net, (ids, table), y, max_rows=30)
    assert assessment.test["rmse"] == pytest.approx(0, abs=1e-5)
    assert assessment.explanation is not None
    assert (
        assessment.explanation.meta["rows"] == 30
        if "rows" in assessment.explanation.meta
        else True
    )
    assert any(
        "tokens" in caption
        for row in assessment.rows
        for _, caption in row_pictures(row)
    )


def test_one_of_several_outputs_is_reported():
    X = np.random.default_rng(0).normal(size=(80, 3))
    y = pd.DataFrame({"low": X[:, 0], "high": 2 * X[:, 1]})
    model = LinearRegression().fit(X, y)
    with pytest.raises(
        InputError, match="A report is of one output, and the model has 2"
    ):
        assessed(model, X, y)
    assessment = assessed(model, X, y, target="high")
    assert assessment.target == "high"
    assert assessment.explanation is not None
    assert assessment.explanation.ranking()[0] == "x1"


# ---- what is refused -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"y": None},
            (
                r"report needs y: a page says how good the model is\. Pass the "
                r"targets\. "
                r"\[PG005\]"
            ),
        ),
        (
            {"y": ["late"] * 3},
            r"y must have one value for each of the 20 rows, got the shape \(3,\)",
        ),
        ({"title": 3}, r"title must be text, got 3"),
        ({"max_rows": 1}, r"max_rows must be an integer of at least 2, got 1"),
        ({"train": 5}, r"train must be a pair of rows and targets, got int"),
        (
            {"path": "page.txt"},
            (
                r"A report ends in .html or .htm or .md, got path='page.txt'\. Pass "
                r"'page.html'"
            ),
        ),
        ({"path": ""}, r"path must be a file to write, got ''"),
        ({"path": "."}, r"\. is a folder"),
    ],
)
def test_wrong_arguments_are_refused(forest, change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = visits(20, 3)
    arguments = {"model": forest[0], "X": X, "y": y, **QUICK, **change}
    with pytest.raises(InputError, match=message):
        pg.report(**arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced(forest, tmp_path):
    X, y = visits(20, 3)
    path = tmp_path / "page.html"
    path.write_text("mine")
    page = pg.report(forest[0], X, y, path=path, **QUICK)
    assert path.read_text(encoding="utf-8") == page.html


# ---- the result ----------------------------------------------------------------------
def test_a_report_shows_itself_in_a_frame_that_cannot_reach_the_notebook(tmp_path):
    page = Report('<!doctype html><p class="a">x & y</p>')
    shown = page._repr_html_()
    assert 'sandbox="allow-scripts allow-downloads' in shown
    assert "allow-same-origin" not in shown
    assert "&lt;p class=&quot;a&quot;&gt;x &amp; y" in shown
    with pytest.raises(InputError, match="was not written to a file"):
        page.open()
    saved = page.save(tmp_path / "p.html")
    assert repr(saved).endswith("p.html>")
    assert saved.save(tmp_path / "p.html").path == tmp_path / "p.html"


def test_sentences_alone_are_a_file_of_markdown(tmp_path):
    X, _ = visits(120, 4)
    table = X[["age", "noise"]]
    path = tmp_path / "arrival.MD"
    ranked = pg.report(
        lambda rows: rows["age"] * 2.0, table, X["age"] * 2, path=path, **QUICK
    )
    assert path.read_text(encoding="utf-8") == ranked.markdown.replace(
        "(report.svg)", "(arrival.svg)"
    )
    assert ranked.path == path
    assert "| age | " in ranked.markdown
    saved = ranked.save(tmp_path / "other.html").save(tmp_path / "other.md")
    assert saved.path is not None
    assert saved.path.read_text(encoding="utf-8") == ranked.markdown.replace(
        "(report.svg)", "(other.svg)"
    )


def test_models_are_called_by_what_people_know_them_as(forest):
    model = forest[0]
    assert label_of(model) == "RandomForestClassifier"
    assert label_of(model.predict_proba) == "RandomForestClassifier"
    assert label_of(lambda table: table) == "function"
    assert label_of(visits) == "visits"
    assert label_of(Bag()) == "Bag"
    assert callable(pg.report), "the folder of the same name does not hide it"
    back = pickle.loads(cloudpickle.dumps(lambda: pg))
    assert back() is pg, "a function that names the package can be sent to workers"


def test_columns_of_groups_have_cards_and_values(forest):
    model, (X, y) = forest
    shown = assessed(model, X, y, groups={"person": ["age", "region"]})
    assert {card["feature"] for card in shown.cards.cards} == {"age", "region", "noise"}
    assert set(shown.listed.table.columns) == {"age", "region", "noise"}


@pytest.mark.slow
def test_the_same_report_of_another_minute_is_the_same_page(forest, monkeypatch):
    import time

    model, (X, y) = forest
    first = pg.report(model, X, y, **QUICK).html
    monkeypatch.setattr(time, "strftime", lambda *_: "2031-05-06 07:08:09")
    slow = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: 3 * slow())
    assert pg.report(model, X, y, **QUICK).html == first


def test_rows_of_a_predictor_are_checked_once(monkeypatch):
    """A page has several explanations of one model. Each check takes calls of it."""
    X, y = visits(80, 1)
    checks = []
    monkeypatch.setattr(
        predictor, "check_row_independence", lambda *_: checks.append(1)
    )
    assessment = assessed(
        pg.Model(age_alone, task="regression"), X[["age"]], y == "late"
    )
    assert len(assessment.rows) > 0, "single rows are explained"
    assert len(checks) == 1
    pg.explain(age_alone, X[["age"]], progress=False)
    assert len(checks) == 2


@pytest.mark.parametrize("level", ["deer", "fox"])
def test_test_rows_of_one_class_say_nothing_of_skill(level):
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"size": rng.normal(size=500), "age": rng.normal(size=500)})
    y = np.select([X["size"] > 0.8, X["size"] > -0.5], ["deer", "fox"], "hare")
    model = LogisticRegression().fit(X[:250], y[:250])
    level_mask = y[250:] == level
    text = pg.report(model, X[250:][level_mask], y[250:][level_mask]).markdown
    assert (
        f"have the class {level}, so nothing is known about the other classes" in text
    )
    assert "Test it on rows of every class." in text
    for word in ("accuracy", "nearly perfect", "know the outcome"):
        assert word not in text


def test_a_better_accuracy_does_not_hide_probabilities_that_are_worse_than_none():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(800, 3)), columns=list("abc"))
    y = np.digitize(X["a"] + rng.normal(size=800), [-0.6, 0.6]).astype(str)
    train, test = slice(0, 400), slice(400, None)
    pages = {}
    for depth in (None, 2):
        model = DecisionTreeClassifier(max_depth=depth, random_state=0)
        model.fit(X[train], y[train])
        page = pg.report(model, X[test], y[test], train=(X[train], y[train]))
        pages[depth] = page.markdown
        assert "It is clearly better than that: accuracy" in page.markdown
    worse = "Its probabilities are clearly worse than the shares of the classes alone"
    assert f"{worse}: log loss " in pages[None]
    assert "Do not take its probabilities at their word." in pages[None]
    assert worse not in pages[2], "a shallow tree has shares of its own"
