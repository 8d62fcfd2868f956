"""The parameters of the public functions: a change here is a change of what people have
written down.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
from sklearn.base import BaseEstimator

import permgrad as pg
from permgrad.attribution import methods
from permgrad.evaluation.comparison import Comparison
from permgrad.pages.plots.plot_methods import PlotAccessor
from permgrad.pages.report import Report

#: Each function as it is called, with its defaults. A further function is one more
#: line. Options of methods are those that their classes declare.
SURFACE = """
counterfactuals(model, row, X, *, want=None, fixed=(), ranges=None, direction=None, max_changes=None, count=4, random_state=0)
changes(model, X_old, y_old, X_new, y_new, *, groups=None, loss="auto", method="permgrad", row_groups=None, n_repeats="auto", random_state=0, progress="auto")
compare(models, X, y, *, cv=5, metric=None, explain=True, row_groups=None, kinds=None, random_state=0, progress="auto")
explain(model, X, y=None, *, method="permgrad", target=None, scope="auto", scale="auto", groups=None, background=None, loss="auto", scoring=None, sample_weight=None, row_groups=None, row_time=None, max_rows=None, n_repeats="auto", confidence=0.95, random_state=0, progress="auto")
explain_parts(model, row, *, target=None, scale="auto", background=None, random_state=0, progress="auto")
explain_refits(estimator, X, y, *, refits=10, method="permgrad", target=None, groups=None, loss="auto", row_groups=None, max_rows=2000, n_repeats="auto", random_state=0, progress="auto")
explain_stream(model, source, y=None, *, out=None, engine=None, rows_per_part="auto", method="permgrad", target=None, scope="auto", scale="auto", groups=None, background=None, loss="auto", scoring=None, sample_weight=None, row_groups=None, row_time=None, max_rows=None, n_repeats="auto", confidence=0.95, random_state=0, progress="auto")
load(folder, *, encoders=None, device="auto")
load_dataset(name)
load_run(folder)
missing_modalities(model, X, y=None, *, groups=None, scoring=None, background=None, loss="auto", row_groups=None, n_repeats="auto", random_state=0, progress="auto")
read_table(path, *, kinds=None, na=(), not_na=(), decimal=None, sheet=None)
related_columns(X, *, strength=0.8)
report(model, X, y=None, *, path=None, train=None, title=None, target=None, groups=None, loss="auto", sample_weight=None, row_groups=None, row_time=None, sensitive=None, refits=None, keep_rows=True, max_rows="auto", random_state=0, progress="auto")
Explanation.evaluate(model, X, y=None, *, metrics=None, target=None, background=None, n_repeats="auto", random_state=0, progress="auto")
Model(model, *, task=None, class_names=None, positive=None, returns=None, head=None, hold=(), segments=None, tokenizer=None, layer=None, batch_size="auto", vocabulary=None, channel_names=None, cache=None)
RayEngine(*, workers=None, address=None, cpus=1, gpus="auto")
HyNNClassifier(preset="default", network=None, branches="auto", image="auto", layout=None, pixels=20, kinds=None, na=None, groups=None, image_encoder=None, text_encoder=None, class_weight=None, calibration=None, cost=None, threshold=None, max_epochs=None, batch_size=None, learning_rate=None, validation_fraction=None, device="auto", random_state=None, progress="auto")
HyNNRegressor(preset="default", network=None, branches="auto", image="auto", layout=None, pixels=20, kinds=None, na=None, groups=None, image_encoder=None, text_encoder=None, loss=None, max_epochs=None, batch_size=None, learning_rate=None, validation_fraction=None, device="auto", random_state=None, progress="auto")
integrations.export_onnx(model, path)
integrations.load_from_hub(repository, *, revision=None, token=None, device="auto")
integrations.log_to_mlflow(run, *, experiment="permgrad", tracking_uri=None, name=None)
integrations.log_to_wandb(run, *, project="permgrad", name=None, init=None)
integrations.push_to_hub(model, repository, *, private=True, keep_rows=True, token=None)
integrations.read_onnx(path)
"""
#: What users of scikit-learn call of an estimator, and the steps that runs take.
CALLED = {
    *(
        "fit",
        "predict",
        "predict_proba",
        "predict_interval",
        "predict_set",
        "reasons",
        "score",
        "save",
        "summary",
        "fit_stream",
    ),
    *(
        "fit_encoder",
        "encode_rows",
        "prepare",
        "train",
        "predict_parts",
        "predict_encoded",
    ),
}
#: Names that were parameters, and near misses of those that are.
WRONG = (
    "n_repeat",
    "rows",
    "most_rows",
    "most_changes",
    "overwrite",
    "method",
    "options",
    "max_permutation",
)


def public(name: str) -> Callable[..., Any]:
    """Return a function of ``pg`` by its name, or by ``Class.name``."""
    return attrgetter(name)(pg)


def written(line: str) -> tuple[str, list[tuple[str, str, Any]]]:
    """Return the name in a line of ``SURFACE``, and its parameters: name, kind and
    default.
    """
    name, _, signature_rest = line.partition("(")
    parsed_arguments = ast.parse(f"def f({signature_rest}: ...").body[0].args  # type: ignore[attr-defined]
    empty = inspect.Parameter.empty
    defaults = [empty] * (
        len(parsed_arguments.args) - len(parsed_arguments.defaults)
    ) + list(map(ast.literal_eval, parsed_arguments.defaults))
    written_parameters = [
        (argument.arg, "POSITIONAL_OR_KEYWORD", default)
        for argument, default in zip(parsed_arguments.args, defaults, strict=True)
    ]
    for keyword_argument, default in zip(
        parsed_arguments.kwonlyargs, parsed_arguments.kw_defaults, strict=True
    ):
        written_parameters.append(
            (
                keyword_argument.arg,
                "KEYWORD_ONLY",
                empty if default is None else ast.literal_eval(default),
            )
        )
    return name, written_parameters


def options_of(name: str) -> list[tuple[str, str, Any]]:
    """Return the parameters of a method: its options, which its class declares."""
    method = getattr(pg.methods, name)
    return [
        (option_name, "KEYWORD_ONLY", default)
        for option_name, default in method.options.items()
    ]


METHODS = {name: options_of(name) for name in dir(pg.methods)}
FUNCTIONS = dict(map(written, filter(None, SURFACE.splitlines())))
FUNCTIONS |= {f"methods.{name}": options for name, options in METHODS.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_parameters_that_are_written_down(name):
    own_parameters = inspect.signature(public(name)).parameters.values()
    assert [
        (parameter.name, parameter.kind.name, parameter.default)
        for parameter in own_parameters
        if parameter.name != "self"
    ] == FUNCTIONS[name]


@pytest.mark.parametrize("name", METHODS)
def test_every_option_of_a_method_is_described(name):
    assert getattr(pg.methods, name) in methods.values()
    text = inspect.getdoc(getattr(pg.methods, name))
    assert text is not None
    described: list[str] = []
    for names in re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*): ", text, re.MULTILINE):
        described.extend(names.split(", "))
    options = [option_name for option_name, _, _ in METHODS[name]]
    assert options
    assert sorted(described) == sorted(options)


def test_every_registered_method_has_its_class_in_the_surface():
    registered = {type_of_method.__name__ for type_of_method in methods.values()}
    assert registered == set(METHODS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_names_are_refused_by_python(name):
    function = public(name)
    known_names = [parameter_name for parameter_name, _, _ in FUNCTIONS[name]]
    needed = dict.fromkeys(
        parameter_name
        for parameter_name, _, default in FUNCTIONS[name]
        if default is inspect.Parameter.empty
    )
    needed |= {"self": None} if name.startswith("Explanation.") else {}
    for wrong_name in WRONG:
        if wrong_name not in known_names:
            with pytest.raises(
                TypeError, match=f"unexpected keyword argument '{wrong_name}'"
            ):
                function(**needed, **{wrong_name: 1})


def test_there_are_no_further_names():
    assert len({*dir(pg)} - {"__version__"}) <= 25
    written_down = {name.partition(".")[0] for name in FUNCTIONS} - {"integrations"}
    classes = {
        "EnvironmentProblem",
        "Explanation",
        "InputError",
        "PermgradError",
        "PermgradWarning",
        "TableTransformer",
    }
    assert set(dir(pg)) == written_down | classes | {"__version__", "methods"}
    within = {
        f"{module_name}.{name}"
        for module_name in ("methods", "integrations")
        for name in dir(getattr(pg, module_name))
    }
    assert within | {"Explanation.evaluate"} == {
        name for name in FUNCTIONS if "." in name
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_call_is_open_to_any_name(name):
    kinds = [
        parameter.kind
        for parameter in inspect.signature(public(name)).parameters.values()
    ]
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert len(kinds) <= 22


@pytest.mark.parametrize(
    "kind", [pg.Model, pg.Explanation, pg.RayEngine, Comparison, PlotAccessor, Report]
)
def test_no_method_of_what_calls_return_is_open_to_any_name(kind):
    own_members = [
        getattr(kind, name) for name in dir(kind) if not name.startswith("_")
    ]
    signatures = [
        inspect.signature(member).parameters.values()
        for member in own_members
        if callable(member)
    ]
    assert inspect.Parameter.VAR_KEYWORD not in {
        parameter.kind for parameters in signatures for parameter in parameters
    }


@pytest.mark.parametrize("kind", [pg.HyNNClassifier, pg.HyNNRegressor])
def test_an_estimator_has_the_methods_that_users_and_runs_call(kind):
    of_sklearn = {name for name in dir(BaseEstimator) if not name.startswith("_")}
    own_names = {
        name
        for name in dir(kind)
        if not name.startswith("_") and callable(getattr(kind, name))
    } - of_sklearn
    missing = {
        pg.HyNNClassifier: {"predict_interval"},
        pg.HyNNRegressor: {"predict_proba", "predict_set"},
    }[kind]
    assert {
        name for name in own_names if not re.fullmatch("set_.*_request", name)
    } == CALLED - missing


def test_a_line_says_names_kinds_and_defaults():
    name, parameters = written('f(a, b=1, *, c, d="x")')
    assert name == "f"
    empty = inspect.Parameter.empty
    kinds = ["POSITIONAL_OR_KEYWORD"] * 2 + ["KEYWORD_ONLY"] * 2
    assert parameters == list(zip("abcd", kinds, [empty, 1, empty, "x"], strict=True))
