"""X as a DataLoader, a Dataset or a list of examples: as the same rows in one
tensor.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

import permgrad as pg

ROWS = 60
_generator = torch.Generator().manual_seed(3)
TABLE = torch.randn(ROWS, 4, generator=_generator)
CLASSES = (TABLE[:, 1] - TABLE[:, 2] > 0).long()


class Scores(nn.Module):
    """Two scores of which only two columns matter."""

    def forward(self, table):
        score = table[:, 1] - table[:, 2]
        return torch.stack([-score, score], dim=1)


class Records(Dataset):
    """Examples as dicts, with a key that is no input."""

    def __init__(self, target="labels"):
        self.target = target

    def __len__(self):
        return ROWS

    def __getitem__(self, row_index):
        label = int(CLASSES[row_index])
        return {
            "table": TABLE[row_index],
            "name": f"row {row_index}",
            self.target: label,
        }


class Endless(IterableDataset):
    """The rows over and over."""

    def __iter__(self):
        while True:
            yield from zip(TABLE, CLASSES, strict=True)


SETS = {
    "loader": DataLoader(TensorDataset(TABLE, CLASSES), batch_size=7),
    "shuffled": DataLoader(TensorDataset(TABLE, CLASSES), batch_size=8, shuffle=True),
    "every row": DataLoader(
        TensorDataset(TABLE, CLASSES), sampler=SubsetRandomSampler(range(ROWS))
    ),
    "dataset": TensorDataset(TABLE, CLASSES),
    "dicts": Records(),
    "dicts in batches": DataLoader(Records("target"), batch_size=9),
    "pairs": [(row, int(label)) for row, label in zip(TABLE, CLASSES, strict=True)],
    "pairs of arrays": [
        (row.numpy(), int(label)) for row, label in zip(TABLE, CLASSES, strict=True)
    ],
}


def explained(X, y=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pg.explain(Scores(), X, y, progress=False, n_repeats=2, **options)


@pytest.mark.parametrize("name", list(SETS))
def test_a_set_is_explained_as_its_rows(name):
    expected = explained(TABLE, CLASSES)
    assert expected.meta["loss"] == "cross_entropy"
    assert expected.values.max() > 0
    explanation = explained(SETS[name])
    np.testing.assert_array_equal(explanation.values, expected.values)
    assert explanation.meta["rows_drawn"] == {"rows": ROWS, "of": ROWS}


@pytest.mark.parametrize("name", ["loader", "shuffled", "dicts"])
def test_rows_are_drawn_over_the_whole_set_as_over_a_tensor(name):
    expected = explained(TABLE, CLASSES, max_rows=20)
    explanation = explained(SETS[name], max_rows=20)
    np.testing.assert_array_equal(explanation.values, expected.values)
    assert explanation.meta["rows_drawn"] == {"rows": 20, "of": ROWS}
    local = explained(SETS[name], max_rows=20, scope="local")
    assert local.meta["rows"] == sorted(local.meta["rows"])
    assert max(local.meta["rows"]) > 20, "the first rows alone"


def test_a_sampler_says_which_rows_there_are():
    row_indices = list(range(0, ROWS, 2))
    loader = DataLoader(
        TensorDataset(TABLE, CLASSES),
        sampler=SubsetRandomSampler(row_indices),
        batch_size=4,
    )
    expected = explained(TABLE[row_indices], CLASSES[row_indices])
    np.testing.assert_array_equal(explained(loader).values, expected.values)


def test_y_of_the_call_counts_before_that_of_the_examples():
    swapped_classes = 1 - CLASSES
    expected = explained(TABLE, swapped_classes, max_rows=30)
    explanation = explained(SETS["loader"], swapped_classes, max_rows=30)
    np.testing.assert_array_equal(explanation.values, expected.values)


def test_a_set_without_a_length_gives_its_first_rows():
    loader = DataLoader(Endless(), batch_size=16)
    explanation = explained(loader, max_rows=50)
    expected = explained(TABLE[:50], CLASSES[:50])
    np.testing.assert_array_equal(explanation.values, expected.values)
    assert explanation.meta["rows_drawn"] == {"rows": 50}
    words = "Explained are the first 2,000 examples of a set without a length. Pass max"
    with pytest.warns(pg.PermgradWarning, match=words):
        pg.explain(Scores(), loader, progress=False, n_repeats=1)


def test_generators_stay_as_they_were():
    generator = torch.Generator().manual_seed(5)
    examples = TensorDataset(TABLE, CLASSES)
    sampler = RandomSampler(
        examples, num_samples=40, replacement=True, generator=generator
    )
    loader = DataLoader(examples, sampler=sampler, batch_size=8)
    before = generator.get_state()
    of_torch = torch.get_rng_state()
    first = explained(loader)
    second = explained(loader)
    np.testing.assert_array_equal(first.values, second.values)
    assert first.meta["rows_drawn"] == {"rows": 40, "of": 40}
    assert torch.equal(before, generator.get_state())
    assert torch.equal(of_torch, torch.get_rng_state())


def test_wherever_x_is():
    loader = SETS["shuffled"]
    net = Scores()
    description = pg.Model(net).describe(loader)
    assert "rows: all 60 examples" in description
    assert "classes 0, 1" in description
    assert pg.Model(net).predict(loader).shape == (ROWS, 2)
    explanation = explained(loader, max_rows=25)
    evaluation = explanation.evaluate(
        net, loader, metrics="deletion", n_repeats=1, progress=False
    )
    assert evaluation.meta["rows"] == 25
    forest = LogisticRegression().fit(TABLE.numpy(), CLASSES.numpy())
    page = pg.report(forest, loader, progress=False)
    assert "<title>LogisticRegression" in page.html
    two = DataLoader(TensorDataset(TABLE[:, :2], TABLE[:, 2:], CLASSES), batch_size=9)
    missing = pg.missing_modalities(Both(), two, n_repeats=2, progress=False)
    assert len(missing.to_frame()) == 4
    with pytest.raises(pg.InputError, match="needs y to measure the loss"):
        pg.missing_modalities(Both(), TensorDataset(TABLE, TABLE), progress=False)


class Both(nn.Module):
    """A network of two inputs."""

    def forward(self, one, two):
        score = one[:, 1] - two[:, 0]
        return torch.stack([-score, score], dim=1)


def test_a_pair_is_two_inputs_where_the_network_needs_both():
    pair = DataLoader(TensorDataset(TABLE[:, :2], TABLE[:, 2:]), batch_size=9)
    explanation = pg.explain(Both(), pair, progress=False, n_repeats=1)
    assert explanation.meta["loss"] == "divergence"
    assert set(explanation.modality) == {"one", "two"}
    listed = [TABLE[:, :2], TABLE[:, 2:]]
    again = pg.explain(Both(), listed, progress=False, n_repeats=1)
    np.testing.assert_array_equal(again.values, explanation.values)
    four = TensorDataset(TABLE, TABLE, CLASSES, CLASSES)
    with pytest.raises(pg.InputError, match="has 4 parts, and the forward takes one"):
        pg.explain(Both(), four, progress=False)


def test_a_table_model_takes_examples_too():
    model = LogisticRegression().fit(TABLE.numpy(), CLASSES.numpy())
    expected = pg.explain(model, TABLE.numpy(), CLASSES.numpy(), progress=False)
    pairs = [(row.numpy(), int(k)) for row, k in zip(TABLE, CLASSES, strict=True)]
    explanation = pg.explain(model, pairs, progress=False)
    np.testing.assert_array_equal(explanation.values, expected.values)
    frame = pd.DataFrame(TABLE.numpy(), columns=list("abcd"))
    records = frame.assign(labels=CLASSES.numpy()).to_dict("records")
    ask = pg.Model(lambda table: table["b"] - table["c"], returns="logits")
    assert set(pg.explain(ask, records, progress=False).ranking()[:2]) == {"b", "c"}


# ---- several lengths -----------------------------------------------------------------
LENGTHS = [3, 7, 4, 5, 6, 3, 7, 5, 4, 6, 5, 3]
IDS = [torch.arange(1, length + 1) * (k % 4 + 1) for k, length in enumerate(LENGTHS)]
LABELS = [k % 2 for k in range(len(LENGTHS))]


class Mean(nn.Module):
    """The mean of the vectors of a row's own words."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(40, 3, padding_idx=0)
        self.scores = nn.Linear(3, 2)

    def forward(self, input_ids, attention_mask):
        inside = attention_mask[..., None].to(self.words.weight.dtype)
        total = (self.words(input_ids) * inside).sum(1)
        return self.scores(total / inside.sum(1))


