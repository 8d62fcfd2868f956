"""Mutants: one small wrong change each to a module's source, found in its syntax tree
and made in its text.

``find_mutants(source, path)`` lists every change that the operators below can make.
Left alone are docstrings, type annotations and aliases, imports, ``__all__``,
``TYPE_CHECKING`` blocks, assertions (they guard the impossible), f-strings and other
text for people, and all that stands inside a ``raise``, a warning or an error object:
whether a ``raise`` happens at all is tried, its words are not. Names of variables are
kept too.

===========  ====================================================================================================
arithmetic   ``+`` and ``-``, ``*`` and ``/``, ``//`` to ``/``, ``%`` and ``@`` to ``*``, ``**`` to ``*``, ``&`` and
             ``|``, ``^`` to ``&``, shifts; a minus or ``~`` in front left out; the same
             in ``+=`` and its like
comparison   each ordering moved to its neighbour (``<`` to ``<=``) and turned round (``<`` to ``>=``); ``==`` and
             ``!=``, ``in`` and ``not in``, ``is`` and ``is not``
boolean      ``and`` and ``or``; ``not`` left out; ``True`` and ``False``
constant     whole numbers one up and one down, other numbers one up, short words (keys, options, names) misspelt
statement    a call, an assignment or a ``raise`` left out; ``break`` and ``continue``. A variable's only assignment
             stays: without it any test that comes by would fail
argument     two neighbouring arguments exchanged, neither of them a constant, where their order matters
condition    the test of an ``if``, ``while`` or comprehension negated, where no operator above does the same
return       ``None`` in the place of what is returned
slice        a bound of a slice, and the end of a ``range``, one up
===========  ====================================================================================================
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

ARITHMETIC: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"), ast.MatMult: ("@", "*"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"),
}  # fmt: skip
COMPARISONS: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")), ast.LtE: ("<=", ("<", ">")), ast.Gt: (">", (">=", "<=")), ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)), ast.NotEq: ("!=", ("==",)), ast.Is: ("is", ("is not",)), ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)), ast.NotIn: ("not in", ("in",)),
}  # fmt: skip
# Exchanged arguments of these change nothing, or break the call for any test that comes
# by.
SYMMETRIC = frozenset({
    "max", "min", "maximum", "minimum", "isclose", "allclose", "array_equal", "equal", "hypot", "logaddexp", "add",
    "multiply", "gcd", "intersect1d", "union1d", "logical_and", "logical_or", "broadcast_shapes", "result_type",
    "promote_types", "cast", "isinstance", "issubclass", "getattr", "setattr", "hasattr", "print", "field",
})  # fmt: skip
MESSAGES = re.compile(
    r"(Error|Warning|Problem|Exception|warn|unknown|debug|info|warning)$"
)
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*$")
COMMENT = re.compile(rb"#[^\n]*")


@dataclass(frozen=True)
class Mutant:
    """One change: ``source`` with the bytes from ``start`` to ``end`` replaced by
    ``text``.
    """

    path: str
    operator: str
    start: int
    end: int
    text: str
    #: First and last line of the changed node, and of the smallest statement or header
    #: around it.
    node_lines: tuple[int, int]
    statement_lines: tuple[int, int]
    #: Lines of the function or class around it, or of the file, where the change is
    #: made on import.
    imported_lines: tuple[int, int] | None
    name: str

    def apply(self, source: str) -> str:
        """Return the changed source."""
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()

    def diff(self, source: str) -> str:
        """Return the changed lines, the old with − and the new with +."""
        lines = difflib.unified_diff(
            source.splitlines(), self.apply(source).splitlines(), n=0, lineterm=""
        )
        return "\n".join(
            line for line in lines if not line.startswith(("---", "+++", "@@"))
        )


def find_mutants(source: str, path: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of the source.

    A mutant's name is made of what it changes, not of its line number: it stays when
    lines are added elsewhere.
    """
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    lines = source.splitlines()
    seen: Counter[str] = Counter()
    mutants, places = [], set()
    for change in sorted(
        finder.found, key=lambda one: (one.start, one.end, one.operator, one.text)
    ):
        statement = "\n".join(
            line.strip()
            for line in lines[change.statement[0] - 1 : change.statement[1]]
        )
        offset = change.start - finder.starts[change.statement[0] - 1]
        told = "\0".join(
            [
                change.scope,
                change.operator,
                statement,
                str(offset - finder.indent(change)),
                change.text,
            ]
        )
        seen[told] += 1
        digest = hashlib.blake2b(
            f"{path}\0{told}\0{seen[told]}".encode(), digest_size=5
        ).hexdigest()
        mutant = Mutant(
            path, change.operator, change.start, change.end, change.text, change.node, change.statement,
            change.imported, f"{path}:{digest}",
        )  # fmt: skip
        place = (change.start, change.end, change.text)
        if (
            place not in places
            and finder.data[change.start : change.end].decode() != change.text
        ):
            places.add(place)
            mutants.append(mutant)
    return mutants


