"""The published hybrid network (HyNN) and its explanation (PermGrad) in Keras: a peer
to time, never a dependency.

    python benchmarks/speed/keras_peer.py --make-environment DIR  # a few minutes, about
    2 GB; needs pip and a network DIR/bin/python benchmarks/speed/keras_peer.py --job
    JOB.json  # what keras_speed.py does

Written anew from the published description (docs/methods.md) and with the steps of the
authors' notebooks, "HyNN" for regression and for classification,
github.com/felescgon/PermGrad (Apache-2.0); no line of them is here. The layers and
their sizes are those that the job names, which are read from permgrad's preset
``paper``. Neither permgrad nor torch is needed in the environment, and this file
imports nothing but the standard library until it knows what to do.

A job is a JSON object. ``{"work": "train", ...}`` fits the network on arrays and says
what each epoch took; ``{"work": "notebook", ...}`` does what the notebook does from the
CSV file to the joint importances, and says what each step took. Answers are JSON as
well, written to the path ``answer``.

NOTE[DIFF]: Keras 3 with TensorFlow 2.21 and TINTOlib 1.3, where the notebooks had
TensorFlow 2.17 and TINTOlib 0.0.26. The search over 75 networks is left out, one
network of given sizes is trained; so are the notebooks' plots; features' pixels are
read from the fitted TINTO object instead of being computed a second time; the softmax
of the branches' loss differences subtracts the largest first, since the published form
overflows. All of this is to the peer's advantage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = (
    "tensorflow-cpu==2.21.*",
    "keras==3.*",
    "TINTOlib==1.3.1",
    "pandas<3",
    "scikit-learn",
    "pillow",
    "opencv-python-headless",
)
DEFAULT_ENVIRONMENT = Path(__file__).parents[1] / ".environments" / "keras"
#: The notebooks' own: epochs that the schedule spans, shuffles of a feature.
EPOCHS, SHUFFLES = 200, 5


# ---- the environment -----------------------------------------------------------------


def python_of(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_environment(folder: Path, packages: tuple[str, ...] = PACKAGES) -> Path:
    """Build an environment, unless it is there, and return its interpreter.

    A stamp is written last: an environment whose making was interrupted is made again.
    """
    python, stamp = python_of(folder), folder / "made-from.json"
    if (
        stamp.exists()
        and json.loads(stamp.read_text(encoding="utf-8")) == list(packages)
        and python.exists()
    ):
        return python
    print(
        f"making {folder} ({', '.join(packages)}); a few minutes",
        file=sys.stderr,
        flush=True,
    )
    venv.create(folder, with_pip=True, clear=True)
    subprocess.run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *packages,
        ],
        check=True,
        stdout=sys.stderr,
    )
    stamp.write_text(json.dumps(list(packages)) + "\n", encoding="utf-8")
    return python


# ---- the network ---------------------------------------------------------------------


def build_network(
    features: int, pixels: int, outputs: int, sizes: dict[str, Any]
) -> Any:
    """Return the uncompiled Keras network; the joined branches are its layer
    ``"joined"``.

    Args:
        features: columns of the table.
        pixels: height and width of the images, which have three channels.
        outputs: classes, or 1 for regression.
        sizes: ``dense_units, conv_filters, fusion_units, dropout, kernel_size`` as in
            permgrad's network options.
    """
    from keras import Model, initializers, layers

    def he() -> Any:
        return initializers.HeNormal(seed=0)

    def dense(x: Any, widths: list[int], name: str) -> Any:
        for number, width in enumerate(widths):
            x = layers.Dense(
                width,
                activation="relu",
                kernel_initializer=he(),
                name=f"{name}_{number}",
            )(x)
            x = layers.Dropout(sizes["dropout"])(layers.BatchNormalization()(x))
        return x

    table = layers.Input((features,), name="table")
    image = layers.Input((pixels, pixels, 3), name="image")
    maps = image
    for number, filters in enumerate(sizes["conv_filters"]):
        convolution = layers.Conv2D(
            filters,
            sizes["kernel_size"],
            padding="same",
            activation="relu",
            kernel_initializer=he(),
            name=f"convolution_{number}",
        )
        maps = layers.BatchNormalization()(convolution(maps))
        maps = layers.Dropout(sizes["dropout"])(layers.MaxPooling2D(2)(maps))
    branches = [dense(table, sizes["dense_units"], "dense"), layers.Flatten()(maps)]
    joined = layers.Concatenate(name="joined")(branches)
    activation = "softmax" if outputs > 1 else "linear"
    # Whatever the network computes in, its answer is in float32, as Keras' guide to
    # mixed precision asks.
    last = layers.Dense(
        outputs,
        activation=activation,
        kernel_initializer=he(),
        name="out",
        dtype="float32",
    )
    return Model([table, image], last(dense(joined, sizes["fusion_units"], "fusion")))


def compile_network(
    network: Any, job: dict[str, Any], *, published_metrics: bool = True
) -> None:
    """Compile with the notebooks' optimizer, loss and list of metrics, or without the
    metrics.
    """
    from keras import metrics, optimizers

    regression = job["outputs"] == 1
    if regression:
        listed = [
            metrics.MeanAbsoluteError(),
            metrics.MeanSquaredError(),
            metrics.RootMeanSquaredError(),
            metrics.MeanAbsolutePercentageError(),
            metrics.R2Score(),
        ]
    else:
        listed = [
            metrics.CategoricalAccuracy(),
            metrics.Precision(),
            metrics.Recall(),
            metrics.AUC(),
        ]
    network.compile(
        optimizer=optimizers.AdamW(
            learning_rate=job["learning_rate"], weight_decay=job["weight_decay"]
        ),
        loss="mean_squared_error" if regression else "categorical_crossentropy",
        metrics=listed if published_metrics else None,
    )


def rate_of(
    epoch: int, most: float, *, least: float = 1e-5, epochs: int = EPOCHS
) -> float:
    """Return the published learning rate: linear rise over the first quarter of the
    epochs, then half a cosine.
    """
    import math

    rise = epochs / 4
    if epoch < rise:
        return least + (most - least) * epoch / rise
    return most * 0.5 * (1 + math.cos(math.pi * (epoch - rise) / (epochs - rise)))


def schedule(job: dict[str, Any]) -> Any:
    """Return the callback that sets the rate of each epoch."""
    from keras import callbacks

    return callbacks.LearningRateScheduler(
        lambda epoch, _: rate_of(epoch, job["learning_rate"])
    )


def epoch_clock() -> Any:
    """Return a callback whose ``taken`` lists (processor seconds, seconds) of each
    epoch, validation included.
    """
    from keras import callbacks

    class Clock(callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.taken: list[tuple[float, float]] = []

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 — Keras' signature
            self.begun = time.process_time(), time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 — Keras' signature
            self.taken.append(
                (
                    time.process_time() - self.begun[0],
                    time.perf_counter() - self.begun[1],
                )
            )

    return Clock()


# ---- work: train ---------------------------------------------------------------------


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Fit on the arrays of ``job["arrays"]``: pictures drawn beforehand, as the
    notebook has them.
    """
    import numpy as np
    from keras import mixed_precision

    arrays = np.load(job["arrays"])
    rows = {
        part: [arrays[f"{part}_table"], arrays[f"{part}_image"]]
        for part in ("train", "validation")
    }
    target = {part: arrays[f"{part}_target"] for part in rows}
    found: dict[str, Any] = {"rows": len(target["train"])}
    ways = (
        ("published", True, "float32"),
        ("bare", False, "float32"),
        ("bfloat16", True, "mixed_bfloat16"),
    )
    for name, published, precision in ways:
        mixed_precision.set_global_policy(precision)
        network = build_network(
            rows["train"][0].shape[1],
            rows["train"][1].shape[1],
            job["outputs"],
            job["sizes"],
        )
        compile_network(network, job, published_metrics=published)
        clock = epoch_clock()
        history = network.fit(
            rows["train"],
            target["train"],
            validation_data=(rows["validation"], target["validation"]),
            epochs=job["epochs"],
            batch_size=job["batch_size"],
            verbose=0,
            callbacks=[schedule(job), clock],
        )
        found[name] = {
            "epochs": clock.taken,
            "loss": history.history["loss"],
            "val_loss": history.history["val_loss"],
        }
        found["parameters"] = network.count_params()
    return found


