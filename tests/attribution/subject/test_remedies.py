"""Remedies of messages: whoever follows them gets an explanation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg


class _OfBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.head(batch["scan"])


@pytest.mark.parametrize("text", [["a", "b"] * 6, "patients.csv", np.array(["2020-01-01"] * 12)])
def test_text_beside_tensors_names_the_key_to_leave_out(text: Any) -> None:
    rows = {"scan": torch.randn(12, 3), "patient": text}
    with pytest.raises(pg.InputError, match="or leave patient out"):
        pg.explain(pg.Model(_OfBatch(), returns="logits"), rows, method="gradient")
    del rows["patient"]
    assert pg.explain(pg.Model(_OfBatch(), returns="logits"), rows, method="gradient", progress=False).values.any()


def test_a_forward_through_numpy_is_not_sent_in_a_circle() -> None:
    class ThroughNumpy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(3, 2)

        def forward(self, table: Tensor) -> Tensor:
            return self.head(torch.from_numpy(np.tanh(table.numpy())))

    # With detach(), as torch advises, every slope would be 0.
    with pytest.raises(pg.InputError, match="Choose method='permutation', 'shapley' or 'lime', which need no gradient"):
        pg.explain(pg.Model(ThroughNumpy(), returns="logits"), torch.randn(12, 3), method="integrated_gradients")
    found = pg.explain(pg.Model(ThroughNumpy(), returns="logits"), torch.randn(12, 3), method="shapley", progress=False)
    assert found.values.any()
