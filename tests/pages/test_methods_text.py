"""What a paper may say of a model that is not clearly better than a constant, and of
one that was trained elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

from tests.pages.conftest import report_content

from permgrad.assess.sections.data import DataSection
from permgrad.assess.sections.provenance import ProvenanceSection
from permgrad.pages.content import PageContent
from permgrad.pages.methods_text import methods_text

VERSIONS = {"permgrad": "1.2", "matplotlib": "3"}


def text_of(**facts):
    return methods_text(PageContent.of(replace(report_content(), **facts)))


def test_the_seed_of_a_page_is_not_that_of_a_model_from_elsewhere():
    data = DataSection(rows={"train": None, "validation": None, "test": 80})
    provenance = ProvenanceSection(
        command="permgrad.report(Forest, X, y)", seed=3, versions=VERSIONS
    )
    text = text_of(subject="Forest", data=data, provenance=provenance)
    assert text.startswith(
        "The data are 80 test rows. The model is Forest, explained with permgrad 1.2 "
        "[permgrad]. "
    )


def test_a_model_in_a_file_was_not_trained_here():
    provenance = ProvenanceSection(
        command="permgrad run a.csv --model m.onnx",
        seed=3,
        versions=VERSIONS,
        configuration={"model": "m.onnx"},
    )
    text = text_of(subject="the model in m.onnx", data=None, provenance=provenance)
    assert "in m.onnx, explained with permgrad 1.2 [permgrad]. " in text
    trained = replace(provenance, configuration={"model": "lightgbm"})
    text = text_of(subject="LightGBM", data=None, provenance=trained)
    assert "LightGBM, trained with seed 3, with permgrad 1.2 [permgrad]. " in text


def test_a_model_that_learned_nothing_has_its_scores_beside_those_of_a_constant():
    content = report_content()
    metrics = content.metrics
    constant = {**metrics["constant"], "learnt": False}
    text = text_of(metrics={**metrics, "constant": constant})
    ours = metrics["test"]["log_loss"]
    assert "On the test rows, it is not clearly better than a constant that " in text
    assert f"log loss {ours:.3f} against {constant['log_loss']:.3f}" in text
