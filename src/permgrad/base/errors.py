"""The errors users meet. Every message is two sentences: the problem, then the hint."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec

#: The names of permgrad or scikit-learn for another one, which is in small letters
#: without signs. The first that can be chosen counts.
SYNONYMS: dict[str, tuple[str, ...]] = {
    foreign_name: permgrad_names
    for names, permgrad_names in (
        # methods
        (
            ("shap", "kernelshap", "treeshap", "deepshap", "samplingshap", "sage"),
            ("shapley",),
        ),
        (
            ("pfi", "mda", "permutationimportance", "permutationfeatureimportance"),
            ("permutation",),
        ),
        (("ig", "intgrad"), ("integrated_gradients",)),
        (("saliency", "vanillagradient", "inputxgradient"), ("gradient",)),
        (("pdp", "ice", "partialdependence"), ("ale",)),
        (("occlusion",), ("ablation",)),
        # losses and scores
        (
            ("mse", "l2", "meansquarederror"),
            ("squared_error", "neg_mean_squared_error"),
        ),
        (
            ("mae", "l1", "meanabsoluteerror"),
            ("absolute_error", "neg_mean_absolute_error"),
        ),
        (("rmse",), ("squared_error", "neg_root_mean_squared_error")),
        (
            ("logloss", "nll", "bce", "softmax"),
            ("cross_entropy", "log_loss", "neg_log_loss"),
        ),
        (("acc", "accuracy", "error"), ("accuracy", "zero_one")),
        (("auc", "auroc", "rocauc", "roc"), ("roc_auc",)),
        (("auprc", "prauc", "ap"), ("average_precision",)),
        (("f1", "fscore"), ("macro_f1", "f1")),
        # models
        (("lgbm", "lgb", "gbm", "gbdt"), ("lightgbm",)),
        (("xgb",), ("xgboost",)),
        (("cat", "cb"), ("catboost",)),
        (("rf", "forest"), ("random_forest",)),
        (("ridge", "lasso", "logistic", "regression", "ols", "glm"), ("linear",)),
        (("mlp", "nn", "neuralnetwork"), ("network", "default")),
        # kinds of columns
        (("number", "float", "int", "integer", "continuous", "double"), ("numeric",)),
        (("category", "factor", "nominal", "enum"), ("categorical",)),
        (("bool", "binary", "flag"), ("boolean",)),
        (("datetime", "time", "timestamp"), ("date",)),
        (("string", "str", "words"), ("text",)),
        (("id", "key", "index"), ("identifier",)),
    )
    for foreign_name in names
}

P = ParamSpec("P")


class PermgradError(Exception):
    """Base of every error that permgrad raises on purpose.

    Args:
        problem: What is wrong, in one sentence.
        hint: What to do about it, in another sentence.
        code: A stable code, such as ``"PG012"``. The reference has a section for each.

    ``message`` is both sentences without the code, and ``exit_code`` is the exit code
    of the command line.

    Examples:
        >>> import permgrad as pg
        >>> try:
        ...     pg.load_dataset("helok")
        ... except pg.PermgradError as error:
        ...     print(error.code, error.exit_code, error.message)
        PG003 2 ...
    """

    __module__ = "permgrad"  # where users find it
    exit_code: int = 1

    def __init__(self, problem: str = "", hint: str = "", code: str = "") -> None:
        super().__init__(problem, hint, code)
        self.problem = problem
        self.hint = hint
        self.code = code

    @property
    def message(self) -> str:
        """The problem and the hint, as two sentences."""
        return two_sentences(self.problem, self.hint)

    def __str__(self) -> str:
        if self.code:
            return f"{self.message} [{self.code}]"
        return self.message


@contextmanager
def turned(
    into: Callable[[Any], PermgradError], *kinds: type[Exception], memory: bool = False
) -> Iterator[None]:
    """Raise an error of the body as the error that ``into`` makes of it, with it as its
    cause.

    Errors of permgrad pass as they are. ``kinds``: those that are turned (none: all).
    ``memory``: too little memory passes as well, for whoever then takes smaller
    batches.
    """
    try:
        yield
    except PermgradError:
        raise
    except Exception as error:
        if (kinds and not isinstance(error, kinds)) or (
            memory and is_out_of_memory(error)
        ):
            raise
        raise into(error) from error


def must(holds: object, otherwise: str) -> None:
    """Refuse a damaged file: raise ``ValueError``, which its reader turns into one
    sentence, where it does not hold.
    """
    if not holds:
        raise ValueError(otherwise)


#: What is wrong, what to do about it, and the code of both.
Fault = tuple[str, str, str]


def refusing(faults: Callable[P, Iterator[Fault]]) -> Callable[P, None]:
    """Return the check that a list of faults is: it refuses the first, in the order in
    which users mend them.

    Examples:
        >>> @refusing
        ... def check(rows):
        ...     if not rows:
        ...         yield "X has no rows", "Pass the rows to explain.", "PG013"
        >>> check([1])
    """

    @wraps(faults)
    def check(*args: P.args, **kwargs: P.kwargs) -> None:
        for problem, hint, error_code in faults(*args, **kwargs):
            raise InputError(problem, hint, error_code)

    return check


def two_sentences(problem: str, hint: str = "") -> str:
    """Return a problem and a hint as two sentences, each with a full stop.

    Warnings use it too.
    """
    if hint:
        texts = [problem, hint[0].upper() + hint[1:]]
    else:
        texts = [problem]
    texts = [
        sentence
        if not sentence or sentence.endswith((".", "!", "?", "…", ":"))
        else f"{sentence}."
        for sentence in texts
    ]
    return printable(" ".join(texts), lines=True)


#: What changes a terminal or the order of its letters: control characters, line ends,
#: directions, half characters.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text as it is printed: what cannot be seen is shown as ``\u001b``.

    ``lines``: line breaks stay.

    Examples:
        >>> print(printable("a\x1b]0;title\x07b\n"))
        a\u001b]0;title\u0007b\n
    """
    return _UNSEEN.sub(
        lambda sign: (
            "\n"
            if lines and sign[0] == "\n"
            else _SHORT.get(sign[0], f"\\u{ord(sign[0]):04x}")
        ),
        text,
    )


