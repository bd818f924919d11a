"""What the docstring of a public name must tell: rules that find what it does not.

numpydoc reads the docstrings. A rule takes a `Subject` and yields what is wrong.
"""

import ast
import builtins
import dataclasses
import doctest
import functools
import importlib
import inspect
import re

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate
from raised import has_source, is_ours, parse, raised_by
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

import sksimclr
from sksimclr import augmentations

# Of numpydoc's rules, those that are about what is said; ruff has those on form.
_CODES = {"GL06", "GL07", "GL08", "GL10", "SS01", "SS02", "SS03", "SS06", "PR01"}
_CODES |= {"PR02", "PR03", "PR05", "PR06", "PR10", "RT01", "YD01", "SA04"}
_ARRAY = re.compile(r"\b(array-like|ndarray|array|Tensor)\b")
_SHAPE = re.compile(r"\bof shape \(")
_DTYPE = re.compile(
    r"\b(u?int\d*|float\d*|floating|bool|str|object|datetime64\S*|matplotlib Axes)\b"
    r"|\bof the type (of\b|`dtype`)"
)
_RANGE = re.compile(
    r"\b(at least|above|from) -?\d|[<>]=? -?\d|\bin [\[(]-?[\d.]+, [\w.]+[\])]", re.I
)
_OF_A_BUNCH = re.compile(r"(\w+) : (.+)")
# Errors that the source seems to let through, and that cannot come.
_IMPOSSIBLE = {
    "datasets.load_oath": {TypeError},  # sequence_groups is given a length
    "datasets.make_aurora": {TypeError},  # n_samples was checked before oath_folds is
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A public class, function or method, and its docstring, maybe another one."""

    name: str  # without "sksimclr."
    obj: object
    owner: type | None = None  # of a method
    text: str | None = None

    @functools.cached_property
    def doc(self):
        """What numpydoc reads; fields of a data class may be listed as attributes."""
        doc = get_doc_object(self.obj, doc=self.text)
        if self.is_data and not doc["Parameters"]:
            doc["Parameters"] = doc["Attributes"]
        return doc

    @functools.cached_property
    def parameters(self):
        """Entries {name: (type, description)}."""
        return self._entries("Parameters")

    @functools.cached_property
    def attributes(self):
        """Entries {name: (type, description)}."""
        return self._entries("Attributes")

    def _entries(self, section):
        return {
            name: (entry.type, " ".join(entry.desc))
            for entry in self.doc[section]
            for name in entry.name.split(", ")
        }

    @property
    def is_class(self):
        """Whether it is no function."""
        return inspect.isclass(self.obj)

    @property
    def is_data(self):
        """Whether it is a data class."""
        return self.is_class and dataclasses.is_dataclass(self.obj)

    @property
    def is_made_by_users(self):
        """Whether it is called with parameters that are ours."""
        return not self.is_class or is_ours(self.obj.__init__)

    @functools.cached_property
    def signature(self):
        """Parameters {name: default}, without self."""
        if not self.is_made_by_users:
            return {}
        found = inspect.signature(self.obj).parameters.values()
        defaults = {p.name: p.default for p in found if p.name not in ("self", "cls")}
        for field in dataclasses.fields(self.obj) if self.is_data else ():
            if field.default_factory is not dataclasses.MISSING:
                defaults[field.name] = field.default_factory()
        return defaults


def public_modules():
    """Return {name: module}, the package itself as ""."""
    names = sorted(set(sksimclr.__all__) - {"__version__"})
    found = {name: getattr(sksimclr, name) for name in names}
    modules = {name: found[name] for name in found if inspect.ismodule(found[name])}
    return {"": sksimclr} | modules


def public_names():
    """Return {name: (module, object)} of all that is no module."""
    return {
        f"{module_name}.{name}".lstrip("."): (module, getattr(module, name))
        for module_name, module in public_modules().items()
        for name in sorted(module.__all__)
        if not inspect.ismodule(getattr(module, name))
    }


def _methods(cls):
    """Return {name: function} of the public methods that are written in our package."""
    names = [name for name in dir(cls) if name == "__call__" or name[0] != "_"]
    found = {name: inspect.getattr_static(cls, name) for name in names}
    functions = {name: getattr(f, "__func__", f) for name, f in found.items()}
    return {
        name: function
        for name, function in functions.items()
        if inspect.isfunction(function) and is_ours(inspect.unwrap(function))
    }


def _subjects():
    """Return {name: Subject}."""
    found = {}
    for name, (_, obj) in public_names().items():
        if callable(obj):
            found[name] = Subject(name, obj)
        for method, function in _methods(obj).items() if inspect.isclass(obj) else ():
            full = f"{name}.{method}"
            found[full] = Subject(full, function, obj)
    return found


SUBJECTS = _subjects()
ESTIMATORS = [
    subject.obj
    for subject in SUBJECTS.values()
    if subject.is_class and issubclass(subject.obj, BaseEstimator)
]


# ---- rules: each yields what is wrong with a subject


def numpydoc_rules(subject):
    """Have a summary, all parameters in order, Returns, and sections that exist."""
    for code, message in validate(subject.doc)["errors"]:
        is_wanted = subject.is_made_by_users or not code.startswith("PR")
        if code in _CODES and is_wanted:
            yield message


def defaults_agree(subject):
    """State the default of the signature, or refer to an entry that does."""
    for name, (kind, text) in subject.parameters.items():
        default = subject.signature.get(name, inspect.Parameter.empty)
        stated = re.search(r"\bdefault=(.+)$", kind)
        if not kind:
            if not _is_said_elsewhere(subject, name, default, text):
                yield f"{name} has no type, nor one where it refers to: {text}"
        elif default is inspect.Parameter.empty:
            if stated:
                yield f"{name} has no default, says {stated[1]}"
        elif kind != "ignored" and not (stated and _is_default(stated[1], default)):
            yield f"{name} does not say default={default!r}"


def _is_default(text, expected):
    """Say whether a text is what a default is."""
    try:
        value = eval(text, {"dict": dict, "range": range} | vars(augmentations))
    except Exception:
        return False
    return type(value) is type(expected) and value == expected


def _is_said_elsewhere(subject, name, default, text):
    """Follow "As in `plot`." to an entry of the same name and default."""
    reference = re.match(r"As in (`\w+`(?: and `\w+`)*)", text)
    for target in re.findall(r"`(\w+)`", reference[1]) if reference else ():
        path = subject.name.split(".")[:-1]
        path += [] if target == path[-1] else [target]
        other = SUBJECTS.get(".".join(path))
        if other is None or other.signature.get(name, other) != default:
            continue
        kind, text = other.parameters.get(name, ("", ""))
        if kind or _is_said_elsewhere(other, name, default, text):
            return True
    return False


def arrays_have_shapes(subject):
    """State the shape of every array, and the dtype of those that are returned."""
    entries = [
        (section, entry.name, entry.type, entry.desc)
        for section in ("Parameters", "Returns", "Yields", "Attributes")
        for entry in subject.doc[section]
    ]
    entries += [
        (section, *match.groups(), text)
        for section, _, _, text in entries
        for match in filter(None, map(_OF_A_BUNCH.match, text))
    ]
    for section, name, kind, text in entries:
        if not _ARRAY.search(kind):
            continue
        if not _SHAPE.search(kind):
            yield f"{section}: {name} {kind} has no shape"
        if section != "Parameters" and not _DTYPE.search(f"{kind} {' '.join(text)}"):
            yield f"{section}: {name} {kind} has no dtype"


def numbers_have_ranges(subject):
    """State the range of every parameter that is a number."""
    if subject.doc["Parameters"] is subject.doc["Attributes"]:
        return  # of what is a result
    for name, (kind, text) in subject.parameters.items():
        is_number = re.match(r"(int|float)(,|$)", kind) and "RandomState" not in kind
        if is_number and not _RANGE.search(text):
            yield f"{name} has no range"


def constraints_are_stated(subject):
    """Say what scikit-learn's parameter validation lets pass: bounds and options."""
    constraints = getattr(subject.obj, "_parameter_constraints", {})
    for name, allowed in constraints.items() if subject.is_class else ():
        kind, text = subject.parameters.get(name, ("", ""))
        for each in allowed:
            if isinstance(each, Interval):
                phrases = _phrases(each)
                found = [re.escape(each) + r"(?!\.?\d)" for each in phrases]
                if not re.search("|".join(found), text, re.IGNORECASE):
                    yield f"{name} does not say {' or '.join(phrases)}"
            if isinstance(each, StrOptions):
                missing = [o for o in each.options if f'"{o}"' not in f"{kind} {text}"]
                yield from (f"{name} does not list {o}" for o in sorted(missing))


def _phrases(interval):
    """Return the texts that state an interval."""
    low, high = interval.left, interval.right
    if low is not None and high is not None:
        opening = "[" if interval.closed in ("left", "both") else "("
        closing = "]" if interval.closed in ("right", "both") else ")"
        return [f"in {opening}{low}, {high}{closing}"]
    assert high is None
    if interval.closed in ("left", "both"):
        return [f"at least {low}", f">= {low}"]
    return [f"> {low}", f"above {low}"]


def errors_are_listed(subject):
    """List under Raises what the source, or what of ours it calls, raises."""
    functions = [subject.obj]
    if subject.is_class:
        names = ("__init__", "__post_init__")
        found = [getattr(subject.obj, name, None) for name in names]
        functions = [f for f in found if is_ours(f) and has_source(f)]
    owner = subject.owner or (subject.obj if subject.is_class else None)
    raised = set().union(*(raised_by(function, owner) for function in functions))
    raised -= _IMPOSSIBLE.get(subject.name, set())
    listed = []
    for entry in subject.doc["Raises"]:
        for name in entry.type.split(", "):
            error = _error_named(name)
            if error is None:
                yield f"Raises: there is no exception {name}"
            else:
                listed.append(error)
        if not entry.desc:
            yield f"Raises: {entry.type} does not say when"
    for error in sorted(raised, key=lambda error: error.__name__):
        is_known = error.__module__.partition(".")[0] in ("builtins", "sklearn")
        if error not in listed if is_known else not issubclass(error, tuple(listed)):
            yield f"Raises: {error.__name__} is not listed"


def _error_named(name):
    """Return the exception with a name, of Python, of ours or in full."""
    module, _, last = name.rpartition(".")
    places = [importlib.import_module(module)] if module else []
    places += [] if module else [builtins, *public_modules().values()]
    found = [getattr(place, last) for place in places if hasattr(place, last)]
    is_error = found and issubclass(found[0], BaseException)
    return found[0] if is_error else None


def examples_run(subject):
    """Have an example that uses the name, of a class or a function; not skipped."""
    if subject.owner is not None:
        return
    name = subject.name.rpartition(".")[2]
    examples = doctest.DocTestParser().get_examples("\n".join(subject.doc["Examples"]))
    run = [e for e in examples if not e.options.get(doctest.SKIP)]
    nodes = [node for e in run for node in ast.walk(ast.parse(e.source))]
    if not any(isinstance(n, ast.Name) and n.id == name for n in nodes):
        yield "no example that uses it is run"
    if not any(e.want or isinstance(e.exc_msg, str) for e in run):
        yield "no example has a result"


def sources_are_given(subject):
    """Give the reference of every paper that is spoken of, and cite what is listed."""
    text = subject.text or inspect.getdoc(subject.obj)
    body, _, _ = text.partition("\nReferences\n---")
    listed = re.findall(r"^\.\. \[(\d+)\]", text, re.MULTILINE)
    cited = re.findall(r"\[(\d+)\]_", text)
    yield from (f"[{n}] is not in References" for n in {*cited} - {*listed})
    yield from (f"[{n}] is not cited" for n in {*listed} - {*cited})
    if re.search(r"\bet al\.|\bthe paper\b|\w & \w+ \(\d{4}\)", body) and not listed:
        yield "a paper is spoken of, and not in References"
    links = "\n".join(subject.doc["References"])
    n_links = len(re.findall(r"https://|doi:", links))
    if n_links < len(listed):
        yield "a reference has neither address nor DOI"


def attributes_are_listed(subject):
    """List all that ends in "_" and is set by a method, and all properties."""
    if not subject.is_class:
        return
    ours = [cls for cls in subject.obj.__mro__ if is_ours(cls)]
    expected = set()
    for cls in ours:
        names = [name for name in vars(cls) if not name.startswith("_")]
        expected |= {n for n in names if isinstance(vars(cls)[n], property)}
        functions = filter(inspect.isfunction, map(inspect.unwrap, vars(cls).values()))
        expected |= {
            node.attr
            for function in functions
            if has_source(function)
            for node in ast.walk(parse(function))
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and re.fullmatch(r"[a-z]\w*[a-z]_", node.attr)
        }
    missing = sorted(expected - set(subject.attributes))
    yield from (f"Attributes: {name} is not listed" for name in missing)


RULES = [
    numpydoc_rules,
    defaults_agree,
    arrays_have_shapes,
    numbers_have_ranges,
    constraints_are_stated,
    errors_are_listed,
    examples_run,
    sources_are_given,
    attributes_are_listed,
]
