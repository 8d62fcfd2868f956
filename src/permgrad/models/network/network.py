"""The hybrid network: one row, read as a table and as an image, both readings joined by a head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, unknown
from permgrad.models.network.blocks import dense_stack, initialize_
from permgrad.models.network.branches import TableBranch, image_branch
from permgrad.models.network.members import MemberLinear, MemberMean
from permgrad.models.network.options import NetworkOptions

PathName = Literal["tabular", "image"]
PATHS: tuple[PathName, ...] = ("tabular", "image")


class HybridNetwork(nn.Module):
    """``f(x) = head(mlp(x), cnn(R(x)))`` over encoded rows ``x`` and their rendered images ``R(x)``.

    Either path may be left out. The parts are open: ``table_branch``, ``image_branch`` (a plain ``nn.Sequential`` that
    ends in a vector), ``head`` (an ``nn.Sequential`` that starts with a ``Linear`` on ``[tabular, image]``), and
    ``numeric_columns``, the encoded columns that are continuous. In eval mode a row's result depends on that row alone.

    Args:
        encoded: number of encoded columns.
        outputs: number of outputs: classes (logits), or 1 for regression.
        options: the sizes and choices, as in ``network_options.NetworkOptions`` or a mapping of them.
        renderer: draws the images; needed when ``"image"`` is among the paths.
        paths: ``("tabular", "image")``, or one of them.
        numeric_columns: encoded columns to embed as numbers; all of them if None.
        level_blocks: for each category with many levels its encoded columns; the table branch embeds them if the option
            ``level_embedding_size`` is not 0.

    Shape:
        Input ``(rows, encoded)`` float; output ``(rows, outputs)``.

    Raises:
        InputError: A path is unknown, or the image path has no renderer.

    Examples:
        >>> net = HybridNetwork(5, 2, {"dense_units": [8]}, paths=("tabular",)).eval()
        >>> net(torch.zeros(3, 5)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        encoded: int,
        outputs: int,
        options: NetworkOptions | Mapping[str, Any] | None = None,
        *,
        renderer: nn.Module | None = None,
        paths: Sequence[str] = PATHS,
        numeric_columns: Sequence[int] | None = None,
        level_blocks: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.paths = check_paths(paths)
        self.options = options if isinstance(options, NetworkOptions) else NetworkOptions.from_mapping(options or {})
        self.options.check()
        self.encoded = int(encoded)
        self.outputs = int(outputs)
        self.numeric_columns = (
            list(range(self.encoded)) if numeric_columns is None else [int(c) for c in numeric_columns]
        )
        self.level_blocks = [[int(column) for column in block] for block in level_blocks]
        self.table_branch: TableBranch | None = None
        self.image_branch: nn.Sequential | None = None
        self.renderer: nn.Module | None = None
        #: width of each path's embedding
        self.widths: dict[str, int] = {}
        if "tabular" in self.paths:
            self.table_branch = TableBranch(self.encoded, self.options, self.numeric_columns, self.level_blocks)
            self.widths["tabular"] = self.table_branch.out_features
        if "image" in self.paths:
            if renderer is None:
                raise InputError(
                    "the image path needs a renderer, however: renderer=None; pass one, or paths=('tabular',)"
                )
            self.renderer = renderer
            with torch.no_grad():
                shape = tuple(renderer(torch.zeros(1, self.encoded)).shape[1:])
            self.image_shape = (int(shape[0]), int(shape[1]), int(shape[2]))
            branch, self.widths["image"] = image_branch(self.image_shape, self.options)
            # Channels next to each other in memory: on processors the convolutions run twice as fast.
            for layer in branch:
                if isinstance(layer, nn.Conv2d):
                    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
            self.image_branch = branch
        self.members = self.options.members if "tabular" in self.paths else 1
        self.head = self._make_head()

    def _make_head(self) -> nn.Sequential:
        """Return the layers from the joined embeddings to the outputs."""
        options = self.options
        layers, width = dense_stack(sum(self.widths.values()), options.fusion_units, options)
        # The output is linear: He's factor for rectifiers would double its variance.
        for_output = "torch" if options.initializer == "torch" else "glorot_uniform"
        if self.members == 1:
            last = nn.Linear(width, self.outputs)
            initialize_(last, for_output)
            return nn.Sequential(*layers, last)
        entries = {path: size // (self.members if path == "tabular" else 1) for path, size in self.widths.items()}
        if layers:
            layers[0] = MemberLinear(
                self.members,
                entries,
                options.fusion_units[0],
                per_member=("tabular",),
                shared=True,
                initializer=options.initializer,
            )
            entries = {"tabular": width}
            layers.append(nn.Flatten())
        last_layer = MemberLinear(
            self.members, entries, self.outputs, per_member=("tabular",), shared=False, initializer=for_output
        )
        return nn.Sequential(*layers, last_layer, MemberMean(self.members))

    def embed(self, path: str, encoded: Tensor) -> Tensor:
        """Return one path's embedding ``(rows, widths[path])``; ``"image"`` renders first."""
        if path == "tabular" and self.table_branch is not None:
            out: Tensor = self.table_branch(encoded)
            return out
        if path == "image" and self.renderer is not None:
            return self.embed_image(self.renderer(encoded))
        raise unknown("path", path, self.paths)

    def embed_image(self, images: Tensor) -> Tensor:
        """Return the image path's embedding of ready images ``(rows, channels, height, width)``."""
        if self.image_branch is None:
            raise InputError(f"embed_image needs a network with the image path, however: paths={self.paths}")
        out: Tensor = self.image_branch(images)
        return out

    def fuse(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Join the embeddings of all paths, in the order of ``paths``, into outputs ``(rows, outputs)``."""
        parts = [embeddings[path] for path in self.paths]
        out: Tensor = self.head(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
        return out

    def forward(self, encoded: Tensor) -> Tensor:
        """Return logits, or the standardised prediction, ``(rows, outputs)``."""
        return self.fuse({path: self.embed(path, encoded) for path in self.paths})

    def member_outputs(self, encoded: Tensor) -> Tensor:
        """Return what each member says, ``(rows, members, outputs)``; ``forward`` returns their mean."""
        if self.members == 1:
            alone: Tensor = self(encoded).unsqueeze(1)
            return alone
        embeddings = [self.embed(path, encoded) for path in self.paths]
        out: Tensor = self.head[:-1](embeddings[0] if len(embeddings) == 1 else torch.cat(embeddings, dim=1))
        return out

    @torch.no_grad()
    def divide_outputs(self, temperature: float) -> None:
        """Divide what the network says by a number, in the weights of its last layer."""
        last = next(layer for layer in reversed(self.head) if isinstance(layer, (nn.Linear, MemberLinear)))
        for numbers in (last.weight, last.bias):
            numbers.div_(temperature)

    def image_layers(self) -> dict[str, nn.Module]:
        """Return the convolution layers by name, in order; class activation maps are read at the last by default."""
        if self.image_branch is None:
            return {}
        convolutions = [layer for layer in self.image_branch if isinstance(layer, nn.Conv2d)]
        return {f"conv{number}": layer for number, layer in enumerate(convolutions, start=1)}

    def count_parameters(self) -> int:
        """Count trainable numbers and the statistics of batch normalisation (running mean and variance)."""
        trained = sum(parameter.numel() for parameter in self.parameters())
        statistics = sum(
            int(buffer.numel())
            for name, buffer in self.named_buffers()
            if name.rsplit(".", 1)[-1] in ("running_mean", "running_var")
        )
        return trained + statistics


def check_paths(paths: Any) -> tuple[str, ...]:
    """Return the paths in their fixed order, or say what is wrong with them."""
    listed = isinstance(paths, Iterable)
    names = (paths,) if isinstance(paths, str) or not listed else tuple(paths)
    for path in names:
        check_choice("branches", path, PATHS)
    if not names or len(set(names)) != len(names):
        raise InputError(
            f"branches must name 'tabular', 'image' or both, each once, however: branches={names!r}; "
            "pass for example branches=('tabular', 'image')"
        )
    return tuple(path for path in PATHS if path in names)