#: Signs that turn the order of all letters after them.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def in_reading_order(text: str, before: str = "\\u") -> str:
    r"""Return a text whose signs for other directions are shown, so that none is
    obeyed.

    One such sign in a name would turn the rest of its sentence round, numbers too.

    Args:
        text: Any text, a page too.
        before: What stands before the four digits of a sign.

    Examples:
        >>> print(in_reading_order("\u202eage: from 1.3 to 17"))
        \u202eage: from 1.3 to 17
    """
    return _DIRECTIONS.sub(lambda sign: f"{before}{ord(sign[0]):04x}", text)


def as_lines(lines: Iterable[str]) -> str:
    """Return lines as one text for a terminal, in which no name breaks a line."""
    return "\n".join(map(printable, lines))


class InputError(PermgradError, ValueError):
    """What the user gave cannot be used: a file, a column, an option, a model.

    Exit code 2.

    Args:
        problem: What is wrong, in one sentence.
        hint: What to do about it, in another sentence.
        code: A stable code, such as ``"PG012"``.

    Examples:
        >>> hint = "did you mean 'outcome'?"
        >>> print(InputError("Column 'Outcome' not found", hint, "PG012"))
        Column 'Outcome' not found. Did you mean 'outcome'? [PG012]
    """

    __module__ = "permgrad"  # where users find it
    exit_code = 2


class EnvironmentProblem(PermgradError, OSError):  # noqa: N818 — it is what the user has, a problem around them
    """The surroundings do not allow the work: network, disk, a missing extra.

    Exit code 3.

    Args:
        problem: What is wrong, in one sentence.
        hint: What to do about it, in another sentence.
        code: A stable code, such as ``"PG012"``.

    Examples:
        >>> EnvironmentProblem("The disk is full", "free some space").exit_code
        3
    """

    __module__ = "permgrad"  # where users find it
    exit_code = 3


class PermgradWarning(UserWarning):
    """Something the user should know that does not stop the work.

    Examples:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter(
        ...         "error", PermgradWarning
        ...     )  # stop at the first warning of permgrad
        ...     # your code
    """

    __module__ = "permgrad"  # where users find it


#: Where warnings go in this thread, or in what it runs in others. None: to the user.
_kept_warnings: ContextVar[list[str] | None] = ContextVar(
    "permgrad_kept_warnings", default=None
)


@contextmanager
def keeping_warnings() -> Iterator[list[str]]:
    """Collect what the body would warn the user of as text: ``warnings`` itself would
    change the filters of threads.
    """
    warned: list[str] = []
    token = _kept_warnings.set(warned)
    try:
        yield warned
    finally:
        _kept_warnings.reset(token)


