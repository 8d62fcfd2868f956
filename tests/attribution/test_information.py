"""What modalities tell alone, both and only together: closed forms, an independent optimiser, and models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

import permgrad as pg
from permgrad.attribution.information import bits_of, least_together
from permgrad.base.errors import InputError

PARTS = ["unique to a", "unique to b", "shared", "synergy"]
PAIRS = np.array([(a, b) for a in (0, 1) for b in (0, 1)])


def joint_of(target, share=None):
    """Return the distribution of two bits and a function of both."""
    joint = np.zeros((2, 2, 1 + max(target(a, b) for a, b in PAIRS)))
    for a, b in PAIRS:
        joint[a, b, target(a, b)] = 0.25 if share is None else share[a][b]
    return joint


#: Shares by hand: of AND, both sources have 0.311 of 0.811 bits, and the least together is the same 0.311.
KNOWN = {
    "xor": (lambda a, b: a ^ b, None, [0, 0, 0, 1]),
    "and": (lambda a, b: a & b, None, [0, 0, 0.38369, 0.61631]),
    "or": (lambda a, b: a | b, None, [0, 0, 0.38369, 0.61631]),
    "both bits": (lambda a, b: 2 * a + b, None, [0.5, 0.5, 0, 0]),
    "copy of one": (lambda a, _: a, None, [1, 0, 0, 0]),
    "copies": (lambda a, _: a, [[0.5, 0], [0, 0.5]], [0, 0, 1, 0]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_discrete_distributions_are_divided_as_by_hand(name):
    target, share, expected = KNOWN[name]
    frame = pg.partial_information(joint_of(target, share))
    assert list(frame.columns) == ["part", "share", "bits"]
    np.testing.assert_allclose(frame["share"], expected, atol=1e-5)
    np.testing.assert_allclose(frame["bits"].sum(), bits_of(joint_of(target, share).reshape(4, -1)), atol=1e-9)


def blackwell(first, second):
    """Return U of a target of two classes: the information of the concave hull of both ROC curves.

    An experiment on two hypotheses is worth more than two others exactly if its ROC curve is above both, and the hull
    is the least such curve.
    """
    points = []
    for table in (first, second):
        order = np.argsort(-table[1] / table.sum(axis=0))
        points.append(np.vstack([[0, 0], np.cumsum(table[:, order], axis=1).T / table.sum(axis=1)]))
    points, hull = np.concatenate(points), [np.zeros(2)]
    while hull[-1][0] < 1 - 1e-12 or hull[-1][1] < 1 - 1e-12:
        steps = points - hull[-1]
        ahead = (steps >= -1e-12).all(axis=1) & (steps.max(axis=1) > 1e-12)
        angle = np.arctan2(steps[ahead, 1], steps[ahead, 0])
        far = np.flatnonzero(angle > angle.max() - 1e-12)
        candidates = points[ahead][far]
        hull.append(candidates[candidates.sum(axis=1).argmax()])
    return bits_of(np.diff(np.array(hull), axis=0).T * first.sum(axis=1)[:, None])


def test_two_classes_are_the_hull_of_both_roc_curves():
    rng, above = np.random.default_rng(0), 0
    for _ in range(10):
        joint = rng.dirichlet(np.full(2 * 4 * 5, 0.4)).reshape(2, 4, 5)
        first, second = joint.sum(axis=2), joint.sum(axis=1)
        expected = blackwell(first, second)
        above += expected > 1.02 * max(bits_of(first), bits_of(second))
        assert least_together(first, second, 1e-6) == pytest.approx(expected, abs=3e-6)
    assert above >= 3  # neither source contains the other


def test_no_distribution_with_these_margins_tells_less():
    """Every vertex in a random direction of the polytope of three classes tells at least the minimum."""
    rng = np.random.default_rng(1)
    joint = rng.dirichlet(np.full(3 * 3 * 3, 0.5)).reshape(3, 3, 3)
    least = least_together(joint.sum(axis=2), joint.sum(axis=1), 1e-6)
    places = np.arange(27).reshape(3, 3, 3)
    margins = [places[y, a] for y in range(3) for a in range(3)] + [places[y, :, b] for y in range(3) for b in range(3)]
    equal = np.array([np.isin(np.arange(27), margin) for margin in margins], dtype=float)
    vertices = [linprog(rng.normal(size=27), A_eq=equal, b_eq=equal @ joint.ravel()).x for _ in range(20)]
    mixtures = rng.dirichlet(np.full(20, 0.3), size=200) @ np.array(vertices)
    told = [bits_of(one.reshape(3, 9)) for one in (*vertices, *mixtures)]
    assert least > 0.01
    assert least <= min(told) + 1e-6
    assert min(told) < 1.5 * least  # the minimum is not far below what was tried


def test_gaussian_sources_have_a_closed_form():
    """y = a + w b + noise, a and b correlated: the informations are −½ log₂(1 − r²)."""
    for rho, weight in ((0.0, 3.0), (0.5, 1.0), (0.8, 0.2)):
        inner = np.array([[1, rho], [rho, 1]])
        with_y = inner @ [1, weight]
        table = np.block([[inner, with_y[:, None]], [with_y[None], np.array([[with_y @ [1, weight] + 1]])]])
        alone = -0.5 * np.log2(1 - with_y**2 / table[2, 2])
        both = 0.5 * np.log2(table[2, 2])
        expected = [*np.maximum(alone - alone[::-1], 0), alone.min(), both - alone.max()]
        np.testing.assert_allclose(pg.partial_information(covariance=table)["bits"], expected, atol=1e-12)
    wide = np.array([[1, 0, 0.3, 0.5], [0, 1, 0, 0.5], [0.3, 0, 1, 0.5], [0.5, 0.5, 0.5, 1]])
    frame = pg.partial_information(covariance=wide, first=2)
    assert frame["bits"].tolist()[0] == pytest.approx(0.5 - 0.5 * np.log2(1 / 0.75))
    assert frame["bits"].min() >= 0


def modalities(model, a, b, y, **options):
    options = {"groups": {"a": ["x0"], "b": ["x1"]}, "random_state": 0, "progress": False, **options}
    return pg.missing(lambda table: model(*table.T), np.stack([a, b], axis=1).astype(float), y, **options)


def one_hot(model, classes=2):
    return lambda a, b: np.eye(classes)[model(a.astype(int), b.astype(int))]


@pytest.mark.parametrize("name", ["xor", "and", "or", "both bits", "copy of one"])
def test_a_model_is_divided_as_the_function_that_it_is(name):
    target, _, expected = KNOWN[name]
    a, b = np.repeat(PAIRS, 500, axis=0).T  # every case equally often
    y = target(a, b)
    frame = modalities(one_hot(target, y.max() + 1), a, b, y, task="classification").information()
    assert frame["part"].tolist() == PARTS
    assert list(frame.columns) == ["part", "share", "ci_low", "ci_high", "bits"]
    np.testing.assert_allclose(frame["share"], expected, atol=0.02)
    assert (frame["ci_low"] <= frame["share"] + 1e-12).all()
    assert (frame["ci_high"] - frame["ci_low"]).max() < 0.1


def test_copies_are_shared_if_the_model_uses_both_and_else_unique():
    a = np.random.default_rng(0).integers(0, 2, size=800)
    both = modalities(lambda x, z: np.stack([1 - (x + z) / 2, (x + z) / 2], axis=1), a, a, a, task="classification")
    np.testing.assert_allclose(both.information()["share"], [0, 0, 1, 0], atol=0.01)
    one = modalities(one_hot(lambda x, _: x), a, a, a, task="classification")
    np.testing.assert_allclose(one.information()["share"], [1, 0, 0, 0], atol=0.01)


def test_numbers_are_divided_as_gaussian_and_intervals_cover_the_truth():
    rng, covered = np.random.default_rng(2), np.zeros(2)
    truth = pg.partial_information(covariance=[[1, 0, 1], [0, 1, 2], [1, 2, 6]])["share"].to_numpy()
    for _ in range(40):
        a, b, noise = rng.normal(size=(3, 400))
        frame = modalities(lambda x, z: x + 2 * z, a, b, a + 2 * b + noise, task="regression").information()
        covered += ((frame["ci_low"] <= truth) & (truth <= frame["ci_high"]))[[1, 3]]
    assert truth[1] > 0.3 < truth[3]
    assert (covered >= 34).all()  # 0.95 of 40 are 38


def test_one_of_three_modalities_stands_beside_the_others():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(500, 3))
    y = X.sum(axis=1) + rng.normal(size=500)
    groups = {name: [f"x{place}"] for place, name in enumerate("abc")}
    result = pg.missing(lambda t: t.sum(axis=1), X, y, groups=groups, task="regression", random_state=0, progress=False)
    frame = result.information("b")
    assert frame["part"].tolist() == ["unique to b", "unique to a + c", "shared", "synergy"]
    assert frame["share"].sum() == pytest.approx(1)
    assert frame["share"][1] > frame["share"][0]
    with pytest.raises(InputError, match=r"compares one of 'a', 'b', 'c' with all others. Pass for example 'a'"):
        result.information()
    with pytest.raises(InputError, match="modality must be one of"):
        result.information("d")


def test_shares_of_nothing_are_undefined():
    rng = np.random.default_rng(4)
    a, b, y = rng.normal(size=(3, 300))
    frame = modalities(lambda x, z: x + z, a, b, y, task="regression").information()
    assert frame["share"].isna().all()
    assert frame["bits"].max() < 0.05
    assert pg.partial_information(np.ones((2, 2, 2)))["share"].isna().all()
    perfect = modalities(lambda x, z: x + z, a, b, a + b, task="regression").information()
    assert perfect["share"].isna().all()
    assert perfect["bits"].tolist()[3] == np.inf


@pytest.mark.parametrize("rows", [20, 60, 400])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_an_ignored_input_tells_nothing_though_donors_are_the_rows_themselves(rows, task):
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(2, rows))

    def model(_, z):
        return np.stack([1 / (1 + np.exp(5 * z)), 1 / (1 + np.exp(-5 * z))], axis=1) if task == "classification" else z

    y = b > 0 if task == "classification" else b + 0.3 * rng.normal(size=rows)
    frame = modalities(model, a, b, y, task=task).information()
    assert frame["bits"][1] > 0.3
    parts = frame[["share", "ci_low", "ci_high"]].to_numpy()
    assert parts == pytest.approx(np.array([[0] * 3, [1] * 3, [0] * 3, [0] * 3]), abs=1e-12)  # rounds sums of numbers


@pytest.mark.parametrize("rows", [20, 60])
def test_rows_are_not_told_apart_by_their_levels(rows):
    """An XOR of two numbers, whose predictions are all different: hardly anything is shared."""
    shared = []
    for seed in range(8):
        a, b = np.random.default_rng([8, seed]).normal(size=(2, rows))
        frame = modalities(
            lambda x, z: np.stack([1 / (1 + np.exp(6 * x * z)), 1 / (1 + np.exp(-6 * x * z))], axis=1), a, b, a * b > 0,
            task="classification", random_state=seed,
        ).information()  # fmt: skip
        shared.append(frame["share"][2])
    assert np.nanmean(shared) < 0.1


def test_noise_gets_shares_in_five_of_a_hundred():
    stated = 0
    for seed in range(60):
        rng = np.random.default_rng([9, seed])
        a, b = rng.normal(size=(2, 60))
        frame = modalities(
            lambda x, z: np.stack([1 / (1 + np.exp(x + z)), 1 / (1 + np.exp(-x - z))], axis=1), a, b,
            rng.random(60) < 0.5, task="classification", random_state=seed,
        ).information()  # fmt: skip
        stated += frame["share"].notna().all()
    assert stated <= 8  # 3 expected, more than 8 in 2 of 1,000 such tests


def test_classes_are_told_no_more_bits_than_they_hold():
    a, b = np.repeat(PAIRS, 5, axis=0).T
    frame = modalities(one_hot(lambda x, z: x ^ z), a, b, a ^ b, task="classification").information()
    assert frame["bits"].sum() == pytest.approx(1, abs=1e-12)
    message = "information needs at least 20 rows, got 16. Explain more rows."
    with pytest.raises(InputError, match=message):
        modalities(one_hot(lambda x, z: x ^ z), a[:16], b[:16], a[:16] ^ b[:16], task="classification").information()


def test_weights_count_rows_and_results_repeat():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 2, size=(2, 600))
    weights = np.where(a == b, 2.0, 1.0)
    options = {"task": "classification", "sample_weight": weights}
    frame = modalities(one_hot(lambda x, z: x & z), a, b, a & b, **options).information()
    other = modalities(one_hot(lambda x, z: x & z), a, b, a & b, batch_size=11, **options).information()
    np.testing.assert_array_equal(frame["bits"], other["bits"])
    counts = np.zeros((2, 2, 2))
    np.add.at(counts, (a, b, a & b), weights)
    np.testing.assert_allclose(frame["bits"], pg.partial_information(counts)["bits"], atol=0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "Pass either joint= or covariance="),
        ({"joint": np.ones((2, 2))}, r"joint must hold probabilities of \(first, second, target\), got an array of"),
        ({"joint": -np.ones((2, 2, 2))}, "joint must hold probabilities"),
        ({"covariance": np.ones((3, 3))}, "covariance must be positive definite"),
        ({"covariance": np.eye(3), "first": 2}, "with 2 or more variables"),
        ({"covariance": np.eye(3), "first": 0}, "first must be an integer"),
    ],
    ids=lambda value: "",
)
def test_bad_arguments_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        pg.partial_information(**words)


def test_targets_without_such_an_information_are_refused():
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    result = pg.missing(
        lambda t: t, X, y, groups={"a": ["x0"], "b": ["x1"]}, task="regression", random_state=0, progress=False
    )
    with pytest.raises(InputError, match="information needs y of classes or of one number per row"):
        result.information()
    held = modalities(lambda a, b: a + b, *X.T, y[:, 0], task="regression", hold=("b",))
    with pytest.raises(InputError, match=r"information needs two modalities that can be missing. Hold fewer"):
        held.information()