# ---- work: notebook ------------------------------------------------------------------


class Steps:
    """What each step took, in processor seconds and in seconds."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[float, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        begun = time.process_time(), time.perf_counter()
        yield
        self.taken[name] = (
            time.process_time() - begun[0],
            time.perf_counter() - begun[1],
        )
        print(
            f"{name}: {self.taken[name][0]:.1f} s of processor time",
            file=sys.stderr,
            flush=True,
        )


def notebook(job: dict[str, Any]) -> dict[str, Any]:
    """Do the regression notebook's steps: pictures, reading, training, permutation,
    Grad-CAM, ablation, sum.
    """
    with tempfile.TemporaryDirectory() as name:
        return _notebook(job, Path(name))


def _notebook(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    from TINTOlib.tinto import TINTO

    step = Steps()
    table = pd.read_csv(job["table"])
    # The notebook takes the target to be the last column, and so does TINTOlib.
    table = table[[name for name in table if name != job["target"]] + [job["target"]]]
    with step("images: TINTOlib writes a PNG for each row"):
        method = TINTO(problem="regression", blur=False, pixels=job["pixels"])
        method.fit_transform(table, str(folder / "images"))
    with step("images: read again"):
        parts = _read_parts(table, folder / "images", job)
    features = [name for name in table if name != job["target"]]
    with step("training"):
        network, epochs = _fit(parts, len(features), job, folder)
    test, truth = parts["test"]
    with step("evaluation"):
        for part in ("validation", "test"):
            network.evaluate(parts[part][0], parts[part][1], verbose=0)

    def loss(model: Any, inputs: list[Any]) -> float:
        return float(np.mean((truth - model.predict(inputs, verbose=0).ravel()) ** 2))

    with step("permutation"):
        base = loss(network, test)
        permutation = _permute(test, lambda inputs: loss(network, inputs) - base)
    with step("Grad-CAM"):
        maps = _grad_cam(network, test, method.pos_pixel_caract, job)
    with step("ablation"):
        differences = [loss(model, test) - base for model in _without_branches(network)]
    powers = np.exp(np.array(differences) - max(differences))
    weights = powers / powers.sum()
    joint = weights[0] * _scaled(permutation) + weights[1] * _scaled(maps)
    return {
        "steps": step.taken,
        "epochs": epochs,
        "rows": {part: len(parts[part][1]) for part in parts},
        "parameters": network.count_params(),
        "test_mse": base,
        "branch_weights": weights.tolist(),
        "importance": dict(zip(features, joint.tolist(), strict=True)),
    }


def _read_parts(table: Any, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Return ``{part: ([numbers, images], target)}``: columns scaled over all rows, the
    notebook's split.
    """
    import cv2
    import numpy as np
    import pandas as pd
    from sklearn.model_selection import train_test_split

    files = pd.read_csv(folder / "regression.csv")["images"]
    target = table[job["target"]]
    numbers = table.drop(columns=job["target"])
    numbers = (numbers - numbers.min()) / (numbers.max() - numbers.min())
    train, rest = train_test_split(
        np.arange(len(table)), test_size=0.4, random_state=42
    )
    validation, test = train_test_split(rest, test_size=0.5, random_state=42)
    size = (job["pixels"], job["pixels"])
    parts = {}
    for part, rows in (("train", train), ("validation", validation), ("test", test)):
        images = np.array(
            [
                cv2.resize(cv2.imread(str(folder / name)), size)
                for name in files.iloc[rows]
            ]
        )
        parts[part] = (
            [numbers.iloc[rows].reset_index(drop=True), images],
            target.iloc[rows].to_numpy(),
        )
    return parts


