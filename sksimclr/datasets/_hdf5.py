"""The authors' features in OATH's HDF5 file, read where a crash ends nothing else.

Run as a program, since the HDF5 library crashes with some damaged files.
"""

import json
import sys
from contextlib import suppress

_MOST_BYTES = 1 << 28  # of the features, which have 23 MB, and of a chunk of them
_MOST_MEMORY = 1 << 32  # of this process


def logits(file, n_samples):
    """Return the data set ``Logits`` of an open file as an array.

    Raises a ValueError for what is no array of floating-point numbers in `n_samples`
    rows, and for one whose numbers are not all in this file.
    """
    import numpy as np

    from sksimclr._files.hdf5 import own_dataset

    found = own_dataset(file, "Logits")
    shape, dtype = found.shape, found.dtype
    if not shape:  # one value, or none
        value = np.asarray(found[()])
        shape, dtype = value.shape, value.dtype
    is_table = len(shape) == 2 and shape[0] == n_samples and shape[1] > 0
    if not is_table or dtype.kind != "f":
        raise ValueError(
            f"expected 'Logits' to be floating-point numbers in {n_samples} rows, one "
            f"per line of classifications.csv, and 1001 columns, got {dtype} of shape "
            f"{shape}"
        )
    sizes = found.nbytes, int(np.prod(found.chunks or ())) * dtype.itemsize
    if max(sizes) > _MOST_BYTES:
        raise ValueError(
            f"expected at most {_MOST_BYTES:,} bytes in 'Logits', got {dtype} of shape "
            f"{shape} in chunks of {found.chunks}"
        )
    return found[()]


def main(path, copy, n_samples):
    """Write the features to a file of NumPy's, or print why not."""
    import h5py
    import numpy as np

    try:
        with h5py.File(path, "r") as file:
            array = logits(file, int(n_samples))
        np.save(copy, array.astype(array.dtype.newbyteorder("=")))
    except ValueError as error:
        print(error)
    except Exception as error:  # h5py raises anything for damaged files
        print(f"expected a complete HDF5 file, which cannot be read ({error})")


def _limit_memory():
    """Let a damaged file have no more than it needs, where systems can do that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    _limit_memory()
    main(*sys.argv[2:])
