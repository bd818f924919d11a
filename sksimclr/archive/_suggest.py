"""Which frames to label next: those that a classifier is unsure of, unlike each other.

A catalogue is streamed over; what is computed with is a share of its frames that fits
in memory, spread over the archive.
"""

import os
from numbers import Integral

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_scalar

from sksimclr._files.file_names import absolute
from sksimclr._images.images import check_unmasked
from sksimclr.archive._catalogue import damage_named, open_rows, read_header

_CANDIDATES = 1 << 17  # frames that are compared with each other, at most
_CLUSTERED = 1 << 14  # of them, where there is no label yet
_BATCH_ROWS = 1 << 13  # of a catalogue, read at a time
PREFIX = "probability_"
_LEAST = np.finfo(np.float32).eps  # doubt of a frame that the classifier is sure of


def suggest(frames, n, *, probabilities=None, labelled=()):
    """Choose the frames to label next.

    Each is the one that most needs a label once those before it have theirs: the
    classifier is unsure of it, and its embedding is far from all that are labelled or
    chosen. Label them, fit the classifier, and ask again.

    Parameters
    ----------
    frames : str, path-like or array-like of shape (n_samples, n_features)
        A catalogue with embeddings, see `label_archive`; or embeddings, of which
        float16 will do. Features are brought to unit variance, so their scale is of no
        consequence.
    n : int
        How many, at least 1.
    probabilities : array-like of shape (n_samples, n_classes), default=None
        What ``predict_proba`` of the classifier says of the embeddings, in [0, 1]. By
        default the embeddings alone decide. A catalogue has its own.
    labelled : sequence, default=()
        Frames that have a label: row numbers of an array; of a catalogue pairs (file,
        frame), or a pyarrow table with these columns.

    Returns
    -------
    ndarray of shape (n,), int64, or pyarrow.Table
        Row numbers; of a catalogue the rows, without their embeddings. The first is
        the most urgent. None is labelled.

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    OSError
        A file of the catalogue is damaged.
    TypeError, ValueError
        The catalogue has no embeddings, an argument is not as described, a labelled
        frame does not exist, or fewer than `n` are left.
    ImportError
        For a catalogue: pyarrow is not installed.

    See Also
    --------
    label_archive : Writes a catalogue.

    Notes
    -----
    Weighted greedy k-centre [1]_ [2]_: the next frame has the largest product of doubt
    and distance to the nearest frame that is labelled or chosen. Doubt is one minus the
    margin, the difference between the two largest probabilities. Before there is any
    label or probability, a distance leads to oddities; then the frames are those
    nearest to the centres of `n` clusters (k-means of up to 16,384 frames, spread
    evenly), the largest cluster first. Nothing is random.

    Of more than 131,072 frames as many are compared: successive frames are alike, so of
    every stretch of them the one with the largest doubt stands for all. Embeddings of
    an array should hence be in the order in which they were taken. A catalogue is
    streamed over, in the order of its files.

    Frames of the quality "constant" or "unreadable" have no embedding and are never
    suggested; "short" and "saturated" ones can be.

    References
    ----------
    .. [1] O. Sener & S. Savarese, "Active Learning for Convolutional Neural Networks: A
       Core-Set Approach", ICLR (2018), https://arxiv.org/abs/1708.00489
    .. [2] T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance",
       Theoretical Computer Science 38 (1985), doi:10.1016/0304-3975(85)90224-5

    Examples
    --------
    >>> from sksimclr.archive import suggest
    >>> embeddings = [[0, 0], [1, 0], [4, 4], [9, 0], [9, 1]]
    >>> suggest(embeddings, 2, labelled=[0])
    array([2, 3])
    >>> probabilities = [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.4, 0.6]]
    >>> suggest(embeddings, 2, labelled=[0], probabilities=probabilities)
    array([3, 2])
    """
    check_scalar(n, "n", Integral, min_val=1)
    if isinstance(frames, (str, os.PathLike)):
        if probabilities is not None:
            raise ValueError(
                "suggest: a catalogue has its own probabilities; give none, or give "
                "embeddings with them."
            )
        return choose_rows(frames, n, labelled).drop_columns(["embedding"])
    return _suggest_from_array(frames, n, probabilities, labelled)


