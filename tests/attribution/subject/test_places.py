"""Outputs by place: as torch's own losses over the places that have a label."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    one_hot,
)

import permgrad as pg
from permgrad.attribution.subject.places import Layout, layout_of

GIVEN = {"method": "permutation", "n_repeats": 2, "progress": False}


class Words(nn.Module):
    """A score of each of five labels for each of seven words."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(30, 5)

    def forward(self, x):
        return self.words(x)


class Sounds(nn.Module):
    """Scores of three events at each of 24 times: labels come first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.read = nn.Conv1d(2, 3, 3, padding=1)

    def forward(self, x):
        return self.read(x)


class Maps(nn.Module):
    """Scores of three labels at each of 6 × 8 pixels."""

    def __init__(self, labels=3):
        super().__init__()
        torch.manual_seed(3)
        self.read = nn.Conv2d(1, labels, 3, padding=1)

    def forward(self, x):
        return self.read(x)


class AsRows(nn.Module):
    """The same outputs, one long row of numbers each."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).flatten(1)


def _cases():
    torch.manual_seed(0)
    ids = torch.randint(0, 30, (20, 7))
    wave = torch.randn(20, 2, 24)
    images = torch.rand(16, 1, 6, 8)
    return {
        "words": (Words().eval(), ids, -1),
        "sounds": (Sounds().eval(), wave, 1),
        "maps": (Maps().eval(), images, 1),
    }


def _noisy(net, X, axis):
    """Return labels that the network gets right at most places."""
    with torch.no_grad():
        scores = net(X)
    return (scores + 0.3 * torch.randn(scores.shape)).argmax(axis)


def _explained(model, X, y, **options):
    return pg.explain(model, X, y, **GIVEN, **options)


def _slowly(net, X, y, loss):
    """Explain with a loss that torch computes of the outputs in their shape."""
    shape = net(X[:1]).shape[1:]

    def rows(outputs, truth):
        return loss(torch.as_tensor(outputs).reshape(-1, *shape), truth).numpy()

    return _explained(AsRows(net).eval(), X, y.numpy(), loss=rows)


@pytest.mark.parametrize("name", ["words", "sounds", "maps"])
@pytest.mark.parametrize("void", [None, -100, 255])
def test_one_label_at_each_place(name, void):
    net, X, axis = _cases()[name]
    y = _noisy(net, X, axis)
    if void is not None:
        y[:, -2:] = void
        y[3, 0] = void

    def mean(outputs, truth):
        truth, keep = torch.as_tensor(truth), torch.as_tensor(truth != void)
        losses = cross_entropy(outputs.movedim(axis, 1), truth * keep, reduction="none")
        return (losses * keep).flatten(1).sum(1) / keep.flatten(1).sum(1)

    expected = _slowly(net, X, y, mean)
    explanation = _explained(net, X, y)
    assert expected.values.max() > 0.001
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-6)
    left_out = 0 if void is None else int((y == void).sum())
    assert explanation.meta["places"] == {"void": left_out, "of": y.numel()}
    words = f"{left_out} of {y.numel()} places have no label and are left out"
    assert (words in explanation.summary()) == (left_out > 0)
    if void == 255 and name == "maps":
        as_bytes = _explained(net, X, y.numpy().astype(np.uint8))
        np.testing.assert_array_equal(as_bytes.values, explanation.values)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["words", "sounds", "maps"])
def test_labels_that_may_overlap(name):
    net, X, axis = _cases()[name]
    with torch.no_grad():
        y = (net(X) + 0.3 * torch.randn(net(X).shape) > 0).long()
    assert set(y.sum(axis).unique().tolist()) > {0, 1}

    def mean(outputs, truth):
        losses = binary_cross_entropy_with_logits(
            outputs, torch.as_tensor(truth).to(outputs), reduction="none"
        )
        return losses.flatten(1).mean(1)

    def second(outputs, truth):
        alone = [
            array.movedim(axis, -1)[..., 1]
            for array in (outputs, torch.as_tensor(truth))
        ]
        return mean(*alone)

    expected = _slowly(net, X, y, mean)
    explanation = _explained(net, X, y)
    assert expected.values.max() > 0.001
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-6)
    assert explanation.meta["loss"] == "multilabel_cross_entropy, mean over places"
    expected = _slowly(net, X, y, second)
    explanation = _explained(net, X, y, target=1)
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-6)


@pytest.mark.parametrize("name", ["words", "sounds", "maps"])
def test_one_hot_masks_are_labels(name):
    net, X, axis = _cases()[name]
    y = _noisy(net, X, axis)
    masks = one_hot(y, net(X).shape[axis]).movedim(-1, axis)
    expected = _explained(net, X, y)
    explanation = _explained(net, X, masks)
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-12)
    assert explanation.meta["loss"] == "cross_entropy, mean over places"


