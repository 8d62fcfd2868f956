"""Arguments of ``pg.explain`` and options of methods that not every method reads are
warned of where they are not, for each method of the registry.
"""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from usual_methods import CASES

import permgrad as pg
from permgrad.attribution import methods
from permgrad.attribution.request.method_registry import READ_BY_SOME
from permgrad.attribution.request.takes import reads

ROWS = 40
rng = np.random.default_rng(0)
TABLE = rng.normal(size=(ROWS, 3)).astype(np.float32)
Y = (TABLE[:, 0] + rng.normal(size=ROWS) > 0).astype(int)
#: For each argument the default, and a value that changes what is explained.
VALUES = {
    "n_repeats": ("auto", 3),
    "loss": ("auto", "brier"),
    "background": (None, torch.from_numpy(TABLE[:30] + 1)),
    "confidence": (0.95, 0.5),
    "row_groups": (None, np.arange(ROWS) // 4),
    "row_time": (None, np.arange(ROWS)),
}


@pytest.fixture(scope="module")
def image_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
    ).eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


@pytest.fixture(scope="module")
def estimator():
    preset = {"base": "fast", "max_epochs": 1, "beside": []}
    model = pg.HyNNClassifier(preset=preset, image="always", random_state=0)
    return model.fit(pd.DataFrame(TABLE, columns=["x0", "x1", "x2"]), Y)


def call_of(name, scope, network, image_network, estimator):
    """Return a call of a method with its own options, small."""
    rows = torch.from_numpy(TABLE)
    model = network
    if name == "gradcam":
        model, rows = image_network, rows.repeat(1, 3).reshape(ROWS, 1, 3, 3)
    if name == "permgrad_paper":
        model, rows = estimator, pd.DataFrame(TABLE, columns=["x0", "x1", "x2"])

    def explained(**arguments):
        background = arguments.get("background")
        if background is not None and name == "gradcam":
            background = background.repeat(1, 3).reshape(-1, 1, 3, 3)
            arguments["background"] = background
        call = {"method": name, "scope": scope, "progress": False, **arguments}
        return pg.explain(model, rows, Y, **call)

    return explained


def facts_of(explanation):
    meta = dict(explanation.meta)
    for name in ("seconds", "digests"):
        meta.pop(name, None)
    numbers = []
    for array in (explanation.values, explanation.std_error, explanation.low):
        numbers.append(None if array is None else np.asarray(array).tolist())
    return json.dumps([meta, numbers], default=str, sort_keys=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "scope"), CASES)
def test_an_argument_is_read_or_warned_of(
    name, scope, network, image_network, estimator
):
    method = methods.get(name)()
    explained = call_of(name, scope, network, image_network, estimator)
    before = facts_of(explained())
    defaults = {argument: usual for argument, (usual, _) in VALUES.items()}
    assert facts_of(explained(**defaults)) == before, "defaults are harmless"
    for argument, (_, other) in VALUES.items():
        if reads(method, argument, scope):
            after = facts_of(explained(**{argument: other}))
            assert after != before, f"{name} declares {argument}, and does not read it"
        else:
            with pytest.warns(
                pg.PermgradWarning,
                match=rf"^method='{name}' does not read {argument}=( with scope=|\.)",
            ):
                after = facts_of(explained(**{argument: other}))
            assert json.loads(after)[1] == json.loads(before)[1], (
                f"{name} reads {argument}"
            )


def test_every_argument_is_tried_and_read_by_some_method():
    assert set(VALUES) == set(READ_BY_SOME)
    for argument in READ_BY_SOME:
        assert any(reads(methods.get(name), argument, scope) for name, scope in CASES)


OTHER_VALUES = {
    "tolerance": 0.5,
    "max_permutations": 8,
    "references": 7,
}


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_an_option_that_a_variant_does_not_read_is_warned_of(name, scope):
    method_class = methods.get(name)
    for condition in method_class.conditions:
        assert condition.option in method_class.options
        options = {condition.option: OTHER_VALUES[condition.option]}
        if name == "integrated_gradients" and condition.option == "tolerance":
            options["steps"] = 5
        method = method_class(**options)
        if condition.is_read(method, scope):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                method.tell_of_unread(scope)
            continue
        value = OTHER_VALUES[condition.option]
        with pytest.warns(
            pg.PermgradWarning,
            match=rf"^method='{name}' reads {condition.option}={value} only with "
            rf"{condition.words}\. Leave {condition.option} out[,.]",
        ):
            method.tell_of_unread(scope)


