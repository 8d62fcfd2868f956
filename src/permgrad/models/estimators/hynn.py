"""``HyNNClassifier`` and ``HyNNRegressor``: hybrid networks behind scikit-learn's
interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from permgrad.base.arrays import Array, Booleans, Floats
from permgrad.base.checks import check_confidence, check_flag
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import ProgressMode
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.models.estimators.base import HyNNBase


@dataclass(eq=False, repr=False)
class _Arguments(HyNNBase):
    """What both estimators take. ``HyNNClassifier`` says what each means."""

    preset: Any = "default"
    network: Mapping[str, Any] | None = None
    branches: str | tuple[str, ...] = "auto"
    image: Literal["auto", "always", "never"] = "auto"
    layout: Any = None
    pixels: int = 20
    kinds: Mapping[str, Any] | None = None
    na: Any = None
    groups: Mapping[str, Any] | None = None
    image_encoder: Any = None
    text_encoder: Any = None
    class_weight: Any = None
    loss: str | None = None
    calibration: str | None = None
    cost: Any = None
    threshold: Any = None
    max_epochs: int | None = None
    batch_size: int | Literal["auto"] | None = None
    learning_rate: float | None = None
    validation_fraction: float | None = None
    device: Any = "auto"
    random_state: Any = None
    progress: ProgressMode = "auto"


@with_near_names
@dataclass(eq=False, repr=False)
class HyNNClassifier(ClassifierMixin, _Arguments):
    """A network that reads each row as a table and as an image, for classes.

    Arguments that are None are the preset's. The constructor stores. ``fit`` checks.

    With few rows of one class, ``class_weight`` moves training, ``calibration`` the
    probabilities, and ``cost`` or ``threshold`` the classes that are predicted. Ranking
    (ROC-AUC) needs none of them.

    Args:
        preset: where all other choices come from. ``"default"``, ``"fast"``,
            ``"paper"``, ``"ig_example"`` (the published network for UCI Bank Marketing,
            one logit, a weighted loss), ``"ig_example_published"`` (the same with its
            published, longer schedule), another registered name, or a path to a preset
            file (JSON). Or a mapping: a ``base``, which is a name or a path, and
            settings that replace its own, ``{"base": "default", "optimizer": "sgd",
            "patience": 20}``. docs/the-default-network.md lists the settings.
        network: network options that replace the preset's, see ``NetworkOptions``. One
            alone can be set with ``set_params(network__dropout=0.2)``.
        branches: ``"auto"``, or the names of those that read a row. ``"tabular"``,
            ``"image"`` (of it): the network. Texts and photos are then read as well, as
            far as the table has any. If ``"text"`` or ``"photo"`` is among the names,
            exactly the columns of the named kinds are read: ``("text",)`` trains on
            texts alone, ``("tabular", "text")`` leaves photos out. For the table alone,
            leave columns out by name, ``kinds={"review": "identifier"}``. Others, such
            as ``"trees"``, stand beside the network (docs/the-default-network.md lists
            them): what they say is added to its outputs, with shares that held-out rows
            choose. ``"auto"``: the preset's, which is ``("tabular", "image")`` but for
            ``"ig_example"``, a plain network on the table. With preset ``"default"``
            also trees and a line, each if the loss of held-out rows is less with it.
        image: whether rows are drawn as images, too. ``"auto"``: with presets
            ``"default"`` and ``"fast"``, only if the order of the columns tells
            something, as of a curve or a picture, which is tested on training rows, see
            ``order_``. A ``layout`` or ``branches`` that you pass, and other presets,
            are followed as they are. ``"always"``: as the preset's branches say.
            ``"never"``: the table only.
        layout: where each encoded column sits: a name, such as ``"assignment"`` (most
            presets) or ``"given"`` (as they stand, or by the numbers in their names),
            docs/the-default-network.md lists all, a grid ``(height, width)`` or
            ``(height, width, channels)`` of the columns as they stand, an object with
            the layout protocol, a fitted TINTOlib method, or a callable
            ``X -> images``.
        pixels: side of the square image. It grows if the encoded columns need more
            room.
        kinds: columns whose kind is known, as ``TableTransformer`` takes them.
        na: codes that stand for missing values, as ``TableTransformer`` takes them.
        groups: columns that act as one, as ``TableTransformer`` takes them. None: of a
            table with names, columns of 0 and 1 that encode one variable
            (``color=red``, ``color=blue``) and columns that repeat another. ``{}``:
            each column is a feature.
        image_encoder: what turns images into vectors: ``"efficientnet-lite0"`` (extra
            ``vision``), a ``torch.nn.Module``, which is copied and not trained, or a
            function, from images ``(n, 3, height, width)``, float32 in 0 … 1, to
            vectors ``(n, width)`` or maps ``(n, channels, height, width)``. None: the
            one that is installed. Without, or below 64 pixels, networks are trained on
            the images of a column with 1,000 different ones, and fewer are described by
            colours and edges.
        text_encoder: what turns texts into vectors that are read beside their words:
            ``"all-minilm-l6-v2"`` (extra ``text``), a folder with a Hugging Face model
            (``config.json``, ``model.safetensors``, ``tokenizer.json``), or a function
            from a list of texts to vectors ``(texts, width)``. None: words alone.
        class_weight: ``"balanced"``. ``"pos_weight"``, which is the same ratio with
            weight 1 for the first class, or a mapping of class to weight (0, or 1e-6 to
            1e6), others having 1, so that ``{}`` is no weights. None: the preset's,
            which is no weights but for ``"ig_example"``.
        calibration: how outputs become probabilities. None: as the network says, so
            class weights shift them. ``"prior"``: odds divided by the class weights,
            which undoes them. ``"temperature"``: the same, then sharpened or softened
            to fit the validation rows. ``"isotonic"``: a rising curve through the
            validation rows, for a thousand of them or more. Attribution explains the
            network's own outputs, before calibration.
        cost: what errors cost, for two classes: of a false positive and of a false
            negative, ``(1, 12)``, or of missing each class, ``{"good": 1, "bad": 12}``,
            whose last class is positive. The threshold of least cost is chosen on
            held-out rows, or without them as for reliable probabilities. None: 0.5.
        threshold: the probability of the positive class from which on a row is
            predicted as it, ``0.2`` or ``{"bad": 0.2}``. The positive class is the
            rarer one in training, unless ``threshold`` or ``cost`` names classes.
        max_epochs: epochs at most. None, here and below: the preset's.
        batch_size: rows per training step, or ``"auto"``.
        learning_rate: peak of the schedule.
        validation_fraction: share of the rows held out for early stopping and
            calibration, within classes. Unused with an ``eval_set``. None: the
            preset's, which is 0.1, and 0 for ``"ig_example"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` (or ``"gpu"``), ``"mps"``.
        random_state: None, an integer, or a NumPy generator. The same integer gives the
            same model, within what docs/reproducibility.md says.
        progress: ``"auto"``, True or False.

    Attributes:
        classes_ (array): labels, sorted.
        class_weights_ (array): each class's weight in the loss.
        calibration_ (Calibration): turns outputs into probabilities.
        decision_ (Decision): the positive class and the threshold. None: more classes.
        module_ (HybridNetwork): the network in eval mode.
        preprocessor_ (TableTransformer): the table's encoder.
        renderer_ (Renderer): draws the images. None without the image branch.
        order_ (Order): what the test for an order of the columns found. None where it
            was not asked.
        branches_ (dict): for ``"trees"`` and ``"linear"``, where they were tried,
            ``kept``, ``label`` (of the library), ``share`` of the outputs with its
            interval ``ci_low``, ``ci_high``, the ``loss`` of held-out ``rows`` without
            it, and by how much it makes that smaller: ``gain`` with its ``std_error``.
        history_ (DataFrame): epoch, train_loss, validation_loss, learning_rate,
            seconds.
        best_epoch_ (int): the epoch whose weights were kept.
        background_, background_target_ (arrays): encoded training rows kept for
            explanations, and their class indexes.
        held_out_ (HeldOut): what rows held out of training say of the errors, for
            intervals and sets. None without any.
        network_options_, training_options_ (dict): all choices, the preset's included.
        seed_ (int): the seed in use.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = HyNNClassifier(preset="fast", random_state=0).fit(X, y)
        >>> model.predict_proba(X).shape
        (150, 3)
        >>> encoded = model.encode_rows(X[:2]).encoded
        >>> model.predict(X[:2]), model.predict_encoded(encoded).shape
        (array([0, 0]), (2, 3))
        >>> model.score(X, y) > 0.8
        True
        >>> print(model.summary().splitlines()[0])
        table branch
        >>> import permgrad, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model")
        ...     loaded = permgrad.load(f"{folder}/model")
        ...     bool((loaded.predict(X) == model.predict(X)).all())
        True

        The steps of ``fit`` one by one, for programs that need what is between them:

        >>> rows, held = model.fit_encoder(X[::2]), model.encode_rows(X[1::2])
        >>> prepared = model.prepare(rows, y[::2], eval_set=(held, y[1::2]))
        >>> len(prepared.job.train_rows), len(prepared.job.validation_rows)
        (75, 75)
        >>> stop = lambda line: line["epoch"] == 2
        >>> model = model.train(prepared.with_epochs(3), on_epoch=stop)
        >>> len(model.history_), model.predict(held.take([0, 7])).shape
        (2, (2,))
    """

    task = CLASSIFICATION

    loss: None = field(init=False)

    def predict_proba(self, X: Any) -> Floats:
        """Return each class's probability, float64 ``(rows, classes)``, calibrated if
        asked for. Rows sum to 1.
        """
        return self.predict_parts(X)["probabilities"]

    @property
    def decision_threshold_(self) -> float | None:
        """The probability of the positive class from which on it is predicted.

        None: more classes.

        Examples:
            >>> from sklearn.datasets import load_iris
            >>> X, y = load_iris(return_X_y=True)
            >>> model = HyNNClassifier(preset="fast", max_epochs=2, threshold=0.2)
            >>> model.fit(X[:100], y[:100]).decision_threshold_
            0.2
        """
        check_is_fitted(self, "decision_")
        if self.decision_ is None:
            return None
        return self.decision_.threshold

    def predict(self, X: Any) -> Array:
        """Return the predicted class of each row ``(rows,)``, by ``predict_proba``.

        Of two classes, a row is positive from ``decision_threshold_`` on. Of more, the
        most probable class is predicted.
        """
        return self.predict_parts(X)["prediction"]

    def predict_set(
        self, X: Any, coverage: float = 0.9, *, by: Any = None, by_class: bool = False
    ) -> Booleans:
        """Return for each class whether it is in the row's prediction set ``(rows,
        classes)``.

        The sets hold the true class of at least the share ``coverage`` of new rows, if
        these are drawn like the rows held out of training: split conformal prediction
        (Sadinle, Lei & Wasserman 2019, arXiv 1609.00451). If the model is right more
        often than that, some sets are empty: no class is probable enough.

        Args:
            X: table ``(rows, features)``.
            coverage: share of rows whose class is to be in the set, above 0 and below
                1.
            by: a column, or several, in whose groups the share is to hold as well: by
                value, or by quarters of a column with more than eight values. Groups of
                too few held-out rows use all of them, with a warning.
            by_class: the share is to hold among the rows of each class as well, also of
                a rare one. Sets are then larger. A class with too few held-out rows is
                in every set, with a warning.

        Raises:
            InputError: The model has no rows held out of training, or too few for the
                coverage.

        Examples:
            >>> from sklearn.datasets import load_digits
            >>> X, y = load_digits(return_X_y=True)
            >>> model = HyNNClassifier(preset="fast", max_epochs=2, random_state=0).fit(
            ...     X[:1000], y[:1000]
            ... )
            >>> sets = model.predict_set(X[1000:], coverage=0.8)
            >>> sets.shape, bool(sets[np.arange(797), y[1000:]].mean() > 0.7)
            ((797, 10), True)
        """
        share = check_confidence(coverage, "coverage")
        return self.predict_parts(
            X, share, by=by, by_class=check_flag("by_class", by_class)
        )["inside"]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, of labels in every form that ``fit`` takes: also
        booleans in an array of objects.

        Args:
            X: Rows with the columns of ``fit``.
            y: Their labels, ``(rows,)``.
            sample_weight: Weights of the rows, ``(rows,)``. None: all count the same.
        """
        labels = np.asarray(y)
        if labels.dtype == object:
            labels = np.array(labels.tolist())
        return float(super().score(X, labels, sample_weight))


