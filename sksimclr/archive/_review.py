"""A page for the browser in which frames are labelled: one file, without a server."""

import base64
import hashlib
import html
import io
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from string import Template

import numpy as np
from joblib import cpu_count
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_scalar

from sksimclr._files.file_names import absolute, as_path
from sksimclr._files.readers import read_frames
from sksimclr._machine.writing import replacing
from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr.archive._catalogue import read_header
from sksimclr.archive._suggest import PREFIX, choose_rows, embeddings_of

_SIZE = 224  # of a picture, pixels: as many as a frame of THEMIS has of the sky
_QUALITIES = (75, 50, 25)  # of JPEG: the first that is small enough
_MOST_BYTES = 21_000  # of a picture: 500 in a page of 15 MB
_GROUP = 12  # frames in a group, about
_THREADS = 8  # each of which holds the frames of a file, at most
_MOST_NAMED = 5  # files that a warning lists


def write_review(catalogue, page, *, n=200, labels=(), preprocessor=None):
    """Write a page in which the frames that `suggest` chooses are labelled.

    Open it in a browser, label with the keys 1 to 9, and save the table of labels,
    which ``sksimclr train --labels`` reads. Nothing is sent anywhere.

    Parameters
    ----------
    catalogue : str or path-like
        A catalogue with embeddings, see `label_archive`. Its files must still be where
        they were: pictures are made of them.
    page : str or path-like
        Name of the page, which ends in ".html". One that is there is replaced.
    n : int, default=200
        How many frames, at least 1; fewer where there are no more.
    labels : sequence, default=()
        What is labelled already: (file, frame, label), or a pyarrow table with these
        columns. These frames are not shown, and belong to the table that is saved.
    preprocessor : AuroraPreprocessor, default=None
        Makes the pictures. The default is ``AuroraPreprocessor()``.

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    OSError
        A file of the catalogue is damaged, or the page cannot be written.
    TypeError, ValueError
        The catalogue has no embeddings or no frame without a label, an argument is not
        as described, or none of the frames can be read.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    Warns
    -----
    UserWarning
        Lists files that have gone or cannot be read; their frames are shown as missing.

    See Also
    --------
    suggest : Chooses the frames.

    Notes
    -----
    Frames are shown by what the model says of them, and within that in groups of about
    twelve that look alike to it (k-means of the embeddings), the most urgent first.
    Every browser keeps the labels of a catalogue until they are deleted there, also for
    later pages of the same catalogue. It takes over `labels` when it opens the page for
    the first time.

    The page asks for nothing outside itself, which its Content-Security-Policy
    enforces, and holds pictures of at most 224 pixels, 500 of them in at most 15 MB.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from sksimclr import SimCLRTransformer
    >>> from sksimclr.archive import label_archive, write_review
    >>> from sksimclr.datasets import make_aurora
    >>> folder = Path(tempfile.mkdtemp())
    >>> frames = make_aurora(12, size=32, random_state=0).images
    >>> np.save(folder / "20140310_0600_gill.npy", frames)
    >>> simclr = SimCLRTransformer(image_size=32, stem="imagenet", max_epochs=0)
    >>> simclr = simclr.fit(frames)
    >>> run = label_archive(simclr, folder, folder / "out", embeddings=True)
    >>> write_review(folder / "out", folder / "review.html", n=6)
    >>> (folder / "review.html").read_text()[:15]
    '<!doctype html>'
    """
    _, gone = make_page(catalogue, page, n, labels, preprocessor)
    if gone:
        named = "; ".join(each["reason"] for each in gone[:_MOST_NAMED])
        more = f"; and {len(gone) - _MOST_NAMED} more" * (len(gone) > _MOST_NAMED)
        warnings.warn(
            f"{len(gone)} file(s) with frames to label cannot be shown: {named}{more}.",
            stacklevel=2,
        )


def make_page(catalogue, page, n, labels, preprocessor=None):
    """Write the page; return how many frames it shows, and why others are missing.

    Returns
    -------
    n_shown : int
    gone : list of dict
        For each file that gave no picture, or not all, "file", "n_frames" that it gave,
        and "reason", with its name.
    """
    check_scalar(n, "n", Integral, min_val=1)
    page = Path(absolute(page))
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"The name of a page must end in .html, got {str(page)!r}.")
    labels = _triples(labels)
    header = read_header(catalogue)
    table = choose_rows(catalogue, n, [row[:2] for row in labels], at_most=True)
    if preprocessor is None:
        preprocessor = AuroraPreprocessor()
    pictures, gone = _pictures(table, preprocessor)
    if not pictures:
        raise ValueError(
            f"None of the {len(table)} frames can be read; the first: "
            f"{gone[0]['reason']}."
        )
    titles, groups = _groups(table, header)
    data = {
        "key": _fingerprint(catalogue, header),
        "classes": [str(name) for name in header["classes"] or ()],
        "labels": labels,
        "given": _digest(labels),
        "groups": titles,
        "frames": _frames(table, groups, pictures),
    }
    name = Path(absolute(catalogue)).name
    with replacing(page) as path:
        path.write_text(_html(name, data), encoding="utf-8", newline="\n")
    return len(pictures), gone


