"""Fitted pipelines in files: skops, which holds no code, and pickles of those trusted.

A skops file names types, and only those are loaded that were looked at before: those
of scikit-learn that label images, and the estimators and augmentations of this package.
"""

import json
import os
import shlex
import stat
import sys
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sksimclr._machine.writing import replacing
from sksimclr.archive import _skops_file
from sksimclr.archive._trusted import check_numbers, is_for_skops, is_trusted

FORMAT = 1
SUFFIX = ".skops"
_NOTE = "sksimclr.json"  # who wrote the file, beside what skops writes
_OLDEST_SKOPS = (0, 12)  # older ones can be made to run what nobody trusted
_PACKAGES = ("sksimclr", "scikit-learn", "skops", "torch", "numpy")


def save_model(pipeline, path):
    """Write a fitted pipeline to a file that `load_model`, and others, can trust.

    Parameters
    ----------
    pipeline : estimator
        Fitted; a transformer alone will do.
    path : str or path-like
        Name of a ``.skops`` file; an existing one is replaced when the new one is
        complete. The file is about as large as the networks, 46 MB for a ResNet18.

    Raises
    ------
    ValueError
        `path` does not end in ".skops"; or skops cannot store the pipeline, those of
        :mod:`sksimclr.baselines` for example.
    sklearn.exceptions.NotFittedError
        `fit` was not called.
    ImportError
        skops is not installed: ``pip install "sksimclr[archive]"``.
    OSError
        The file cannot be written.

    Warns
    -----
    UserWarning
        The file names types that `load_model` will not load unasked, such as an encoder
        factory of your own.

    See Also
    --------
    load_model : Read it.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sksimclr import AuroraPreprocessor, SimCLRTransformer
    >>> from sksimclr.archive import load_model, save_model
    >>> from sksimclr.datasets import make_aurora
    >>> data = make_aurora(12, size=32, random_state=0)
    >>> simclr = SimCLRTransformer(image_size=32, stem="imagenet", max_epochs=0)
    >>> pipe = make_pipeline(AuroraPreprocessor(), simclr, LogisticRegression())
    >>> pipe = pipe.fit(data.images, data.target)
    >>> path = f"{tempfile.mkdtemp()}/aurora.skops"
    >>> save_model(pipe, path)
    >>> again = load_model(path)
    >>> bool((again.predict(data.images) == pipe.predict(data.images)).all())
    True
    """
    from sklearn.utils.validation import check_is_fitted

    io = _skops_io()
    path = Path(os.path.expanduser(path))
    if path.suffix != SUFFIX:
        raise ValueError(
            f"A model is written to a {SUFFIX} file, got {str(path)!r}. For a pickle, "
            "call joblib.dump(pipeline, path) yourself."
        )
    check_is_fitted(pipeline)
    with replacing(path) as temporary:
        _dump(io, pipeline, temporary)
        untrusted = _untrusted_types(io, temporary)
    if untrusted:
        warnings.warn(
            f"{str(path)!r} names types that load_model does not load unasked: "
            f"{', '.join(untrusted)}. {_how_to_trust(untrusted)}",
            stacklevel=2,
        )


def _dump(io, pipeline, path):
    """Write what skops makes of a pipeline, and a note of the versions."""
    try:
        data = io.dumps(pipeline)
    except Exception as error:
        raise ValueError(
            f"skops cannot store this pipeline: {_why_not(pipeline, error)}. Use "
            "joblib.dump(pipeline, path); that is a pickle, which load_model reads "
            "with trust_pickle=True, and the command line with --trust-pickle."
        ) from error
    path.write_bytes(data)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(_NOTE, json.dumps({"format": FORMAT, "versions": _versions()}))
    local = [name for name in _untrusted_types(io, path) if not _is_of_a_module(name)]
    if local:
        raise ValueError(
            f"No other program could load this pipeline: {', '.join(local)} cannot be "
            "imported. Define it at the top level of a module."
        )


def _is_of_a_module(name):
    """Say whether a type or a function can be imported by other programs."""
    module, _, attribute = name.rpartition(".")
    return module != "__main__" and hasattr(sys.modules.get(module), attribute)


def _why_not(pipeline, error):
    """Say which part skops cannot store, if that is known, else what it said."""
    parts = [pipeline, *pipeline.get_params(deep=True).values()]
    names = [
        type(part).__name__
        for part in parts
        if type(part).__module__.startswith("sksimclr.baselines")
    ]
    if names:
        return f"{names[0]} of sksimclr.baselines is not among what it can"
    return f"{type(error).__name__}: {error}"


