"""Texts as vectors: by transformers that are files of Hugging Face's, by an installed
package, or by the user's own.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from permgrad.base.arrays import Floats32, Integers
from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    error_in_words,
    must,
    turned,
)
from permgrad.base.sequences import values_at
from permgrad.base.stored import parse_json
from permgrad.data.types.identifiers import LONGEST_READ
from permgrad.models.encoders import CONFIG, text_encoders
from permgrad.models.train.guard import sheltered
from permgrad.models.vectors import VectorCache

#: Tokens of a window at most, to whose multiple windows are filled up, and windows
#: encoded at once, filled up too: a vector does not depend on other texts.
_MOST_TOKENS = 512
_STEP = 16
_BATCH = 16
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"


def load_text_encoder(encoder: str) -> SentenceEncoder:
    """Return the encoder of a name or a folder.

    Weights are read as safetensors, and nothing is run.
    """
    if encoder not in text_encoders:
        return SentenceEncoder(lambda name: Path(encoder, name).read_bytes(), encoder)
    module_spec = find_spec(text_encoders[encoder])
    if module_spec is None or module_spec.origin is None:
        problem = f"The text encoder {encoder!r} is not installed"
        install_hint = "Run: pip install 'permgrad[text]'"
        raise EnvironmentProblem(problem, hint=install_hint, code="PG060")
    with zipfile.ZipFile(Path(module_spec.origin).parent / "model.zip") as archive:
        return SentenceEncoder(archive.read, encoder)


class SentenceEncoder:
    """A transformer in three files: the mean of its last layer over a text's tokens,
    and over windows of long texts.
    """

    def __init__(self, read: Callable[[str], bytes], name: str) -> None:
        if any(find_spec(module) is None for module in ("transformers", "tokenizers")):
            problem = "text_encoder needs transformers and tokenizers"
            encoder_hint = "Run: pip install 'permgrad[text]'"
            raise EnvironmentProblem(problem, hint=encoder_hint, code="PG060")
        which = f"The text encoder {name} cannot be read"
        encoder_hint = (
            f"Pass a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}, as "
            "Hugging Face's models have them."
        )
        with turned(
            lambda error: InputError(
                f"{which} ({error_in_words(error)})"[:400], encoder_hint, "PG010"
            )
        ):
            self.tokenizer, self.model = _read_model(read)
        limit = (self.tokenizer.truncation or {}).get("max_length", _MOST_TOKENS)
        self.most = min(
            limit,
            getattr(self.model.config, "max_position_embeddings", _MOST_TOKENS),
            _MOST_TOKENS,
        )
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.most)

    def __call__(self, texts: Sequence[str]) -> Floats32:
        """Return vectors ``(texts, width)``."""
        encoded = self.tokenizer.encode_batch(list(texts))
        windows = []
        for text_index, first in enumerate(encoded):
            for token_window in (first, *first.overflowing):
                windows.append((text_index, token_window.ids))
        length = np.array(
            [
                min(-(-max(len(token_ids), 1) // _STEP) * _STEP, self.most)
                for _, token_ids in windows
            ]
        )
        means: dict[int, Floats32] = {}
        for width in np.unique(length).tolist():
            window_indices = np.flatnonzero(length == width)
            for window_batch in np.split(
                window_indices, range(_BATCH, len(window_indices), _BATCH)
            ):
                means |= zip(
                    window_batch.tolist(),
                    self._means(
                        [
                            windows[window_index][1]
                            for window_index in window_batch.tolist()
                        ],
                        width,
                    ),
                    strict=True,
                )
        owner = np.array([owner_index for owner_index, _ in windows])
        window_means = np.stack(values_at(means, range(len(windows))))
        text_sums = np.zeros((len(texts), window_means.shape[1]))
        np.add.at(text_sums, owner, window_means)
        return (text_sums / np.bincount(owner)[:, None]).astype(np.float32)

    def _means(self, windows: Sequence[Sequence[int]], width: int) -> Floats32:
        device = next(self.model.parameters()).device
        token_ids = torch.zeros(_BATCH, width, dtype=torch.long)
        mask = torch.zeros(_BATCH, width, dtype=torch.long)
        for window_index, window in enumerate(windows):
            token_ids[window_index, : len(window)] = torch.tensor(
                window, dtype=torch.long
            )
            mask[window_index, : len(window)] = 1
        mask[len(windows) :, 0] = 1
        with sheltered(0), torch.no_grad():
            layer = self.model(
                input_ids=token_ids.to(device), attention_mask=mask.to(device)
            )[0].cpu()
        weight = mask.unsqueeze(-1).float()
        means = (layer * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return np.asarray(means[: len(windows)].numpy())


def _read_model(read: Callable[[str], bytes]) -> tuple[Any, Any]:
    """Return the tokenizer and the network of a model's three files."""
    from safetensors.torch import load
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoModel

    with sheltered(0):
        config = AutoConfig.for_model(**parse_json(read(CONFIG)))
        model: Any = (
            AutoModel.from_config(config, trust_remote_code=False).float().eval()
        )
    start = f"{model.base_model_prefix}."
    weights = {}
    for weight_key, value in load(read(WEIGHTS)).items():
        weights[weight_key.removeprefix(start)] = value.float()
    missing = model.load_state_dict(weights, strict=False).missing_keys
    must(
        not (
            lacking := [
                missing_key for missing_key in missing if "pooler" not in missing_key
            ]
        ),
        f"{WEIGHTS} has no {lacking[0]}",
    )
    return Tokenizer.from_str(read(TOKENIZER).decode()), model


