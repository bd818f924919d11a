"""Writers of small all-sky files in the forms that the archives have."""

import gzip

import numpy as np
from PIL import Image
from png import write_png_16

START = np.datetime64("2014-03-10T06:00:00.063119", "ns")
_UNIX_EPOCH = 62_167_219_200_000  # CDF epoch (ms since the year 0) of 1970-01-01


def frame_times(n_frames, start=START, step=3):
    """Return the times of frames that begin `step` seconds after each other."""
    return start + np.timedelta64(step, "s") * np.arange(n_frames)


def frame_name(time, site, suffix, kind="full"):
    """Return a name like those of THEMIS: 20140310_0600_gill_themis19_full.pgm."""
    minute = str(np.datetime64(time, "m")).replace("-", "").replace(":", "")
    return f"{minute.replace('T', '_')}_{site}_themis19_{kind}{suffix}"


def pgm_bytes(images, times=None, site="gill"):
    """Return (n, H, W) of 8 or 16 bits as binary PGM images with THEMIS comments.

    Without `times`, as plain images that say nothing of themselves.
    """
    data = b""
    for number, image in enumerate(images):
        comments = "" if times is None else _comments(times[number], site, number)
        maximum = np.iinfo(image.dtype).max
        header = f"P5\n{comments}{image.shape[1]} {image.shape[0]}\n{maximum}\n"
        data += header.encode() + image.astype(image.dtype.newbyteorder(">")).tobytes()
    return data


def write_pgm(path, images, times=None, site="gill"):
    """Write one minute of frames; compressed if the name ends in ".gz"."""
    data = pgm_bytes(images, times, site)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_cdf(
    path, images, times, site="gill", *, layout="legacy", tt2000=None, **options
):
    """Write (n, H, W) as the THEMIS level 1 CDF of one hour.

    The "legacy" layout has a record, an epoch and a time in whole seconds per frame;
    that of "2024" one record (H, W, n), whose epoch is of no use. With `tt2000`, int64,
    these are the only times. `options` are those
    of cdflib's writer, for the file ("Majority", "Encoding", "Compressed", "Checksum")
    or the images ("Compress", "Block_Factor", ...).
    """
    from cdflib.cdfwrite import CDF

    seconds = (times - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    epochs = _UNIX_EPOCH + 1000 * seconds
    if layout == "2024":
        images = np.moveaxis(images, 0, -1)[np.newaxis]
        seconds, epochs = seconds[np.newaxis], epochs[:1]
    else:
        seconds = np.floor(seconds)
    name = f"thg_asf_{site}"
    of_file = {"Majority": "Row_major", "Encoding": 1, "Compressed": 0}
    for key in ("Majority", "Encoding", "Compressed", "Checksum"):
        of_file |= {key: options.pop(key)} if key in options else {}
    file = CDF(path, cdf_spec=of_file, delete=True)
    file.BLOCKING_BYTES = 1  # else it makes blocks of 64 KiB whatever Block_Factor says
    kinds = {"u1": "UINT1", "u2": "UINT2", "i1": "INT1", "i2": "INT2", "i4": "INT4"}
    kind = f"CDF_{kinds[images.dtype.str[1:]]}"
    if of_file["Majority"] == "Column_major":  # the writer leaves that to its caller
        flat = [image.ravel(order="F") for image in images]
        images = np.reshape(flat, images.shape)
    _write_variable(file, name, kind, images, **options)
    rows = np.arange(images.shape[1], dtype=np.uint16)[np.newaxis]
    _write_variable(file, f"{name}_row", "CDF_UINT2", rows, Rec_Vary=False)
    if tt2000 is not None:
        _write_variable(file, f"{name}_epoch", "CDF_TIME_TT2000", tt2000)
    else:
        _write_variable(file, f"{name}_time", "CDF_REAL8", seconds)
        _write_variable(file, f"{name}_epoch", "CDF_EPOCH", epochs)
    file.close()
    return path


def write_png(path, images):
    """Write one frame: grey of 8 or 16 bits, or colour (1, H, W, C) of 8 or 16 bits."""
    (image,) = images
    if image.ndim == 3 and image.dtype == np.uint16:
        write_png_16(path, image)
    else:
        Image.fromarray(image).save(path)
    return path


def in_green(images):
    """Return (n, H, W) as the green of colour images, as OATH has it."""
    return np.stack([np.zeros_like(images), images, np.zeros_like(images)], axis=-1)


def _comments(time, site, number):
    """Return some of the comments of a THEMIS frame."""
    begin = str(np.datetime64(time, "us")).replace("T", " ")
    return (
        '#"Revised" 2006-05-22\n'
        '#"Project unique ID" THEMIS\n'
        f'#"Site unique ID" {site}\n'
        '#"Geodetic latitude" 56.3539\n'
        '#"Geodetic Longitude" -94.6557\n'
        f'#"Mode sequence number" {number}\n'
        f'#"Image request start" {begin} UTC\n'
        '#"Exposure plus initial readout"    985.07 ms\n'
    )


def _write_variable(file, name, kind, data, **options):
    """Write a variable of which the first axis of `data` counts the records."""
    spec = {"Variable": name, "Data_Type": file._datatype_token(kind)}
    spec |= {"Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": list(data.shape[1:])}
    file.write_var(spec | options, var_data=np.ascontiguousarray(data))
