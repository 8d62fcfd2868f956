"""What the two columns are called that cells with two numbers become."""

from __future__ import annotations


def pair_names(column: str, first: str, second: str) -> tuple[str, str]:
    """Return the names of the two columns.

    Examples:
        >>> pair_names("pressure", "first", "second")
        ('pressure: first', 'pressure: second')
    """
    return f"{column}: {first}", f"{column}: {second}"
