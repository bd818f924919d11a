"""Labels of frames from a table in a CSV file."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sksimclr._files.file_names import absolute, as_path

_MOST_NAMED = 5


@dataclass(frozen=True)
class Label:
    """A label and the line of the table that has it."""

    name: str
    line: int


def read_labels(path, files, *, lost=None, to_train=True):
    """Read which frames have which label.

    Parameters
    ----------
    path : str or path-like
        CSV with the columns "file", "label" and maybe "frame", separated by commas,
        semicolons or tabs. Rows without a label count as not labelled.
    files : list of path-like
        The files that rows may name: by their path, or by as much of its end as is
        needed to tell them apart.
    lost : list, optional
        Takes the lines that name a file which is not among `files`. Without it, they
        are an error.
    to_train : bool, default=True
        Ask for two different labels at least.

    Returns
    -------
    dict of Path to dict of int to Label
        For the files that have labels, frame numbers and their labels.

    Raises
    ------
    ValueError
        The table is not as described, names a file that is not among `files`, or gives
        one frame two labels; or there are fewer labels than asked for.
    """
    named, labels, problems = _Files(files), defaultdict(dict), []
    for line, row in _rows(path):
        if not row["label"]:
            continue
        try:
            file = named.find(row["file"])
            number = _frame_number(row["frame"])
            before = labels[file].setdefault(number, Label(row["label"], line))
            if before.name != row["label"]:
                raise ValueError(
                    f"frame {number} of {row['file']!r} is {row['label']!r}, but line "
                    f"{before.line} says {before.name!r}"
                )
        except _NotAmongFiles as error:
            (problems if lost is None else lost).append(f"line {line}: {error}")
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise ValueError(f"{str(path)!r} has {_few(problems)}")
    if to_train and not lost:
        _check_classes(path, labels)
    return dict(labels)


def _rows(path):
    """Yield (number of the line, its file, label and frame) for all rows."""
    lines = _lines(path)
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        yield from _cells(path, reader)
    except csv.Error as error:
        raise ValueError(
            f"{str(path)!r}, line {reader.reader.line_num}: expected a row of a CSV "
            f"file ({error})."
        ) from error


def _lines(path):
    """Return the lines of a text file."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"Expected a CSV file, got {str(path)!r}, which is no file.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.readlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected a CSV file in UTF-8, got {str(path)!r}, which is not ({error}). "
            "Save it as UTF-8."
        ) from error


def _cells(path, reader):
    """Yield (number of the line, its file, label and frame) for all rows."""
    columns = [(name or "").strip() for name in reader.fieldnames or ()]
    if not {"file", "label"} <= set(columns):
        raise ValueError(
            f"{str(path)!r} must begin with a line that names its columns: file, label "
            f"and maybe frame; got {', '.join(columns) or 'an empty file'}."
        )
    reader.fieldnames = columns
    for row in reader:
        cells = {k: (row.get(k) or "").strip() for k in ("file", "label", "frame")}
        if any(cells.values()):
            yield reader.line_num, cells


class _Files:
    """The files that rows may name."""

    def __init__(self, files):
        self._by_name = defaultdict(list)
        for file in map(Path, files):
            self._by_name[file.name].append(file)
        self._by_end = {}  # as far as rows have asked for it

    def find(self, text):
        """Return the file that a row names."""
        wanted = Path(as_path(text))
        found = self._that_end(wanted) or self._that_end(wanted.resolve(), wanted.name)
        if len(found) > 1:
            raise ValueError(
                f"{text!r} may be {str(found[0])!r} or {str(found[1])!r}; give more of "
                "the path"
            )
        if not found:
            same_name = self._by_name.get(wanted.name)
            near = f", but {str(same_name[0])!r} is" if same_name else ""
            raise _NotAmongFiles(f"{text!r} is not among the files given{near}")
        return found[0]

    def _that_end(self, wanted, name=None):
        """Return the files of a name whose paths end in that of `wanted`, or are it.

        A link has two: its own, and that of the file to which it leads.
        """
        name, n = name or wanted.name, len(wanted.parts)
        if (name, n) not in self._by_end:
            ends = self._by_end[name, n] = defaultdict(list)
            for file in self._by_name.get(name, ()):
                paths = Path(absolute(file)), file.resolve()
                for end in {path.parts[-n:] for path in paths}:
                    ends[end].append(file)
        return self._by_end[name, n].get(wanted.parts, [])


class _NotAmongFiles(ValueError):
    """A row names a file that is not there."""


def _frame_number(text):
    """Return the number of a frame; 0 where there is none."""
    try:
        number = float(text or 0)  # 3.0, as gaps make of a 3
    except ValueError:
        number = -1.0
    if number < 0 or not number.is_integer():
        raise ValueError(f"frame must be an integer >= 0, got {text!r}")
    return int(number)


def _few(problems):
    """Return the first problems, on one line."""
    more = len(problems) - _MOST_NAMED
    text = "; ".join(problems[:_MOST_NAMED]) + (
        f"; and {more} more" if more > 0 else ""
    )
    return f"{len(problems)} row(s) that cannot be used: {text}."


def _check_classes(path, labels):
    """Raise a ValueError if there is nothing to tell apart."""
    names = {label.name for frames in labels.values() for label in frames.values()}
    if len(names) < 2:
        found = f"only {names.pop()!r}" if names else "none"
        raise ValueError(
            f"{str(path)!r} must have at least two different labels, got {found}."
        )