def compiles(text: str) -> bool:
    """Return whether Python takes a source; the few mutants that it refuses are not
    drawn.
    """
    try:
        compile(text, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def draw(mutants: Iterable[Mutant], seed: int) -> list[Mutant]:
    """Return the mutants in a random order that the seed decides: the first n are a
    sample of n.

    Each has its own place in the order, of its name and the seed alone. Where a few
    lines of the source change, all the other mutants keep theirs, and what is known of
    them stays good.
    """

    def place(mutant: Mutant) -> bytes:
        return hashlib.blake2b(f"{seed}\0{mutant.name}".encode()).digest()

    return sorted(mutants, key=place)


@dataclass(frozen=True)
class _Change:
    operator: str
    start: int
    end: int
    text: str
    node: tuple[int, int]
    statement: tuple[int, int]
    imported: tuple[int, int] | None
    scope: str


@dataclass
class _Scope:
    name: str
    lines: tuple[int, int]
    function: bool
    bound: Counter[str] = field(default_factory=Counter)


class _Finder(ast.NodeVisitor):
    """Walks the tree and notes changes in ``found``; positions are bytes of the encoded
    source.
    """

    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[_Change] = []
        self.scopes = [_Scope("", (1, max(len(self.starts) - 1, 1)), function=False)]
        self.statement = (1, 1)

    # --- positions and notes ----------------------------------------------------------
    def begin(self, node: ast.AST) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        return self.data[self.begin(node) : self.end(node)].decode()

    def indent(self, change: _Change) -> int:
        line = self.data[self.starts[change.statement[0] - 1] :]
        return len(line) - len(line.lstrip(b" "))

    def note(
        self,
        operator: str,
        node: ast.AST,
        text: str,
        span: tuple[int, int] | None = None,
    ) -> None:
        """Note that the node's text, or the span inside it, becomes ``text``."""
        start, end = span or (self.begin(node), self.end(node))
        inside = any(scope.function for scope in self.scopes)
        # What stands in no function happens on import: whichever test uses the
        # function, class or file may notice.
        imported = None if inside else self.scopes[-1].lines
        scope = ".".join(scope.name for scope in self.scopes[1:])
        lines = (node.lineno, node.end_lineno)
        self.found.append(
            _Change(operator, start, end, text, lines, self.statement, imported, scope)
        )

    def operator_between(
        self, left: ast.AST, right: ast.AST, sign: str
    ) -> tuple[int, int]:
        """Return where the sign between two nodes stands; around it are only brackets,
        spaces and comments.
        """
        start = self.end(left)
        gap = COMMENT.sub(
            lambda found: b" " * len(found.group()),
            self.data[start : self.begin(right)],
        )
        pattern = rb"\s+".join(re.escape(part.encode()) for part in sign.split())
        found = re.search(pattern, gap)
        assert found is not None, (left.lineno, sign, gap)
        return start + found.start(), start + found.end()

    # --- what is left alone -----------------------------------------------------------
    def visit_Import(self, node: ast.Import) -> None: ...
    def visit_ImportFrom(self, node: ast.ImportFrom) -> None: ...
    def visit_Assert(self, node: ast.Assert) -> None: ...
    def visit_JoinedStr(self, node: ast.JoinedStr) -> None: ...
    def visit_arg(self, node: ast.arg) -> None: ...

    # --- scopes and statements --------------------------------------------------------
    def visit(self, node: ast.AST) -> None:
        """Remember which statement, or header of one, a change belongs to; docstrings
        are passed over.
        """
        before = self.statement
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = node.end_lineno
            if body:
                last = max(node.lineno, body[0].lineno - 1)
            self.statement = (node.lineno, last)
            if _is_text(node):
                return
        super().visit(node)
        self.statement = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if any(_name(decorator) == "overload" for decorator in node.decorator_list):
            return
        inner = _Scope(node.name, (node.lineno, node.end_lineno), function=False)
        self.scopes.append(inner)
        # Defaults and decorators are computed on import, of a nested function when the
        # outer one runs.
        for part in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            if part is not None:
                self.visit(part)
        inner.function = True
        inner.bound = _bound_names(node)
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 — the name that ast.NodeVisitor looks for

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scopes.append(
            _Scope(node.name, (node.lineno, node.end_lineno), function=False)
        )
        for part in [*node.decorator_list, *node.keywords, *node.body]:
            self.visit(part)
        self.scopes.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in [*node.args.defaults, *node.args.kw_defaults]:
            if part is not None:
                self.visit(part)
        self.scopes.append(
            _Scope("<lambda>", (node.lineno, node.end_lineno), function=True)
        )
        self.visit(node.body)
        self.scopes.pop()

    def visit_If(self, node: ast.If) -> None:
        if _name(node.test) == "TYPE_CHECKING":
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._negate(test)
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        simple = isinstance(test, ast.Compare) and len(test.ops) == 1
        inverted = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if not (simple or inverted or isinstance(test, ast.Constant)):
            self.note("condition", test, f"not ({self.text(test)})")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.note("statement", node, "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.note("statement", node, "pass")

    def visit_Delete(self, node: ast.Delete) -> None:
        self.note("statement", node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.note("statement", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.note("statement", node, "break")

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self.note("statement", node, "pass")
            return
        # Constants have operators of their own.
        if not isinstance(node.value, ast.Constant):
            self.note("return", node.value, "None")
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = [_name(target) for target in node.targets]
        alias = isinstance(node.value, ast.Subscript | ast.BinOp) and not any(
            isinstance(part, ast.Call) for part in ast.walk(node.value)
        )
        if "__all__" in names or (len(self.scopes) == 1 and alias):
            return
        self._drop_assignment(node, node.targets)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and _name(node.annotation) != "TypeAlias":
            self._drop_assignment(node, [node.target])
            self.visit(node.value)

    def _drop_assignment(self, node: ast.stmt, targets: list[ast.expr]) -> None:
        """An assignment can be left out where what it names has another value: an
        attribute, an item, a name again.
        """
        if not self.scopes[-1].function:
            return
        flat = [
            one
            for target in targets
            for one in (target.elts if isinstance(target, ast.Tuple) else [target])
        ]
        bound = self.scopes[-1].bound
        if all(
            isinstance(one, ast.Attribute | ast.Subscript) or bound[_name(one)] > 1
            for one in flat
        ):
            self.note("statement", node, "pass")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.note("statement", node, "pass")
        old, new = ARITHMETIC[type(node.op)]
        self.note(
            "arithmetic",
            node,
            f"{new}=",
            self.operator_between(node.target, node.value, f"{old}="),
        )
        self.generic_visit(node)

    # --- expressions ------------------------------------------------------------------
    def visit_BinOp(self, node: ast.BinOp) -> None:
        old, new = ARITHMETIC[type(node.op)]
        self.note(
            "arithmetic", node, new, self.operator_between(node.left, node.right, old)
        )
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        sign = {ast.USub: "-", ast.Invert: "~", ast.Not: "not"}.get(type(node.op))
        if sign:
            span = (self.begin(node), self.begin(node) + len(sign))
            self.note("boolean" if sign == "not" else "arithmetic", node, "", span)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.note("boolean", node, new, self.operator_between(left, right, old))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(
            operands, node.ops, operands[1:], strict=False
        ):
            old, others = COMPARISONS[type(operator)]
            for new in others:
                self.note(
                    "comparison", node, new, self.operator_between(left, right, old)
                )
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.note("boolean", node, repr(not value))
        elif isinstance(value, int):
            self.note("constant", node, repr(value + 1))
            if value > 0:
                self.note("constant", node, repr(value - 1))
        elif isinstance(value, float) and value + 1 != value:
            self.note("constant", node, repr(value + 1))
        elif isinstance(value, str) and WORD.match(value):
            self.note("constant", node, repr(f"XX{value}"))

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        if MESSAGES.search(name):
            return
        if name not in SYMMETRIC:
            for left, right in zip(node.args, node.args[1:], strict=False):
                if not isinstance(left, ast.Constant | ast.Starred) and not isinstance(
                    right, ast.Constant | ast.Starred
                ):
                    span = (self.begin(left), self.end(right))
                    middle = self.data[self.end(left) : self.begin(right)].decode()
                    self.note(
                        "argument",
                        node,
                        self.text(right) + middle + self.text(left),
                        span,
                    )
        if name == "range" and not isinstance(
            node.args[min(len(node.args), 2) - 1], ast.Constant | ast.Starred
        ):
            stop = node.args[min(len(node.args), 2) - 1]
            self.note("slice", stop, f"({self.text(stop)}) + 1")
        if name == "cast":
            self.visit(node.args[1])
            return
        self.visit(node.func)
        for part in [*node.args, *node.keywords]:
            # A progress bar's label is text for people.
            if not (name == "Progress" and isinstance(part, ast.Constant)):
                self.visit(part)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None and not _is_number(bound):
                self.note("slice", bound, f"({self.text(bound)}) + 1")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _name(node.value) != "Literal":
            self.generic_visit(node)


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, or the note under an attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant)


def _name(node: ast.AST) -> str:
    """Return the last part of a dotted name, of what is called or subscripted."""
    if isinstance(node, ast.Call | ast.Subscript):
        return _name(node.func if isinstance(node, ast.Call) else node.value)
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )


def _bound_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Counter[str]:
    """Count how often each name gets a value in a function, arguments included."""
    return Counter(_bindings(function))


def _bindings(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for part in ast.walk(function):
        if isinstance(part, ast.arg):
            yield part.arg
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