def _suggest_from_array(embeddings, n, probabilities, labelled):
    """Return the row numbers of the embeddings to label next."""
    check_unmasked(embeddings, "suggest: embeddings")
    X = check_array(embeddings, dtype=[np.float32, np.float64, np.float16])
    labelled = _row_numbers(labelled, len(X))
    doubt = None if probabilities is None else _check_doubt(probabilities, len(X))
    rows = np.delete(np.arange(len(X)), labelled)
    step = -(-len(rows) // _CANDIDATES)
    if step > 1:
        rows = rows[_foremost(None if doubt is None else doubt[rows], len(rows), step)]
    doubt = None if doubt is None else doubt[rows]
    return rows[_choose(X[rows], doubt, X[labelled], n)]


def _row_numbers(labelled, n_samples):
    """Return the labelled rows as int64."""
    check_unmasked(labelled, "suggest: labelled")
    rows = np.asarray(labelled)
    if rows.size == 0:
        return np.empty(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(
            "suggest: labelled must be the numbers of the labelled rows, in one "
            f"dimension; got {rows.dtype} of shape {rows.shape}. Of a mask, give "
            "np.flatnonzero(mask)."
        )
    outside = (rows < 0) | (rows >= n_samples)
    if outside.any():
        raise ValueError(
            f"suggest: labelled rows must be from 0 to {n_samples - 1}; "
            f"labelled[{outside.argmax()}] is {rows[outside.argmax()]}."
        )
    return rows.astype(np.int64)


def _check_doubt(probabilities, n_samples):
    """Return the doubt of each row."""
    check_unmasked(probabilities, "suggest: probabilities")
    P = check_array(
        probabilities, dtype=[np.float64, np.float32], ensure_min_features=2
    )
    if len(P) != n_samples:
        raise ValueError(
            "suggest: probabilities must have a row for each embedding: expected "
            f"{n_samples}, got {len(P)}."
        )
    outside = ((P < 0) | (P > 1)).any(axis=1)
    if outside.any():
        raise ValueError(
            "suggest: probabilities must lie between 0 and 1, as predict_proba gives "
            f"them; row {outside.argmax()} is {P[outside.argmax()]}."
        )
    return _doubt(P)


def _doubt(probabilities):
    """Return one minus the difference between the two largest values of each row."""
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.maximum(1 - (first - second), _LEAST)


def _foremost(doubt, n_rows, step):
    """Return of every `step` successive rows the one with the largest doubt."""
    starts = np.arange(0, n_rows, step)
    if doubt is None:
        return starts
    padded = np.full(len(starts) * step, -1.0)
    padded[:n_rows] = doubt
    return starts + padded.reshape(-1, step).argmax(axis=1)


def _choose(X, doubt, centres, n):
    """Return `n` rows of X, the most urgent first.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    doubt : ndarray of shape (n_samples,) or None
    centres : ndarray of shape (n_labelled, n_features)
    n : int
    """
    if n > len(X):
        raise ValueError(
            f"suggest: n={n}, but there are only {len(X)} frames with an embedding "
            "and without a label. Ask for fewer."
        )
    scaler = StandardScaler(copy=False)  # of the copies that astype makes
    X = scaler.fit_transform(X.astype(np.float32))
    if doubt is None and not len(centres):
        return _typical_then_farthest(X, n)
    far = None
    if len(centres):
        centres = scaler.transform(centres.astype(np.float32))
        far = pairwise_distances_argmin_min(X, centres)[1]
    return _farthest(X, np.ones(len(X)) if doubt is None else doubt, far, n)


def _farthest(X, weights, far, n, chosen=()):
    """Choose rows by weight times distance, one after the other.

    `far` is the distance of each row to the nearest labelled one, None if there is none
    yet; then the largest weight comes first.
    """
    chosen = list(chosen)
    squares = np.einsum("ij,ij->i", X, X)
    while len(chosen) < n:
        score = weights.copy() if far is None else weights * far
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        squared = squares + squares[chosen[-1]] - 2 * (X @ X[chosen[-1]])
        near = np.sqrt(np.maximum(squared, 0))
        far = near if far is None else np.minimum(far, near)
    return np.array(chosen)


def _typical_then_farthest(X, n):
    """Choose the rows nearest to the centres of clusters, the largest cluster first."""
    n_seen = min(len(X), max(n, _CLUSTERED))
    seen = np.arange(n_seen) * len(X) // n_seen
    n_clusters = min(n, len(np.unique(X[seen], axis=0)))
    clusters = KMeans(n_clusters, n_init=3, random_state=0).fit(X[seen])
    nearest = seen[clusters.transform(X[seen]).argmin(axis=0)]
    sizes = np.bincount(clusters.labels_, minlength=n_clusters)
    chosen = list(dict.fromkeys(nearest[np.argsort(-sizes, kind="stable")].tolist()))
    far = pairwise_distances_argmin_min(X, X[chosen])[1]  # if frames are copies
    return _farthest(X, np.ones(len(X)), far, n, chosen)


def choose_rows(catalogue, n, labelled, *, at_most=False):
    """Return the rows of a catalogue to label next, with their embeddings.

    With `at_most`, fewer than `n` where there are no more.
    """
    labelled = _pairs(labelled)
    rows = open_rows(catalogue)
    if "embedding" not in rows.schema.names:
        raise ValueError(
            f"The catalogue {str(catalogue)!r} has no embeddings. Label the archive "
            "with label_archive(..., embeddings=True)."
        )
    n_features = read_header(catalogue)["n_features"]
    with damage_named(rows):
        table, centres = _read_candidates(rows, labelled, n_features)
    if not len(table):
        raise ValueError(
            f"The catalogue {str(catalogue)!r} has no frame left to label: all have a "
            "label, or nothing to see and hence no embedding."
        )
    if at_most:
        n = min(n, len(table))
    X, doubt = embeddings_of(table, n_features), _doubt_of_rows(table)
    return table.take(_choose(X, doubt, centres, n))


def _pairs(labelled):
    """Return the labelled frames of a catalogue as a set of (file, frame)."""
    if hasattr(labelled, "column_names"):
        columns = [labelled[name].to_pylist() for name in ("file", "frame")]
        labelled = zip(*columns, strict=True)
    try:
        return {(absolute(file), int(frame)) for file, frame in labelled}
    except (TypeError, ValueError) as error:
        raise ValueError(
            "suggest: labelled frames of a catalogue must be pairs (file, frame), or a "
            "pyarrow table with these columns."
        ) from error


def _read_candidates(rows, labelled, n_features):
    """Return candidates as a table, and the embeddings of the labelled frames.

    Of a catalogue that is small enough, all frames that have an embedding and no label;
    else one of every stretch of them.
    """
    import pyarrow as pa

    missing, centres, candidates = set(labelled), [], []
    step = max(1, -(-rows.count_rows() // _CANDIDATES))
    waiting = rows.schema.empty_table()
    for batch in rows.to_batches(batch_size=_BATCH_ROWS):
        table = pa.Table.from_batches([batch])
        is_labelled = _find(table, labelled, missing)
        has_embedding = table["embedding"].is_valid().to_numpy()
        known = table.filter(is_labelled & has_embedding)
        centres.append(embeddings_of(known, n_features))
        table = table.filter(~is_labelled & has_embedding)
        waiting = pa.concat_tables([waiting, table])
        whole = len(waiting) // step * step
        if whole:
            candidates.append(_foremost_rows(waiting.slice(0, whole), step))
            waiting = waiting.slice(whole)
    if missing:
        file, frame = min(missing)
        raise ValueError(
            f"suggest: {len(missing)} labelled frame(s) are not in the catalogue; the "
            f"first is frame {frame} of {file!r}."
        )
    candidates.append(_foremost_rows(waiting, step))
    centres = [np.empty((0, n_features), np.float16), *centres]
    return pa.concat_tables(candidates), np.concatenate(centres)


def _find(table, labelled, missing):
    """Say which rows are labelled, and take them from those that are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = np.zeros(len(table), bool)
    files = pa.array(sorted({file for file, _ in labelled}), pa.string())
    for row in np.flatnonzero(pc.is_in(table["file"], files)):
        pair = table["file"][row].as_py(), table["frame"][row].as_py()
        found[row] = pair in labelled
        missing.discard(pair)
    return found


def _foremost_rows(table, step):
    """Return of every `step` rows the one with the largest doubt."""
    return table.take(_foremost(_doubt_of_rows(table), len(table), step))


def _doubt_of_rows(table):
    """Return the doubt of each row, None without probabilities to compare."""
    names = [name for name in table.column_names if name.startswith(PREFIX)]
    if len(names) < 2:
        return None
    return _doubt(np.stack([table[name].to_numpy() for name in names], axis=1))


def embeddings_of(table, n_features):
    """Return the embeddings of rows that all have one, float16 (n, n_features)."""
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, n_features)
