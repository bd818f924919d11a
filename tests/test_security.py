"""What SECURITY.md claims, where no other test shows it, and that the others exist."""

import ast
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import sklearn.dummy

from sksimclr._files import readers
from sksimclr._networks import weights
from sksimclr.archive import Frames, label_archive, read_catalogue, register_reader
from sksimclr.datasets import _oath_archive

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "sksimclr"
_NETWORK = {"ftplib", "http", "huggingface_hub", "pooch", "requests", "socket", "timm"}
_NETWORK |= {"urllib.request", "urllib3", "torch.hub"}
_UNPICKLING = {"joblib.load", "pickle.load", "pickle.loads", "torch.load", "np.load"}
_UNPICKLING |= {"pickle.Unpickler", "eval", "exec", "os.system", "subprocess.run"}


def nodes_of_package():
    """Yield (name of a file, syntax node) for all of the package."""
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield str(path.relative_to(_PACKAGE)), node


def test_every_test_that_is_named_exists():
    """A name without a file is of the file before it."""
    text = (_ROOT / "SECURITY.md").read_text()
    names = re.findall(r"`([\w/]*\.py)?::(test_\w+)`", text)
    assert len(names) > 25 and text.count("::") == len(names)
    path = None
    for file, test in names:
        path = _ROOT / "tests" / file if file else path
        assert f"\ndef {test}(" in path.read_text(), f"{path}::{test}"


def test_pickles_are_read_in_one_place():
    """And torch.load is told everywhere that it may read tensors alone."""
    found = set()
    for file, node in nodes_of_package():
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _UNPICKLING:
            options = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if options.get("weights_only") != "True":
                found.add((file, ast.unparse(node.func)))
    reads_hdf5 = ("datasets/_oath_files.py", "subprocess.run")  # a file of ours
    assert found == {("archive/_models.py", "joblib.load"), reads_hdf5}


def test_network_is_used_in_three_places():
    """One downloads, others ask torchvision and timm for their weights."""
    imports, asks = set(), set()
    for file, node in nodes_of_package():
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        if any(n in _NETWORK or n.partition(".")[0] in _NETWORK for n in names):
            imports.add(file)
        is_call = isinstance(node, ast.Call)
        if is_call and ast.unparse(node.func).endswith("models.get_model"):
            weights = [k.value for k in node.keywords if k.arg == "weights"]
            if weights and ast.unparse(weights[0]) != "None":
                asks.add(file)
    assert imports == {"_machine/download.py", "_networks/timm_models.py"}
    assert asks == {"_networks/torchvision_models.py"}


def test_pyarrow_is_one_that_runs_no_code():
    """That pip installs with the extra: at least 14.0.1."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    (required,) = [
        text
        for text in project["optional-dependencies"]["archive"]
        if text.startswith("pyarrow")
    ]
    assert int(re.fullmatch(r"pyarrow>=(\d+)", required)[1]) > 14


@pytest.mark.parametrize("site", ["../../outside", "/outside", "..", "a\\b"])
def test_sites_stay_in_the_folder_of_the_catalogue(tmp_path, monkeypatch, site):
    """Although they become names of folders; and they are read as they were."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))
    frames = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    register_reader(".camera", lambda path: Frames(frames, site=site))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.camera").touch()
    before = set(tmp_path.parent.rglob("*"))
    model = sklearn.dummy.DummyClassifier().fit(frames, ["arc", "moon"])
    label_archive(model, tmp_path / "in", tmp_path / "out" / "catalogue")
    new = set(tmp_path.parent.rglob("*")) - before - {tmp_path / "out"}
    catalogue = tmp_path / "out" / "catalogue"
    assert all(path.is_relative_to(catalogue) for path in new)
    assert read_catalogue(catalogue)["site"].to_pylist() == [site, site]


def test_downloads_ask_for_https():
    """Of OATH, which may be served over http alone, first; and of Aurora-FM."""
    assert _oath_archive.HTTPS_URL == _oath_archive.URL.replace("http://", "https://")
    assert weights.AURORA_FM_URL.startswith("https://")
