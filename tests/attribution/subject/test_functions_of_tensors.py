"""A function of images or other tensors, an ONNX network, an exported program."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import permgrad as pg
from permgrad.attribution.subject.functions import is_table


class Photos(nn.Module):
    """A small network of photos, which may take a table besides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolve = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(3, 2)
        self.beside = nn.Linear(2, 2)

    def forward(self, photo, table=None):
        """Return logits of two classes."""
        logits = self.head(torch.relu(self.convolve(photo)).mean((2, 3)))
        return logits if table is None else logits + self.beside(table)


@pytest.fixture(scope="module")
def photos():
    """Twelve photos with a table and classes."""
    draws = torch.Generator().manual_seed(5)
    photo = torch.rand(12, 1, 8, 8, generator=draws)
    return photo, torch.randn(12, 2, generator=draws), np.arange(12) % 2


@pytest.fixture(scope="module")
def net():
    """The network itself, in eval mode."""
    return Photos().eval()


def _explained(model, X, y, method="permgrad"):
    read = model if isinstance(model, pg.Model) else pg.Model(model)
    call_options = (
        {"n_repeats": 2} if method in ("permgrad", "permutation") else {"target": 1}
    )
    return pg.explain(read, X, y, method=method, **call_options)


@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "ablation", "shapley", "lime"]
)
def test_a_function_of_images_has_the_values_of_the_network(photos, net, method):
    """A lambda on tensors, one on arrays, a bound method: as the network itself."""
    photo, _, y = photos
    expected = _explained(net, photo, y, method)
    assert np.abs(expected.values).max() > 1e-5

    def of_arrays(photo):
        assert isinstance(photo, np.ndarray)
        assert photo.dtype == np.float32
        return net(torch.from_numpy(photo)).detach().numpy()

    for function, X in (
        (lambda photo: net(photo.clone()), photo),
        (of_arrays, photo.numpy()),
        (net.forward, photo),
    ):
        explanation = _explained(function, X, y, method)
        assert explanation.names == expected.names
        np.testing.assert_allclose(
            explanation.values, expected.values, rtol=1e-5, atol=1e-7
        )


def test_several_inputs_go_by_name_as_one_dict_or_in_order(photos, net):
    """A function gets X as its user would pass it."""
    photo, table, y = photos
    X = {"photo": photo, "table": table}
    expected = pg.explain(net, X, y, groups="modality", n_repeats=2).values

    def of_dict(rows):
        assert set(rows) == {"photo", "table"}
        return {"logits": net(rows["photo"], rows["table"])}

    for function in (
        lambda photo, table: net(photo, table.clone()),
        of_dict,
        lambda photo, table: net(photo, table).tolist(),
    ):
        values = pg.explain(function, X, y, groups="modality", n_repeats=2).values
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-8)


def test_an_estimator_of_images_keeps_its_classes(photos, net):
    """Whoever has predict_proba on images is read with its classes."""
    photo, _, y = photos

    class Estimator:
        classes_ = np.array(["cat", "dog"])

        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmax(1)]

        def predict_proba(self, X):
            return torch.softmax(net(torch.from_numpy(X)), 1).detach().numpy()

    explanation = _explained(Estimator(), photo.numpy(), Estimator.classes_[y])
    assert {"cat", "dog"} < set(explanation.outputs)

    class Labels(Estimator):
        predict_proba = property()

    with pytest.raises(pg.InputError, match="predicts labels, and X is no table"):
        pg.explain(Labels(), photo.numpy(), y)


def test_float64_arrays_stay_what_they_are(photos):
    """What the user passes in double precision is not rounded on its way."""
    photo, _, _ = photos
    seen_types = set()

    def function(rows):
        seen_types.add(rows.dtype)
        return rows.reshape(len(rows), -1)[:, :1]

    exact = photo.numpy().astype(np.float64) + 1e-12
    predicted = pg.Model(function).predict(exact)
    assert seen_types == {np.dtype("float64")}
    np.testing.assert_array_equal(predicted[:, 0], exact[:, 0, 0, 0])


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift", "gradcam"])
def test_methods_of_slopes_refuse_a_function(photos, net, method):
    """The remedy, typed, works."""
    photo, _, y = photos
    with pytest.raises(pg.InputError, match="needs the gradient of a torch") as error:
        pg.explain(lambda photo: net(photo.clone()), photo, y, method=method)
    assert "'shapley'" in error.value.hint
    _explained(lambda photo: net(photo.clone()), photo, y, "shapley")