@pytest.mark.parametrize("name", methods)
def test_what_helps_instead_is_an_option_that_can_be_typed(name):
    method_class = methods.get(name)
    for argument, option in getattr(method_class, "instead", {}).items():
        assert argument in READ_BY_SOME
        assert option in method_class.options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "lime", "n_repeats": 4},
            (
                "method='lime' does not read n_repeats=. Pass "
                "method=pg.methods.Lime(samples=...)."
            ),
        ),
        (
            {"method": "shapley", "loss": "brier"},
            (
                "method='shapley' does not read loss= with scope='local'. Leave it out, or "
                "pass scope='global'."
            ),
        ),
        (
            {
                "method": pg.methods.Aggregate(members=("lime", "gradient")),
                "n_repeats": 4,
            },
            (
                "method='aggregate' does not read n_repeats=. Leave it out, or choose "
                "'permgrad', 'permutation' or 'shapley'."
            ),
        ),
        (
            {"method": pg.methods.Permutation(tolerance=0.1), "scope": "local"},
            (
                "method='permutation' reads tolerance=0.1 only with scope='global'. Leave "
                "tolerance out, or pass scope='global'."
            ),
        ),
        (
            {"method": {"input": "gradient"}, "n_repeats": 4},
            (
                "method='gradient' does not read n_repeats=. Leave it out, or choose "
                "'permgrad' or 'permutation'."
            ),
        ),
    ],
)
def test_the_words(arguments, message, network):
    with pytest.warns(pg.PermgradWarning) as warned:
        pg.explain(network, torch.from_numpy(TABLE), Y, progress=False, **arguments)
    assert message in [str(warning.message) for warning in warned]


def test_a_loss_beside_a_score_is_refused(network):
    with pytest.raises(pg.InputError) as caught:
        pg.explain(
            network, torch.from_numpy(TABLE), Y, scoring="accuracy", loss="brier"
        )
    expected = "loss= does not take scoring=. Leave one of them out. [PG006]"
    assert str(caught.value) == expected


def typed(message):
    """Return the methods that a message tells to pass, as Python reads them."""
    calls = re.findall(r"method=(pg\.methods\.\w+\(.*?\))(?=[.,: ]|$)", message)
    return [eval(call, {"pg": pg}) for call in calls]


@pytest.mark.parametrize(
    "method",
    [
        pg.methods.Shapley(index="SII"),
        pg.methods.Shapley(order=9),
        pg.methods.PermGrad(pairs="all"),
        pg.methods.Permutation(order=7),
        pg.methods.Ale(pairs=["x"]),
    ],
)
def test_a_remedy_of_an_option_works_as_typed(method, network):
    rows = torch.from_numpy(TABLE)
    with pytest.raises(pg.InputError) as caught:
        pg.explain(network, rows, Y, method=method, progress=False)
    remedies = typed(caught.value.hint)
    assert remedies
    for remedy in remedies:
        assert type(remedy) is type(method)
        result = pg.explain(network, rows, Y, method=remedy, progress=False)
        assert np.isfinite(result.values).any()


@pytest.mark.parametrize(
    "method",
    [pg.methods.DeepLift(references=3), pg.methods.IntegratedGradients(references=3)],
)
def test_a_remedy_of_an_unread_option_works_as_typed(method, network):
    rows = torch.from_numpy(TABLE)
    with pytest.warns(pg.PermgradWarning) as warned:
        pg.explain(network, rows, Y, method=method, progress=False)
    (remedy,) = typed(str(warned[0].message))
    assert type(remedy) is type(method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pg.explain(network, rows, Y, method=remedy, progress=False)


def test_the_baseline_of_a_class_that_a_regression_has_none_of():
    torch.manual_seed(0)
    net, rows = nn.Linear(3, 1), torch.from_numpy(TABLE)
    method = pg.methods.DeepLift(baseline="class:1")
    with pytest.raises(
        pg.InputError,
        match=r"Pass method=pg\.methods\.DeepLift\(baseline='median'\), or rows",
    ) as caught:
        pg.explain(net, rows, method=method, progress=False)
    remedy = typed(caught.value.hint)[0]
    assert len(pg.explain(net, rows, method=remedy, progress=False).values) == ROWS


def test_a_loss_without_y_is_refused(network):
    rows = torch.from_numpy(TABLE)
    with pytest.raises(
        pg.InputError, match=r"^loss='absolute_error' compares with y, and there is no"
    ):
        pg.explain(network, rows, loss="absolute_error", progress=False)
    # One of classes says that these are scores.
    result = pg.explain(network, rows, loss="cross_entropy", progress=False)
    assert result.meta["task"] == "classification"


def test_a_target_of_each_row_is_explained_by_row(network):
    rows = torch.from_numpy(TABLE)
    call = {"method": "permgrad", "scale": "raw", "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        usual = pg.explain(network, rows, Y, target="predicted", **call)
    local = pg.explain(network, rows, Y, target="predicted", scope="local", **call)
    np.testing.assert_array_equal(usual.values, local.values)


def test_a_member_that_reads_it_is_enough(network):
    rows = torch.from_numpy(TABLE)
    results = {}
    for n_repeats in (1, 4):
        method = pg.methods.Aggregate(members=("permutation", "gradient"))
        call = {"method": method, "n_repeats": n_repeats, "progress": False}
        results[n_repeats] = pg.explain(network, rows, Y, **call).values
    assert not np.array_equal(results[1], results[4])