def warn_user(message: str, hint: str = "") -> None:
    """Warn with the line of the caller's own code, however deep inside the package it
    happens.

    With a ``hint`` these are two sentences.
    """
    if hint:
        message = two_sentences(message, hint)
    else:
        message = printable(message, lines=True)
    warned = _kept_warnings.get()
    if warned is not None:
        warned.append(message)
        return
    depth, frame = 1, sys._getframe(0)  # noqa: SLF001 — the documented way to walk up the stack
    while (
        frame is not None
        and frame.f_globals.get("__name__", "").partition(".")[0]
        == __name__.partition(".")[0]
    ):
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, PermgradWarning, stacklevel=depth)


def warn_first(messages: Iterable[str], where: str) -> None:
    """Warn of the first of several messages, which begins with ``where``, and say how
    many others there were.
    """
    distinct = list(dict.fromkeys(messages))
    if distinct:
        if len(distinct) > 1:
            further = f"; and {len(distinct) - 1} more such notes"
        else:
            further = ""
        warn_user(f"{where}{distinct[0]}{further}")


#: What torch says, in words alone, where its memory did not suffice: on a processor, on
#: an accelerator, in a library.
_OUT_OF_MEMORY = re.compile(
    r"you tried to allocate|can't allocate memory|not enough memory|out of "
    r"memory|_ALLOC_FAILED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory did not suffice: Python's error, torch's, or one of torch's
    that says so in words alone.
    """
    if isinstance(error, MemoryError):
        return True
    # By its name, so that this module needs no torch.
    named = any(
        error_class.__name__ == "OutOfMemoryError"
        for error_class in type(error).__mro__
    )
    return isinstance(error, RuntimeError) and (
        named or _OUT_OF_MEMORY.search(str(error)) is not None
    )


#: How many known names a message lists.
_LISTED = 20


def did_you_mean(
    requested_name: object, names: Iterable[str], otherwise: str = ""
) -> str:
    """Return the hint ``"Did you mean 'x'?"`` with the nearest name, or another hint if
    none is near.
    """
    nearest_name = nearest(requested_name, names)
    if nearest_name is None:
        return otherwise
    return f"Did you mean {nearest_name!r}?"


def nearest(requested_name: object, names: Iterable[str]) -> str | None:
    """Return the name that means the same or is most like another, whatever the
    capitals, or None if none is near.
    """
    folded_names = {}
    for original_name in names:
        folded_names[str(original_name).casefold()] = str(original_name)
    written = text_of(requested_name).casefold()
    begun = []
    for folded_name in folded_names:
        if len(written) > 2 and folded_name.startswith(written):
            begun.append(folded_name)
    begins = []
    for folded_name in folded_names:
        if len(folded_name) > 1 and written.startswith(f"{folded_name}_"):
            begins.append(folded_name)
    if len(begun) == 1:
        close_matches = begun
    else:
        close_matches = difflib.get_close_matches(
            written, folded_names, n=1, cutoff=0.9
        )
    close_matches = close_matches or (
        begins
        if len(begins) == 1
        else difflib.get_close_matches(written, folded_names, n=1, cutoff=0.65)
    )
    return synonym(requested_name, folded_names.values()) or (
        folded_names[close_matches[0]] if close_matches else None
    )


def synonym(requested_name: object, names: Iterable[str]) -> str | None:
    """Return which of some names is what others call so: ``"numeric"`` for
    ``"number"``. None: they do not.
    """
    meant = SYNONYMS.get(re.sub(r"[\W_]", "", text_of(requested_name).casefold()), ())
    folded_names = {original_name.casefold(): original_name for original_name in names}
    return next(
        (
            folded_names[synonym_name]
            for synonym_name in meant
            if synonym_name in folded_names
        ),
        None,
    )


def error_in_words(error: BaseException) -> str:
    """Return an error's type and text in one line, also where it cannot be printed.

    Of a long one whole sentences.
    """
    error_text = ""
    error_name = type(error).__name__
    with suppress(Exception):  # the user's own error may not even be printed
        error_text = " ".join(str(error).split())
    if len(error_text) > _MOST_WORDS:
        error_text = error_text[:_MOST_WORDS]
        complete_sentences = error_text.rpartition(". ")[0]
        if complete_sentences:
            error_text = f"{complete_sentences}."
        else:
            error_text = f"{error_text.rpartition(' ')[0] or error_text}…"
    if error_text:
        return f"{error_name}: {error_text}"
    return error_name


def one_line(error: BaseException) -> str:
    """Return an error's text in one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


#: How many characters of a value a message shows, and of another error's text.
_SHOWN = 200
_MOST_WORDS = 300


def text_of(value: object) -> str:
    """Return a value as text, also where it has none."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 — the user's own object may not even be printed
        return f"a value of type {type(value).__name__}"


def shown(value: object) -> str:
    """Return a value as messages show it: in one line, not too long, and also where it
    cannot be printed.
    """
    try:
        value_text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 — the user's own object may not even be printed, nor may a number of 5,000 digits
        return f"a value of type {type(value).__name__}"
    if len(value_text) <= _SHOWN:
        return value_text
    return value_text[: _SHOWN - 1] + "…"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not one."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def option_of(flag: str, value: object) -> str:
    """Return an option with its value as a shell reads it: ``--drop 'Engine HP'``,
    ``--drop=-9``.
    """
    value_text = text_of(value)
    quoted = shlex.quote(value_text)
    if printable(value_text) != value_text:  # as bash and zsh read what cannot be seen
        quoted = "$'" + printable(re.sub(r"([\\'])", r"\\\1", value_text)) + "'"
    return f"{flag}{'=' if value_text.startswith('-') else ' '}{quoted}"


def by_count(count: int, singular: str, several: str) -> str:
    """Return the words that go with a count of one, or with another."""
    if count == 1:
        return singular
    return several


def listed(
    names: Sequence[Any], most: int = 6, show: Callable[[Any], str] = str
) -> str:
    """Return up to ``most`` names, and how many more there are."""
    shown = ", ".join(map(show, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


#: Longer values of settings, such as digests of files' contents, say nothing to people.
_LONGEST_SETTING = 60


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say which settings differ, with both values where they are short."""

    def setting(value: Any) -> str:
        if isinstance(value, list):
            value = (
                ", ".join(
                    str(
                        list_item[0]
                        if isinstance(list_item, list) and list_item
                        else list_item
                    )
                    for list_item in value
                )
                or None
            )
        if value is None:
            return "not given"
        return str(value)

    def words(name: str) -> str:
        before = setting(old.get(name))
        current = setting(new.get(name))
        if max(len(before), len(current)) > _LONGEST_SETTING:
            return name
        return f"{name} ({before} there, {current} now)"

    return listed(
        [
            setting_name
            for setting_name in dict.fromkeys([*old, *new])
            if old.get(setting_name) != new.get(setting_name)
        ],
        3,
        words,
    )


#: Kinds of names of which one says that there is none. Of all else, that it cannot be
#: so.
_NOUNS = (
    *(
        "argument",
        "column",
        "data set",
        "feature",
        "head",
        "image set",
        "input",
        "layer",
        "layout",
        "loss",
        "method",
    ),
    *(
        "metric",
        "model",
        "option",
        "output",
        "path",
        "preset",
        "scoring",
        "space",
        "suite",
        "tool",
    ),
)


def unknown(
    kind: str,
    requested_name: object,
    choices: Iterable[str],
    patterns: Iterable[str] = (),
) -> InputError:
    """Build the error for a name that is not in a fixed list: with the one that is
    near, else with the list.

    ``kind``: also with the argument that names it, as in ``"column in fixed"``.
    ``patterns``: what else there may be.

    Examples:
        >>> print(unknown("method", "kernel_shap", ["permutation", "shapley"]))
        No method 'kernel_shap'. Did you mean 'shapley'? [PG003]
        >>> print(unknown("column in fixed", "ages", ["age", "dose"]))
        fixed: no column 'ages'. Did you mean 'age'? [PG003]
        >>> print(unknown("--space", "x", ["default", "paper"], ["FILE.json"]))
        --space must be one of 'default', 'paper', FILE.json, got 'x'. [PG003]
    """
    names = list(choices)
    if (nearest_hint := did_you_mean(requested_name, names)) and isinstance(
        requested_name, str
    ):
        noun, _, where = kind.partition(" in ")
        if where:
            problem = f"{where}: no {noun} {shown(requested_name)}"
        else:
            problem = f"{kind} cannot be {shown(requested_name)}"
        if kind in _NOUNS:
            problem = f"No {kind} {shown(requested_name)}"
        return InputError(problem, hint=nearest_hint, code="PG003")
    if len(names) > _LISTED:
        further = [f"… ({len(names)} in all)"]
    else:
        further = []
    listed = ", ".join([*map(repr, names[:_LISTED]), *patterns, *further])
    return InputError(
        f"{kind} must be one of {listed}, got {shown(requested_name)}", code="PG003"
    )
