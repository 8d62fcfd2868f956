"""
Explain a random forest
=======================

The forest was fitted by scikit-learn. permgrad measures how much its loss grows without each feature.
"""

# sphinx_gallery_thumbnail_path = "pictures/gallery/any_model.png"

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import permgrad as pg

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
forest = RandomForestClassifier(random_state=0).fit(X_train, y_train)
explanation = pg.explain(forest, X_test, y_test)
print(explanation.summary())

# %%
# The bars show the importance of each feature with its 95 % interval.

explanation.plot.bar(top_n=10)
