"""What the files of the OATH data set hold, and the checks of a copy of it."""

import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from sksimclr._files.arrays import read_npy
from sksimclr.datasets import _hdf5
from sksimclr.datasets._oath_archive import ARCHIVE, URL
from sksimclr.model_selection import oath_folds, sequence_groups, split_orders

_COLUMNS = ["class2", "class6", "picNum", "picType", "rotAng"]
TARGET_NAMES = ["arc", "diffuse", "discrete", "cloudy", "moon", "noaurora"]
_LABEL = np.dtype(
    [
        ("number", np.int64),
        ("class6", np.int64),
        ("class2", np.int64),
        ("rotation", np.float64),
    ]
)
_DATE_AND_TIME = re.compile(
    r"(?<!\d)(\d{4})[-/.]?(\d\d)[-/.]?(\d\d)[\s,;T_]*(\d\d):?(\d\d)"
)
_PICTURE_NUMBER = re.compile(r"(?:^|[\s,;/])(\d{5})(?:\.png)?(?=[\s,;]|$)")
# No THEMIS station is dark at 19 UT: from Greenland, where night falls from 20 UT on,
# to Alaska, where it lasts until 19 UT, the sun is then at most 9 degrees below the
# horizon, but for three weeks a year at Kiana. A cut at 0 or 12 UT would halve nights.
_NEW_NIGHT_UT = timedelta(hours=19)

_MOST_SECONDS = 120  # for the features, which take one


def find_labels(folder):
    """Return ``classifications.csv`` of the copy that is ``folder`` or is in it."""
    for pattern in ("classifications", "classification"):
        for prefix in ("", "[!.]*/"):  # hidden folders may be half unpacked
            for csv in sorted(folder.glob(f"{prefix}{pattern}/classifications.csv")):
                if csv.is_file():
                    return csv
    return None


def raise_no_copy(path):
    """Say that there is no copy of OATH at ``path``."""
    expected = (
        "expected the unpacked OATH folder, with classifications/classifications.csv "
        f"and images/cropped_scaled/ in it, or the archive {ARCHIVE}"
    )
    if not path.exists():
        raise FileNotFoundError(
            f"load_oath: {expected}, but {str(path)!r} does not exist. "
            "fetch_oath() downloads the data set."
        )
    raise ValueError(
        f"load_oath: {expected}, but found no classifications.csv in {str(path)!r}. "
        f"Unpack the archive again, or get it from {URL}."
    )


def read_labels(csv):
    """Return ``classifications.csv`` as a structured array sorted by number."""
    lines = csv.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    top, header = _find_header(csv, lines)
    rows = [
        _parse_label(csv, number, header, line)
        for number, line in enumerate(lines[top + 1 :], start=top + 2)
        if line.strip()
    ]
    if len(rows) < 2:
        raise ValueError(
            f"load_oath: expected at least 2 labelled images in {str(csv)!r}, got "
            f"{len(rows)}. Unpack the archive again."
        )
    labels = np.sort(np.array(rows, dtype=_LABEL), order="number")
    numbers = labels["number"]
    twice = numbers[1:][np.diff(numbers) == 0]
    if len(twice):
        raise ValueError(
            f"load_oath: expected each picNum once in {str(csv)!r}, got {twice[0]:05d} "
            "more than once. Unpack the archive again."
        )
    return labels


def _find_header(csv, lines):
    """Return the row number of the header and its fields."""
    for number, line in enumerate(lines):
        fields = [field.strip() for field in line.split(",")]
        missing = [column for column in _COLUMNS if column not in fields]
        if not missing:
            return number, fields
        if len(missing) < len(_COLUMNS) - 1:
            raise ValueError(
                f"load_oath: {str(csv)!r}, line {number + 1}: expected the columns "
                f"{','.join(_COLUMNS)}, got {line!r}, without {','.join(missing)}."
            )
    raise ValueError(
        f"load_oath: expected a line {','.join(_COLUMNS)} in {str(csv)!r}, got none in "
        f"its {len(lines)} lines. Unpack the archive again."
    )


def _parse_label(csv, number, header, line):
    """Return (picture number, class6, class2, rotation) of one line."""
    try:
        row = dict(zip(header, line.split(","), strict=True))
        class2, class6 = int(row["class2"]), int(row["class6"])
        if class2 not in (0, 1) or class6 not in range(len(TARGET_NAMES)):
            raise ValueError("class2 must be 0 or 1 and class6 0 to 5")
        if row["picType"].strip() != TARGET_NAMES[class6]:
            raise ValueError(f"class6 {class6} must be {TARGET_NAMES[class6]}")
        picture = int(row["picNum"])
        if picture not in range(100_000):
            raise ValueError("picNum must have five digits")
        return picture, class6, class2, float(row["rotAng"])
    except ValueError as error:
        raise ValueError(
            f"load_oath: {str(csv)!r}, line {number}: expected a line such as "
            f"0,2,00001,discrete,334, got {line!r} ({error})."
        ) from error


def image_paths(folder, numbers):
    """Return the path of each image, all of which must be there."""
    names = [f"{number:05d}.png" for number in numbers]
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(
            f"load_oath: expected {len(names)} images in {str(folder)!r}, one per line "
            f"of classifications.csv, but {len(missing)} are missing, first "
            f"{missing[0]}. Unpack the archive again."
        )
    return np.array([str(folder / name) for name in names])


