"""The package as a whole: layers, metadata, and what a user installs."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import sksimclr
from sksimclr._estimators.mixins import DOCUMENTATION

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "sksimclr"
# what each part of the package may import, besides itself: lower ones alone
_MACHINE = {"_machine"}
_FILES = _MACHINE | {"_files"}
_IMAGES = _FILES | {"_images"}
_NETWORKS = _MACHINE | {"_networks"}
_TENSORS = _IMAGES | _NETWORKS | {"augmentations", "metrics"}
_ENGINE = _TENSORS | {"_engine"}
_SHARED = _ENGINE | {"_estimators"}
_TWO = _SHARED | {"_simclr", "_preprocessing"}
_FACES = _TWO | {"baselines", "datasets", "model_selection", "recipes"}
_MAY_IMPORT = {
    "_machine": set(),
    "_files": _MACHINE,
    "_images": _FILES,
    "_networks": _MACHINE,
    "augmentations": _IMAGES,
    "metrics": set(),
    "_engine": _TENSORS,
    "_estimators": _ENGINE,
    "_simclr": _SHARED,
    "_preprocessing": _SHARED,
    "recipes": _TENSORS,
    "model_selection": _SHARED,
    "datasets": _SHARED | {"model_selection"},
    "baselines": _TWO,
    "archive": _FACES,
    "plotting": _FACES | {"archive"},
    "__init__": _FACES | {"archive", "plotting"},
    "_commands": _FACES | {"archive", "plotting"},
    "__main__": {"_commands"},
}
_WITHOUT_SCIKIT_LEARN = sorted(_ENGINE)
_WITHOUT_TORCH = ("_estimators", "_simclr", "_preprocessing", "recipes", "_files")
_WITHOUT_TORCH += ("model_selection", "datasets", "baselines")
_PATHS = sorted(_PACKAGE.rglob("*.py"))


def _top_module(path):
    """Return `xxx` of a file of `sksimclr.xxx...`."""
    return path.relative_to(_PACKAGE).parts[0].removesuffix(".py")


def imported_names(path):
    """Return the full names of the modules that a file imports, at any depth."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def parts_imported(path):
    """Return {part of the package: a name imported from it}, of other parts alone."""
    names = [name.split(".") for name in imported_names(path)]
    found = {name[1]: ".".join(name) for name in names if name[0] == "sksimclr"}
    found.pop(_top_module(path), None)
    return found


def test_folders_say_what_is_where():
    """No private module lies at the top but the two estimators; no part is unknown."""
    parts = {_top_module(path) for path in _PATHS}
    assert parts == set(_MAY_IMPORT)
    files = {path.stem for path in _PACKAGE.glob("_[a-z]*.py")}
    assert files == {"_simclr", "_preprocessing"}


@pytest.mark.parametrize("path", _PATHS, ids=lambda p: str(p.relative_to(_PACKAGE)))
def test_imports_go_down(path):
    """Of what its part of the package may import, and of nothing else."""
    allowed = _MAY_IMPORT[_top_module(path)]
    wrong = [name for part, name in parts_imported(path).items() if part not in allowed]
    assert not wrong, f"{path.name} imports {wrong}"


def test_rules_of_import_have_no_circle():
    """Whatever may be imported may import nothing that leads back."""
    order = list(_MAY_IMPORT)
    for part, allowed in _MAY_IMPORT.items():
        assert all(order.index(other) < order.index(part) for other in allowed - {part})


@pytest.mark.parametrize("part", _WITHOUT_SCIKIT_LEARN)
def test_torch_modules_do_not_import_scikit_learn(part):
    """They can be used, and read, without it."""
    paths = [path for path in _PATHS if _top_module(path) == part]
    names = [name for path in paths for name in imported_names(path)]
    assert names
    assert not [name for name in names if name.startswith("sklearn")]


@pytest.mark.parametrize(
    "path",
    [path for path in _PATHS if _top_module(path) in _WITHOUT_TORCH],
    ids=lambda path: str(path.relative_to(_PACKAGE)),
)
def test_estimators_hold_no_tensor_algebra(path):
    """Their modules do not even import torch."""
    names = imported_names(path)
    assert not [name for name in names if name.split(".")[0] == "torch"]


def test_private_parameter_validation_is_imported_in_one_place():
    """For the day that scikit-learn moves it."""
    users = [
        path.name
        for path in _PATHS
        if any("_param_validation" in name for name in imported_names(path))
    ]
    assert users == ["validation.py"]


def code_lines(node, text):
    """Return how many lines are code: no docstrings, no comments, not empty."""
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    texts = set()
    for inner in ast.walk(node):
        if isinstance(inner, documented) and ast.get_docstring(inner) is not None:
            texts |= set(range(inner.body[0].lineno, inner.body[0].end_lineno + 1))
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", None)
    lines = list(enumerate(text.splitlines(), 1))[first - 1 : last]
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and k not in texts
        for k, line in lines
    )


def test_modules_and_functions_stay_small():
    """At most 400 lines of code a module, 60 a function."""
    for path in _PATHS:
        text = path.read_text()
        tree = ast.parse(text)
        assert code_lines(tree, text) <= 400, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert code_lines(node, text) <= 60, f"{path}: {node.name}"


def test_public_names_are_listed():
    """`dir` and `__all__` agree, and each name of every `__all__` can be imported."""
    assert dir(sksimclr) == sorted(sksimclr.__all__)
    for name in sksimclr.__all__:
        public = getattr(sksimclr, name)
        inner = getattr(public, "__all__", [])
        assert all(hasattr(public, each) for each in inner), name
    for estimator in (sksimclr.AuroraPreprocessor, sksimclr.SimCLRTransformer):
        assert estimator.__module__ == "sksimclr"
    with pytest.raises(AttributeError, match="no attribute 'SimCLR'"):
        sksimclr.SimCLR  # noqa: B018


