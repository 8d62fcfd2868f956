"""The folder of a saved model: a description, arrays, weights, and checksums of them.

Torch is loaded for weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.base import __version__
from permgrad.base.arrays import Array
from permgrad.base.errors import (
    EnvironmentProblem,
    Fault,
    InputError,
    must,
    refusing,
    turned,
)
from permgrad.base.files import atomic_path, file_hash, json_text, writing
from permgrad.base.stored import (
    TIMES,
    parse_json,
    read_json,
    read_saved,
    sealed,
    write_npz,
    write_times,
)
from permgrad.base.versions import versions

if TYPE_CHECKING:
    import torch

FORMAT_NAME = "permgrad model"
FORMAT_VERSION = 2
#: The version of models of other libraries.
OTHERS_VERSION = 3
DESCRIPTION = "model.json"
ARRAYS = "arrays.npz"
WEIGHTS = "weights.safetensors"
#: The packages that read the folder, for pip, with the versions that wrote it.
REQUIREMENTS = "requirements.txt"
#: What reads every model.
_PACKAGES = ("numpy", "pandas", "scikit-learn", "torch", "safetensors")
#: The endings of the files that hold models of other libraries.
_FITTED = ("skops", "onnx")


# ---- writing -------------------------------------------------------------------------
def write_model(
    model: Any,
    target: Path,
    version: int,
    description: Mapping[str, Any],
    arrays: Mapping[str, Array],
    weights: Mapping[str, torch.Tensor],
    seconds: Any,
    write: Callable[[Path], None] = lambda folder: None,  # noqa: ARG005
    packages: Sequence[str] = (),
) -> None:
    """Write a model's folder, which appears complete or not at all.

    ``seconds``: what its training took (None: not known). ``write``: writes its further
    files into a folder. ``packages``: those that it needs beside permgrad's own.
    """
    # Text in an array of objects would need pickle. Text of a fixed width does not.
    arrays = {
        array_name: values.astype(str) if values.dtype == object else values
        for array_name, values in arrays.items()
    }
    with (
        writing(target, "choose another folder"),
        atomic_path(target, folder=True) as temporary,
    ):
        write(temporary)
        write_npz(temporary / ARRAYS, arrays)
        if weights:
            from safetensors.torch import save as weights_to_bytes

            content = {}
            for weight_name, value in weights.items():
                content[weight_name] = value.detach().cpu().contiguous()
            (temporary / WEIGHTS).write_bytes(weights_to_bytes(content))
        written_with = versions([*_PACKAGES, *packages])
        full_description = {
            "format": FORMAT_NAME,
            "version": version,
            "written_by": f"permgrad {__version__}",
            "versions": written_with,
        }
        full_description |= {"estimator": type(model).__name__, **description}
        files = []
        for file_path in sorted(temporary.iterdir()):
            if file_path.is_file():
                files.append(file_path)
        full_description["checksums"] = {
            saved_file.name: file_hash(saved_file) for saved_file in files
        }
        # What people may change: nothing is read back of it.
        (temporary / REQUIREMENTS).write_text(
            _requirements(written_with), encoding="utf-8"
        )
        if seconds is not None:
            write_times(temporary, seconds)
        (temporary / DESCRIPTION).write_text(
            json_text(sealed(full_description), indent=1) + "\n", encoding="utf-8"
        )


def _requirements(written_with: Mapping[str, str]) -> str:
    """Return the lines of ``requirements.txt``. Builds such as +cpu are left out."""
    lines = [f"# Written with Python {written_with['python']}."]
    for package, package_version in written_with.items():
        if package != "python":
            lines.append(f"{package}=={package_version.partition('+')[0]}")
    return "\n".join(lines) + "\n"


@refusing
def check_target(target: Path, *, overwrite: bool) -> Iterator[Fault]:
    """Refuse a folder that holds anything but an older model that may be replaced."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        problem = f"A model is saved into a folder, but {target} is a file or a link"
        yield problem, "Choose another name.", "PG050"
    if not target.exists() or not any(target.iterdir()):
        return
    own_files = {
        DESCRIPTION,
        ARRAYS,
        WEIGHTS,
        REQUIREMENTS,
        TIMES,
        *(f"fitted.{fitted_kind}" for fitted_kind in _FITTED),
    }
    is_model = {entry.name for entry in target.iterdir()} <= own_files
    try:
        is_model = is_model and read_json(target / DESCRIPTION)["format"] == FORMAT_NAME
    except (OSError, ValueError, KeyError, TypeError):
        is_model = False
    if not is_model:
        yield (
            f"{target} holds files that are no model",
            "Choose another folder.",
            "PG051",
        )
    if not overwrite:
        yield (
            f"{target} already holds a model",
            "Pass overwrite=True or choose another folder.",
            "PG050",
        )


# ---- reading -------------------------------------------------------------------------
def _read(path: Path) -> bytes:
    try:
        return read_saved(path)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    except FileNotFoundError:
        problem = (
            f"The folder {path.parent} has no {path.name}, so it is no complete model"
        )
        raise InputError(
            problem, hint="Check the path, or save the model again.", code="PG010"
        ) from None
    except OSError as error:
        problem = f"Cannot read {path}: {error.strerror or error}"
        raise EnvironmentProblem(
            problem, hint="Check the path and its permissions.", code="PG062"
        ) from error


def read_description(source: Path) -> dict[str, Any]:
    """Return the description of a model's folder.

    Refuse what is none, or of another version.
    """
    if not source.is_dir():
        raise InputError(
            f"{source} is not a folder",
            hint="Pass the folder of a model or of its run.",
            code="PG010",
        )
    description_path = source / DESCRIPTION
    with turned(
        lambda error: damaged(description_path, f"it is no complete JSON ({error})"),
        ValueError,
    ):
        description = parse_json(_read(description_path))
    if not isinstance(description, dict) or description.get("format") != FORMAT_NAME:
        problem = f"{description_path} does not describe a permgrad model"
        raise InputError(
            problem, hint="Pass the folder of a model or of its run.", code="PG052"
        )
    version = description.get("version")
    if version not in (FORMAT_VERSION, OTHERS_VERSION):
        is_older = isinstance(version, int) and version < FORMAT_VERSION
        problem = (
            f"{source} has format version {version!r}, written by "
            f"{description.get('written_by', 'an unknown version')}, but this permgrad "
            f"({__version__}) reads at {'least' if is_older else 'most'} "
            f"{FORMAT_VERSION if is_older else OTHERS_VERSION}"
        )
        raise InputError(
            problem,
            hint="Train the model again." if is_older else "Update permgrad.",
            code="PG053",
        )
    return description


def damaged(path: Path, why: str) -> InputError:
    """Return the error for a file that is not as it was saved."""
    return InputError(
        f"{path} is damaged: {why}", hint="Save the model again.", code="PG052"
    )


def read_part(
    path: Path,
    description: Mapping[str, Any],
    kind: str,
    decode: Callable[[bytes], dict[str, Any]],
) -> dict[str, Any]:
    """Return the tensors, or the arrays, of a file that is the one that was saved."""
    content = _read(path)
    checksums = description.get("checksums")
    differs = hashlib.sha256(content).hexdigest() != (
        checksums.get(path.name) if isinstance(checksums, dict) else None
    )

    def said(error: Exception) -> InputError:
        if differs and "pickle" not in str(error):
            return damaged(
                path, "its checksum differs, so it is truncated or was changed"
            )
        return damaged(path, f"it is not {kind} ({error})")

    with turned(said):
        decoded_parts = decode(content)
        must(not differs, "")
    return decoded_parts
