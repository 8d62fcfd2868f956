"""The branches that a head joins, made in ``network/network.py``, and the names of the
columns that the table branch reads as texts and as photos.
"""

from __future__ import annotations

from permgrad.models.branches.branch import ColumnsBranch, JoinedBranch, register

TABLE = register(JoinedBranch(name="tabular", title="table branch", colour="tabular"))
IMAGE = register(JoinedBranch(name="image", title="image branch", colour="image"))
register(ColumnsBranch(name="text", title="texts"))
register(ColumnsBranch(name="photo", title="photos"))
