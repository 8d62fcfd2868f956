"""The branches of a hybrid network: one file for each, with its one registration."""

from permgrad.models.branches import (
    head_branches,
    linear_branch,
    tree_branch,
)
from permgrad.models.branches.branch import (
    AddedBranch,
    Branch,
    ColumnsBranch,
    Fitted,
    JoinedBranch,
    Trial,
    added_branches,
    branches,
    joined_branches,
    path_names,
    refuse_without_rows,
    register,
    title_of,
)

__all__ = [
    "AddedBranch",
    "Branch",
    "ColumnsBranch",
    "Fitted",
    "JoinedBranch",
    "Trial",
    "added_branches",
    "branches",
    "head_branches",
    "joined_branches",
    "linear_branch",
    "path_names",
    "refuse_without_rows",
    "register",
    "title_of",
    "tree_branch",
]
