"""A part of a catalogue: what a fitted pipeline says of the frames of some files."""

from functools import partial
from urllib.parse import quote

import numpy as np

from sksimclr.archive._commit import write_table
from sksimclr.archive._part import Part
from sksimclr.archive._quality import WITHOUT_LABEL
from sksimclr.archive._rows import rows_table


class LabelledPart(Part):
    """Files on their way to a part of a catalogue.

    Parameters
    ----------
    labeller : Labeller
    """

    def __init__(self, labeller):
        import torch

        super().__init__(on_gpu=torch.cuda.is_available())
        self.utc_offset = labeller.header["utc_offset"]
        self._labeller = labeller
        self._rows = {}  # by number of the file, a list of dicts of columns

    def is_wanted(self, quality):
        """Return which frames of these qualities are labelled."""
        return ~np.isin(quality, WITHOUT_LABEL)

    def compute(self, images):
        """Return what the model says of frames."""
        return self._labeller.columns(images)

    def keep(self, piece, columns):
        """Keep the rows of a piece, of which some may have no label."""
        self.files[piece.number]["n_frames"] += len(piece)
        known = {
            "file": self.files[piece.number]["file"],
            "frame": piece.frame,
            "time": piece.times,
            "quality": piece.quality,
            "site": piece.site,
            "instrument": piece.instrument,
            "labelled": piece.wanted,
        }
        self._rows.setdefault(piece.number, []).append(known | columns)

    def drop(self, number):
        """Forget the rows of a file."""
        self._rows.pop(number, None)

    def outputs(self, name):
        """Return a file of rows for each site and date."""
        chunks = [chunk for _, rows in sorted(self._rows.items()) for chunk in rows]
        tables = rows_table(chunks, self._labeller.header) if chunks else []
        return [catalogue_file(name, *table) for table in tables], None


def catalogue_file(name, site, date, table):
    """Return the path of rows of a site and a date in a catalogue, and their writer."""
    place = f"site={quote(site, safe='')}/date={date}"
    return f"{place}/part-{name}.parquet", partial(write_table, table)
