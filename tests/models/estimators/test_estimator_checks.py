"""scikit-learn's own checks of estimators, on a small configuration."""

import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from permgrad import HyNNClassifier, HyNNRegressor

WEIGHTS = (
    "a weight of 2 and a row that stands twice give the same objective but other "
    "mini-batches, and validation rows are drawn from another number of rows: training "
    "by mini-batches cannot be equal"
)
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
}


#: Checks that look at what was learned. For the others a few epochs are as good as
#: many.
LEARNED = {
    "check_classifiers_train",
    "check_regressors_train",
    "check_classifiers_classes",
}
LEARNED |= {"check_class_weight_classifiers"}


def small(estimator, **parameters):
    network = {
        "dense_units": [32],
        "conv_filters": [4],
        "pooling": [4],
        "fusion_units": [],
    }
    return estimator(
        preset={"base": "fast", "patience": float("inf")}, network=network, pixels=8, max_epochs=30,
        validation_fraction=0.0,
        learning_rate=0.01, random_state=0, progress=False, **parameters,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [small(HyNNClassifier), small(HyNNRegressor)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn_checks(estimator, check):
    learned = check.func.__name__ in LEARNED
    check(estimator if learned else clone(estimator).set_params(max_epochs=3))
