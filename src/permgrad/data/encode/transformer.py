"""The encoding of tables as a transformer of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from permgrad.data.encode.encoding import TableEncoder


class TableTransformer(TransformerMixin, BaseEstimator, TableEncoder):
    """Turn a raw table into numbers for any model of scikit-learn, as permgrad does for
    its own networks.

    Numbers are scaled, categories and missing values become 0/1 columns, and dates
    become parts. The types of columns are inferred by ``fit``.
    ``set_output(transform="pandas")`` or ``"polars"`` makes ``transform`` return a
    frame; ``get_feature_names_out()`` names its columns.

    Args:
        numeric: How numbers are scaled: ``"robust"``, ``"standard"``, ``"minmax"`` or
            ``"quantile"``.
        max_levels: Levels of a categorical column; rarer ones share a level "other".
        na: Values that stand for missing: one, a list, or a mapping from column to
            list.
        groups: Columns that act as one feature in explanations, ``{"soil": ["soil1",
            "soil2"]}``.
        kinds: Columns whose kind you know, ``{"postcode": "categorical"}``.

    Examples:
        >>> import pandas as pd, permgrad as pg
        >>> towns = ["Bonn", "Ulm", "Bonn", "Bonn"]
        >>> table = pd.DataFrame({"age": [31.0, 40.0, None, 60.0], "town": towns})
        >>> transformer = pg.TableTransformer(numeric="minmax")
        >>> transformer = transformer.set_output(transform="pandas")
        >>> transformer.fit_transform(table).columns.tolist()
        ['age', 'age=<missing>', 'town=Bonn', 'town=Ulm']
        >>> len(transformer.get_feature_names_out())
        4
    """

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the rows as float32 ``(rows, encoded)``, or as a frame if
        ``set_output`` asked for one.
        """
        check_is_fitted(self, "encoded_names_")
        return super().transform(X)

    def get_feature_names_out(
        self,
        input_features: Any = None,  # noqa: ARG002 — scikit-learn passes it
    ) -> npt.NDArray[np.object_]:
        """Return the names of the encoded columns."""
        check_is_fitted(self, "encoded_names_")
        return np.array(self.encoded_names_, dtype=object)
