"""What a reader gives of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CHANNELS = 4  # of an image


class UnreadableFileError(ValueError):
    """A file from which no frame can be read; the message names it and says why.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sksimclr.archive import UnreadableFileError, read_frames
    >>> path = Path(tempfile.mkdtemp()) / "night.pgm"
    >>> n_bytes = path.write_bytes(b"clear sky")
    >>> try:
    ...     frames = read_frames(path)
    ... except UnreadableFileError as error:
    ...     print("night.pgm" in str(error))
    True
    """


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of one file.

    Attributes
    ----------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
        As they are stored: uint8, uint16 or floats.
    times : ndarray of shape (n,), datetime64[ns], default=None
        Start of each exposure, UTC; NaT where the file does not tell.
    site : str, default=""
        Lower-case code of the station, such as "gill"; "" where the file does not tell.
    metadata : dict of str to str, default={}
        What else the file says of its frames.
    damage : str, default=""
        What is wrong with the file although these frames could be read: that it ends
        too early, for example. "" for a file that is whole.
    instrument : str, default=""
        Imager and line, mode or filter, such as "THEMIS ASI", "nir-216, 844.6 nm" or
        "rgb-04"; "" where the file does not tell.

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.archive import Frames
    >>> frames = Frames(np.zeros((2, 8, 8), np.uint16), site="gill")
    >>> len(frames), frames.times
    (2, array(['NaT', 'NaT'], dtype='datetime64[ns]'))
    """

    images: NDArray[Any]
    times: NDArray[np.datetime64] = None  # type: ignore[assignment]
    site: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    damage: str = ""
    instrument: str = ""

    def __post_init__(self) -> None:
        if self.times is None:
            unknown = np.full(len(self.images), "NaT", "datetime64[ns]")
            object.__setattr__(self, "times", unknown)

    def __len__(self) -> int:
        return len(self.images)
