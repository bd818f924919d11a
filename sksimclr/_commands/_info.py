"""``sksimclr info``: what a file of frames, a model, a catalogue or a store holds."""

from collections import Counter
from pathlib import Path

import numpy as np

from sksimclr._commands._report import Report, printable, table
from sksimclr._files.finding import search
from sksimclr._files.readers import suffix_of
from sksimclr.archive import (
    load_model,
    open_frames,
    read_failures,
    read_frames,
)
from sksimclr.archive._catalogue import open_rows, sites_and_dates
from sksimclr.archive._folder import CATALOGUE, STORE, read_header
from sksimclr.archive._models import is_skops, read_note
from sksimclr.archive._quality import frame_quality
from sksimclr.archive._schemas import UNKNOWN

_MODELS = (".joblib", ".pickle", ".pkl", ".skops")
_WORDS = {
    "n_frames": "frames",
    "n_files": "files",
    "n_failures": "failed files",
    "n_features": "embedding",
    "n_epochs": "epochs",
    "n_shards": "shards",
    "n_dates": "days",
    "dtype": "type",
}


def run(args):
    """Find out what it is, and describe that."""
    path = Path(args.file)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{args.file!r} is neither a file nor a folder.")
    if (path / "_catalogue.json").exists():
        data = _catalogue(path)
    elif (path / "_store.json").exists():
        data = _store(path)
    elif path.is_dir():
        data = _folder(path)
    elif path.suffix in _MODELS or is_skops(path):
        data = _model(path, args)
    else:
        data = _frames(path)
    data = {"file": args.file, **data}
    return Report(data, _text(data))


def _folder(path):
    """Say which files of a folder can be read, and which are left out, and why."""
    files, left_out = search(path)
    endings = Counter(map(suffix_of, files))
    return {
        "kind": "folder",
        "n_files": len(files),
        "endings": dict(endings),
        "left_out": left_out or None,
    }


def _frames(path):
    """Describe the frames of a file."""
    frames = read_frames(path)
    images, known = frames.images, frames.times[~np.isnat(frames.times)]
    is_float = images.dtype.kind == "f"
    return {
        "kind": "frames",
        "n_frames": len(frames),
        "frame_shape": list(images.shape[1:]),
        "dtype": str(images.dtype),
        "min": (np.nanmin if is_float else np.min)(images).item(),
        "max": (np.nanmax if is_float else np.max)(images).item(),
        "site": frames.site or None,
        "instrument": frames.instrument or None,
        "first_time": str(known.min()) if len(known) else None,
        "last_time": str(known.max()) if len(known) else None,
        "quality": dict(Counter(frame_quality(images, frames.damage).tolist())),
        "damage": frames.damage or None,
        "metadata": frames.metadata,
    }


def _model(path, args):
    """Describe a model; it is loaded, with what is trusted."""
    from sklearn.pipeline import Pipeline

    from sksimclr._estimators.fingerprint import model_fingerprint

    model = load_model(path, trusted=args.trust, trust_pickle=args.trust_pickle)
    steps = (
        [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    )
    classes = getattr(steps[-1], "classes_", None)
    encoders = [step for step in steps if hasattr(step, "encoder_")]
    return {
        "kind": "model",
        "format": "skops" if is_skops(path) else "pickle",
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "steps": [type(step).__name__ for step in steps],
        "frame_shape": list(getattr(steps[0], "image_shape_", ())) or None,
        "image_size": getattr(encoders[0], "image_size_", None) if encoders else None,
        "n_features": encoders[0]._n_features_out if encoders else None,
        "n_epochs": getattr(encoders[0], "n_iter_", None) if encoders else None,
        "classes": None if classes is None else classes.tolist(),
        "fingerprint": model_fingerprint(model),
        "written_by": read_note(path) or None,
    }


def _catalogue(path):
    """Describe a catalogue."""
    header, rows = read_header(path, CATALOGUE), open_rows(path)
    found = sites_and_dates(rows)
    dates = sorted({date for _, date in found} - {UNKNOWN})
    return {
        "kind": "catalogue",
        "n_frames": rows.count_rows(),
        "n_failures": read_failures(path).num_rows,
        "sites": sorted({site for site, _ in found}),
        "n_dates": len(dates),
        "first_date": dates[0] if dates else None,
        "last_date": dates[-1] if dates else None,
        "classes": header["classes"],
        "n_features": header["n_features"],
        "utc_offset": header["utc_offset"],
        "model": header["model"],
        "columns": rows.schema.names,
    }


def _store(path):
    """Describe a store."""
    header, frames = read_header(path, STORE), open_frames(path)
    known = frames.times[~np.isnat(frames.times)]
    return {
        "kind": "store",
        "n_frames": len(frames),
        "n_failures": read_failures(path).num_rows,
        "n_shards": len(frames.shard_lengths),
        "frame_shape": list(frames.shape[1:]),
        "dtype": str(frames.dtype),
        "sites": np.unique(frames.sites).tolist(),
        "first_time": str(known.min()) if len(known) else None,
        "last_time": str(known.max()) if len(known) else None,
        "every": header["every"],
        "quality": header["quality"],
        "per_night": header["per_night"],
        "utc_offset": header["utc_offset"],
    }


def _text(data):
    """Return what is known, a line for each."""
    rows = []
    for name, value in data.items():
        if value is None or name in ("file", "kind", "metadata"):
            continue
        is_size = name == "frame_shape"
        words = " x ".join(map(str, value)) if is_size else _words(value)
        rows.append([_WORDS.get(name, name.replace("_", " ")), words])
    rows += [[name, value] for name, value in (data.get("metadata") or {}).items()]
    return f"{printable(data['file'])}: {data['kind']}\n" + table(rows, indent="  ")


def _words(value):
    """Return a value as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return str(value)