def _fit(
    parts: dict[str, Any], features: int, job: dict[str, Any], folder: Path
) -> tuple[Any, int]:
    """Return the network with its best weights, and how many epochs it had: the job's,
    or until patience ends.
    """
    from keras import callbacks, saving

    network = build_network(features, job["pixels"], 1, job["sizes"])
    compile_network(network, job)
    best = folder / "best.keras"
    watching = [
        callbacks.ModelCheckpoint(str(best), save_best_only=True),
        schedule(job),
    ]
    if job["epochs"] is None:
        watching.insert(
            0, callbacks.EarlyStopping(patience=6, restore_best_weights=True)
        )
    history = network.fit(
        *parts["train"],
        validation_data=parts["validation"],
        epochs=job["epochs"] or EPOCHS,
        batch_size=job["batch_size"],
        verbose=2,
        callbacks=watching,
    )
    return saving.load_model(best), len(history.history["loss"])


def _permute(test: list[Any], effect: Callable[[list[Any]], float]) -> Any:
    """Return the mean effect of shuffling each column of the table, the pictures
    staying as they are.
    """
    import numpy as np

    numbers, images = test
    means = []
    for name in numbers:
        deltas = []
        for _ in range(SHUFFLES):
            changed = numbers.copy()
            changed[name] = np.random.permutation(changed[name].to_numpy())
            deltas.append(effect([changed, images]))
        means.append(np.mean(deltas))
    return np.array(means)


