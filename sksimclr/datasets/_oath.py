"""The Oslo Auroral THEMIS data set (OATH): read a copy, or download it first."""

import os
import re
import warnings
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_scalar

from sksimclr._machine.download import data_home as resolve_data_home
from sksimclr._machine.download import download, is_served
from sksimclr.datasets import _oath_archive as archives
from sksimclr.datasets import _oath_files as files
from sksimclr.model_selection import sequence_groups

_DESCR = """\
Oslo Auroral THEMIS (OATH) data set, version 1.1
------------------------------------------------
5,824 all-sky images of the night sky over North America, 256 x 256 pixels, 16 bits,
taken by the THEMIS all-sky imagers and labelled by hand. Six classes: arc 774,
diffuse 1,102, discrete 1,400 (these three are aurora, `target_aurora` 0), cloudy
852, moon 614 and noaurora 1,082 (no aurora, `target_aurora` 1). Each image was
cropped to its field of view and its brightness scaled between its own 1st and 99th
percentile. `rotation` is the angle in degrees by which the authors turned each
image before they computed features.

`folds` are the five random splits of the authors, 70 % for training and 30 % for
testing. They leak: the images are in sequence order and neighbours share their
label 95 % of the time, so that copying the label of the nearest-numbered training
image, without any pixels, is right for 94.7 +- 0.6 % of the test images. Report
such a score only beside that baseline (NearestIndexClassifier) and beside a score
on held-out groups (GroupKFold with `groups`), where the baseline falls below 40 %.

Data: CC BY 4.0. Copyright of the images: NASA; THEMIS all-sky imagers, S. Mende and
E. Donovan. Please cite L. B. N. Clausen and H. Nickisch, "Automatic classification
of auroral images from the Oslo Auroral THEMIS (OATH) data set using machine
learning", J. Geophys. Res. Space Physics 123 (2018), doi:10.1029/2018JA025274.
"""


