import inspect

import numpy as np
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.request import methods, tuned

X = np.random.default_rng(0).normal(size=(30, 3))


def predict(rows):
    return rows @ [2.0, 1.0, 0.0]


def test_every_method_is_a_class_whose_signature_is_its_options():
    assert {methods.get(name) for name in methods if methods.get(name).__module__.startswith("permgrad.")} == {
        getattr(pg.methods, name) for name in dir(pg.methods)
    }
    for name in dir(pg.methods):
        method = getattr(pg.methods, name)
        parameters = inspect.signature(method).parameters
        assert {each.name: each.default for each in parameters.values()} == dict(method.options)
        missing = [option for option in parameters if option not in inspect.getdoc(method)]
        # Those of games are described with permgrad's.
        assert set(missing) <= {"tolerance"}, name
        assert repr(method()) == f"{name}()"


def test_an_object_with_options_is_the_same_as_a_name_and_options():
    method = pg.methods.Shapley(exact=0, max_permutations=40, references=5)
    wanted = pg.explain(
        predict,
        X,
        method=tuned(pg.methods.Shapley(max_permutations=40, references=5), exact=0),
        random_state=0,
        progress=False,
    )
    usual = pg.explain(predict, X, method="shapley", random_state=0, progress=False)
    assert not np.array_equal(wanted.values, usual.values)  # the options matter
    explanation = pg.explain(predict, X, method=method, random_state=0, progress=False)
    assert np.array_equal(explanation.values, wanted.values)
    assert explanation.method == "shapley"
    assert explanation.meta["options"] == wanted.meta["options"]
    of_class = pg.explain(predict, X, method=pg.methods.Shapley, random_state=0, progress=False)
    assert np.array_equal(of_class.values, usual.values)


def test_an_option_is_passed_once():
    method = pg.methods.Shapley(max_permutations=40)
    with pytest.raises(pg.InputError, match="max_permutations is passed twice"):
        explain_with(predict, X, method=method, max_permutations=50)


def test_objects_with_options_are_members_and_methods_of_single_inputs():
    torch = pytest.importorskip("torch")
    net, inputs = torch.nn.Bilinear(2, 3, 1), (torch.randn(40, 2), torch.randn(40, 3))
    call = {"random_state": 0, "progress": False}
    lime, options = pg.methods.Lime(samples=300, ridge=2.0), {"samples": 300, "ridge": 2.0}
    members = {"lime": options, "permutation": {}}
    wanted = explain_with(net, inputs, method="aggregate", members=members, **call)
    usual = explain_with(net, inputs, method="aggregate", members=("lime", "permutation"), **call)
    assert not np.array_equal(wanted.values, usual.values)
    several = pg.methods.Aggregate(members=(lime, "permutation"))
    assert np.array_equal(explain_with(net, inputs, method=several, **call).values, wanted.values)
    by_input = explain_with(net, inputs, method={"input1": ("lime", options)}, **call)
    assert np.array_equal(explain_with(net, inputs, method={"input1": lime}, **call).values, by_input.values)


def test_public_names_are_all_that_dir_shows():
    assert dir(pg) == sorted(pg.__all__)
    assert all(hasattr(pg, name) for name in dir(pg))
