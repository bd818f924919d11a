"""Every public name is documented: shapes, ranges, units, errors, an example that runs.

That the examples run is what ``--doctest-modules`` shows.
"""

import ast
import dataclasses
import inspect
import re
import textwrap

import numpy as np
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

import sksimclr
from sksimclr import AuroraPreprocessor
from sksimclr._estimators.validation import Interval, StrOptions
from sksimclr.archive import UnreadableFileError
from sksimclr.model_selection import NearestIndexClassifier

MODULES = sorted(
    name for name in sksimclr.__all__ if inspect.ismodule(getattr(sksimclr, name))
)
ARRAY = re.compile(r"\b(array|ndarray|Tensor|array-like)\b")
SHAPE = re.compile(
    r"\([^)]*\b(n|n_\w+|H|W|N|k|2|4)\b[^)]*\)|same shape|any shape|shape of"
)


def public_names():
    """Return {dotted name: object} of all that is public, methods included."""
    found = {"AuroraPreprocessor": AuroraPreprocessor}
    found["SimCLRTransformer"] = sksimclr.SimCLRTransformer
    for module in MODULES:
        public = getattr(sksimclr, module)
        found |= {f"{module}.{name}": getattr(public, name) for name in public.__all__}
    for name, public in list(found.items()):
        if inspect.isclass(public):
            found |= {f"{name}.{m}": f for m, f in methods_of(public).items()}
    return found


def methods_of(kind):
    """Return {name: function} of the public methods that this package wrote."""
    members = inspect.getmembers(kind, inspect.isroutine)
    return {
        name: function
        for name, function in members
        if not name.startswith("_")
        and getattr(function, "__module__", "").startswith("sksimclr")
        and not name.startswith("set_") | (name == "metadata_routing")
    }


PUBLIC = public_names()
FUNCTIONS = {name: each for name, each in PUBLIC.items() if inspect.isroutine(each)}
CLASSES = {name: each for name, each in PUBLIC.items() if inspect.isclass(each)}
CONSTANTS = {"recipes.QUICK", "recipes.PAPER"}


def parsed(public):
    """Return the sections of a docstring."""
    if inspect.isclass(public):
        return ClassDoc(public, config={"show_class_members": False})
    return FunctionDoc(public)


def source_of(function):
    """Return the syntax tree of a function, without functions in it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    (body,) = tree.body
    return [
        node
        for statement in body.body
        if not isinstance(statement, (ast.FunctionDef, ast.ClassDef))
        for node in ast.walk(statement)
    ]


def test_all_is_there():
    """Functions and classes; what is neither is a recipe or a protocol of types."""
    rest = set(PUBLIC) - set(FUNCTIONS) - set(CLASSES)
    assert rest <= CONSTANTS
    assert len(CLASSES) > 20 and len(FUNCTIONS) > 40


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) | set(CLASSES)))
def test_summary_and_parameters(name):
    """One line first; then every parameter, in the order of the signature."""
    public = PUBLIC[name]
    doc = parsed(public)
    summary = doc["Summary"]
    assert len(summary) == 1 and summary[0].endswith("."), summary
    if getattr(public, "_is_protocol", False) or public is UnreadableFileError:
        return
    names = [
        "*" * (p.kind == p.VAR_POSITIONAL) + "**" * (p.kind == p.VAR_KEYWORD) + p.name
        for p in inspect.signature(public).parameters.values()
        if p.name not in ("self", "cls")
    ]
    is_record = dataclasses.is_dataclass(public) and inspect.isclass(public)
    sections = doc["Parameters"] + (doc["Attributes"] if is_record else [])
    documented = [n for entry in sections for n in re.split(", ", entry.name)]
    assert documented[: len(names)] == names


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_defaults_are_those_of_the_signature(name):
    """Where the text says ``default=``."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    for entry in parsed(FUNCTIONS[name])["Parameters"]:
        if "default=" in entry.type and "," not in entry.name:
            default = parameters[entry.name].default
            assert entry.type.split("default=")[1] in (str(default), repr_of(default))


def repr_of(value):
    """Return a value as docstrings write it: strings in double quotes."""
    return repr(value).replace("'", '"')


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_results_and_errors(name):
    """What is returned, if anything is; what is raised, if something is."""
    doc, nodes = parsed(FUNCTIONS[name]), source_of(FUNCTIONS[name])
    returns = [n for n in nodes if isinstance(n, ast.Return) and n.value is not None]
    if any(not isinstance(node.value, ast.Constant) for node in returns):
        assert doc["Returns"] or doc["Yields"]
    raised = {
        node.exc.func.id
        for node in nodes
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if isinstance(node.exc.func, ast.Name)
    }
    documented = ", ".join(entry.type for entry in doc["Raises"])
    assert {error for error in raised if error not in documented} == set()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_arrays_have_shapes(name):
    """Those that are taken and those that are returned."""
    doc = parsed(FUNCTIONS[name])
    for entry in doc["Parameters"] + doc["Returns"]:
        if ARRAY.search(entry.type):
            assert SHAPE.search(entry.type + " ".join(entry.desc)), entry


METHODS = {f"{name}.{each}" for name in CLASSES for each in methods_of(PUBLIC[name])}


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - METHODS - CONSTANTS))
def test_there_is_an_example(name):
    """Of every function and class; methods are part of theirs."""
    public = PUBLIC[name]
    if getattr(public, "_is_protocol", False):
        return
    assert any(">>>" in line for line in parsed(public)["Examples"])


ESTIMATORS = {
    "SimCLRTransformer": tiny_simclr(),
    "AuroraPreprocessor": AuroraPreprocessor(),
    "baselines.PretrainedTransformer": tiny_pretrained(),
    "baselines.FineTunedClassifier": tiny_fine_tuned(max_epochs=1),
    "model_selection.NearestIndexClassifier": NearestIndexClassifier(),
}
CONSTRAINED = [n for n in ESTIMATORS if hasattr(PUBLIC[n], "_parameter_constraints")]


@pytest.mark.parametrize("name", CONSTRAINED)
def test_parameters_of_estimators_state_their_range(name):
    """Every option, and every bound that scikit-learn's validation knows."""
    kind = PUBLIC[name]
    entries = {entry.name: entry for entry in parsed(kind)["Parameters"]}
    for parameter, constraints in kind._parameter_constraints.items():
        entry = entries[parameter]
        text = " ".join([entry.type, *entry.desc])
        for constraint in constraints:
            if isinstance(constraint, StrOptions):
                missing = [o for o in constraint.options if f'"{o}"' not in text]
                assert not missing, parameter
            if isinstance(constraint, Interval):
                assert states(constraint, text), (parameter, str(constraint), text)


def states(interval, text):
    """Say whether a text has the bounds of an interval."""
    low = f"{interval.left:g}"
    is_open = interval.closed in ("neither", "right")
    forms = [f"> {low}"] if is_open else [f">= {low}", f"at least {low}", f"[{low}, "]
    forms += [f"({low}, "] if is_open else []
    return any(form in text for form in forms)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_a_fit_leaves_is_listed(name):
    """Attributes that end in an underscore, all of them and no others."""
    rng = np.random.default_rng(0)
    X, y = rng.random((16, 8, 8)), np.arange(16) % 2
    if "Index" in name:
        X = np.arange(16)[:, np.newaxis]
    fitted = ESTIMATORS[name].fit(X, y)
    found = {each for each in vars(fitted) if re.fullmatch("[a-z].*_", each)}
    listed = {entry.name for entry in parsed(PUBLIC[name])["Attributes"]}
    assert found | {"feature_names_in_"} >= listed
    assert listed >= found