class OfLengths(Mean):
    """The same, which takes how many words there are."""

    def forward(self, ids, lengths):
        inside = torch.arange(ids.shape[1]) < lengths[:, None]
        return super().forward(ids, inside)


class WithPadding(Mean):
    """The same, which takes where there are none, as torch's transformers do."""

    def forward(self, ids, padding_mask):
        return super().forward(ids, ~padding_mask)


@pytest.mark.parametrize("make", [Mean, OfLengths, WithPadding])
def test_examples_of_several_lengths_are_padded(make):
    net = make().eval()
    alone = []
    for ids in IDS:
        rows = {"lengths": torch.tensor([len(ids)])}
        rows["attention_mask"] = torch.ones(1, len(ids), dtype=torch.long)
        rows["padding_mask"] = torch.zeros(1, len(ids), dtype=torch.bool)
        with torch.no_grad():
            name = {Mean: "attention_mask", OfLengths: "lengths"}.get(make)
            alone.append(net(ids[None], rows[name or "padding_mask"]))
    model = pg.Model(net)
    predictions = model.predict(IDS)
    expected = torch.cat(alone).double().numpy()
    np.testing.assert_allclose(predictions, expected, atol=1e-6)
    assert np.ptp(expected) > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = pg.explain(model, IDS, LABELS, progress=False, n_repeats=1)
    assert len(explanation.meta["held"]) == 1


