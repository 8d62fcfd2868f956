"""One model that is saved in several forms has the same explanation: every method, on
every scale.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import permgrad as pg

ROWS = 6
QUIET = {"progress": False, "random_state": 0}
METHODS = (
    "permgrad",
    "permutation",
    "ablation",
    "shapley",
    "lime",
    "integrated_gradients",
    "gradient",
    "smoothgrad",
    "deeplift",
    "gradcam",
)
#: What is moved alike in all classes, and changes no probability.
ALIKE = 8.0


class Saved(nn.Module):
    """A network of images and numbers with scores of classes, which it returns in one
    of several forms.
    """

    def __init__(self, form: str, classes: int = 2) -> None:
        super().__init__()
        self.form = form
        generator = torch.Generator().manual_seed(classes)
        self.image = nn.Conv2d(1, 3, 3)
        self.table = nn.Linear(3, 5)
        self.head = nn.Linear(5 + 3, classes)
        self.double()
        for weights in self.parameters():
            drawn = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
            weights.data = 0.6 * drawn

    def forward(self, picture: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.image(picture)).mean(dim=(2, 3))
        scores = self.head(torch.cat([torch.tanh(self.table(table)), maps], dim=1))
        if self.form == "scores":
            return scores + ALIKE * table[:, :1]
        if self.form == "score":
            return scores[:, 1] - scores[:, 0]
        if self.form == "probability":
            return torch.softmax(scores, dim=1)[:, 1]
        if self.form == "logs":
            return torch.log_softmax(scores, dim=1)
        return torch.softmax(scores, dim=1)


RETURNS = {
    "scores": "logits",
    "score": "logits",
    "probability": "probabilities",
    "probabilities": "probabilities",
    "logs": "log_probabilities",
}


def saved(form: str, names: tuple[str, ...]) -> pg.Model:
    return pg.Model(
        Saved(form, len(names)),
        task="classification",
        returns=RETURNS[form],
        class_names=names,
        segments=("grid", 2),
    )


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = [
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((30, 1, 6, 6), (30, 3))
    ]
    return dict(zip(("picture", "table"), drawn, strict=True))


def explained(model: pg.Model, inputs: dict, method: str, **more) -> pg.Explanation:
    rows = {name: tensor[:ROWS] for name, tensor in inputs.items()}
    return pg.explain(
        model, rows, method=method, background=inputs, scope="local", **more, **QUIET
    )


@pytest.mark.parametrize("scale", ["auto", "logit", "probability"])
@pytest.mark.parametrize("method", METHODS)
def test_one_model_of_two_classes_in_five_forms(inputs, method, scale):
    if (method, scale) == ("gradcam", "auto"):
        pytest.skip("Grad-CAM is of what a model returns")
    first, *other_explanations = (
        explained(saved(form, ("no", "yes")), inputs, method, scale=scale)
        for form in RETURNS
    )
    assert np.abs(first.values).max() > 1e-4
    for explanation in other_explanations:
        assert explanation.outputs == first.outputs
        assert explanation.meta["unit"] == first.meta["unit"]
        limit = 1e-6 * np.abs(first.values).max()
        np.testing.assert_allclose(explanation.values, first.values, rtol=0, atol=limit)
        np.testing.assert_allclose(
            explanation.predictions, first.predictions, rtol=1e-9
        )


@pytest.mark.parametrize("scale", ["logit", "probability"])
@pytest.mark.parametrize("method", ["shapley", "integrated_gradients", "deeplift"])
def test_one_model_of_three_classes_in_three_forms(inputs, method, scale):
    first, *other_explanations = (
        explained(saved(form, ("a", "b", "c")), inputs, method, scale=scale)
        for form in ("scores", "logs", "probabilities")
    )
    assert first.outputs == ("a", "b", "c")
    if scale == "logit":
        np.testing.assert_allclose(first.values.sum(axis=2), 0, atol=1e-12)
    for explanation in other_explanations:
        limit = 1e-6 * np.abs(first.values).max()
        np.testing.assert_allclose(explanation.values, first.values, rtol=0, atol=limit)


def test_logits_are_log_odds_and_raw_is_what_is_returned(inputs):
    rows = {name: tensor[:ROWS] for name, tensor in inputs.items()}
    shares = Saved("probabilities")(**rows).detach().numpy()
    odds = np.log(shares[:, 1] / shares[:, 0])
    for positive, sign in (("yes", 1), ("no", -1)):
        model = pg.Model(
            Saved("scores"),
            returns="logits",
            class_names=["no", "yes"],
            positive=positive,
        )
        explanation = explained(model, inputs, "shapley", scale="logit")
        assert explanation.outputs == (positive,)
        np.testing.assert_allclose(
            explanation.predictions[:, 0], sign * odds, rtol=1e-9
        )
        two_sided = explained(
            model, inputs, "shapley", scale="logit", target=["no", "yes"]
        )
        np.testing.assert_allclose(two_sided.values[..., 0], -two_sided.values[..., 1])
    for form, names in (("scores", ("no", "yes")), ("score", ("yes",))):
        explanation = explained(
            saved(form, ("no", "yes")), inputs, "shapley", scale="raw"
        )
        assert explanation.outputs == names
        returned = Saved(form)(**rows).detach().numpy().reshape(ROWS, -1)
        np.testing.assert_allclose(explanation.predictions, returned, rtol=1e-9)


def test_what_moves_all_classes_alike_has_no_part(inputs):
    class Alike(nn.Module):
        def forward(self, table: torch.Tensor) -> torch.Tensor:
            product = table[:, 1] * table[:, 2]
            return torch.stack(
                [table[:, 0], table[:, 0] + product, table[:, 0] - product], 1
            )

    for method in ("shapley", "gradient", "lime"):
        for scale in ("logit", "probability"):
            explanation = pg.explain(
                pg.Model(Alike(), returns="logits", class_names=list("abc")),
                inputs["table"][:ROWS],
                method=method,
                background=inputs["table"],
                scale=scale,
                **QUIET,
            )
            assert np.abs(explanation.values[:, 1:]).max() > 1e-3
            limit = (
                1e-9 if method != "lime" else 0.05 * np.abs(explanation.values).max()
            )
            assert np.abs(explanation.values[:, 0]).max() <= limit, (method, scale)


def test_labels_that_overlap_have_odds_of_their_own():
    table = torch.randn(20, 3, generator=torch.Generator().manual_seed(3)).double()
    shares = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()).double()
    networks = {
        "probabilities": shares,
        "logits": nn.Sequential(shares[0]),
    }
    explanations = [
        pg.explain(
            pg.Model(net, task="multilabel", returns=returns),
            table,
            method="shapley",
            scope="local",
            scale="logit",
            **QUIET,
        )
        for returns, net in networks.items()
    ]
    assert [explanation.meta["unit"] for explanation in explanations] == [
        "log-odds"
    ] * 2
    np.testing.assert_allclose(
        explanations[0].values, explanations[1].values, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("scale", ["auto", "probability", "logit", "raw"])
@pytest.mark.parametrize("method", ["shapley", "integrated_gradients", "deeplift"])
def test_a_rows_parts_add_up_on_the_named_scale(scale, method):
    generator = np.random.default_rng(2)
    X = generator.normal(size=(200, 3))
    y = np.where(X[:, 0] + X[:, 1] ** 2 > 1.5, "rare", "usual")
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    explanation = pg.explain(model, X[:5], method=method, scale=scale, **QUIET)
    usual = {"deeplift": "logit"}.get(method, "probability")
    assert explanation.meta["scale"] == (usual if scale == "auto" else scale)
    base = np.broadcast_to(explanation.base_values, explanation.predictions.shape)
    np.testing.assert_allclose(
        base + explanation.values.sum(axis=1), explanation.predictions, atol=2e-4
    )
    shares = model.predict_proba(X[:5])
    if explanation.meta["scale"] == "logit":
        assert explanation.outputs == ("rare",)
        odds = np.log(shares[:, 0] / shares[:, 1])
        np.testing.assert_allclose(explanation.predictions[:, 0], odds, atol=1e-4)
    if explanation.meta["scale"] == "probability":
        np.testing.assert_allclose(explanation.predictions, shares, atol=1e-5)


def test_another_scale_than_probabilities_is_said(inputs):
    model = saved("scores", ("no", "yes"))
    text = explained(model, inputs, "deeplift").summary()
    assert "DeepLIFT needs a scale that is linear in the outputs." in text
    assert "Log-odds of 0 are a probability of 50 %" in text
    probability = explained(model, inputs, "shapley").summary()
    assert "DeepLIFT" not in probability
    assert "(probability)" in probability


def test_a_row_of_its_own_has_no_raw_output_where_one_stands_for_two(inputs):
    with pytest.raises(pg.InputError) as caught:
        explained(
            saved("score", ("no", "yes")),
            inputs,
            "shapley",
            scale="raw",
            target="predicted",
        )
    assert str(caught.value) == (
        "scale='raw' has one output, and target names one of each row. "
        "Leave scale out, or pass scale='logit'. [PG006]"
    )