def load_oath(path, *, as_array=False, features=False):
    r"""Load the Oslo Auroral THEMIS (OATH) data set from a local copy.

    ========================  ==================================================
    Images                    5,824 of 256 x 256 pixels, 16 bits, one channel
    Classes                   6 (arc, diffuse, discrete, cloudy, moon, noaurora)
    Folds                     5 random splits, 70 % for training
    Licence                   CC BY 4.0; copyright of the images: NASA
    ========================  ==================================================

    Parameters
    ----------
    path : str or path-like
        The unpacked folder, the folder around it, or the archive
        ``oath_v1.1_20181026.tgz``. Of an archive, what OATH has is unpacked once,
        without the authors' code, into a folder named like it with ``.untar``
        appended, which later calls use again. Its SHA-256 is noted beside it, and
        another archive of its name is refused.
    as_array : bool, default=False
        Read all images into memory (760 MB for the whole data set) instead of
        returning their paths, which every estimator of sksimclr takes as well.
    features : bool, default=False
        Also read the features that the authors computed, from
        ``features/auroral_feat.h5`` of the copy. Needs h5py:
        ``pip install "sksimclr[oath]"``.

    Returns
    -------
    oath : :class:`~sklearn.utils.Bunch`
        images : ndarray of shape (n_samples,), str, or (n_samples, height, width)
            Paths of the images, or with ``as_array=True`` their green channel, the
            only one that has signal, uint16 as in the files. In the order of their
            numbers, which is the order of time within a sequence.
        target : ndarray of shape (n_samples,), int64
            Class of each image, an index into ``target_names``.
        target_names : list of 6 str
            Names of the classes.
        target_aurora : ndarray of shape (n_samples,), int64
            0 with aurora, 1 without.
        rotation : ndarray of shape (n_samples,), float64
            Angle by which the authors turned the image for their features, degrees.
        folds : list of 5 tuples (train, test)
            Row numbers of the authors' splits, see
            :func:`~sksimclr.model_selection.oath_folds`.
        groups : ndarray of shape (n_samples,), int64
            Station and night of each image where the copy has
            ``images/files_origin.csv``, else blocks of 200 consecutive images
            (:func:`~sksimclr.model_selection.sequence_groups`). A night lasts from
            19 UT to 19 UT, when no THEMIS station is dark.
        sequences : ndarray of shape (n_samples,), int64
            Five images of a group that follow one another, for
            ``SimCLRTransformer.fit(images, sequences=oath.sequences)``: moments of one
            sky, 91 % of which share a label with another one of the five. Not for
            folds.
        filenames : ndarray of shape (n_samples,), str
            Path of each image.
        features : ndarray of shape (n_samples, 1001), float
            Only with ``features=True``: the logits that an Inception-v4 trained on
            ImageNet gives for each image turned by ``rotation``, in the floating
            type of the file and the order of ``images``. Another number of columns
            than the 1,001 of the published file is accepted, so that features of
            another network can be put in its place.
        DESCR : str
            Description, licence and citation.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ImportError
        If ``features=True`` and h5py is not installed.
    ValueError
        If what is there is not a complete copy; the message names the file.

    Warns
    -----
    UserWarning
        If ``files_origin.csv`` cannot be understood, so that ``groups`` are blocks
        of consecutive images.

    See Also
    --------
    fetch_oath : Download the data set first, if need be.
    make_aurora : Synthetic images of the same classes, without any download.

    References
    ----------
    .. [1] L. B. N. Clausen and H. Nickisch, "Automatic classification of auroral
       images from the Oslo Auroral THEMIS (OATH) data set using machine learning",
       J. Geophys. Res. Space Physics 123 (2018), doi:10.1029/2018JA025274.
    .. [2] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    A copy with two images, as OATH has them, stands for the data set:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sksimclr.datasets import load_oath
    >>> copy = Path(tempfile.mkdtemp())
    >>> (copy / "classifications").mkdir()
    >>> (copy / "images" / "cropped_scaled").mkdir(parents=True)
    >>> n = (copy / "classifications" / "classifications.csv").write_text(
    ...     "class2,class6,picNum,picType,rotAng\n"
    ...     "0,2,00001,discrete,334\n1,4,00002,moon,0\n"
    ... )
    >>> for number in (1, 2):
    ...     image = Image.fromarray(np.full((8, 8), number, np.uint16))
    ...     image.save(copy / "images" / "cropped_scaled" / f"{number:05d}.png")
    >>> oath = load_oath(copy, as_array=True)
    >>> oath.images.shape, oath.target_names[oath.target[0]]
    ((2, 8, 8), 'discrete')

    The published score of the features, 81.7 % ("Ridge + ImageNet Inception" in
    [2]_, from [1]_), has this protocol, on folds that leak (see ``oath.DESCR``):

    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import cross_val_score
    >>> oath = load_oath("oath_v1.1_20181026.tgz", features=True)  # doctest: +SKIP
    >>> scores = cross_val_score(
    ...     RidgeClassifier(alpha=0.03), oath.features, oath.target, cv=oath.folds
    ... )  # doctest: +SKIP
    >>> scores.mean()  # doctest: +SKIP
    """
    if features:
        files.import_h5py()  # to know before 500 MB are unpacked
    path = Path(os.path.expanduser(path))
    csv = files.find_labels(archives.unpack(path) if path.is_file() else path)
    if csv is None:
        files.raise_no_copy(path)
    root = csv.parent.parent
    labels = files.read_labels(csv)
    filenames = files.image_paths(root / "images" / "cropped_scaled", labels["number"])
    optional = {}
    if features:
        h5 = root / "features" / "auroral_feat.h5"
        optional["features"] = files.read_features(h5, len(labels))
    groups = files.read_groups(root / "images/files_origin.csv", labels["number"])
    return Bunch(
        images=files.read_images(filenames) if as_array else filenames,
        target=labels["class6"].copy(),
        target_names=list(files.TARGET_NAMES),
        target_aurora=labels["class2"].copy(),
        rotation=labels["rotation"].copy(),
        folds=files.read_folds(csv.with_name("train_test_split.csv"), len(labels)),
        groups=groups,
        sequences=_sequences_in(groups),
        filenames=filenames,
        DESCR=_DESCR,
        **optional,
    )


def _sequences_in(groups):
    """Return the numbers of blocks of five images of a group, one after the other."""
    keys = np.stack([groups, np.zeros_like(groups)])
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        keys[1, rows] = sequence_groups(len(rows), block_size=5)
    return np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)