class TextFeatures:
    """What a model knows of the texts in its columns beside their words: it turns each
    into a vector.

    Args:
        encoder: what ``text_encoder`` of the estimators is.
        device: where a transformer runs.

    Examples:
        >>> encode = lambda texts: [[len(text), text.count("o")] for text in texts]
        >>> features = TextFeatures(encode)
        >>> features.vectors(["good", "no"]).tolist()
        [[4.0, 2.0], [2.0, 1.0]]
    """

    def __init__(self, encoder: Any = None, device: torch.device | None = None) -> None:
        self.encoder: Any = (
            os.fspath(encoder) if isinstance(encoder, os.PathLike) else encoder
        )
        self.device = device or torch.device("cpu")
        self._loaded: Any = None
        self._cache = VectorCache()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        return {**self.__dict__, "_loaded": None, "_cache": VectorCache()}

    def vectors(self, texts: Sequence[str]) -> Floats32:
        """Return the vectors of texts ``(texts, width)``, of each the first 20,000
        signs.

        Raises:
            InputError: The encoder cannot be read, or returns no vectors.
            EnvironmentProblem: It is not installed.
        """
        texts = [full_text[:LONGEST_READ] for full_text in texts]
        if isinstance(self.encoder, str):
            named = self.encoder
        else:
            named = None
        if named is not None and named not in text_encoders:
            weights = Path(named, WEIGHTS)
            if weights.is_file():
                named += f" {weights.stat().st_mtime_ns} {weights.stat().st_size}"
        return self._cache.vectors(
            texts,
            lambda text_indices: self._encode(texts, text_indices),
            named,
            lambda k: texts[k].encode(),
        )

    def _encode(self, texts: Sequence[str], text_indices: Integers) -> Floats32:
        if self.encoder is None:
            problem = (
                "A model with a text_encoder of the user's own needs it on loading"
            )
            raise InputError(
                problem,
                hint="Call pg.load(folder, encoders={'text': encoder}).",
                code="PG005",
            )
        if isinstance(self.encoder, str) and self._loaded is None:
            self._loaded = load_text_encoder(self.encoder)
            self._loaded.model.to(self.device)
        batch_texts = values_at(texts, text_indices.tolist())
        encode_texts: Any
        if self._loaded is None:
            encode_texts = self.encoder
        else:
            encode_texts = self._loaded
        encoded_texts = np.asarray(encode_texts(batch_texts), dtype=np.float32)
        if (
            encoded_texts.ndim != 2
            or len(encoded_texts) != len(batch_texts)
            or not encoded_texts.shape[1]
            or not np.isfinite(encoded_texts).all()
        ):
            problem = (
                "text_encoder must return finite vectors (texts, width), but of "
                f"{len(batch_texts)} texts it returned the shape {encoded_texts.shape}"
            )
            raise InputError(
                problem, hint="Return a row of numbers for each text.", code="PG007"
            )
        return encoded_texts

    def to(self, device: torch.device) -> None:
        """Bring a transformer to a device."""
        self.device = device
        self._loaded = None
