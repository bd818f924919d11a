"""How a catalogue's labels agree with those of somebody else, month by month."""

import warnings
from dataclasses import dataclass
from numbers import Number

import numpy as np
from sklearn.metrics import cohen_kappa_score

from sksimclr._estimators.labels import is_missing
from sksimclr.archive._catalogue import read_catalogue

_COLUMNS = {"site", "time", "label"}
_LONGEST = 1e9  # seconds of tolerance that make a difference


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """How two tables of labels agree on the frames that both have.

    Attributes
    ----------
    n_frames : int
        Frames that both tables label.
    n_only_ours, n_only_theirs : int
        Labels that the other table has no frame for.
    agreement : float
        Part of the frames with one label in both, NaN without frames.
    kappa : float
        Cohen's kappa: agreement beyond that of chance, 1 at most; NaN if undefined.
    labels : list of str
        Of either table, in the order of `confusion`.
    months : ndarray of shape (n_months,), datetime64[M]
    confusion : ndarray of shape (n_months, n_labels, n_labels), int64
        Number of frames by month, label here and label there.

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.archive import LabelAgreement
    >>> found = LabelAgreement(
    ...     n_frames=3,
    ...     n_only_ours=0,
    ...     n_only_theirs=1,
    ...     agreement=2 / 3,
    ...     kappa=0.4,
    ...     labels=["arc", "moon"],
    ...     months=np.array(["2014-03"], "datetime64[M]"),
    ...     confusion=np.array([[[1, 1], [0, 1]]]),
    ... )
    >>> int(found.confusion.sum())
    3
    """

    n_frames: int
    n_only_ours: int
    n_only_theirs: int
    agreement: float
    kappa: float
    labels: list
    months: np.ndarray
    confusion: np.ndarray