def fetch_oath(
    *,
    data_home=None,
    download_if_missing=True,
    as_array=False,
    features=False,
    n_retries=3,
    delay=1.0,
    sha256=None,
):
    """Load the Oslo Auroral THEMIS (OATH) data set, downloading it if necessary.

    The archive has about 500 MB and is downloaded and unpacked once. A download
    that was interrupted goes on where it stopped when the function is called again.
    https is tried first, then http. The server publishes no checksum: that of the
    first archive that was unpacked is noted in ``oath_v1.1_20181026.tgz.sha256``, and
    another archive is refused from then on.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder for the data. By default the one that the environment variable
        ``SKSIMCLR_DATA`` names, else ``pooch.os_cache("sksimclr")``. An archive or
        an unpacked folder that lies there already is used without any network.
    download_if_missing : bool, default=True
        If False, raise a FileNotFoundError instead of downloading.
    as_array : bool, default=False
        Read all images into memory (760 MB), see :func:`load_oath`.
    features : bool, default=False
        Also read the features that the authors computed, see :func:`load_oath`.
        Needs h5py: ``pip install "sksimclr[oath]"``.
    n_retries : int, default=3
        How often a broken connection is tried again, at least 0.
    delay : float, default=1.0
        Pause between tries, seconds, at least 0.
    sha256 : str, default=None
        SHA-256 that the archive must have, 64 hexadecimal digits: from a colleague, or
        from the note of another machine. By default that of the note, if there is one.

    Returns
    -------
    oath : :class:`~sklearn.utils.Bunch`
        See :func:`load_oath`.

    Raises
    ------
    FileNotFoundError
        If the data set is not there and ``download_if_missing=False``.
    OSError
        If it cannot be downloaded, or has another SHA-256. The message says how to get
        it by hand.
    ImportError
        If ``features=True`` and h5py is not installed; then nothing is downloaded.
    TypeError, ValueError
        If ``n_retries`` or ``delay`` is not a number or negative.
    ValueError
        If what is there is not a complete copy, or has another SHA-256; the message
        names the file. If ``sha256`` is no SHA-256, or there is no archive to compare
        with it, but only an unpacked copy.

    Warns
    -----
    UserWarning
        If the archive came over plain http and no hash was known.

    See Also
    --------
    load_oath : Load a copy that lies anywhere, and what the result holds.
    make_aurora : Synthetic images of the same classes, without any download.

    References
    ----------
    .. [1] L. B. N. Clausen and H. Nickisch, "Automatic classification of auroral
       images from the Oslo Auroral THEMIS (OATH) data set using machine learning",
       J. Geophys. Res. Space Physics 123 (2018), doi:10.1029/2018JA025274.
    .. [2] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    Use OATH where it is at hand, and a synthetic stand-in elsewhere:

    >>> from sksimclr.datasets import fetch_oath, make_aurora
    >>> try:
    ...     data = fetch_oath(download_if_missing=False)
    ... except FileNotFoundError:
    ...     data = make_aurora(600, size=32, random_state=0)
    >>> data.target_names
    ['arc', 'diffuse', 'discrete', 'cloudy', 'moon', 'noaurora']

    The published score of the features, 81.7 % ("Ridge + ImageNet Inception" in
    [2]_, from [1]_), has this protocol, on folds that leak (see ``oath.DESCR``):

    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import cross_val_score
    >>> oath = fetch_oath(features=True)  # doctest: +SKIP
    >>> scores = cross_val_score(
    ...     RidgeClassifier(alpha=0.03), oath.features, oath.target, cv=oath.folds
    ... )  # doctest: +SKIP
    >>> scores.mean()  # doctest: +SKIP
    """
    check_scalar(n_retries, "n_retries", Integral, min_val=0)
    check_scalar(delay, "delay", Real, min_val=0)
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(
            "fetch_oath: expected 64 hexadecimal digits, 0 to 9 and a to f, as sha256, "
            f"got {sha256!r}."
        )
    if features:
        files.import_h5py()
    home = resolve_data_home(data_home)
    path, is_safe = _find_copy(home, sha256), True
    if path is None:
        if not download_if_missing:
            raise FileNotFoundError(
                f"fetch_oath: there is no copy of OATH in {str(home)!r}, and "
                "download_if_missing=False forbids to download its 500 MB. "
                f"{_by_hand(home)}"
            )
        path = home / archives.ARCHIVE
        known = sha256 or archives.noted_sha256(path)
        is_safe = _download(path, known, n_retries, delay) or known is not None
    if path.is_file():
        archives.unpack(path, sha256)
    if not is_safe:
        warnings.warn(
            "fetch_oath: OATH came over plain http, so anybody on the way could have "
            "changed it. Compare its SHA-256 with a colleague's: "
            f"{archives.noted_sha256(path)}.",
            stacklevel=2,
        )
    return load_oath(path, as_array=as_array, features=features)


def _find_copy(home, sha256):
    """Return an unpacked copy of OATH in ``home``, else its archive, else None."""
    archive = home / archives.ARCHIVE
    csv = files.find_labels(home) or files.find_labels(archives.unpacked(archive))
    if archive.is_file() and (csv is None or sha256 is not None):
        return archive
    if csv is not None and sha256 is not None:
        raise ValueError(
            f"fetch_oath: expected an archive {str(archive)!r}, whose SHA-256 can be "
            f"compared with sha256, got an unpacked copy with {str(csv)!r} alone. Put "
            "the archive there, leave sha256 out, or remove the copy."
        )
    return None if csv is None else csv.parent.parent


def _download(path, known, n_retries, delay):
    """Download the archive, and return whether it came over https."""
    is_safe = is_served(archives.HTTPS_URL)
    try:
        download(
            archives.HTTPS_URL if is_safe else archives.URL,
            path,
            n_retries=n_retries,
            delay=delay,
            max_bytes=archives.MAX_BYTES,
            known_hash=known and f"sha256:{known}",
        )
    except (OSError, ValueError) as error:
        raise OSError(f"fetch_oath: {error} {_by_hand(path.parent)}") from error
    return is_safe


def _by_hand(home):
    """Say how to do without the download."""
    return f"To get it by hand, download {archives.URL} and put it into {str(home)!r}."
