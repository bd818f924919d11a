"""From a fitted pipeline and a folder of all-sky files to a catalogue of labels.

:func:`label_archive` streams any number of files through a pipeline into a Parquet data
set. It can be stopped at any moment and goes on where it was, on the threads of one
machine or on a Dask cluster: ``pip install "sksimclr[archive]"``.
"""

from sksimclr._files.finding import find_files
from sksimclr._files.frames import Frames, UnreadableFileError
from sksimclr._files.readers import read_frames, register_reader
from sksimclr.archive._catalogue import read_catalogue, read_failures
from sksimclr.archive._labelling import LabelRun, label_archive
from sksimclr.archive._models import load_model, save_model
from sksimclr.archive._occurrence import occurrence
from sksimclr.archive._review import write_review
from sksimclr.archive._suggest import suggest

__all__ = [
    "Frames",
    "LabelRun",
    "UnreadableFileError",
    "find_files",
    "label_archive",
    "load_model",
    "occurrence",
    "read_catalogue",
    "read_failures",
    "read_frames",
    "register_reader",
    "save_model",
    "suggest",
    "write_review",
]
