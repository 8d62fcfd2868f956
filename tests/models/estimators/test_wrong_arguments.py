"""Arguments of odd types: each is refused in a sentence that names it, before any
work.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad import HyNNClassifier, InputError, load
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.estimators.fit_inputs import class_weights

X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "c"])
Y = np.array(["no", "yes"])[np.arange(40) % 2]
TWO = np.array([1, 2])

WRONG = [
    (
        "kinds",
        ["a"],
        (
            r"kinds must be None or a mapping of column to kind, got \['a'\]. Pass for "
            r"example"
        ),
    ),
    ("kinds", {"a": TWO}, "kind of column 'a' must be one of 'numeric'"),
    (
        "groups",
        ["a", "c"],
        (
            r"groups must be None or a mapping of group to a list of columns, got "
            r"\['a', "
            r"'c'\]"
        ),
    ),
    ("groups", {"both": 5}, "groups must be None or a mapping of group"),
    ("groups", {"both": {"a", "b"}}, "groups must be None or a mapping of group"),
    (
        "class_weight",
        {"yes": "x"},
        r"class_weight\['yes'\] must be 0 or between .*, got 'x'",
    ),
    (
        "class_weight",
        {"yes": None},
        r"class_weight\['yes'\] must be 0 or between 1e-06 and ",
    ),
    (
        "class_weight",
        {"yes": 1e300},
        r"class_weight\['yes'\] must .*, got 1e[+]300",
    ),
    (
        "class_weight",
        {"yes": float("inf")},
        r"class_weight\['yes'\] must be 0 or between 1e-06 and ",
    ),
    (
        "class_weight",
        {"yes": 0, "no": 0},
        "class_weight=.* is 0 for every class of the training rows",
    ),
    ("max_epochs", TWO, "max_epochs must be None or a whole number"),
    ("batch_size", TWO, "batch_size must be None, 'auto' or a whole number"),
    (
        "preset",
        {"patience": TWO},
        "Preset mapping: patience must be None, a whole number",
    ),
    (
        "preset",
        {"optimiser": "sgd"},
        (
            "The mapping is not a valid preset: 'optimiser' is unknown. Did you mean "
            "'optimizer'"
        ),
    ),
    ("preset", {"base": "fsat"}, r"No preset 'fsat'\. Did you mean 'fast'"),
    ("preset", {"base": {"base": "fast"}}, "preset must be one of"),
    ("pixels", np.array([8]), "pixels must be a whole number"),
    (
        "learning_rate",
        np.array([0.1, 0.2]),
        "learning_rate must be None or a number above 0",
    ),
    ("learning_rate", 10**400, "learning_rate must be None or a number above 0"),
    (
        "network",
        {"dense_units": TWO},
        "Network option dense_units must be one or more whole numbers",
    ),
    ("branches", TWO, "branches must be one of 'tabular', 'image'"),
    ("layout", 5, "layout must be one of 'assignment'"),
    (
        "na",
        {-9},
        r"Codes for missing values must be one code, a list .*, got {-9} of type set",
    ),
    ("na", {"a": {-9}}, "Codes for missing values must be one code, a list"),
    ("na", iter([-9]), "Codes for missing values must be one code, a list"),
    ("na", 1j, "Codes for missing values must be one code, a list"),
]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    WRONG,
    ids=[f"{name}-{case_number}" for case_number, (name, *_) in enumerate(WRONG)],
)
def test_odd_arguments_are_refused_by_name(name, value, message, monkeypatch):
    monkeypatch.setattr(
        "permgrad.models.estimators.base.train",
        lambda *_, **__: pytest.fail("it was refused too late"),
    )
    with pytest.raises(InputError, match=f"^{message}"):
        HyNNClassifier(**{"preset": "fast", "progress": False, name: value}).fit(X, Y)


def test_the_encoder_alone_refuses_what_is_no_mapping():
    for name, value in (
        ("kinds", ["a"]),
        ("groups", ["a", "c"]),
        ("groups", {"both": {"a", "b"}}),
    ):
        with pytest.raises(
            InputError, match=f"^{name} must be .*a mapping of .*, got "
        ):
            TableEncoder(**{name: value}).fit(X)


def test_a_weight_of_zero_is_fine_while_another_class_counts():
    classes = np.array(["no", "yes"])
    assert class_weights({"yes": 0}, classes, np.array([3, 5])).tolist() == [1, 0]
    assert class_weights(
        {"yes": np.float32(2)}, classes, np.array([3, 5])
    ).tolist() == [1, 2]
    with pytest.raises(
        InputError, match="is 0 for every class of the training rows"
    ):  # the other class has no row
        class_weights({"yes": 0}, classes, np.array([0, 5]))


def test_columns_of_an_index_and_numbers_of_numpy_are_taken_and_saved(tmp_path):
    model = HyNNClassifier(
        preset="fast", branches=np.array(["tabular"]), max_epochs=np.int64(1), learning_rate=np.float32(0.001),
        groups={"both": X.columns[:2]}, na=pd.Index([-9]), random_state=0, progress=False,
    ).fit(X, Y)  # fmt: skip
    assert model.preprocessor_.groups_ == {"both": ["a", "b"]}
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    assert back.groups == {"both": ["a", "b"]}
