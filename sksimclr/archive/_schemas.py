"""Columns of the Parquet files, and what the headers of their folders must say."""

import numpy as np

from sksimclr._preprocessing import AuroraPreprocessor

FORMAT = 2  # which has the instrument beside the site
UNKNOWN = "unknown"  # site or date that a file does not tell
SHARD_KEY = b"sksimclr_shard"  # in the metadata of a note: what shard the part has


def file_schema():
    """Return the schema of the rows of input files, which are notes of parts."""
    import pyarrow as pa

    return pa.schema(
        [("file", pa.string()), ("n_frames", pa.int32()), ("reason", pa.string())]
    )


def _frame_fields():
    """Return the columns that say which frame a row is of."""
    import pyarrow as pa

    return [
        ("file", pa.string()),
        ("frame", pa.int32()),
        ("time", pa.timestamp("ns", "UTC")),
    ]


def frame_schema(header):
    """Return the schema of the rows of a catalogue, without the partition columns."""
    import pyarrow as pa

    fields = _frame_fields()
    classes = header["classes"]
    if classes is not None:
        fields.append(("label", pa.array(classes).type))
        if header["probabilities"]:
            fields += [(f"probability_{name}", pa.float32()) for name in classes]
    fields += [("quality", pa.string()), ("model", pa.string())]
    if header.get("format", FORMAT) > 1:
        fields.append(("instrument", pa.string()))
    if header["n_features"]:
        # not of fixed size: pyarrow 16 to 23 cannot read those with nulls among them
        fields.append(("embedding", pa.list_(pa.float16())))
    return pa.schema(fields)


def index_schema():
    """Return the schema of the rows of a store, one for each frame of its shards."""
    import pyarrow as pa

    fields = [
        ("site", pa.string()),
        ("instrument", pa.string()),
        ("sequence", pa.int64()),
        ("quality", pa.string()),
    ]
    return pa.schema([*_frame_fields(), *fields])


def form_of_frames(header):
    """Return what a store's header says of its frames.

    Returns
    -------
    (AuroraPreprocessor, (int, int), numpy dtype)

    Raises
    ------
    ValueError, TypeError, KeyError
        It says something else.
    """
    parameters = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in header["preprocessor"].items()
    }
    preprocessor = AuroraPreprocessor(**parameters)
    preprocessor._validate_params()
    shape, dtype = header["frame_shape"], header["dtype"]
    is_right = preprocessor.size and shape == 2 * [preprocessor.size]
    if not is_right or dtype != preprocessor.dtype:
        raise ValueError(f"frames of {dtype} and shape {shape}")
    return preprocessor, tuple(shape), np.dtype(dtype)
