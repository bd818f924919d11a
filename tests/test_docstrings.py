"""What the documentation of every public name tells."""

import ast
import dataclasses
import doctest
import inspect
import sys

import pandas
import pytest
from docstring_rules import RULES, SUBJECTS, public_modules, public_names
from sklearn.base import BaseEstimator

from sksimclr.datasets import make_aurora

_SETTINGS = {  # by which an estimator is fitted in a moment
    "AuroraPreprocessor": {},
    "FineTunedClassifier": {"weights": None, "max_epochs": 1, "image_size": 8},
    "NearestIndexClassifier": {},
    "PretrainedTransformer": {
        "backbone": "resnet18",
        "weights": None,
        "image_size": 32,
    },
    "SimCLRTransformer": {"image_size": 8, "max_epochs": 1},
}
_ESTIMATORS = {
    name: subject
    for name, subject in SUBJECTS.items()
    if subject.is_class and issubclass(subject.obj, BaseEstimator)
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_public_docstring_follows(rule):
    """Of every public class, function and method of ours."""
    assert len(SUBJECTS) > 60
    wrong = [f"{s.name}: {each}" for s in SUBJECTS.values() for each in rule(s)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", _ESTIMATORS)
@pytest.mark.filterwarnings("ignore:The encoder may have collapsed")
def test_fitted_attributes_are_those_that_are_listed(name):
    """What `fit` on a data frame sets and ends in "_", and nothing else."""
    cls = _ESTIMATORS[name].obj
    images = make_aurora(4, size=16, random_state=0).images.reshape(4, -1)
    frame = pandas.DataFrame(images).rename(columns=str)
    estimator = cls(**_SETTINGS[cls.__name__]).fit(frame, [0, 1, 0, 1])
    properties = [name for name, _ in inspect.getmembers(cls, inspect.isdatadescriptor)]
    names = [*vars(estimator), *properties]
    found = {each for each in names if each[0] != "_" and each[-1] == "_"}
    assert found == set(_ESTIMATORS[name].attributes)


def test_examples_that_pytest_does_not_find_run_here():
    """It looks for a name where its ``__module__`` says, and there alone."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=flags)
    for subject in SUBJECTS.values():
        top = subject.owner or subject.obj
        if vars(sys.modules[top.__module__]).get(top.__name__) is not top:
            for test in finder.find(subject.obj, subject.name, globs={}):
                runner.run(test)
    assert runner.summarize().failed == 0


def test_every_public_module_says_what_it_is_for():
    """In a line, and maybe in more."""
    for name, module in public_modules().items():
        first, *rest = module.__doc__.split("\n")
        assert first.endswith(".") and not any(rest[:1]), name


def test_every_public_constant_is_described():
    """By a text behind it, as Sphinx reads it, or in the docstring of its module."""
    constants = {n: each for n, each in public_names().items() if not callable(each[1])}
    assert set(constants) >= {"__version__", "recipes.QUICK", "recipes.FROM_IMAGENET"}
    for name, (module, _) in constants.items():
        name = name.rpartition(".")[2]
        body = ast.parse(inspect.getsource(module)).body
        described = [
            node.target.id if isinstance(node, ast.AnnAssign) else node.targets[0].id
            for node, text in zip(body, body[1:], strict=False)
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ]
        assert name in described or f"``{name}``" in module.__doc__, name


@pytest.mark.parametrize(
    ("name", "removed", "put", "said"),
    [
        ("archive.suggest", "Choose the frames to label next.\n\n", "", "Summary"),
        ("archive.suggest", "labelled : sequence", "label : sequence", "labelled"),
        ("archive.suggest", "TypeError, Val", "Val", "TypeError is not listed"),
        ("metrics.alignment", "first, second :", "second, first :", "order"),
        ("metrics.alignment", "default=2.0", "default=1.0", "default=2.0"),
        ("metrics.uniformity", "Returns\n-------\n", "Yields\n------\n", "Returns"),
        ("metrics.uniformity", " of shape (n_samples, n_features)", "", "shape"),
        ("metrics.uniformity", ", > 0.", ".", "t has no range"),
        ("metrics.uniformity", "Raises\n---", "Warns\n---", "ValueError is not listed"),
        ("metrics.uniformity", "https://", "", "address"),
        ("metrics.uniformity", ">>> round(uniformity(", ">>> sum((", "no example"),
        ("model_selection.sequence_groups", ", int64", "", "dtype"),
        ("datasets.make_aurora", "(n_samples, size, size)", "", "images"),
        (
            "archive.occurrence",
            '"month"])',
            '"month"])  # doctest: +SKIP',
            "no example",
        ),
        ("AuroraPreprocessor", "shorter side, > 0.", "side.", "radius does not say"),
        ("AuroraPreprocessor", '"field", "frame"', '"field"', "does not list frame"),
        ("AuroraPreprocessor", ".. [1]", "..", "[1] is not in References"),
        ("AuroraPreprocessor.transform", "FileNotFoundError", "KeyError", "FileNot"),
        ("AuroraPreprocessor.transform", "FileNotFoundError", "FileError", "FileError"),
        ("plotting.KeogramDisplay", "strip_ax_ :", "strip_ax :", "strip_ax_"),
        ("plotting.KeogramDisplay.from_frames", "As in `plot`", "As in `fit`", "ax"),
    ],
)
def test_rules_find_what_is_missing(name, removed, put, said):
    """Each of these changes of a docstring breaks a rule, and the message says what."""
    subject = SUBJECTS[name]
    text = inspect.getdoc(subject.obj)
    assert removed in text
    changed = dataclasses.replace(subject, text=text.replace(removed, put))
    assert any(said in each for rule in RULES for each in rule(changed))