def test_lists_of_numbers_are_examples_too():
    tensors = pg.Model(Mean().eval()).predict(IDS)
    lists = pg.Model(Mean().eval()).predict([ids.tolist() for ids in IDS])
    np.testing.assert_array_equal(lists, tensors)


def test_without_a_mask_the_remedy_is_said():
    class Plain(nn.Module):
        def forward(self, ids):
            return ids.float().mean(1)

    words = (
        "The examples have several lengths (3 to 7), and the network's forward takes "
        "no mask or lengths, so padding would count as values. Give its forward a "
        "parameter attention_mask or lengths, or cut the examples to one length. "
        "[PG007]"
    )
    with pytest.raises(pg.InputError) as refused:
        pg.explain(Plain(), IDS, progress=False)
    assert str(refused.value) == words
    cut = [ids[:3] for ids in IDS]
    assert pg.Model(Plain()).predict(cut).shape == (len(IDS), 1)


def test_images_of_several_sizes_are_refused_with_what_helps():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = [torch.zeros(1, 8 + k % 2, 8) for k in range(6)]
    words = r"several shapes: \(1, 8, 8\), \(1, 9, 8\)\. Bring them to one shape"
    with pytest.raises(pg.InputError, match=words):
        pg.explain(net, images, progress=False)


# ---- long lists of inputs ------------------------------------------------------------
def test_messages_list_five_inputs():
    class Many(nn.Module):
        def forward(self, **inputs):
            return torch.stack(list(inputs.values()), 1)

    inputs = {f"input {k}": torch.zeros(8 + k % 2) for k in range(40)}
    with pytest.raises(pg.InputError, match="and 35 more") as refused:
        pg.explain(Many(), inputs, progress=False)
    assert len(str(refused.value)) < 250
