"""The path game of networks with branches beside the head: a slow twin, closed forms,
and a known truth.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from beside import trees, with_branches
from explaining import donor_rows, explain_with
from verification import verify_paths as verify

import permgrad as pg
from permgrad.models.network.additive import LinearBranch

ROWS = 210
TABLE, NUMBERS = verify.mixed_table(2 * ROWS, seed=0)
TRAIN = TABLE[:ROWS]
TEST = TABLE[ROWS:].reset_index(drop=True)
BRANCHES = [("linear",), ("trees",), ("linear", "trees")]


def fitted(task: str, heads: tuple[str, ...], names: tuple[str, ...], y: np.ndarray):
    estimator = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    network = {"dense_units": [8], "conv_filters": [4], "fusion_units": [8]}
    settings = {
        "preset": "fast",
        "branches": heads,
        "network": network,
        "max_epochs": 3,
        "random_state": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return with_branches(
            estimator(**settings, progress=False).fit(TRAIN, y[:ROWS]), *names
        )


# Of numbers, too, branches are cut out of a sum: the richest case is enough.
@pytest.mark.parametrize(
    ("task", "heads", "names"),
    [
        *(("classification", ("tabular",), names) for names in BRANCHES),
        *(("classification", ("tabular", "image"), names) for names in BRANCHES),
        ("regression", ("tabular", "image"), ("linear", "trees")),
    ],
)
def test_every_effect_is_that_of_the_slow_way(task, heads, names):
    y = NUMBERS if task == "regression" else verify.three_classes(NUMBERS)
    model = fitted(task, heads, names, y)
    y = y[ROWS:]
    row_slice = slice(20)
    differences = verify.largest_difference(
        model,
        TEST[row_slice],
        y[row_slice],
        repeats=1,
        background=TRAIN[:30],
        single_rows=1,
    )
    assert differences["parts"] == 2 + len(heads) + len(names)
    assert differences["largest effect"] > 1e-3
    assert differences["difference of means"] <= verify.TOLERANCE
    assert differences["difference of single pairs"] <= verify.PAIR_TOLERANCE


@pytest.fixture(scope="module")
def whole():
    y = verify.three_classes(NUMBERS)
    return fitted("classification", ("tabular", "image"), ("linear", "trees"), y), y[
        ROWS:
    ]


@pytest.mark.parametrize(
    "options", [{"scope": "local"}, {"method": "ablation"}, {}], ids=str
)
def test_shares_of_all_paths_add_up(whole, options):
    model, y = whole
    about = {"background": TRAIN, "random_state": 0, "progress": False, **options}
    explanation = pg.explain(
        model, TEST[:40], None if options.get("scope") == "local" else y[:40], **about
    )
    assert list(explanation.parts) == [
        "tabular",
        "image",
        "linear",
        "trees",
        "interaction",
    ]
    assert explanation.meta["paths"] == list(explanation.parts)[:-1]
    shares = [explanation.parts[name] for name in explanation.meta["paths"]]
    np.testing.assert_allclose(sum(shares), explanation.values, rtol=0, atol=1e-9)
    assert all(np.abs(share).max() > 1e-3 for share in shares)
    assert {*explanation.parts} <= {*explanation.to_frame().columns}


def test_what_is_added_to_logits_has_no_interaction_with_the_rest():
    """Raw outputs are sums: line and trees do not interact, with each other or with the
    head.
    """
    y = verify.three_classes(NUMBERS)
    model = fitted("classification", ("tabular",), ("linear", "trees"), y)
    model.module_.double()
    explanation = pg.explain(
        model,
        TEST[:30],
        scope="local",
        scale="logit",
        random_state=0,
        background=TRAIN,
        progress=False,
    )
    np.testing.assert_allclose(explanation.parts["interaction"], 0, atol=1e-12)


def _known(rows: int, seed: int):
    """Return f = a·x (table) + b·x (image) + c·x (line) + trees(x), its parts, and
    rows.
    """
    a = np.array([1.0, 0.5])
    b = np.array([0.5, -0.25])
    c = np.array([0.75, 1.0])
    model = verify.hand_set(list(2 * a), list(2 * b))
    module = model.module_
    rng = np.random.default_rng(seed)
    module.add_path("linear", LinearBranch(2, 1).fill(c[None] / 0.125, [0.0]), 0.2)
    module.add_path(
        "trees", trees(2, 1), 0.375
    )  # the head has .8 · .625 = .5, the line .2 · .625
    X = rng.normal(size=(rows, 2))
    encoded = torch.from_numpy(model.encode_rows(X).encoded).double()
    tree_outputs = module.additive["trees"](encoded)[:, 0].numpy()
    path_values = {
        "tabular": encoded.numpy() @ a,
        "image": encoded.numpy() @ b,
        "linear": encoded.numpy() @ c,
        "trees": tree_outputs,
    }
    np.testing.assert_allclose(
        model.predict(X), sum(path_values.values()), atol=1e-6
    )  # precondition
    return model, X, path_values


def test_branch_weights_are_the_closed_form_and_their_intervals_cover_it():
    """With squared error and y = f, a coalition's effect is E (Σ d_p)², d_p = f_p(x′) −
    f_p(x): φ_p = E d_p Σ d_q.
    """
    model, X, path_values = _known(3000, 4)
    y = model.predict(X)
    branch_facts = pg.explain(
        model, X, y, random_state=0, n_repeats=10, progress=False
    ).branches
    covariance = 2 * np.cov(np.stack(list(path_values.values())))
    total = covariance.sum()
    for path_index, path in enumerate(path_values):
        entry = branch_facts[path]
        expected = covariance[path_index].sum()
        assert entry["ci_low"] < expected < entry["ci_high"]
        assert entry["share"] == pytest.approx(expected / total, abs=0.02)
        assert entry["share_low"] < expected / total < entry["share_high"]
        alone = covariance[path_index, path_index]
        assert entry["alone"] == pytest.approx(alone, abs=0.02 * total)
        assert entry["last"] == pytest.approx(2 * expected - alone, abs=0.02 * total)
    assert branch_facts["interaction"] == pytest.approx(
        total - np.trace(covariance), rel=0.03
    )
    assert sum(branch_facts[path]["share"] for path in path_values) == pytest.approx(1)
    assert set(branch_facts) == {*path_values, "interaction", "total", "quantity"}


def test_path_shares_of_features_are_the_closed_form_on_the_pairs_drawn():
    model, X, _ = _known(400, 5)
    y = model.predict(X)
    encoded = torch.from_numpy(model.encode_rows(X).encoded).double()
    explanation = pg.explain(model, X, y, random_state=3, n_repeats=2, progress=False)
    for feature_index, name in enumerate(explanation.names):
        sums = np.zeros(4)
        for repeat in range(2):
            donors = donor_rows(3, name, repeat, np.arange(400), 400, shared=True)
            edited = encoded.clone()
            edited[:, feature_index] = encoded[donors, feature_index]
            with torch.no_grad():
                heads = [
                    np.array([1.0, 0.5]),
                    np.array([0.5, -0.25]),
                    np.array([0.75, 1.0]),
                ]
                moves = [(edited - encoded).numpy() @ slope for slope in heads]
                trees_module = model.module_.additive["trees"]
                moves.append(
                    (trees_module(edited) - trees_module(encoded))[:, 0].numpy()
                )
            sums += [np.mean(move * sum(moves)) / 2 for move in moves]
        shares = [
            explanation.parts[path][feature_index, 0]
            for path in ("tabular", "image", "linear", "trees")
        ]
        np.testing.assert_allclose(shares, sums, atol=2e-5)


def test_whole_branches_are_weighed_on_parts_of_a_table_too(whole):
    model, y = whole
    common = {"background": TRAIN, "n_repeats": 2, "random_state": 0, "progress": False}
    branch_facts = explain_with(model, TEST, y, **common).branches
    assert [*branch_facts][:4] == ["tabular", "image", "linear", "trees"]
    weights = pd.DataFrame(
        {path: branch_facts[path] for path in model.module_.paths}
    ).T.astype(float)
    assert (weights["ci_low"] < weights["importance"]).all()
    if branch_facts["total"]["ci_low"] > 0:
        assert (weights["share_low"] < weights["share"]).all()
        assert (weights["share"] < weights["share_high"]).all()