def _triples(labels):
    """Return what is labelled as a list of [file, frame, label]."""
    if hasattr(labels, "column_names"):
        columns = [labels[name].to_pylist() for name in ("file", "frame", "label")]
        labels = zip(*columns, strict=True)
    try:
        return [
            [absolute(file), int(frame), str(label)]
            for file, frame, label in labels
            if label not in (None, "")
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(
            "write_review: labels must be (file, frame, label), or a pyarrow table "
            "with these columns."
        ) from error


def _fingerprint(catalogue, header):
    """Return what tells a catalogue from others, for the memory of the browser."""
    return _digest([absolute(catalogue), header])


def _digest(value):
    """Return what tells a value from others."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _groups(table, header):
    """Put rows that look alike together.

    Returns
    -------
    titles : list of str
    groups : ndarray of shape (n,), int
        Numbers of their titles.
    """
    X = embeddings_of(table, header["n_features"]).astype(np.float32)
    X = StandardScaler().fit_transform(X)
    has_labels = "label" in table.column_names
    guesses = np.array(table["label"].to_pylist() if has_labels else [None] * len(X))
    titles, groups = [], np.empty(len(X), int)
    for name in header["classes"] or [None]:
        rows = np.flatnonzero(guesses == name)
        if not len(rows):
            continue
        k = min(-(-len(rows) // _GROUP), len(np.unique(X[rows], axis=0)))
        numbers = KMeans(k, n_init=3, random_state=0).fit_predict(X[rows])
        _, first = np.unique(numbers, return_index=True)
        order = np.argsort(np.argsort(first))  # that with the most urgent frame first
        groups[rows] = len(titles) + order[numbers]
        what = "Group" if name is None else f"{name}, group"
        titles += [f"{what} {number} of {k}" for number in range(1, k + 1)]
    return titles, groups


def _pictures(table, preprocessor):
    """Return {row: picture as a data URL}, and why there are no others.

    Every file is read once.
    """
    wanted = {}
    columns = (table[name].to_pylist() for name in ("file", "frame"))
    for row, (file, frame) in enumerate(zip(*columns, strict=True)):
        wanted.setdefault(file, []).append((row, frame))

    def read(item):
        file, places = item
        found, reason = {}, ""
        try:
            frames = read_frames(as_path(file))
            inside = [place for place in places if place[1] < len(frames)]
            if len(inside) < len(places):
                reason = f"it has {len(frames)} frames now"
            if inside:
                images = frames.images[[frame for _, frame in inside]]
                made = _as_jpeg(preprocessor.transform(images))
                found = {row: jpeg for (row, _), jpeg in zip(inside, made, strict=True)}
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        return file, found, reason

    with ThreadPoolExecutor(min(_THREADS, cpu_count())) as threads:
        parts = list(threads.map(read, wanted.items()))
    pictures = {row: jpeg for _, found, _ in parts for row, jpeg in found.items()}
    gone = [
        {
            "file": file,
            "n_frames": len(found),
            "reason": reason if file in reason else f"{file!r}: {reason}",
        }
        for file, found, reason in parts
        if reason
    ]
    return pictures, gone


def _as_jpeg(images):
    """Return what is not black of processed frames as data URLs."""
    images = images.reshape(images.shape[:3])
    if images.dtype != np.uint8:
        images = np.rint(255 * images).astype(np.uint8)
    lit = images.any(axis=0)
    if lit.any():
        rows, columns = (np.flatnonzero(lit.any(axis=axis)) for axis in (1, 0))
        images = images[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return [_data_url(Image.fromarray(image)) for image in images]


def _data_url(image):
    """Return an image as a small JPEG in the text of a URL."""
    image.thumbnail((_SIZE, _SIZE), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "jpeg", quality=quality, optimize=True)
        if file.tell() <= _MOST_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _frames(table, groups, pictures):
    """Return what the page says of each frame, in its order."""
    names = [name for name in table.column_names if name.startswith(PREFIX)]
    sure = np.stack([table[n].to_numpy() for n in names]).max(axis=0) if names else None
    times = np.datetime_as_string(table["time"].to_numpy(), unit="s")
    rows = table.drop_columns(["embedding", "time"]).to_pylist()
    frames = []
    for k in np.argsort(groups, kind="stable").tolist():
        row = rows[k]
        frame = {
            "file": row["file"],
            "frame": row["frame"],
            "time": "" if times[k] == "NaT" else times[k].replace("T", " "),
            "site": row["site"],
            "instrument": row.get("instrument") or "",
            "rank": k,
            "group": int(groups[k]),
            "image": pictures.get(k, ""),
        }
        if row.get("label") is not None:
            frame["guess"] = str(row["label"])
        if sure is not None:
            frame["sure"] = round(100 * float(sure[k]))
        frames.append(frame)
    return frames


def _html(name, data):
    """Return the page as text; nothing in `name` and `data` can become a part of it."""
    folder = files("sksimclr.archive")
    page, style, script = (
        folder.joinpath(f"review.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    return Template(page).substitute(
        title=html.escape(name.encode("utf-8", "replace").decode()),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=json.dumps(data).replace("<", "\\u003c"),
    )


def _hash(text):
    """Return what lets a Content-Security-Policy know a style or a script."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
