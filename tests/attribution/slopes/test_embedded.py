"""Token ids and codes explained at their embedding, together with images and tables,
against the same by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

ROWS = 6
LENGTH = 7
WORDS = 30
SLOPES = ("gradient", "integrated_gradients", "deeplift")


class Reader(nn.Module):
    """Text beside an image and a table: word and position embeddings, attention, one
    layer's weights tied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.word = nn.Embedding(WORDS, 8, padding_idx=0)
        self.position = nn.Embedding(16, 8)
        self.encoder = nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, batch_first=True
        )
        self.image = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 6)
        )
        self.head = nn.Linear(8 + 6 + 3, 8)
        self.tied = nn.Linear(8, WORDS, bias=False)
        self.tied.weight = self.word.weight

    def after(
        self, words: Tensor, mask: Tensor, image: Tensor, table: Tensor
    ) -> Tensor:
        hidden = words + self.position(torch.arange(words.shape[1]))
        hidden = self.encoder(hidden, src_key_padding_mask=mask == 0)
        weight = mask[..., None].to(hidden)
        hidden = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        fused = torch.tanh(
            self.head(torch.cat([hidden, self.image(image), table], dim=1))
        )
        return self.tied(fused)[:, 1:3]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, image: Tensor, table: Tensor
    ) -> Tensor:
        return self.after(self.word(input_ids), attention_mask, image, table)


