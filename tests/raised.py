"""Which exceptions leave a function, as far as its source tells.

Followed are calls of our own functions by their names, and of our methods on ``self``;
what scikit-learn's checks raise is known.
"""

import ast
import builtins
import functools
import importlib
import inspect
import textwrap

import sklearn.exceptions
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

_CHECKS = {
    _fit_context: [ValueError],
    BaseEstimator._validate_params: [ValueError],
    check_array: [ValueError],
    check_classification_targets: [ValueError],
    check_consistent_length: [ValueError],
    check_is_fitted: [sklearn.exceptions.NotFittedError],
    check_random_state: [ValueError],
    check_scalar: [TypeError, ValueError],
    column_or_1d: [ValueError],
    validate_data: [ValueError],
}


@functools.cache
def raised_by(function, owner=None):
    """Return the exceptions that a function of ours raises, or lets through.

    Parameters
    ----------
    function : function
    owner : type, default=None
        What ``self`` or ``cls`` is in it.

    Returns
    -------
    frozenset of type
    """
    function = inspect.unwrap(function)
    node = parse(function)
    reader = _Reader(function, owner)
    for child in [*node.decorator_list, *node.body]:
        reader.visit(child)
    return frozenset(e for e in reader.raised if not e.__name__.startswith("_"))


def parse(function):
    """Return the syntax of a function."""
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def is_ours(obj):
    """Say whether something is defined in sksimclr."""
    return getattr(obj, "__module__", "").partition(".")[0] == "sksimclr"


def has_source(function):
    """Say whether somebody wrote a function, and not a decorator."""
    try:
        inspect.getsource(function)
    except (OSError, TypeError):
        return False
    return True


_BEING_READ = set()  # functions that call each other


class _Reader(ast.NodeVisitor):
    """Gather the exceptions that leave a function, as far as its names tell."""

    def __init__(self, function, owner):
        self.raised = set()
        self._owner = owner
        self._names = vars(builtins) | function.__globals__

    def visit_ImportFrom(self, node):
        """Know what is imported within the function."""
        if node.module.partition(".")[0] in ("sksimclr", "sklearn"):
            module = importlib.import_module(node.module)
            new = {a.asname or a.name: getattr(module, a.name) for a in node.names}
            self._names = self._names | new

    def visit_Raise(self, node):
        """Add the class, or those of which a function returns one."""
        what = self._resolve(node.exc.func if _is_call(node.exc) else node.exc)
        if inspect.isclass(what) and issubclass(what, BaseException):
            self.raised.add(what)
        elif inspect.isfunction(what) and is_ours(what):
            for child in ast.walk(ast.parse(inspect.getsource(what))):
                if isinstance(child, ast.Return) and _is_call(child.value):
                    made = what.__globals__.get(getattr(child.value.func, "id", ""))
                    self.raised |= {made} if inspect.isclass(made) else set()
        else:
            self.generic_visit(node)

    def visit_Call(self, node):
        """Add what comes out of a function that is called."""
        self.generic_visit(node)
        called = self._resolve(node.func)
        if inspect.isclass(called) and is_ours(called):
            called = getattr(called, "__post_init__", called.__init__)
        try:
            self.raised |= set(_CHECKS.get(called, ()))
        except TypeError:  # it has no hash
            return
        if not inspect.isfunction(called) or not is_ours(inspect.unwrap(called)):
            return
        if called not in _BEING_READ and has_source(called):
            _BEING_READ.add(called)
            is_method = isinstance(node.func, ast.Attribute)
            self.raised |= raised_by(called, self._owner if is_method else None)
            _BEING_READ.remove(called)

    def visit_Try(self, node):
        """Take away what the handlers catch and do not raise again."""
        before, self.raised = self.raised, set()
        for child in node.body:
            self.visit(child)
        inside, self.raised = self.raised, before
        for handler in node.handlers:
            kinds = self._kinds(handler.type)
            again = any(_is_bare_raise(child) for child in ast.walk(handler))
            caught = {error for error in inside if issubclass(error, kinds)}
            self.raised |= caught if again else set()
            inside -= caught
            for child in handler.body:
                self.visit(child)
        self.raised |= inside
        for child in [*node.orelse, *node.finalbody]:
            self.visit(child)

    def _kinds(self, node):
        """Return the exception classes of a handler."""
        if node is None:
            return (BaseException,)
        found = self._resolve(node)
        if isinstance(node, ast.Tuple):
            found = tuple(self._resolve(each) for each in node.elts)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(each for each in found if inspect.isclass(each))

    def _resolve(self, node):
        """Return what a name stands for, None if the source alone does not say."""
        if isinstance(node, ast.Name):
            is_own = node.id in ("self", "cls")
            return self._owner if is_own else self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._resolve(node.value)
            is_known = inspect.ismodule(owner) or inspect.isclass(owner)
            found = getattr(owner, node.attr, None) if is_known else None
            return getattr(found, "__func__", found)
        return None


def _is_call(node):
    return isinstance(node, ast.Call)


def _is_bare_raise(node):
    return isinstance(node, ast.Raise) and node.exc is None