def compare_labels(catalogue, table, *, names=None, tolerance=1.0):
    """Hold the labels of a catalogue against another table of labels of such frames.

    Parameters
    ----------
    catalogue : str or path-like
        Folder that `label_archive` has written.
    table : mapping of str to array-like of shape (n_rows,)
        Labels of others: a data frame, an Arrow table, or a dict of columns "site"
        (codes such as "gill", in either case), "time" (UTC, or with a zone) and
        "label" (texts or whole numbers). Rows without a time or a label do not count.
    names : mapping of label to str, default=None
        What their labels are called here, for those that have another name.
    tolerance : float, default=1.0
        Seconds, at least 0, by which times of one frame may differ. Each of their rows
        goes with the frame here that is nearest, and each frame with one row.

    Returns
    -------
    LabelAgreement

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    ValueError
        A column is not there, of another length than others, or of something else;
        or `tolerance` is negative; or the catalogue is of embeddings alone.
    OSError
        A file of the catalogue is damaged.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    read_catalogue : The rows of frames.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sksimclr.archive import compare_labels, label_archive
    >>> from sksimclr.datasets import make_aurora
    >>> frame = make_aurora(6, size=32, random_state=0).images[:1]
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/20140310_060000_gill.npy", frame)
    >>> model = DummyClassifier().fit(np.zeros((2, 32, 32)), ["arc", "moon"])
    >>> run = label_archive(model, folder, f"{folder}/catalogue")
    >>> theirs = {"site": ["GILL"], "time": ["2014-03-10T06:00"], "label": ["Arcs"]}
    >>> compare_labels(f"{folder}/catalogue", theirs, names={"Arcs": "arc"}).agreement
    1.0
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0 seconds, got {tolerance!r}.")
    ours = _columns(read_catalogue(catalogue, columns=sorted(_COLUMNS)), "catalogue")
    theirs = _columns(table, "table")
    names = {str(name): here for name, here in dict(names or {}).items()}
    theirs["label"] = np.array([names.get(x, x) for x in theirs["label"]], dtype=str)
    nanoseconds = round(min(tolerance, _LONGEST) * 1e9)
    first, second = _pairs(ours, theirs, np.timedelta64(nanoseconds, "ns"))
    here, there = ours["label"][first], theirs["label"][second]
    months, numbers = np.unique(
        ours["time"][first].astype("datetime64[M]"), return_inverse=True
    )
    labels = sorted({*here.tolist(), *there.tolist()})
    is_one = len(labels) < 2
    confusion = np.zeros((len(months), len(labels), len(labels)), np.int64)
    places = (numbers, *(np.searchsorted(labels, each) for each in (here, there)))
    np.add.at(confusion, places, 1)
    return LabelAgreement(
        n_frames=len(first),
        n_only_ours=len(ours["label"]) - len(first),
        n_only_theirs=len(theirs["label"]) - len(second),
        agreement=float(np.mean(here == there)) if len(first) else np.nan,
        kappa=np.nan if is_one else float(cohen_kappa_score(here, there)),
        labels=labels,
        months=months,
        confusion=confusion,
    )


def _columns(table, what):
    """Return site, time and label of the rows that have time and label, as arrays."""
    known = list(getattr(table, "column_names", table))  # of Arrow, or of the others
    missing = sorted(_COLUMNS.difference(known))
    if missing:
        raise ValueError(f"The {what} has no columns {missing}; it has {known}.")
    site, label = (np.asarray(table[name], object) for name in ("site", "label"))
    time = _as_times(table["time"], what)
    lengths = {"site": len(site), "time": len(time), "label": len(label)}
    if len({*lengths.values()}) > 1:
        raise ValueError(f"Columns of the {what} differ in length: {lengths}.")
    label = np.array([_as_label(x) for x in label], object)
    kept = (label != None) & ~np.isnat(time)  # noqa: E711 (of each element)
    return {
        "site": np.array([str(x).lower() for x in site[kept]], dtype=str),
        "time": time[kept],
        "label": label[kept].astype(str),
    }


def _as_label(value):
    """Return a label as text, None if there is none."""
    if is_missing(value) or value == "":
        return None
    is_whole = isinstance(value, (float, np.floating)) and value.is_integer()
    return str(int(value) if is_whole else value)  # 1.0, as gaps make of a 1


def _as_times(column, what):
    """Return times as datetime64[ns], UTC, NaT where there is none."""
    if hasattr(column, "dt") and getattr(column.dt, "tz", None) is not None:
        column = column.dt.tz_convert(None)
    times = np.asarray(column, object if isinstance(column, (list, tuple)) else None)
    if times.dtype.kind not in "MSU":
        times = [None if is_missing(x) else x for x in times.tolist()]
        times = np.array(times, object)
    try:
        if any(isinstance(x, Number) for x in times):  # since when, in which unit?
            raise TypeError("there are numbers in it")
        with warnings.catch_warnings():  # NumPy warns of zones, and heeds them
            warnings.simplefilter("ignore", UserWarning)
            return times.astype("datetime64[ns]")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The column 'time' of the {what} must be dates and times, such as "
            f"'2014-03-10T06:00:01': {error}."
        ) from error


def _pairs(ours, theirs, tolerance):
    """Return rows of both tables that are one frame, each in one pair at most."""
    first, second = [], []
    for site in np.intersect1d(ours["site"], theirs["site"]):
        here, there = (np.flatnonzero(t["site"] == site) for t in (ours, theirs))
        here = here[np.argsort(ours["time"][here], kind="stable")]
        times, wanted = ours["time"][here], theirs["time"][there]
        after = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
        before = after - 1
        after = after.clip(max=len(times) - 1)
        is_before = wanted - times[before] <= times[after] - wanted
        nearest = np.where(is_before, before, after)
        distance = np.abs(times[nearest] - wanted)
        order = np.argsort(distance, kind="stable")
        order = order[distance[order] <= tolerance]
        _, one = np.unique(nearest[order], return_index=True)  # the nearest of several
        first.append(here[nearest[order][one]])
        second.append(there[order[one]])
    if not first:
        return np.zeros(0, int), np.zeros(0, int)
    return np.concatenate(first), np.concatenate(second)
