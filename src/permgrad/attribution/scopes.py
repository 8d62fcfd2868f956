"""What the numbers of an explanation belong to: all rows or single ones, and which
players.

A scope and a level are their names, as arguments and files have them, with their facts.
"""

from __future__ import annotations

from dataclasses import dataclass

from permgrad.base.registry import Named, Registry

#: Stands for the scope that a method has by itself.
AUTO = "auto"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Scope(Named):
    """Which rows a number of an explanation is of: a name with its facts.

    Attributes:
        by_row: Each row has values. Otherwise they are of all rows together.
        axes: What the axes of the values are.
        quantity: What a value is called, where its method does not say.
        size: What stands before a quantity whose values were averaged over rows.
        picture: What an image of the explained rows is called.
        average: What is added where explained rows were averaged.

    Examples:
        >>> scope = scopes.get("local")
        >>> scope == "local", scope.by_row, scope.axes
        (True, True, ('rows', 'features', 'outputs'))
    """

    by_row: bool
    axes: tuple[str, ...]
    quantity: str
    size: str
    picture: str
    average: str


#: Every scope by its name, as arguments and files have it.
scopes: Registry[Scope] = Registry("scope")
GLOBAL = scopes.register("global")(
    Scope(
        "global",
        by_row=False,
        axes=("features", "outputs"),
        quantity="importance",
        size="",
        picture="the mean image",
        average=", mean of all rows",
    )
)
LOCAL = scopes.register("local")(
    Scope(
        "local",
        by_row=True,
        axes=("rows", "features", "outputs"),
        quantity="attribution",
        size="mean |attribution|, ",
        picture="the image",
        average="",
    )
)


def chosen_scope(name: str, usual: str) -> Scope:
    """Return the scope of a name.

    Args:
        name: ``scope=``.
        usual: The scope that ``"auto"`` is.
    """
    if name == AUTO:
        return scopes.get(usual)
    return scopes.get(name)


def stated_scope(name: str) -> Scope | None:
    """Return the scope of a name, and None for ``"auto"``."""
    stated: Scope | None = scopes.get(name, None)
    return stated


def is_by_row(name: str) -> bool:
    """Return whether a name, or ``"auto"``, states that each row has values."""
    stated = stated_scope(name)
    return stated is not None and stated.by_row


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Level(Named):
    """What the players of an explanation are: a name with its facts.

    Attributes:
        plural: What several are called.
        word: What one is called on pages.
        of_modalities: Each player is a modality: a network's input, or a kind of
            columns.
        of_groups: Players are groups of columns, and columns outside groups.
        of_features: Each player is a feature, or columns that seem to act as one.
        of_columns: Each player is a raw column.
        encoded_as: The level at which an encoder lists the columns of its players.

    Examples:
        >>> levels.get("modality").plural
        'modalities'
    """

    plural: str
    word: str = "feature"
    of_modalities: bool = False
    of_groups: bool = False
    of_features: bool = False
    of_columns: bool = False
    encoded_as: str


#: Every level by its name, as files have it.
levels: Registry[Level] = Registry("level")
FEATURE = levels.register("feature")(
    Level("feature", plural="features", of_features=True, encoded_as="feature")
)
COLUMN = levels.register("column")(
    Level("column", plural="columns", of_columns=True, encoded_as="column")
)
GROUP = levels.register("group")(
    Level("group", plural="groups", of_groups=True, encoded_as="column")
)
MODALITY = levels.register("modality")(
    Level(
        "modality",
        plural="modalities",
        word="input",
        of_modalities=True,
        encoded_as="feature",
    )
)
#: The numbers that a network reads, before words and columns are added up.
INPUT = levels.register("input")(Level("input", plural="inputs", encoded_as="feature"))
#: Words and patches of one row.
PART = levels.register("part")(Level("part", plural="parts", encoded_as="feature"))