def seeded(make: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double()


@pytest.fixture(scope="module")
def net() -> Reader:
    return seeded(Reader)


def drawn(rows: int = ROWS, seed: int = 1) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, WORDS, (rows, LENGTH), generator=source)
    mask = torch.ones_like(ids)
    mask[rows // 2 :, 5:] = 0
    return {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "image": torch.randn(rows, 1, 8, 8, generator=source).double(),
        "table": torch.randn(rows, 3, generator=source).double(),
    }


def by_hand(
    net: Reader,
    rows: dict[str, Tensor],
    base: dict[str, Tensor],
    target: int,
    steps: int,
) -> list[Tensor]:
    """Return the midpoint rule over the word vectors, the image and the table, walked
    along one line together.
    """
    with torch.no_grad():
        stop = [net.word(rows["input_ids"]), rows["image"], rows["table"]]
        start = [
            net.word(base["input_ids"]).expand_as(stop[0]),
            base["image"],
            base["table"],
        ]
    total = [torch.zeros_like(tensor) for tensor in stop]
    net.eval()
    for step in range(steps):
        points = [
            (a + (b - a) * (step + 0.5) / steps).requires_grad_()
            for a, b in zip(start, stop, strict=True)
        ]
        output = net.after(points[0], rows["attention_mask"], *points[1:])[
            :, target
        ].sum()
        for input_index, slope in enumerate(torch.autograd.grad(output, points)):
            total[input_index] += slope / steps
    net.train()
    return [mean * (b - a) for mean, a, b in zip(total, start, stop, strict=True)]


def test_integrated_gradients_walk_all_inputs_along_one_line(net):
    rows = drawn()
    zeros = {name: torch.zeros_like(tensor[:1]) for name, tensor in rows.items()}
    explanation = pg.explain(
        pg.Model(net, returns="logits"),
        rows,
        method=pg.methods.IntegratedGradients(steps=300),
        target=1,
        progress=False,
        scale="raw",
    )
    words, image, table = by_hand(net, rows, zeros, 1, 300)
    values = explanation.values[:, :, 0]
    assert np.abs(words.sum(dim=2).numpy()).max() > 1e-3
    np.testing.assert_allclose(values[:, :LENGTH], words.sum(dim=2).numpy(), atol=1e-13)
    np.testing.assert_allclose(
        values[:, LENGTH:-3].sum(axis=1), image.sum(dim=(1, 2, 3)).numpy(), atol=1e-13
    )
    np.testing.assert_allclose(values[:, -3:], table.numpy(), atol=1e-13)
    assert explanation.names[:2] == ("input_ids[0]", "input_ids[1]")
    assert set(explanation.modality) == {"input_ids", "image", "table"}
    assert explanation.meta["held"] == ["attention_mask"]
    assert explanation.meta["embeddings"] == {"input_ids": ["word"]}
    assert explanation.meta["baseline"].count("at the padding id 0") == 1
    assert "input_ids at the padding id 0" in explanation.meta["baseline"]


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
@pytest.mark.parametrize("baseline", ["auto", "background", "rows"])
def test_parts_add_up_over_all_inputs(net, method, baseline):
    rows = drawn()
    background = drawn(5, seed=2)
    baseline_rows = (
        {name: tensor[:1] for name, tensor in background.items()}
        if baseline == "rows"
        else baseline
    )
    explanation = explain_with(
        net,
        rows,
        method=method,
        background=background,
        progress=False,
        returns="logits",
        baseline=baseline_rows,
    )
    assert explanation.meta["completeness_gap"] < 1e-6
    # The base of each row is the mean output at the baselines with the row's own mask.
    words = {
        "auto": None,
        "background": background["input_ids"],
        "rows": background["input_ids"][:1],
    }[baseline]
    if words is None:
        words = background["input_ids"].mode(dim=0).values[None]
        other_inputs = [
            background[name].median(dim=0, keepdim=True).values
            for name in ("image", "table")
        ]
    else:
        other_inputs = [background[name][: len(words)] for name in ("image", "table")]
    net.eval()
    with torch.no_grad():
        base = [
            net(words, rows["attention_mask"][[row] * len(words)], *other_inputs)
            .mean(dim=0)
            .numpy()
            for row in range(ROWS)
        ]
    net.train()
    np.testing.assert_allclose(explanation.base_values, np.array(base), atol=1e-12)
    assert np.ptp(explanation.base_values, axis=0).min() > 1e-6
    np.testing.assert_allclose(
        explanation.values.sum(axis=1) + explanation.base_values,
        explanation.predictions,
        atol=1e-6,
    )


def test_gradients_of_a_token_are_added_up_over_its_vector(net):
    rows = drawn()
    explanation = pg.explain(
        pg.Model(net, returns="logits"),
        rows,
        method="gradient",
        target=0,
        progress=False,
        scale="raw",
    )
    net.eval()
    words = net.word(rows["input_ids"]).detach().requires_grad_()
    output = net.after(words, rows["attention_mask"], rows["image"], rows["table"])[
        :, 0
    ].sum()
    (slope,) = torch.autograd.grad(output, words)
    net.train()
    np.testing.assert_allclose(
        explanation.values[:, :LENGTH, 0], slope.abs().sum(dim=2).numpy(), atol=1e-14
    )
    # Padding that the mask hides has no slope.
    assert (explanation.values[ROWS // 2 :, 5:LENGTH] == 0).all()
    assert (explanation.values[: ROWS // 2, 5:LENGTH] > 0).all()


@pytest.mark.parametrize("method", SLOPES)
def test_nothing_of_the_network_changes(net, method):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rows = drawn()
    pg.explain(pg.Model(net, returns="logits"), rows, method=method, progress=False)
    assert net.training
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items()
    )
    assert not any(
        submodule._forward_hooks or submodule._forward_pre_hooks
        for submodule in net.modules()
    )
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(
        torch.equal(tensor, drawn_tensor)
        for tensor, drawn_tensor in zip(rows.values(), drawn().values(), strict=True)
    )


@pytest.mark.parametrize("method", SLOPES)
def test_batches_change_nothing(net, method):
    rows = drawn()
    options = {"method": method, "returns": "logits", "progress": False}
    options |= {"max_steps": 4} if method == "integrated_gradients" else {}
    batched = explain_with(net, rows, **options)
    np.testing.assert_allclose(
        explain_with(net, rows, batch_size=1, **options).values,
        batched.values,
        atol=1e-12,
    )


@pytest.mark.slow
def test_players_may_be_groups_across_inputs_and_joined_inputs(net):
    rows = drawn()
    options = {"method": "integrated_gradients", "returns": "logits", "progress": False}
    apart = explain_with(net, rows, **options)
    feature_indices = {name: index for index, name in enumerate(apart.names)}
    joint = explain_with(
        net, rows, groups={"joint": ["input_ids[2]", "table[0]"]}, **options
    )
    expected_values = (
        apart.values[:, feature_indices["input_ids[2]"]]
        + apart.values[:, feature_indices["table[0]"]]
    )
    np.testing.assert_allclose(
        joint.values[:, joint.names.index("joint")], expected_values, atol=1e-4
    )
    joined = explain_with(net, rows, groups="modality", **options)
    assert joined.names == ("input_ids", "image", "table")
    np.testing.assert_allclose(
        joined.values[:, 0], apart.values[:, :LENGTH].sum(axis=1), atol=1e-4
    )
    mixed = explain_with(
        net,
        rows,
        **{**options, "method": {"input_ids": "gradient", "image": "gradcam"}},
    )
    assert set(mixed.modality) == {"input_ids", "image"}


# ---- ways to look ids up -------------------------------------------------------------


class Bag(nn.Module):
    """Adds up vectors of three codes, looked up in one of several ways, and squares."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 4)
        self.others = nn.ModuleList(nn.Embedding(12, 4) for _ in range(3))
        self.register_buffer("offsets", torch.tensor([0, 4, 8]))
        self.head = nn.Linear(4, 2)

    def vectors(self, codes: Tensor) -> Tensor:
        return self.table(codes)

    def forward(self, codes: Tensor) -> Tensor:
        return torch.tanh(self.head(self.vectors(codes).sum(dim=1)))


class Offset(Bag):
    def vectors(self, codes: Tensor) -> Tensor:
        return self.table(codes + self.offsets)


class Columns(Bag):
    def vectors(self, codes: Tensor) -> Tensor:
        return torch.stack(
            [
                embedding(codes[:, column_index])
                for column_index, embedding in enumerate(self.others)
            ],
            dim=1,
        )


class Turned(Bag):
    def vectors(self, codes: Tensor) -> Tensor:
        return self.table(codes.t().contiguous()).transpose(0, 1)


class Prefixed(Bag):
    def vectors(self, codes: Tensor) -> Tensor:
        return self.table(
            torch.cat([codes.new_full((len(codes), 1), 11), codes], dim=1)
        )


class Twice(Bag):
    def vectors(self, codes: Tensor) -> Tensor:
        return torch.cat([self.table(codes), 2 * self.table(codes.flip(1))], dim=1)


class Ranked(Bag):
    """The ranks of codes are no codes: only the plain lookup counts."""

    def vectors(self, codes: Tensor) -> Tensor:
        return self.table(codes) + self.others[0](codes.cumsum(dim=1) // 4)


class Real(Bag):
    def vectors(self, codes: Tensor) -> Tensor:
        return self.table(codes.long())


@pytest.mark.parametrize(
    "kind", [Bag, Offset, Columns, Turned, Prefixed, Twice, Ranked, Real]
)
def test_ways_of_looking_up(kind):
    net = seeded(kind)
    codes = torch.tensor([[1, 2, 3], [3, 0, 1], [2, 2, 0], [0, 3, 3]])
    rows = codes.double() if kind is Real else codes
    zeros = torch.zeros_like(rows[:1])
    explanation = pg.explain(
        pg.Model(net, returns="logits"),
        {"codes": rows},
        method=pg.methods.IntegratedGradients(tolerance=1e-6),
        progress=False,
        scale="raw",
    )
    assert explanation.names == ("codes[0]", "codes[1]", "codes[2]")
    assert explanation.meta["completeness_gap"] < 1e-6
    with torch.no_grad():
        change = net.vectors(rows) - net.vectors(zeros)
        if kind is Ranked:
            change = net.table(codes) - net.table(codes * 0)
        vectors = net.vectors(rows)
        slopes = []
        steps = 400
        for step in range(steps):
            summed_vectors = (vectors - change * (1 - (step + 0.5) / steps)).sum(dim=1)
            output = torch.tanh(net.head(summed_vectors))
            slopes.append((1 - output**2)[..., None] * net.head.weight)
        mean = torch.stack(slopes).mean(dim=0)
        expected_values = torch.einsum("rkd,rtd->rtk", mean, change)
    if kind is Twice:
        expected_values = expected_values[:, :3] + expected_values[:, 3:].flip(1)
    if kind is Prefixed:
        expected_values = expected_values[:, 1:]
    assert expected_values.abs().max() > 0.05
    np.testing.assert_allclose(explanation.values, expected_values.numpy(), atol=1e-5)


def test_whole_numbers_without_an_embedding_are_held_or_refused():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))
            self.head = nn.Linear(3, 1)

        def forward(self, codes: Tensor, table: Tensor) -> Tensor:
            return self.head(
                nn.functional.embedding(codes, self.weight).sum(dim=1) * table
            )

    net = seeded(Counts)
    rows = {"codes": torch.randint(0, 5, (4, 2)), "table": torch.randn(4, 3).double()}
    explanation = pg.explain(net, rows, method="gradient", progress=False)
    assert explanation.names == ("table[0]", "table[1]", "table[2]")
    assert explanation.meta["held"] == ["codes"]
    with pytest.raises(
        pg.InputError,
        match=r"'codes' holds whole numbers.* choose method='permutation'",
    ):
        pg.explain(net, rows, method={"codes": "gradient"}, progress=False)


def test_lengths_and_masks_keep_the_rows_values_in_the_baseline():
    """A baseline of zeros would be a sequence of length 0, which torch refuses to
    pack.
    """

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.word = nn.Embedding(9, 4)
            self.rnn = nn.GRU(4, 5, batch_first=True)
            self.head = nn.Linear(5, 1)

        def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(
                self.word(tokens), lengths, True, enforce_sorted=False
            )
            return self.head(self.rnn(packed)[1][0])

    rows = {
        "tokens": torch.randint(1, 9, (5, 6)),
        "lengths": torch.tensor([6, 4, 2, 6, 1]),
    }
    explanation = pg.explain(
        seeded(Packed), rows, method="integrated_gradients", progress=False
    )
    assert explanation.meta["held"] == ["lengths"]
    assert explanation.meta["completeness_gap"] < 0.01
    assert (explanation.values[2, 2:] == 0).all()
    assert (np.abs(explanation.values[2, :2]) > 0).all()


@pytest.mark.parametrize("method", SLOPES)
def test_ids_are_explained_where_each_row_has_an_output_of_its_own(net, method):
    rows = drawn()
    options = {"method": method, "returns": "logits", "progress": False}
    every = explain_with(net, rows, **options)
    classes = every.predictions.argmax(axis=1)
    assert len(set(classes.tolist())) == 2
    explanation = explain_with(net, rows, target="predicted", **options)
    assert explanation.names == every.names
    expected_values = every.values[np.arange(ROWS), :, classes]
    np.testing.assert_allclose(
        explanation.values[..., 0],
        expected_values,
        atol=1e-3 * np.abs(expected_values).max(),
    )
    assert explanation.meta["embeddings"] == {"input_ids": ["word"]}
