"""Vectors of texts that are read beside their words."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.models.texts import SentenceEncoder, TextFeatures, text_encoders

QUICK = {
    "preset": "fast",
    "max_epochs": 5,
    "random_state": 0,
    "progress": False,
    "branches": ("tabular",),
}
# Each word occurs once or twice: words say nothing of other texts, but its first letter
# does, which a function reads.
RNG = np.random.default_rng(0)
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def made(rows, seed):
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(LETTERS, 7)) for _ in range(3 * rows)]
    texts = [" ".join(words[3 * k : 3 * k + 3]) for k in range(rows)]
    y = np.array([text.count("e") + text.count("a") > 1 for text in texts]).astype(int)
    return pd.DataFrame({"text": texts, "x": rng.normal(size=rows)}), y


def letters(texts):
    assert isinstance(texts, list)
    return [[text.count(letter) for letter in "abcde"] for text in texts]


def kinds_of(model, column="text"):
    return [kind for kind, _, _ in model.preprocessor_.scores_.columns.get(column, ())]


@pytest.fixture(scope="module")
def fitted():
    X, y = made(500, 0)
    return pg.HyNNClassifier(text_encoder=letters, **QUICK).fit(X, y)


def test_vectors_enter_beside_words(fitted):
    X, y = made(300, 1)
    words = pg.HyNNClassifier(**QUICK).fit(*made(500, 0))
    assert "vectors" not in kinds_of(words)
    assert "vectors" in kinds_of(fitted)
    assert fitted.score(X, y) > words.score(X, y) + 0.1
    # A missing text has a score of 0, as an unseen one of words alone.
    text_columns = fitted.preprocessor_.columns_of("text")
    assert not fitted.encode_rows(X.assign(text=None)).encoded[:, text_columns].any()


def test_a_model_with_a_function_needs_it_again(fitted, tmp_path):
    X, _ = made(40, 2)
    fitted.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model", encoders={"text": letters})
    assert (loaded.predict_proba(X) == fitted.predict_proba(X)).all()
    with pytest.raises(
        pg.InputError,
        match=r"text_encoder of the user's own needs it.*encoders={'text': encoder}",
    ):
        pg.load(tmp_path / "model").predict(X)
    pg.HyNNClassifier(**QUICK).fit(*made(60, 0)).save(tmp_path / "other")
    with pytest.raises(
        pg.InputError,
        match=r"encoders\['text'\] is only for models fitted with a text_encoder",
    ):
        pg.load(tmp_path / "other", encoders={"text": letters})


def test_words_of_a_text_with_vectors_have_effects(fitted):
    X, _ = made(1, 3)
    divided = pg.explain_parts(fitted, X, random_state=0)
    assert {name.partition("[")[0] for name in divided.names} == {"text", "x"}


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            "all-minilm",
            (
                "text_encoder must be None, 'all-minilm-l6-v2', a folder with a "
                "Hugging Face model or a callable"
            ),
        ),
        (3, "text_encoder must be None"),
        (lambda texts: [[1.0]], "text_encoder must return finite vectors"),
        (
            lambda texts: [[float("nan")] for _ in texts],
            "text_encoder must return finite vectors",
        ),
    ],
)
def test_wrong_encoders(encoder, message):
    with pytest.raises(pg.InputError, match=message):
        pg.HyNNClassifier(text_encoder=encoder, **QUICK).fit(*made(60, 0))


def test_a_named_encoder_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(text_encoders, "all-minilm-l6-v2", "no_such_package")
    with pytest.raises(pg.EnvironmentProblem, match=r"not installed.*permgrad\[text\]"):
        TextFeatures("all-minilm-l6-v2").vectors(["one"])


# ---- files of Hugging Face's ---------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A transformer with random weights that knows words of one letter."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    safetensors = pytest.importorskip("safetensors.torch")
    encoder_folder = tmp_path_factory.mktemp("encoder")
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=20,
    )  # fmt: skip
    safetensors.save_file(
        transformers.BertModel(config).state_dict(),
        encoder_folder / "model.safetensors",
    )
    (encoder_folder / "config.json").write_text(json.dumps(config.to_dict()))
    words = tokenizers.models.WordLevel(
        {"?": 0, **{letter: k + 1 for k, letter in enumerate(LETTERS)}}, unk_token="?"
    )
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(encoder_folder / "tokenizer.json"))
    return encoder_folder


def test_a_folder_is_read_and_long_texts_are_cut(folder):
    transformers = pytest.importorskip("transformers")
    texts = ["a b c", "d", " ".join(LETTERS), ""]
    text_vectors = TextFeatures(folder).vectors(texts)
    assert text_vectors.shape == (4, 8)
    import torch

    model = transformers.BertModel.from_pretrained(
        folder, add_pooling_layer=False
    ).eval()
    with torch.no_grad():

        def mean(ids):
            return model(torch.tensor([ids]))[0][0].mean(dim=0).numpy()

        np.testing.assert_allclose(text_vectors[0], mean([1, 2, 3]), atol=1e-5)
        np.testing.assert_allclose(
            text_vectors[2],
            (mean([*range(1, 21)]) + mean([*range(21, 27)])) / 2,
            atol=1e-5,
        )
    # A vector does not depend on other texts.
    assert (TextFeatures(folder).vectors(texts[1:2]) == text_vectors[1]).all()


def test_a_model_with_a_folder_is_saved_by_its_name(folder, tmp_path):
    X, y = made(60, 0)
    model = pg.HyNNClassifier(text_encoder=folder, **QUICK).fit(X, y)
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert loaded.text_encoder == str(folder)
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()


def test_a_folder_without_its_weights_is_named(folder, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(pg.InputError, match=r"cannot be read \(FileNotFoundError"):
        TextFeatures(tmp_path).vectors(["a"])
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(pg.InputError, match=r"model\.safetensors has no embeddings"):
        TextFeatures(tmp_path).vectors(["a"])


def test_without_its_packages_a_folder_cannot_be_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        pg.EnvironmentProblem,
        match=r"needs transformers and tokenizers.*permgrad\[text\]",
    ):
        SentenceEncoder(lambda _: b"", "here")