def test_target_names_the_label_of_a_place():
    net, ids, _ = _cases()["words"]
    y = _noisy(net, ids, -1)
    names = ["none", "person", "place", "day", "sum"]
    read = pg.Model(net, class_names=names)

    def of_place(outputs, truth):
        logs = outputs.double().log_softmax(-1)[..., 2]
        return -torch.where(
            torch.as_tensor(truth) == 2, logs, torch.log(-torch.expm1(logs))
        ).mean(1)

    expected = _slowly(net, ids, y, of_place)
    explanation = _explained(read, ids, y, target="place")
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-6)
    assert explanation.meta["loss"] == "cross_entropy of place, mean over places"
    assert "of none, person, place, day, sum at each of 7 places" in read.describe(
        ids, y
    )
    with pytest.raises(pg.InputError, match="No output 'town'"):
        _explained(read, ids, y, target="town")


def test_two_classes_without_a_dimension_of_labels():
    images = torch.rand(12, 1, 6, 8)
    net = Maps(1).eval()
    y = (net(images)[:, 0] > 0).long()
    y[:, 0] = 255

    class Bare(Maps):
        def forward(self, x):
            return super().forward(x)[:, 0]

    expected = _explained(net, images, y)
    assert expected.meta["places"]["void"] == 12 * 8
    np.testing.assert_array_equal(
        _explained(Bare(1).eval(), images, y).values, expected.values
    )


def test_a_number_for_each_place_with_padding():
    class Each(Words):
        def forward(self, x):
            return super().forward(x)[..., 0]

    ids = torch.randint(1, 30, (20, 7))
    y = (Each()(ids) > 0).long()
    y[:, 5:] = -100

    def mean(outputs, truth):
        losses = binary_cross_entropy_with_logits(
            outputs[:, :5], torch.as_tensor(truth)[:, :5].to(outputs), reduction="none"
        )
        return losses.mean(1)

    expected = _slowly(Each().eval(), ids, y, mean)
    np.testing.assert_allclose(
        _explained(Each().eval(), ids, y).values, expected.values, atol=1e-6
    )


def test_numbers_at_places_keep_what_would_be_void_among_classes():
    images = torch.rand(12, 1, 6, 8)
    depths = 100 * torch.rand(12, 6, 8)
    depths[:, 0, 0] = -100
    depths[:, 0, 1] = 255
    explanation = _explained(Maps(1).eval(), images, depths)
    assert explanation.meta["places"]["void"] == 0
    assert explanation.meta["loss"] == "squared_error, mean over places"
    depths[:, 0] = torch.nan
    explanation = _explained(Maps(1).eval(), images, depths)
    assert explanation.meta["places"]["void"] == 12 * 8


def test_rows_without_any_label_are_refused():
    net, images, _ = _cases()["maps"]
    y = _noisy(net, images, 1)
    y[:2] = -100
    words = r"2 rows of y have no place with a label\. Leave those rows out"
    with pytest.raises(pg.InputError, match=words):
        _explained(net, images, y)


def test_a_y_of_another_size_is_told_what_fits():
    net, wave, _ = _cases()["sounds"]
    y = torch.zeros(20, 12, dtype=torch.long)
    words = r"y \(rows, 12\) does not fit the network's output \(rows, 3, 24\)\. Pass"
    with pytest.raises(pg.InputError, match=words):
        _explained(net, wave, y)
    with pytest.raises(pg.InputError, match=r"or pass y \(rows, 3\) or \(rows, 24\)"):
        _explained(net, wave, None)


def test_layouts():
    y = np.zeros((4, 5), dtype=int)
    assert layout_of((5, 3), y) == Layout((5, 3), 1, several=False)
    assert layout_of((3, 5), y) == Layout((3, 5), 0, several=False)
    # Of as many labels as places, the input says which are the places.
    assert layout_of((5, 5), y, [5]) == Layout((5, 5), 0, several=False)
    pair_labels = np.zeros((4, 6, 3), dtype=int)
    assert layout_of((6, 3), pair_labels, [6]) == Layout((6, 3), 1, several=True)
    assert layout_of((6, 3), pair_labels, [3, 7]) == Layout((6, 3), 0, several=True)
    assert layout_of((6, 3), pair_labels, [6, 3]) == Layout((6, 3), None, several=False)
    assert layout_of((6, 3, 7), pair_labels) is None
    assert layout_of((6, 3, 7), pair_labels, [6, 3, 1]) == Layout(
        (6, 3, 7), 2, several=False
    )
    assert layout_of((4,), np.zeros((4, 4))) is None