def load_model(path, *, trusted=(), trust_pickle=False):
    """Read a fitted pipeline from a file, without running code that is in it.

    Parameters
    ----------
    path : str or path-like
        A file of :func:`save_model` or ``skops.io.dump``; with `trust_pickle`, also of
        ``joblib.dump`` or ``pickle``.
    trusted : list of str or type, default=()
        What may be loaded besides estimators of scikit-learn that label images, see
        :ref:`trusted_types`, and those of this package but :mod:`sksimclr.baselines`.
        For example "my_module.my_encoder", a factory of encoders, which is called to
        make the network that the stored weights are for.
    trust_pickle : bool, default=False
        Also load a pickle. That runs whatever code is in it, so never do it with a file
        that you, or somebody you trust, did not write.

    Returns
    -------
    estimator

    Raises
    ------
    ValueError
        The file names types that are not trusted, is a pickle, is damaged, comes from a
        later version, or is something else.
    FileNotFoundError
        There is no such file.
    ImportError
        skops, or a module that the file names, is not installed.

    Warns
    -----
    sklearn.exceptions.InconsistentVersionWarning
        Another version of scikit-learn wrote the file.

    See Also
    --------
    save_model : Write such a file, with an example.

    Examples
    --------
    >>> import tempfile
    >>> import joblib
    >>> from sklearn.dummy import DummyClassifier
    >>> from sksimclr.archive import load_model
    >>> path = f"{tempfile.mkdtemp()}/model.joblib"
    >>> files = joblib.dump(DummyClassifier().fit([[0]], ["arc"]), path)
    >>> load_model(path)
    Traceback (most recent call last):
        ...
    ValueError: '...model.joblib' is not a skops file. If it is a pickle, loading it...
    >>> load_model(path, trust_pickle=True).classes_.tolist()
    ['arc']
    """
    path = Path(os.path.expanduser(path))
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
        raise ValueError(f"{str(path)!r} is {kind}, expected the file of a model.")
    if is_skops(path):
        model = _load_skops(path, trusted)
    elif path.suffix == SUFFIX:
        raise ValueError(
            f"{str(path)!r} is no complete skops file: it ends too early, or something "
            "else was given that name. Copy it again, or save the model again."
        )
    elif trust_pickle:
        model = _load_pickle(path)
    else:
        raise ValueError(
            f"{str(path)!r} is not a skops file. If it is a pickle, loading it runs "
            "whatever code is in it. If you trust whoever wrote it: trust_pickle=True, "
            "or --trust-pickle on the command line. Better, save the model as "
            "sksimclr.archive.save_model(pipeline, 'model.skops')."
        )
    if not hasattr(model, "transform") and not hasattr(model, "predict"):
        raise ValueError(
            f"{str(path)!r} holds a {type(model).__name__}, expected a fitted "
            "estimator that has transform or predict."
        )
    return model


def is_skops(path):
    """Say whether a file is one of skops, complete as far as can be seen."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe is to wait
        return False
    with open(path, "rb"):  # or it may not be read
        pass
    try:
        with zipfile.ZipFile(path) as file:
            return _skops_file.SCHEMA in file.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def read_note(path):
    """Return the versions that wrote a skops file, or {} if it does not tell.

    Raises
    ------
    ValueError
        It has a format of a later version of this package.
    """
    try:
        note = _skops_file.read_note(path, _NOTE)
        found, versions = note["format"], dict(note["versions"])
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return {}
    if found > FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {found}, written by sksimclr "
            f"{versions.get('sksimclr')}; this version, {_versions()['sksimclr']}, "
            f"knows formats up to {FORMAT}. Use a newer version of sksimclr."
        )
    return versions


def _load_skops(path, trusted):
    """Load a skops file if all that it names is trusted."""
    io, written = _skops_io(), read_note(path)
    names = [each if isinstance(each, str) else _name(each) for each in trusted]
    try:
        file, found = _skops_file.open_checked(path)
        unknown = io.get_untrusted_types(file=file)
        untrusted = [n for n in _untrusted(found, unknown) if n not in names]
        if not untrusted:
            model = io.load(file, trusted=unknown)
            check_numbers(model)
    except ImportError:
        raise
    except Exception as error:
        here = _versions()
        versions = [
            f"{name} {written[name]}, here {here[name]}"
            for name in written
            if written[name] != here.get(name)
        ]
        raise ValueError(
            f"{str(path)!r} cannot be loaded, {type(error).__name__}: {error}. The "
            "file is damaged, or goes with other versions"
            + (f": it was written with {'; '.join(versions)}." if versions else ".")
        ) from error
    if untrusted:
        raise ValueError(
            f"{str(path)!r} names types that are not loaded unasked: "
            f"{', '.join(untrusted)}. {_how_to_trust(untrusted)}"
        )
    return model


def _untrusted_types(io, path):
    """Return the types in a file that are not loaded unasked."""
    file, found = _skops_file.open_checked(path)
    return _untrusted(found, io.get_untrusted_types(file=file))


def _untrusted(found, unknown):
    """Return the types that are not loaded unasked.

    Parameters
    ----------
    found : iterable of str
        All that a file names.
    unknown : iterable of str
        Those that skops does not trust.
    """
    others = {name for name in found if not is_for_skops(name)}
    return sorted(name for name in {*others, *unknown} if not is_trusted(name))


def _how_to_trust(names):
    """Say what to do about types that are not trusted."""
    flags = " ".join(f"--trust {shlex.quote(name)}" for name in names)
    return (
        "Loading the file will import them, and may call them; if you know them and "
        f"trust them: load_model(path, trusted={list(names)}), or {flags} on the "
        "command line."
    )


def _load_pickle(path):
    """Load a pickle; the caller has been asked."""
    import joblib

    try:
        return joblib.load(path)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} cannot be loaded as a pickle, {type(error).__name__}: "
            f"{error}. The file is damaged, something else, or goes with other "
            "versions of scikit-learn, torch or sksimclr."
        ) from error


def _skops_io():
    """Return the module `skops.io`, if it is there and new enough."""
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            "Models are stored with skops, which is not installed. Run "
            '`pip install "sksimclr[archive]"`.'
        ) from error
    found = version("skops")
    if tuple(int(part) for part in found.split(".")[:2]) < _OLDEST_SKOPS:
        raise ImportError(
            f"Models are stored with skops 0.12 or later, got {found}: in older ones, "
            "files can run code that nobody trusted (CVE-2025-54412). Run "
            '`pip install --upgrade "sksimclr[archive]"`.'
        )
    return skops.io


def _versions():
    """Return the installed versions of what decides on what a file means."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _name(kind):
    return f"{kind.__module__}.{kind.__qualname__}"
