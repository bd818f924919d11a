"""Write the files by which later versions are checked against this one.

``python tests/data/write.py`` fills ``tests/data/VERSION`` with a fitted pipeline in
every format whose files must load later, the frames it is given and the embeddings that
it gives for them; ``test_persistence.py`` reads all such folders. Those of releases are
never written again.
"""

import json
import pickle
import platform
import sys
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import skops.io
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

_DATA = Path(__file__).resolve().parent
sys.path.insert(0, str(_DATA.parent))  # where pickles look for tiny

from tiny import tiny_simclr  # noqa: E402

import sksimclr  # noqa: E402
from sksimclr.datasets import make_aurora  # noqa: E402

_PROTOCOL = 4  # of pickle; arrays of protocol 5 do not load with NumPy 1
_PACKAGES = ("sksimclr", "scikit-learn", "torch", "numpy", "skops", "joblib")


def folder_of(release):
    """Return where the files of a version belong, those of 1.0.dev0 in "1.0"."""
    return _DATA / release.partition(".dev")[0]


def check_not_released(folder):
    """Raise a FileExistsError if the files in a folder are those of a release."""
    notes = folder / "versions.json"
    if notes.exists() and ".dev" not in json.loads(notes.read_text())["sksimclr"]:
        raise FileExistsError(
            f"{folder} has the files of a release, which are never written again. Set "
            "the next version in pyproject.toml and install it: pip install -e ."
        )


def fitted_pipeline():
    """Return frames, and a pipeline that was fitted to them with one thread."""
    data = make_aurora(12, size=16, n_sequences=6, random_state=0)
    pipe = make_pipeline(
        sksimclr.AuroraPreprocessor(),
        tiny_simclr(max_epochs=3, lr=0.01),
        LogisticRegression(),
    )
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            pipe.fit(data.images, data.target % 2)
    finally:
        torch.set_num_threads(n_threads)
    return data.images, pipe


def write_files(folder):
    """Write all files into a folder, which may exist."""
    check_not_released(folder)
    folder.mkdir(exist_ok=True)
    images, pipe = fitted_pipeline()
    np.save(folder / "images.npy", images)
    np.save(folder / "embeddings.npy", pipe[:-1].transform(images))
    np.save(folder / "probabilities.npy", pipe.predict_proba(images))
    pipe[1].save_weights(folder / "simclr.safetensors")
    for stem, estimator in (("simclr", pipe[1]), ("pipeline", pipe)):
        path = folder / f"{stem}.skops"
        skops.io.dump(estimator, path, compression=zipfile.ZIP_DEFLATED)
        (folder / f"{stem}.pkl").write_bytes(pickle.dumps(estimator, _PROTOCOL))
        joblib.dump(estimator, folder / f"{stem}.joblib", protocol=_PROTOCOL)
    versions = {name: version(name) for name in _PACKAGES}
    versions["python"] = platform.python_version()
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    write_files(folder_of(sksimclr.__version__))
    print("Wrote", folder_of(sksimclr.__version__))
