import inspect

import numpy as np
import pytest
from explaining import with_settings

import permgrad as pg
from permgrad.attribution.request import methods, tuned

X = np.random.default_rng(0).normal(size=(30, 3))


def predict(rows):
    return rows @ [2.0, 1.0, 0.0]


def test_every_method_is_a_class_whose_signature_is_its_options():
    assert {
        methods.get(name)
        for name in methods
        if methods.get(name).__module__.startswith("permgrad.")
    } == {getattr(pg.methods, name) for name in dir(pg.methods)}
    for name in dir(pg.methods):
        method = getattr(pg.methods, name)
        parameters = inspect.signature(method).parameters
        assert {
            parameter.name: parameter.default for parameter in parameters.values()
        } == dict(method.options)
        missing = [
            option for option in parameters if option not in inspect.getdoc(method)
        ]
        # Those of games are described with permgrad's.
        assert set(missing) <= {"tolerance"}, name
        assert repr(method()) == f"{name}()"


def test_a_name_a_class_and_an_object_are_one_method_and_options_of_an_object_count():
    call = {"random_state": 0, "progress": False}
    method = tuned(pg.methods.Shapley(max_permutations=40, references=5), exact=0)
    explanation = pg.explain(predict, X, method=method, **call)
    usual = pg.explain(predict, X, method="shapley", **call)
    assert not np.array_equal(explanation.values, usual.values)  # the options matter
    assert explanation.method == usual.method == "shapley"
    assert explanation.meta["options"] == {
        "exact": 0,
        "max_permutations": 40,
        "references": 5,
    }
    assert "options" not in usual.meta
    for same in (pg.methods.Shapley, pg.methods.Shapley()):
        assert np.array_equal(
            pg.explain(predict, X, method=same, **call).values, usual.values
        )


def test_inner_settings_are_no_options_and_unknown_ones_are_refused():
    with pytest.raises(TypeError, match="exact"):
        pg.methods.Shapley(exact=0)
    with pytest.raises(
        TypeError, match="Shapley has no inner setting max_permutations, strange"
    ):
        tuned(pg.methods.Shapley(), exact=0, max_permutations=40, strange=1)


def test_objects_with_options_are_members_and_methods_of_single_inputs():
    torch = pytest.importorskip("torch")
    net = torch.nn.Bilinear(2, 3, 1)
    inputs = (torch.randn(40, 2), torch.randn(40, 3))
    call = {"random_state": 0, "progress": False}
    lime = with_settings("lime", samples=300, ridge=2.0)

    def shares(member):
        several = pg.methods.Aggregate(members=(member, "permutation"))
        return pg.explain(net, inputs, method=several, **call).parts["lime"]

    alone = np.abs(pg.explain(net, inputs, method=lime, **call).values).mean(axis=0)[
        :, 0
    ]
    assert not np.array_equal(shares(lime), shares("lime"))  # the options matter
    np.testing.assert_allclose(shares(lime)[:, 0], alone / alone.sum(), rtol=1e-9)
    by_input = [
        pg.explain(net, inputs, method={"input1": input_method}, **call).values
        for input_method in (lime, "lime", tuned(lime))
    ]
    assert not np.array_equal(by_input[0], by_input[1])
    assert np.array_equal(by_input[0], by_input[2])


def test_public_names_are_all_that_dir_shows():
    assert dir(pg) == sorted(pg.__all__)
    assert all(hasattr(pg, name) for name in dir(pg))
