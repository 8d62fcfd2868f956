"""Few rows of one class: weights of classes and rows, and probabilities that are right
again afterwards.
"""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, logsumexp, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score

import permgrad as pg
from permgrad import HyNNClassifier, InputError
from permgrad.models.estimators.calibration import (
    Calibration,
    check_calibration,
    class_logits,
    fit_calibration,
    one_versus_rest,
)
from permgrad.models.estimators.fit_inputs import class_weights


def small(**changes):
    options = {
        "preset": "fast", "branches": ("tabular",), "network": {"dense_units": [16], "fusion_units": []},
        "max_epochs": 25, "random_state": 0, "progress": False,
    }  # fmt: skip
    return HyNNClassifier(**{**options, **changes})


def rare(rows=4000, seed=0):
    """One number, the true log odds linear in it, 12 % yes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 2))
    p = expit(1.5 * X[:, 0] - 2.6)
    return X, np.where(rng.random(rows) < p, "yes", "no"), p


X, Y, P = rare()
X_TEST, Y_TEST, P_TEST = rare(seed=1)


# ---- weights -------------------------------------------------------------------------


def test_the_case_is_imbalanced_and_can_be_learnt():
    assert 0.08 < np.mean(Y == "yes") < 0.16
    assert roc_auc_score(Y_TEST == "yes", P_TEST) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    "single_logit", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_weights_shift_the_odds_by_their_ratio_and_keep_the_ranking(single_logit):
    network = {"dense_units": [16], "fusion_units": [], "single_logit": single_logit}
    plain = small(network=network).fit(X, Y).predict_proba(X_TEST)[:, 1]
    ratio = np.mean(Y == "no") / np.mean(Y == "yes")
    for weight, shown in (
        ("balanced", {"max_epochs": 1}),
        ("pos_weight", {"max_epochs": 1}),
        ({"yes": ratio}, {}),
    ):
        weighted = small(network=network, class_weight=weight, **shown).fit(X, Y)
        assert weighted.class_weights_[1] / weighted.class_weights_[0] == pytest.approx(
            ratio, rel=0.01
        )
    shift = logit(weighted.predict_proba(X_TEST)[:, 1]) - logit(plain)
    assert np.mean(shift) == pytest.approx(np.log(ratio), abs=0.25)
    assert roc_auc_score(Y_TEST, weighted.predict_proba(X_TEST)[:, 1]) > 0.8


@pytest.mark.slow
def test_row_weights_equal_class_weights_where_all_rows_are_trained_on():
    weight = np.where(Y == "yes", 3.0, 1.0)
    preset = {"base": "fast", "optimizer": "adam", "weight_decay": 0.0}
    by_row = small(validation_fraction=0.0, preset=preset).fit(
        X, Y, sample_weight=weight
    )
    by_class = small(
        validation_fraction=0.0,
        preset=preset,
        class_weight={"no": 1 / weight.mean(), "yes": 3 / weight.mean()},
    ).fit(X, Y)
    np.testing.assert_allclose(
        by_row.predict_proba(X_TEST), by_class.predict_proba(X_TEST), atol=1e-4
    )
    assert by_row.class_weights_.tolist() == [1, 1]


def test_row_weights_of_any_scale_are_the_same_training():
    weight = np.random.default_rng(0).random(len(Y)) + 0.1
    many_scale, single_scale = (
        small(max_epochs=3).fit(X, Y, sample_weight=scale * weight)
        for scale in (1.0, 1024.0)
    )
    np.testing.assert_array_equal(
        many_scale.predict_proba(X_TEST), single_scale.predict_proba(X_TEST)
    )
    assert not np.array_equal(
        many_scale.predict_proba(X_TEST),
        small(max_epochs=3).fit(X, Y).predict_proba(X_TEST),
    )


def test_pos_weight_is_balanced_up_to_one_factor():
    y = np.random.default_rng(0).integers(4, size=200)
    first_weights, second_weights = (
        class_weights(name, np.arange(4), np.bincount(y))
        for name in ("balanced", "pos_weight")
    )
    np.testing.assert_allclose(second_weights, first_weights / first_weights[0])


def test_weights_come_from_training_rows_alone():
    held_X = X[:2000]
    held_Y = Y[:2000]
    model = small(class_weight="pos_weight", max_epochs=1).fit(
        X[2000:], Y[2000:], eval_set=(held_X, held_Y)
    )
    counts = np.mean(Y[2000:] == "no") / np.mean(Y[2000:] == "yes")
    assert model.class_weights_[1] == pytest.approx(counts)


# ---- calibration: the formulas -------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10**6))
def test_prior_undoes_weights_exactly_in_the_odds(classes, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), size=20)
    weights = rng.uniform(0.1, 30, classes)
    # The minimiser of the weighted log loss: probabilities proportional to weight times
    # probability.
    z = np.log(p * weights) + rng.normal(size=(20, 1))
    calibrated_chances = fit_calibration("prior", weights).probabilities(z)
    np.testing.assert_allclose(calibrated_chances, p, rtol=1e-9)


def test_prior_of_one_logit_is_a_shift_by_the_log_of_pos_weight():
    z = np.linspace(-40, 40, 9)[:, None]
    calibrated_chances = fit_calibration("prior", np.array([1.0, 7.55])).probabilities(
        z
    )
    np.testing.assert_allclose(
        calibrated_chances[:, 1], expit(z[:, 0] - np.log(7.55)), rtol=1e-12
    )
    np.testing.assert_allclose(
        calibrated_chances[:, 0], expit(np.log(7.55) - z[:, 0]), rtol=1e-12
    )
    np.testing.assert_array_equal(
        Calibration().probabilities(z), softmax(class_logits(z), axis=1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_temperature_is_found(true):
    rng = np.random.default_rng(0)
    z = 2 * rng.normal(size=(20_000, 3))
    y = np.array([rng.choice(3, p=p) for p in softmax(z / true, axis=1)])
    weights = np.array([1.0, 2.0, 5.0])
    calibration = fit_calibration("temperature", weights, z + np.log(weights), y)
    assert calibration.temperature == pytest.approx(true, rel=0.05)
    # No other temperature has a smaller loss, by a slow scan.
    scan = np.geomspace(0.01, 100, 4001)
    losses = [log_loss(y[:2000], softmax(z[:2000] / t, axis=1)) for t in scan[::40]]
    best = fit_calibration("temperature", np.ones(3), z[:2000], y[:2000])
    assert (
        log_loss(y[:2000], softmax(z[:2000] / best.temperature, axis=1))
        <= min(losses) + 1e-9
    )


def test_weights_of_rows_count_as_copies():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    y = rng.integers(2, size=300)
    copies = rng.integers(1, 4, 300)
    for method in ("temperature", "isotonic"):
        weighted = fit_calibration(method, np.ones(2), z, y, copies.astype(float))
        repeated = fit_calibration(
            method, np.ones(2), np.repeat(z, copies, axis=0), np.repeat(y, copies)
        )
        np.testing.assert_allclose(
            weighted.probabilities(z), repeated.probabilities(z), atol=1e-5
        )


def test_isotonic_equals_scikit_learn_and_keeps_the_order():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(800, 1))
    y = (rng.random(800) < expit(z[:, 0]) ** 2).astype(int)
    calibration = fit_calibration("isotonic", np.array([1.0, 5.0]), z, y)
    new = np.linspace(-6, 6, 301)[:, None]
    expected = (
        IsotonicRegression(out_of_bounds="clip").fit(z[:, 0], y).predict(new[:, 0])
    )
    np.testing.assert_allclose(
        calibration.probabilities(new)[:, 1], expected, atol=1e-12
    )
    assert (np.diff(calibration.probabilities(new)[:, 1]) >= 0).all()


def test_isotonic_of_several_classes():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2, 1, 0.3], size=6000)
    y = np.array([rng.choice(3, p=row) for row in p])
    wrong = 3 * np.log(p) + [0, 1, 2]
    calibrated_chances = fit_calibration(
        "isotonic", np.ones(3), wrong, y
    ).probabilities(wrong)
    np.testing.assert_allclose(calibrated_chances.sum(axis=1), 1)
    assert (
        -np.log(np.clip(calibrated_chances[np.arange(len(y)), y], 1e-9, 1)).mean()
        < log_loss(y, softmax(wrong, axis=1)) - 0.1
    )
    # Far outside of what was seen there may be no class left: then nothing is known.
    nothing = Calibration("isotonic", curves=(((0.0,), (0.0,)),) * 3)
    np.testing.assert_allclose(nothing.probabilities(wrong[:2]), 1 / 3)


def test_log_odds_against_the_rest_are_exact_where_probabilities_are_not():
    z = np.array([[800.0, 0.0, -5.0], [0.0, 1.0, 2.0]])
    class_log_odds = one_versus_rest(z)
    assert class_log_odds[0, 0] == pytest.approx(800 - logsumexp([0, -5]))
    np.testing.assert_allclose(class_log_odds[1], logit(softmax(z[1])))


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration(),
        Calibration("prior", (0.1, 0.7)),
        Calibration("isotonic", curves=(((0.1, 0.3), (0.2, 1 / 3)),)),
    ],
)
def test_written_as_json_bit_for_bit(calibration):
    assert (
        Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
        == calibration
    )


# ---- calibration: the estimator ------------------------------------------------------


@pytest.fixture(scope="module")
def models():
    return {
        method: small(
            class_weight="balanced", calibration=method, validation_fraction=0.25
        ).fit(X, Y)
        for method in (None, "prior", "temperature", "isotonic")
    }


@pytest.mark.parametrize("method", ["prior", "temperature", "isotonic"])
def test_probabilities_are_right_again(models, method):
    plain = models[None].predict_proba(X_TEST)
    calibrated = models[method].predict_proba(X_TEST)
    assert np.mean(plain[:, 1]) > 2 * np.mean(Y_TEST == "yes"), (
        "weights have moved them"
    )
    assert np.mean(calibrated[:, 1]) == pytest.approx(
        np.mean(Y_TEST == "yes"), abs=0.03
    )
    assert (
        log_loss(Y_TEST, np.clip(calibrated, 1e-6, 1 - 1e-6))
        < log_loss(Y_TEST, plain) - 0.05
    )
    # An isotonic curve ends at the share of its last few rows, which may be 1.
    assert np.quantile(np.abs(calibrated[:, 1] - P_TEST), 0.99) < 0.2
    assert np.abs(calibrated[:, 1] - P_TEST).mean() < 0.03
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)


@pytest.mark.parametrize("method", ["prior", "temperature", "isotonic"])
def test_predict_cuts_where_the_calibrated_probabilities_do(models, method):
    model = models[method]
    probability = model.predict_proba(X_TEST)
    np.testing.assert_array_equal(
        model.predict(X_TEST),
        np.where(probability[:, 1] >= model.decision_threshold_, "yes", "no"),
    )
    assert model.decision_threshold_ == 0.5
    # An isotonic curve is flat in places, perhaps at the threshold itself.
    apart = probability[:, 1] != 0.5
    assert apart.mean() > 0.9
    np.testing.assert_array_equal(
        model.predict(X_TEST)[apart],
        model.classes_[probability[apart].argmax(axis=1)],
    )
    assert model.score(X_TEST, Y_TEST) > models[None].score(X_TEST, Y_TEST) + 0.05
    # The network is the same: calibration never touches training, nor the outputs that
    # attribution explains.
    encoded = model.encode_rows(X_TEST).encoded
    np.testing.assert_array_equal(
        model.predict_encoded(encoded), models[None].predict_encoded(encoded)
    )


@pytest.mark.parametrize("method", [None, "prior", "temperature", "isotonic"])
def test_saved_and_loaded_with_the_model(models, method, tmp_path):
    models[method].save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    expected = models[method].predict_proba(X_TEST)
    np.testing.assert_array_equal(loaded.predict_proba(X_TEST), expected)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(models[method])).predict_proba(X_TEST), expected
    )
    assert loaded.calibration == method
    path = tmp_path / "model" / "model.json"
    content = json.loads(path.read_text())
    for broken in (
        None,
        {
            "method": "isotonic",
            "shift": [],
            "temperature": 1.0,
            "curves": [[[0.0], []]],
        },
    ):
        path.write_text(json.dumps({**content, "calibration": broken}))
        with pytest.raises(InputError, match="is damaged: its seal differs"):
            pg.load(tmp_path / "model")


@pytest.mark.slow
def test_an_eval_set_calibrates_in_the_place_of_held_out_rows():
    model = small(calibration="temperature").fit(
        X[:2000], Y[:2000], eval_set=(X[2000:], Y[2000:])
    )
    outputs = model.predict_encoded(model.encode_rows(X[2000:]).encoded)
    expected = fit_calibration(
        "temperature", np.ones(2), outputs, (Y[2000:] == "yes").astype(int)
    )
    assert model.calibration_.temperature == expected.temperature != 1


@pytest.mark.slow
def test_three_classes():
    rng = np.random.default_rng(0)
    y = np.array(
        [
            rng.choice(3, p=p)
            for p in softmax(
                np.column_stack([X[:, 0] + 2, X[:, 1], 0 * X[:, 0]]), axis=1
            )
        ]
    )
    share = np.bincount(y) / len(y)
    for method in ("prior", "temperature", "isotonic"):
        model = small(
            class_weight="balanced", calibration=method, validation_fraction=0.25
        ).fit(X, y)
        np.testing.assert_allclose(
            model.predict_proba(X).mean(axis=0), share, atol=0.03
        )
    assert (
        np.abs(
            small(class_weight="balanced").fit(X, y).predict_proba(X).mean(axis=0)
            - share
        ).max()
        > 0.05
    )


def test_what_cannot_be_calibrated_is_refused_before_training():
    with pytest.raises(
        InputError,
        match=(
            r"calibration='temperature' needs rows held out of training, but there are "
            r"none. Pass "
            r"validation_fraction=0.1 or an eval_set, or calibration='prior', which "
            r"needs none"
        ),
    ):
        small(calibration="temperature", validation_fraction=0.0).fit(X, Y)
    with pytest.raises(
        InputError,
        match=r"calibration='prior' needs class weights above 0, but class 'no' has "
        r"weight 0",
    ):
        small(calibration="prior", class_weight={"no": 0.0}).fit(X, Y)
    with pytest.raises(InputError, match=r"calibration cannot be 'priors'"):
        small(calibration="priors").fit(X, Y)
    with pytest.raises(
        InputError,
        match="rows of every class among those held out of training, but none is of",
    ):
        check_calibration(
            "isotonic", np.ones(2), np.array(["no", "yes"]), np.zeros(5, dtype=np.int64)
        )
    with pytest.raises(
        InputError,
        match="class_weight must be None, 'balanced', 'pos_weight' or a mapping",
    ):
        small(class_weight="heavy").fit(X, Y)
    check_calibration(
        "prior", np.ones(2), np.array(["no", "yes"]), np.zeros(0, dtype=np.int64)
    )
    assert not hasattr(
        small(calibration="temperature", validation_fraction=0.0), "calibration_"
    )