@pytest.mark.parametrize("name", ["SimCLRTransformer", "AuroraPreprocessor", "archive"])
def test_broken_dependency_is_named(name, tmp_path):
    """Whatever it raises; Python would say that our name cannot be imported."""
    (tmp_path / "sklearn.py").write_text("import math; math.tau_of_numpy_1")
    (tmp_path / "numpy.py").write_text("import math; math.tau_of_numpy_1")
    found = subprocess.run(
        [sys.executable, "-c", f"from sksimclr import {name}"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{_ROOT}"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    last = found.stderr.splitlines()[-1]
    assert last.startswith("ImportError: sksimclr.") and "'tau_of_numpy_1'" in last
    assert "sklearn.py" in found.stderr or "numpy.py" in found.stderr  # the cause


def test_version_is_the_same_everywhere():
    """In pyproject.toml, CITATION.cff and the installed metadata."""
    version = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"][
        "version"
    ]
    assert f"version: {version}\n" in (_ROOT / "CITATION.cff").read_text()
    assert sksimclr.__version__ in (version, "0+unknown")


def test_address_of_the_documentation_is_the_same_everywhere():
    """In the package, in one place, and in pyproject.toml."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Documentation"] == DOCUMENTATION
    host = DOCUMENTATION.split("/")[2]
    users = [path.name for path in _PATHS if host in path.read_text()]
    assert users == ["mixins.py"]


def test_installation_page_has_every_requirement_and_extra():
    """With the lower bounds of pyproject.toml, which .ci/oldest tests."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + extras["plot"] + extras["oath"]
    texts += extras["timm"] + extras["weights"] + extras["archive"] + extras["cameras"]
    page = (_ROOT / "docs" / "install.rst").read_text()
    table = page[page.index("package        oldest  newest") :]
    rows = re.findall(r"^([\w-]+) +([\d.]+) +[\d.]+$", table, re.MULTILINE)
    assert sorted(rows) == sorted(
        {re.match(r"([\w-]+)>=([\d.]+)", text).groups() for text in texts}
    )
    assert set(re.findall(r"^``(\w+)``  ", page, re.MULTILINE)) == set(extras)


def test_what_is_tested_is_what_pip_installed():
    """Here and in new processes: the checkout if it is editable, else the wheel."""
    site = sysconfig.get_path("purelib")
    if not [*importlib.metadata.distributions(name="sksimclr", path=[site])]:
        pytest.skip("the package is not installed")
    installed = Path(site, "sksimclr")
    command = [sys.executable, "-c", "import sksimclr; print(sksimclr.__file__)"]
    imported = subprocess.run(command, check=True, capture_output=True, text=True)
    for path in (sksimclr.__file__, imported.stdout.strip()):
        assert Path(path).parent == (installed if installed.is_dir() else _PACKAGE)


def test_ci_runs_the_test_command_of_the_readme():
    """Word for word, as the first line of the README that matches."""
    pattern = re.search(r"grep -m 1 '(.*?)'", (_ROOT / ".ci" / "run").read_text())[1]
    pattern = pattern.replace(r"\[", "[").replace(r"\]", "]")
    first, *rest = [re.escape(part) for part in pattern.split(".*")]
    readme = (_ROOT / "README.md").read_text()
    found = re.findall(".*".join([first, *rest]) + ".*", readme)
    assert len(found) == 1 and found[0].endswith("pytest")


def test_ci_runs_on_the_oldest_and_the_newest_python():
    """Those of the classifiers; it runs `.ci/run` and nothing else."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"Python :: (\d\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={versions[0]}"
    path = _ROOT / ".github" / "workflows" / "ci.yml"
    workflow = yaml.safe_load(path.read_text())
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == [versions[0], versions[-1]]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(_ROOT / ".ci" / "run", os.X_OK)
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.slow
def test_wheel_and_sdist_work_from_elsewhere(tmp_path):
    """Both are built, are complete, and the wheel runs outside the checkout."""
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", tmp_path / "dist", _ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    in_package = {str(path.relative_to(_ROOT)) for path in _PATHS}
    in_package |= {f"sksimclr/archive/review.{kind}" for kind in ("html", "css", "js")}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert in_package | {"sksimclr/py.typed"} <= names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [name for name in names if name.startswith(("tests", "examples"))]
    with tarfile.open(sdist) as tar:
        members = {name.partition("/")[2] for name in tar.getnames()}
    assert in_package | {"pyproject.toml", "LICENSE", "README.md"} <= members

    venv.create(tmp_path / "env", with_pip=True, system_site_packages=False)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True)
    here = Path(sys.executable).parent.parent
    site = next(here.glob("lib/python*/site-packages"))
    own = next((tmp_path / "env").glob("lib/python*/site-packages"))
    code = (
        f"import sys; sys.path.append({str(site)!r})\n"
        "import sksimclr, numpy as np\n"
        f"assert sksimclr.__file__.startswith({str(own)!r}), sksimclr.__file__\n"
        "simclr = sksimclr.SimCLRTransformer(image_size=8, max_epochs=0)\n"
        "assert simclr.fit_transform(np.eye(8)[None].repeat(2, 0)).shape == (2, 512)\n"
    )
    subprocess.run([python, "-c", code], check=True, cwd=tmp_path)
