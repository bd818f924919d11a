"""From a fitted pipeline and a folder of all-sky files to a catalogue of labels.

:func:`label_archive` streams any number of files through a pipeline into a Parquet data
set. It can be stopped at any moment and goes on where it was, on the threads of one
machine or on a Dask cluster: ``pip install "sksimclr[archive]"``.
"""

from sksimclr.archive._frames import Frames, UnreadableFileError

__all__ = [
    "Frames",
    "UnreadableFileError",
]
