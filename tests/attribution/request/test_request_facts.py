"""What is found out of a request: rows of a batch, images for plots, whether outputs
add up to the same sum.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from permgrad.attribution.players.segments import image_shape
from permgrad.attribution.replace.coalitions import forward_batch_size
from permgrad.attribution.request.result import input_maps
from permgrad.attribution.scopes import LOCAL
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.scales import SCALES
from permgrad.attribution.subject.subject import Subject

TABLE = torch.zeros(2, 3)
IMAGE = torch.zeros(2, 1, 4, 4)


class Network(Subject):
    """A subject of which nothing is known but its module and its paths."""

    def __init__(self, paths=(), device="cpu"):
        self.paths = tuple(paths)
        self.device = torch.device(device)
        self.makes_images = "image" in self.paths


def asked(inputs, *, module=None, paths=(), batch_size="auto", device="cpu"):
    subject = NetworkSubject(module, TABLE) if module else Network(paths, device)
    return SimpleNamespace(batch_size=batch_size, subject=subject, inputs=inputs)


CONVOLVING = nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.Flatten())


@pytest.mark.parametrize(
    ("request_", "rows"),
    [
        (asked([TABLE], module=nn.Linear(3, 1)), 1024),
        (asked([TABLE, IMAGE]), 256),
        (asked([TABLE], module=CONVOLVING), 256),
        (asked([TABLE], paths=["tabular", "image"]), 256),
        (asked([TABLE], paths=["tabular"]), 1024),
        (asked([IMAGE], device="cuda"), 16384),
        (asked([IMAGE], batch_size=7), 7),
    ],
)
def test_rows_of_a_batch(request_, rows):
    assert forward_batch_size(request_) == rows


def test_inputs_that_are_images_are_kept_for_plots():
    """Images with channels and without; tables are none, and large images leave their
    segments alone.
    """
    inputs = [TABLE, torch.ones(2, 4, 4), torch.ones(2, 3, 8, 8)]
    space = SimpleNamespace(
        inputs=("table", "grey", "colour"),
        segments=[torch.zeros(tensor.shape[1:]) for tensor in inputs],
    )
    shapes = tuple(image_shape(tuple(tensor.shape[1:])) for tensor in inputs)
    request_ = SimpleNamespace(space=space, inputs=inputs, shapes=shapes, scope=LOCAL)
    assert set(input_maps(request_)) == {
        "images:grey",
        "segments:grey",
        "images:colour",
        "segments:colour",
    }
    assert set(input_maps(request_, numbers=32)) == {
        "images:grey",
        "segments:grey",
        "segments:colour",
    }
    assert input_maps(request_)["images:colour"].shape == (2, 3, 8, 8)
    request_.shapes = ()  # as of an encoded table
    assert input_maps(request_) == {}


@pytest.mark.parametrize(
    ("kind", "scale", "task", "names", "constant"),
    [
        ("logits", "probability", "classification", ("0", "1", "2"), True),
        ("log_probabilities", "probability", "classification", ("0", "1"), True),
        ("logits", "logit", "classification", ("0", "1", "2"), True),
        ("probabilities", "logit", "classification", ("0", "1"), True),
        ("logits", "raw", "classification", ("0", "1"), False),
        # Only as exact as the network.
        ("probabilities", "probability", "classification", ("0", "1"), False),
        ("logits", "logit", "multilabel", ("0", "1"), False),
        ("values", "logit", "regression", ("0", "1"), False),
    ],
)
def test_whose_outputs_have_a_constant_sum(kind, scale, task, names, constant):
    form = OutputForm(task, kind, len(names), (), names)
    assert SCALES[scale].sum_is_constant(form) is constant