@with_near_names
@dataclass(eq=False, repr=False)
class HyNNRegressor(RegressorMixin, _Arguments):
    """A network that reads each row as a table and as an image, for numbers.

    The target is standardised in float64 before it is cast to the network's precision:
    its units change nothing.

    Args:
        preset: as in ``HyNNClassifier``, and so are all others. There is no
            ``class_weight`` and no ``calibration``.
        loss: ``"squared_error"``, or ``"poisson"`` for counts: the network says the
            logarithm of a rate, exact 0 is allowed as y, and predictions are rates of
            at least 0. ``fit`` and ``predict`` then take the ``offset`` of each row,
            the logarithm of its exposure. ``permgrad.explain`` holds the offset at 0,
            and so explains rates: pass ``y=counts / exposure`` and
            ``sample_weight=exposure`` there, which gives the deviance of the counts.
            None: the preset's, which is the squared error. A loss that you register
            (docs/extending.md) is trained in the units of y.

    Attributes:
        target_mean_, target_scale_ (float): mean and standard deviation of y over
            training rows. With ``loss="poisson"`` 0 and the mean rate.
        background_target_ (array): standardised target of the rows in ``background_``.

    The other attributes are those of ``HyNNClassifier``.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> model = HyNNRegressor(preset="fast", max_epochs=2, random_state=0)
        >>> model = model.fit(X, X[:, 0])
        >>> model.predict(X).shape
        (200,)
        >>> years = np.random.default_rng(1).uniform(0.5, 2, 200)
        >>> claims = np.random.default_rng(2).poisson(years * np.exp(X[:, 0]))
        >>> model = HyNNRegressor(
        ...     preset="fast",
        ...     loss="poisson",
        ...     max_epochs=2,
        ...     random_state=0,
        ... )
        >>> model = model.fit(X, claims, offset=np.log(years))
        >>> predicted = model.predict(X, offset=np.log(years))
        >>> bool((predicted >= 0).all()), model.training_mean_ > 0
        (True, True)
    """

    task = REGRESSION

    class_weight: None = field(init=False)
    calibration: None = field(init=False)
    cost: None = field(init=False)
    threshold: None = field(init=False)

    @property
    def training_mean_(self) -> float:
        """Mean of y over training rows, of counts their mean rate."""
        if self.module_.rates:
            return self.target_scale_
        return self.target_mean_

    def predict(self, X: Any, *, offset: npt.ArrayLike | None = None) -> Floats:
        """Return predictions in the units of y, float64 ``(rows,)``.

        With ``loss="poisson"`` these are rates, or the counts that rows of these
        exposures have on average.

        Args:
            X: Rows with the columns of ``fit``.
            offset: Logarithms of the exposures, ``(rows,)``, of a model with
                ``loss="poisson"``. None: rates are predicted.
        """
        return self.predict_parts(X, offset=offset)["prediction"]

    def predict_interval(
        self,
        X: Any,
        coverage: float = 0.9,
        *,
        by: Any = None,
        offset: npt.ArrayLike | None = None,
    ) -> Floats:
        """Return the ends of an interval for each row in the units of y, float64
        ``(rows, 2)``.

        The intervals hold the truth of at least the share ``coverage`` of new rows, if
        these are drawn like the rows held out of training: split conformal prediction
        (Vovk, Gammerman & Shafer 2005). The truth is as often below as above them.
        Errors are divided by a scale learned from training rows (Papadopoulos et al.
        2002), so that intervals are wide where errors are large.

        Args:
            X: table ``(rows, features)``.
            coverage: share of rows whose truth is to be inside, above 0 and below 1.
            by: a column, or several, in whose groups the share is to hold as well: by
                value, or by quarters of a column with more than eight values. Groups of
                too few held-out rows use all of them, with a warning.
            offset: as for ``predict``.

        Raises:
            InputError: The model has no rows held out of training, or too few for the
                coverage.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> X = rng.normal(size=(2000, 2))
            >>> y = X[:, 0] + np.exp(X[:, 1]) * rng.normal(size=2000)
            >>> model = HyNNRegressor(preset="fast", max_epochs=3, random_state=0).fit(
            ...     X[:1000], y[:1000]
            ... )
            >>> low, high = model.predict_interval(X[1000:], coverage=0.8).T
            >>> bool(0.7 < ((low < y[1000:]) & (y[1000:] < high)).mean() < 0.9)
            True

            What makes predictions unsure? The width is an output that every method
            explains:

            >>> import permgrad as pg
            >>> width = lambda rows: np.ptp(model.predict_interval(rows), axis=1)
            >>> pg.explain(width, X[1000:1100]).ranking()
            ['x1', 'x0']
        """
        share = check_confidence(coverage, "coverage")
        return self.predict_parts(X, share, by=by, offset=offset)["inside"]
