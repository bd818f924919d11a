"""``sksimclr review``: a page in which frames are labelled, for ``train --labels``."""

from sksimclr._commands._arguments import circle
from sksimclr._commands._labels import read_labels
from sksimclr._commands._report import SOME_FAILED, Report, failures_text
from sksimclr._files.file_names import as_path, as_text
from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr.archive._catalogue import read_files
from sksimclr.archive._review import make_page


def run(args):
    """Write the page."""
    labels = _labels(args) if args.labels else []
    n_frames, gone = make_page(
        args.catalogue,
        args.output,
        args.number,
        labels,
        AuroraPreprocessor(**circle(args)),
    )
    data = {
        "page": args.output,
        "n_frames": n_frames,
        "n_labelled": len(labels),
        "failures": gone,
    }
    lines = [
        f"{args.output} shows {n_frames} frames. Open it in a browser, label with the "
        "keys 1 to 9, and save the table of labels.",
        "Then: sksimclr train FILES --labels labels.csv -o MODEL.skops",
    ]
    if gone:
        lines.append(failures_text(gone))
    return Report(data, "\n".join(lines), SOME_FAILED if gone else 0)


def _labels(args):
    """Return (file, frame, label) of a table, with the catalogue's names of files."""
    files = map(as_path, read_files(args.catalogue)["file"].to_pylist())
    found = read_labels(args.labels, list(files), to_train=False)
    return [
        (as_text(path), frame, label.name)
        for path, frames in found.items()
        for frame, label in frames.items()
    ]
