"""Networks as people write them, with rows for each: every method meets all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

ROWS = 24

Stranger = tuple[nn.Module, Any, np.ndarray | None]
STRANGERS: dict[str, Callable[[], Stranger]] = {}


def stranger(function: Callable[[], Stranger]) -> Callable[[], Stranger]:
    def seeded() -> Stranger:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return function()

    STRANGERS[function.__name__] = seeded
    return seeded


def images(channels: int = 1, size: int = 12) -> Tensor:
    return torch.randn(ROWS, channels, size, size)


def table(columns: int = 4) -> Tensor:
    return torch.randn(ROWS, columns)


def classes(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, count, ROWS)


def encoder(
    channels: int = 1, width: int = 8, *, inplace: bool = False
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, width),
    )


@stranger
def images_first() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = encoder(3)
            self.mlp = nn.Linear(4, 8)
            self.head = nn.Linear(16, 3)

        def forward(self, image: Tensor, clinical: Tensor) -> Tensor:
            return self.head(
                torch.cat([self.cnn(image), torch.relu(self.mlp(clinical))], dim=1)
            )

    return Net(), {"image": images(3), "clinical": table().numpy()}, classes(3)


@stranger
def tables_first_positional() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.Linear(4, 8)
            self.cnn = encoder()
            self.head = nn.Linear(16, 1)

        def forward(self, x: Tensor, scan: Tensor) -> Tensor:
            return self.head(
                torch.cat([torch.tanh(self.mlp(x)), self.cnn(scan.unsqueeze(1))], dim=1)
            ).squeeze(1)

    return (
        Net(),
        (
            pd.DataFrame(table().numpy(), columns=["age", "dose", "weight", "height"]),
            images()[:, 0],
        ),
        table(1).numpy(),
    )


@stranger
def keyword_only() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = encoder()
            self.head = nn.Linear(12, 2)

        def forward(
            self, *, image: Tensor, clinical: Tensor, scale: float = 1.0
        ) -> Tensor:
            return self.head(torch.cat([self.cnn(image), clinical * scale], dim=1))

    return Net(), {"clinical": table(), "image": images()}, classes(2)


@stranger
def list_of_images() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = encoder()
            self.head = nn.Linear(8, 2)

        def forward(self, views: list[Tensor]) -> Tensor:
            return self.head(
                torch.stack([self.cnn(view) for view in views]).mean(dim=0)
            )

    return Net(), [images(), images()], classes(2)


@stranger
def embedded_codes() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.numbers = nn.Linear(4, 8)
            self.head = nn.Linear(14, 2)

        def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
            return self.head(
                torch.cat(
                    [
                        self.embedding(codes).flatten(1),
                        torch.relu(self.numbers(numbers)),
                    ],
                    dim=1,
                )
            )

    codes = pd.DataFrame(
        np.random.default_rng(0).integers(0, 5, (ROWS, 2)), columns=["site", "device"]
    )
    return Net(), {"codes": codes, "numbers": table()}, classes(2)


@stranger
def shared_encoder() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder()
            self.fusion = nn.Identity()
            self.head = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 2))

        def forward(self, left: Tensor, right: Tensor, clinical: Tensor) -> Tensor:
            return self.head(
                self.fusion(
                    torch.cat(
                        [self.encoder(left), self.encoder(right), clinical], dim=1
                    )
                )
            )

    return Net(), {"left": images(), "right": images(), "clinical": table()}, classes(2)


@stranger
def in_place() -> Stranger:
    net = nn.Sequential(
        nn.ReLU(inplace=True), nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)
    )
    return net, table(), classes(3)


@stranger
def batch_norm_in_train_mode() -> Stranger:
    net = nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(8, 2),
        nn.Softmax(dim=1),
    )
    for _ in range(5):
        net(torch.randn(32, 4))
    return net.train(), table(), classes(2)


@stranger
def frozen() -> Stranger:
    net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1), nn.Sigmoid())
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net, pd.DataFrame(table().numpy(), columns=list("abcd")), classes(2)


@stranger
def compiled() -> Stranger:
    net = nn.Sequential(
        nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 2), nn.LogSoftmax(dim=1)
    )
    return torch.compile(net), table(), classes(2)  # type: ignore[return-value]


@stranger
def data_parallel() -> Stranger:
    return (
        nn.DataParallel(nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Linear(8, 3))),
        table(),
        classes(3),
    )


@stranger
def half_precision() -> Stranger:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).half()
    return net, table().numpy(), classes(2)


@stranger
def brain_float() -> Stranger:
    return (
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).bfloat16(),
        table().numpy(),
        classes(2),
    )


@stranger
def double_precision() -> Stranger:
    net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1)).double()
    return net, table(), table(1).numpy()


@stranger
def dict_of_outputs() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = encoder(inplace=True)
            self.head = nn.Linear(12, 3)

        def forward(self, image: Tensor, clinical: Tensor) -> dict[str, Tensor]:
            hidden = torch.cat([self.cnn(image), clinical], dim=1)
            return {"hidden": hidden, "logits": self.head(hidden)}

    return Net(), {"picture": images(), "record": table()}, classes(3)


@stranger
def tuple_of_outputs() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 6, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
            _, state = self.rnn(sequence)
            return self.head(state[-1]), state[-1]

    return Net(), torch.randn(ROWS, 5, 4), classes(2)


@stranger
def dict_argument() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = encoder()
            self.head = nn.Linear(12, 2)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.head(
                torch.cat([self.cnn(batch["image"]), batch["table"]], dim=1)
            )

    return Net(), {"image": images(), "table": table()}, classes(2)


@stranger
def attention() -> Stranger:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Linear(1, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.head = nn.Linear(8, 2)

        def forward(self, numbers: Tensor) -> Tensor:
            return self.head(self.layer(self.tokens(numbers.unsqueeze(-1))).mean(dim=1))

    return Net(), table(), classes(2)


@stranger
def branches_on_values() -> Stranger:
    class Net(nn.Module):
        """Cannot be traced: its forward looks at numbers."""

        def __init__(self) -> None:
            super().__init__()
            self.fusion = nn.Identity()
            self.head = nn.Linear(8, 2)

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            if float(first.abs().max()) > 1e9:
                first = first / 2
            return self.head(self.fusion(torch.cat([torch.sin(first), second], dim=1)))

    return Net(), {"first": table(), "second": table()}, classes(2)
