"""From a fitted pipeline and a folder of all-sky files to a catalogue of labels.

:func:`label_archive` streams any number of files through a pipeline into a Parquet data
set, :func:`pack_frames` into a store of small frames to train on. Both can be stopped
at any moment and go on where they were, on the threads of one machine or on a Dask
cluster: ``pip install "sksimclr[archive]"``.
"""

from sksimclr._files.finding import find_files
from sksimclr._files.frames import Frames, UnreadableFileError
from sksimclr._files.readers import read_frames, register_reader
from sksimclr.archive._agreement import LabelAgreement, compare_labels
from sksimclr.archive._catalogue import read_catalogue, read_failures
from sksimclr.archive._coverage import coverage
from sksimclr.archive._labelling import LabelRun, label_archive
from sksimclr.archive._models import load_model, save_model
from sksimclr.archive._occurrence import occurrence
from sksimclr.archive._packing import PackRun, pack_frames
from sksimclr.archive._review import write_review
from sksimclr.archive._store import FrameStore, open_frames
from sksimclr.archive._suggest import suggest

__all__ = [
    "FrameStore",
    "Frames",
    "LabelAgreement",
    "LabelRun",
    "PackRun",
    "UnreadableFileError",
    "compare_labels",
    "coverage",
    "find_files",
    "label_archive",
    "load_model",
    "occurrence",
    "open_frames",
    "pack_frames",
    "read_catalogue",
    "read_failures",
    "read_frames",
    "register_reader",
    "save_model",
    "suggest",
    "write_review",
]
