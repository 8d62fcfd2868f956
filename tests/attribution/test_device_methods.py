"""Every method gives on another device what it gives on the processor.

Where torch sees a GPU, that is the device. Everywhere the same code also runs on a
pretended one, whose tensors refuse, as a GPU's do, to be mixed with the processor's
(``tests/shared/pretended.py``), in a process of its own.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from strangers import STRANGERS
from usual_methods import CASES, USUAL, few_draws

import permgrad as pg
from permgrad.attribution import methods

_SCRIPT = Path(__file__).parents[1] / "shared" / "on_pretended.py"
#: Of the largest value: what another order of adding up may change. Measured: 2e-6 at
#: most.
TOLERANCE = 2e-5
#: Steps of the optimizer divide by small gradients, so that rounding grows. Measured:
#: 4e-5 at most.
TRAINED = 5e-4

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no GPU here"
)


#: How many cases each kind of work has at least.
LEAST = {"hybrid": 25, "networks": 20, "training": 4, "rendering": 10}


@pytest.fixture(scope="module")
def differences():
    """What differs on a device without float64, the harder kind.

    Without "narrow" it has float64.
    """
    pytest.importorskip("torch.utils.backend_registration")
    from torch.utils import backend_registration

    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch cannot have devices written in Python")
    ran = subprocess.run(
        [sys.executable, str(_SCRIPT), "narrow"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("work", LEAST)
def test_as_on_the_processor(differences, work):
    cases = differences[work]
    assert "failed" not in cases, cases["failed"]
    assert len(cases) >= LEAST[work]
    allowed = TRAINED if work == "training" else TOLERANCE
    assert not {name: value for name, value in cases.items() if not value <= allowed}
    if work == "hybrid":
        # A method that is new is met without a word here.
        assert {
            f"default {name} {scope}"
            for name in USUAL
            for scope in methods.get(name).scopes
        } <= set(cases)


# ---- on a GPU ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue"], 300)
    y = (X["a"] + (X["colour"] == "red") * 2 + X["b"] * X["c"] > 0).to_numpy()
    model = pg.HyNNClassifier(
        max_epochs=3, image="always", random_state=0, progress=False, device="cpu"
    )
    return model.fit(X, y), X[:40], y[:40]


def explained(model, inputs, y, name, scope):
    call_options = {
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        **few_draws(name, min_permutations=20, max_permutations=20),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            model, inputs, y, method=name, scope=scope, **call_options
        ).values


def assert_close(computed, reference):
    np.testing.assert_array_equal(np.isnan(computed), np.isnan(reference))
    largest = np.nanmax(np.abs(reference))
    assert largest > 0
    # cuDNN adds up in an order of its own: float32 keeps about four digits through a
    # few layers.
    assert np.nanmax(np.abs(computed - reference)) <= 5e-4 * largest


@needs_gpu
@pytest.mark.parametrize(("name", "scope"), CASES)
def test_hybrid_on_a_gpu(fitted, name, scope):
    model, X, y = fitted
    twin = copy.deepcopy(model)
    twin.module_.to("cuda")
    assert_close(
        explained(twin, X, y, name, scope), explained(model, X, y, name, scope)
    )


@needs_gpu
@pytest.mark.parametrize(
    ("name", "scope"), [case for case in CASES if case[0] != "permgrad_paper"]
)
@pytest.mark.parametrize(
    "stranger", ["images_first", "embedded_codes", "attention", "tuple_of_outputs"]
)
def test_network_on_a_gpu(stranger, name, scope):
    net, inputs, y = STRANGERS[stranger]()
    try:
        reference = explained(net, inputs, y, name, scope)
    except pg.InputError:
        pytest.skip(
            "this network does not have what the method needs, on the processor either"
        )
    assert_close(
        explained(copy.deepcopy(net).to("cuda"), inputs, y, name, scope), reference
    )