def test_the_same_function_is_told_by_its_rows(photos):
    """Of a matrix it is a function of a table, of images one of tensors."""
    model = pg.Model(lambda rows: rows.reshape(len(rows), -1).sum(1))
    photo, table, _ = photos
    assert model.describe(table.numpy()).startswith("function of a table, regression")
    described = model.describe(photo.numpy())
    assert described.startswith("function of tensors, regression")
    assert "image 8 × 8" in described


@pytest.mark.parametrize(
    ("rows", "table"),
    [
        (np.zeros((3, 2)), True),
        (torch.zeros(3, 2), True),
        ([[1, 2], [3, 4]], True),
        ([np.zeros(2), np.zeros(2)], True),
        (np.zeros((3, 2, 2)), False),
        ({"a": np.zeros(3)}, False),
        ((np.zeros((3, 2)), np.zeros((3, 2))), False),
        ([[[1, 2]], [[3, 4]]], False),
    ],
)
def test_what_a_table_is(rows, table):
    """At most two dimensions, and one input."""
    assert is_table(rows) is table


def test_a_function_is_never_asked_for_a_whole_set_at_once():
    """What it writes is not seen, so batches are bounded by the numbers of a row."""
    most = []

    def function(rows):
        most.append(len(rows))
        return rows.mean((1, 2, 3))

    X = np.random.default_rng(0).random((40, 3, 128, 128), dtype=np.float32)
    pg.Model(function).predict(X)
    assert max(most) <= 2**21 // X[0].size


@pytest.mark.slow
def test_an_exported_program_is_its_module(photos, net):
    """Also by slopes."""
    photo, _, y = photos
    rows = ({0: torch.export.Dim("rows", min=2, max=4096)},)
    program = torch.export.export(net, (photo,), dynamic_shapes=rows)
    for method in ("permgrad", "integrated_gradients"):
        expected = _explained(net, photo, y, method)
        explanation = _explained(program, photo, y, method)
        np.testing.assert_allclose(
            explanation.values, expected.values, rtol=1e-4, atol=1e-6
        )
    assert pg.Model(program).describe(photo, y).startswith("exported network")


@pytest.mark.slow
def test_a_report_on_a_function_of_images(net):
    """The page is made as for the network."""
    photo = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = pg.report(lambda photo: net(photo.clone()), photo, np.arange(40) % 2)
    assert "characters" in repr(report)


@pytest.mark.slow
def test_onnx_networks_of_images_and_of_several_inputs(photos, net, tmp_path):
    """They get arrays by the names of their inputs."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    photo, table, y = photos
    path = tmp_path / "photos.onnx"
    names = {"input_names": ["photo", "table"], "output_names": ["logits"]}
    rows = {name: {0: "rows"} for name in ("photo", "table", "logits")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (photo, table), path, **names, dynamic_axes=rows, dynamo=False
        )
    model = pg.integrations.read_onnx(path)
    X = {"photo": photo.numpy(), "table": table.numpy()}
    expected = pg.explain(net, {"photo": photo, "table": table}, y, n_repeats=2)
    explanation = pg.explain(model, X, y, n_repeats=2)
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-5)
    with pytest.raises(pg.InputError, match="takes the inputs 'photo', 'table'"):
        pg.explain(model, {"photo": X["photo"]}, y)


def test_what_was_fitted_on_columns_takes_no_images():
    """Its message is about tables, and that of a function about the function."""
    X = np.random.default_rng(0).random((30, 2, 3))
    fitted = LogisticRegression().fit(X.reshape(30, 6), np.arange(30) % 2)
    for model in (fitted, fitted.predict_proba):
        for rows in (X, {"image": X}):
            with pytest.raises(pg.InputError, match="must be a table"):
                pg.explain(model, rows, np.arange(30) % 2)
    with pytest.raises(pg.InputError, match="The function does not accept the inputs"):
        pg.explain(lambda rows: rows @ np.ones(7), X)