def _grad_cam(
    network: Any, test: list[Any], positions: Any, job: dict[str, Any]
) -> Any:
    """Return what the maps of the rows, one after the other, show at the features'
    pixels.

    The notebook makes the model of maps and outputs anew for each row; ``"grad_cam":
    "one model"`` makes it once.
    """
    import numpy as np
    import tensorflow as tf
    from keras import Model

    numbers, images = test
    last = f"convolution_{len(job['sizes']['conv_filters']) - 1}"

    def reader() -> Any:
        return Model(network.inputs, [network.get_layer(last).output, network.output])

    shared = reader() if job.get("grad_cam") == "one model" else None
    total = np.zeros(len(positions))
    for row in range(len(numbers)):
        model = shared or reader()
        inputs = [numbers.iloc[row].to_numpy()[None], images[row][None]]
        with tf.GradientTape() as tape:
            maps, output = model(inputs)
            wanted = output[:, 0]
        weights = tf.reduce_mean(tape.gradient(wanted, maps), axis=(0, 1, 2))
        heat = tf.maximum(tf.squeeze(maps[0] @ weights[..., tf.newaxis]), 0)
        largest = tf.reduce_max(heat)
        shown = (heat / largest if largest > 0 else heat).numpy()
        cells = np.clip(
            (np.asarray(positions) * shown.shape[0] / job["pixels"]).astype(int),
            0,
            shown.shape[0] - 1,
        )
        total += shown[cells[:, 1], cells[:, 0]]
    return total / len(numbers)


def _without_branches(network: Any) -> Iterator[Any]:
    """Yield the network with the table's branch set to zero, then with the
    picture's.
    """
    from keras import Model, layers, ops

    names = [layer.name for layer in network.layers]
    joined = network.get_layer("joined")
    later = network.layers[names.index("joined") + 1 :]
    for gone in (0, 1):
        parts = list(joined.input)
        parts[gone] = layers.Lambda(ops.zeros_like)(parts[gone])
        x = joined(parts)
        for layer in later:
            x = layer(x)
        yield Model(network.inputs, x)


def _scaled(values: Any) -> Any:
    """Return values scaled to 0…1; zeros where all are equal."""
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else values * 0


# ---- the face ------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions of what matters in this environment."""
    from importlib.metadata import version

    names = (
        "tensorflow_cpu",
        "keras",
        "TINTOlib",
        "numpy",
        "pandas",
        "scikit-learn",
        "opencv-python-headless",
    )
    return {name: version(name) for name in names}


def do(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in this process: threads are set before TensorFlow computes anything."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")
    begun = time.process_time(), time.perf_counter()
    import keras
    import tensorflow as tf

    if job["threads"] is not None:
        tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
        tf.config.threading.set_inter_op_parallelism_threads(job["threads"])
    keras.utils.set_random_seed(job.get("seed", 0))
    loaded = time.process_time() - begun[0], time.perf_counter() - begun[1]
    found = {"train": train, "notebook": notebook}[job["work"]](job)
    return {
        **found,
        "import": loaded,
        "versions": versions(),
        "threads": job["threads"],
    }


def main() -> int:
    """Make the environment, or do a job in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--make-environment",
        nargs="?",
        const=DEFAULT_ENVIRONMENT,
        type=Path,
        metavar="DIR",
        help=f"build the environment of the peer (default: {DEFAULT_ENVIRONMENT})",
    )
    parser.add_argument(
        "--job", type=Path, help="JSON file of what to do; see the text above"
    )
    arguments = parser.parse_args()
    if arguments.make_environment:
        print(make_environment(arguments.make_environment))
    elif arguments.job:
        job = json.loads(arguments.job.read_text(encoding="utf-8"))
        Path(job["answer"]).write_text(json.dumps(do(job)) + "\n", encoding="utf-8")
    else:
        parser.error("give --make-environment DIR or --job FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
