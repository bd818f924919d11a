"""Labels for an archive: files go in, a catalogue comes out."""

from dataclasses import dataclass

from sksimclr.archive._folder import require_pyarrow
from sksimclr.archive._labeller import Labeller
from sksimclr.archive._run import Run, run_over


@dataclass(frozen=True)
class LabelRun(Run):
    """What a call of `label_archive` did.

    Attributes
    ----------
    n_files : int
        Files read in this run.
    n_skipped : int
        Files that an earlier run had done.
    n_frames : int
        Frames written to the catalogue in this run.
    n_failures : int
        Files of this run that could not be read, or not wholly; see `read_failures`.
    seconds : float
        Time taken.
    left_out : dict of str to int, default={}
        How many files of the folders were not taken, for each reason; see `find_files`.

    Examples
    --------
    >>> from sksimclr.archive import LabelRun
    >>> run = LabelRun(
    ...     n_files=60, n_skipped=0, n_frames=1200, n_failures=0, seconds=24.0
    ... )
    >>> run.n_frames / run.seconds
    50.0
    """


def label_archive(
    pipeline,
    files,
    output,
    *,
    embeddings=False,
    utc_offset=0.0,
    n_threads=None,
    part_bytes=None,
    retry_failures=False,
    verbose=0,
):
    """Label all frames of an archive with a fitted pipeline.

    Streams files through the pipeline into a Parquet data set. It may be interrupted or
    killed at any moment: the same call goes on, and ends with the same catalogue.

    Parameters
    ----------
    pipeline : estimator
        Fitted on such frames, ``(n, H, W)``; a classifier, or with `embeddings` a
        transformer.
    files : str, path-like or list of them
        Files, and folders that are searched, see `find_files`.
    output : str or path-like
        Folder of the catalogue, which is made, or gone on with.
    embeddings : bool, default=False
        Write float16 embeddings too: what the last step of the pipeline is given, or
        what a pipeline without a classifier returns.
    utc_offset : float, default=0.0
        Hours that the clock of the camera is ahead of UTC, in [-14, 14]: 1 for CET, 2
        for its summer time, 5.5 for India, -3 for Brazil. All times that files tell are
        brought to UTC by it, also those of files which have UTC by definition, such as
        THEMIS's. One for all files of a catalogue.
    n_threads : int, default=None
        Threads of this process, at least 1, each of which works on files of its own; by
        default as many as there are cores. Without effect on a Dask cluster.
    part_bytes : int, default=None
        Consecutive files of a folder become one part of the catalogue, until they have
        so many bytes, at least 1; by default 2**27, or a 64th of all files if that is
        less. A killed run repeats the parts that it was working on.
    retry_failures : bool, default=False
        Read files again from which an earlier run got no frame.
    verbose : int, default=0
        Above 0: show a progress bar.

    Returns
    -------
    LabelRun

    Raises
    ------
    ValueError
        The pipeline does not label or embed, a parameter is not as described; or the
        catalogue was begun with another pipeline or other settings.
    TypeError
        `n_threads` or `part_bytes` is no integer, or `utc_offset` no number.
    sklearn.exceptions.NotFittedError
        The pipeline is not fitted.
    FileNotFoundError
        One of `files` does not exist; or the catalogue has lost its list of files.
    FileExistsError
        `output` is a folder with something else in it.
    RuntimeError
        Another run is writing to the catalogue, or what was written vanishes.
    KeyboardInterrupt
        Ctrl-C. The same call goes on from there.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    read_catalogue : The rows of frames.
    read_failures : The files that could not be read.

    Notes
    -----
    With a `dask.distributed.Client`, the files are labelled by its workers, which must
    all see them and the catalogue under the same paths. Each worker gets the pipeline
    once, and uses its GPU if it has one.

    The columns of the catalogue:

    =======================  =======================================================
    ``file``                 absolute path
    ``frame``                number of the frame in its file, from 0
    ``time``                 start of the exposure, UTC, null where unknown
    ``label``                class of the highest probability, or what ``predict`` says
    ``probability_<class>``  float32, for each class
    ``quality``              "good"; "saturated", a quarter of the pixels has the
                             largest value; "short", from a damaged file; and without
                             a label: "constant", no contrast; "unreadable", NaN or
                             infinity in it
    ``model``                fingerprint of the pipeline
    ``instrument``           imager, with its line or mode, null where unknown; see
                             `Frames`
    ``embedding``            float16, with `embeddings`
    ``site``, ``date``       of the frame, "unknown" where the file does not tell
    =======================  =======================================================

    A file that cannot be read, or not wholly, is a row of `read_failures`; it never
    ends the run.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sksimclr import AuroraPreprocessor, SimCLRTransformer
    >>> from sksimclr.archive import label_archive, read_catalogue
    >>> from sksimclr.datasets import make_aurora
    >>> data = make_aurora(12, size=32, random_state=0)
    >>> simclr = SimCLRTransformer(image_size=32, stem="imagenet", max_epochs=0)
    >>> pipe = make_pipeline(AuroraPreprocessor(), simclr, LogisticRegression())
    >>> pipe = pipe.fit(data.images, np.take(data.target_names, data.target))
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/20140310_0600_gill.npy", data.images)
    >>> run = label_archive(pipe, folder, f"{folder}/catalogue")
    >>> run.n_files, run.n_frames, run.n_failures
    (1, 12, 0)
    >>> label_archive(pipe, folder, f"{folder}/catalogue").n_skipped
    1
    >>> table = read_catalogue(f"{folder}/catalogue")
    >>> table["site"][0].as_py(), table["quality"][0].as_py()
    ('gill', 'good')
    """
    require_pyarrow()
    numbers = run_over(
        files,
        output,
        Labeller(pipeline, embeddings=embeddings, utc_offset=utc_offset),
        n_threads=n_threads,
        part_bytes=part_bytes,
        retry_failures=retry_failures,
        verbose=verbose,
    )
    return LabelRun(**numbers)