def read_images(filenames):
    """Read all images into one array of shape (n_samples, height, width)."""
    first = _read_green(filenames[0])
    images = np.empty((len(filenames), *first.shape), first.dtype)

    def read(index):
        image = _read_green(filenames[index])
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"load_oath: expected {first.shape} {first.dtype} as in "
                f"{filenames[0]!r}, got {image.shape} {image.dtype} in "
                f"{filenames[index]!r}. Unpack the archive again."
            )
        images[index] = image

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(read, range(len(filenames))))
    return images


def _read_green(filename):
    """Return the one channel of an image that has signal, (height, width)."""
    from sksimclr._files.readers import read_image

    image = read_image(str(filename))
    if image.ndim == 2:
        return image
    if image.shape[2] != 3 or image[..., ::2].any():
        raise ValueError(
            "load_oath: as_array=True expects grey images, or RGB with signal only in "
            f"green, got {image.shape} with signal in other channels in "
            f"{str(filename)!r}. Use as_array=False and the paths."
        )
    return image[..., 1]


def import_h5py():
    """Return the module h5py, or say how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "load_oath: features=True needs h5py, which is not installed. Install it "
            'with: pip install "sksimclr[oath]"'
        ) from error
    return h5py


def read_features(path, n_samples):
    """Return the authors' features, (n_samples, n_features), by picture number."""
    logits = _read_logits(path, n_samples)
    bad_rows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad_rows):
        raise ValueError(
            f"load_oath: expected finite numbers in 'Logits' of {str(path)!r}, got NaN "
            f"or infinity in {len(bad_rows)} rows, first in row {bad_rows[0]}. Unpack "
            "the archive again."
        )
    return logits


def _read_logits(path, n_samples):
    """Return the data set ``Logits`` of an HDF5 file, read by another process."""
    import_h5py()
    if not path.is_file():
        raise ValueError(
            "load_oath: features=True expected the authors' features in "
            f"{str(path)!r}, but there is no such file. Unpack the archive again, or "
            "use features=False."
        )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "logits.npy")
        words = [json.dumps(sys.path), path.absolute(), copy, n_samples]
        command = [sys.executable, _hdf5.__file__, *map(str, words)]
        try:
            run = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_MOST_SECONDS,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )
            said, status = run.stdout.strip(), run.returncode
        except subprocess.TimeoutExpired:
            said, status = "", f"no answer in {_MOST_SECONDS} s"
        if status == 0 and not said:
            return read_npy(copy).images[0]
    raise ValueError(
        f"load_oath: features=True: {str(path)!r}: "
        + (said or f"reading it ended with {status}, as it does with damaged files")
        + ". Unpack the archive again."
    )


def read_folds(csv, n_samples):
    """Return the given splits as (train, test) pairs."""
    if not csv.is_file():
        return oath_folds(n_samples)
    try:
        orders = np.loadtxt(csv, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"load_oath: expected rows of numbers in {str(csv)!r}: {error}. Unpack "
            "the archive again."
        ) from error
    all_rows = np.arange(n_samples)
    for number, order in enumerate(orders, start=1):
        if not np.array_equal(np.sort(order), all_rows):
            raise ValueError(
                f"load_oath: {str(csv)!r}, row {number}: expected each of the row "
                f"numbers 0 to {n_samples - 1} of classifications.csv once, got "
                f"{len(order)} numbers that are not those. Unpack the archive again."
            )
    return split_orders(orders)


def read_groups(csv, numbers):
    """Return the station-nights of the images, or blocks if they aren't known."""
    if not csv.is_file():
        return sequence_groups(len(numbers))
    try:
        nights = _station_nights(csv, numbers)
    except ValueError as error:
        warnings.warn(
            f"load_oath: {error} The groups are blocks of 200 consecutive images "
            "instead.",
            stacklevel=3,
        )
        return sequence_groups(len(numbers))
    return np.unique(nights, return_inverse=True)[1].astype(np.int64)


def _station_nights(csv, numbers):
    """Return "station date" of each image from ``files_origin.csv``.

    Lines before the first that has a station and a time are comments or a header.
    Rows name their picture (00001 or 00001.png) or come in the order of pictures.
    """
    lines = csv.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    lines = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    rows = [_parse_origin(line) for _, line in lines]
    top = next((k for k, row in enumerate(rows) if row), len(rows))
    for (number, line), row in zip(lines[top:], rows[top:], strict=True):
        if row is None:
            raise ValueError(
                f"{str(csv)!r}, line {number}: expected a four-letter station and a "
                f"date with time such as gill,2011-01-06 10:17:03, got {line!r}."
            )
    rows = rows[top:]
    if len(rows) != len(numbers):
        raise ValueError(
            f"{str(csv)!r}: expected {len(numbers)} lines with a four-letter station "
            "and a date with time such as gill,2011-01-06 10:17:03, one per image, "
            f"got {len(rows)}."
        )
    if any(picture is not None for picture, _ in rows):
        rows = sorted(rows, key=lambda row: -1 if row[0] is None else row[0])
        if [picture for picture, _ in rows] != list(numbers):
            raise ValueError(
                f"{str(csv)!r}: expected the picture numbers of classifications.csv, "
                "each once, got others."
            )
    return [night for _, night in rows]


def _parse_origin(line):
    """Return (picture number or None, "station date"), or None if it has no such."""
    line = line.replace('"', "").replace("'", "")
    fields = re.split(r"[\s,;]+", line)
    station = next((f for f in fields if re.fullmatch("[A-Za-z]{4}", f)), None)
    when = _DATE_AND_TIME.search(line)
    if station is None or when is None:
        return None
    try:
        night = (datetime(*map(int, when.groups())) - _NEW_NIGHT_UT).date()
    except ValueError:  # such as month 13
        return None
    picture = _PICTURE_NUMBER.search(line)
    return picture and int(picture[1]), f"{station.lower()} {night}"
