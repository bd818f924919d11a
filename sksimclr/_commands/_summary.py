"""``sksimclr summary``: how often each class occurs in a catalogue."""

from collections import Counter
from pathlib import Path

from sksimclr._commands._report import Report, failures_text, table
from sksimclr._machine.writing import naming
from sksimclr.archive import occurrence, read_failures
from sksimclr.archive._catalogue import read_header

_FIGURES = (".pdf", ".png", ".svg")


def run(args):
    """Count, and draw if that is asked for."""
    if args.figure and Path(args.figure).suffix not in _FIGURES:
        raise ValueError(
            f"The name of a figure must end in one of {_FIGURES}, got {args.figure!r}."
        )
    counts = occurrence(args.catalogue, by=("site", "hour")).to_pylist()
    failures = read_failures(args.catalogue).to_pylist()
    data = {
        "catalogue": args.catalogue,
        "n_frames": sum(row["n_frames"] for row in counts),
        "occurrence": counts,
        "failures": failures,
    }
    classes = read_header(args.catalogue)["classes"]
    lines = [_table(counts, classes), failures_text(failures)]
    if args.figure:
        _draw(args.catalogue, args.figure)
        lines.append(f"Figure: {args.figure}")
        data["figure"] = args.figure
    return Report(data, "\n".join(line for line in lines if line))


def _table(counts, classes):
    """Return frames by site and hour, with a column for each class."""
    if not counts:
        return "The catalogue is empty."
    cells = Counter()
    for row in counts:
        hour = "?" if row["hour"] is None else f"{row['hour']:02d}"
        cells[row["site"], hour, row["label"]] += row["n_frames"]
    columns = [*classes, None] if any(key[2] is None for key in cells) else classes
    rows = [
        ["site", "hour UT", *("no label" if c is None else c for c in columns), "all"]
    ]
    for site, hour in sorted({key[:2] for key in cells}):
        numbers = [cells[site, hour, name] for name in columns]
        rows.append([site, hour, *numbers, sum(numbers)])
    totals = [sum(row[k] for row in rows[1:]) for k in range(2, len(rows[0]))]
    rows.append(["all", "", *totals])
    rows.append(["", "", *(f"{number / totals[-1]:.1%}" for number in totals)])
    return table(rows)


def _draw(catalogue, path):
    """Write the figure of the occurrence by hour."""
    from sksimclr.plotting import OccurrenceDisplay

    display = OccurrenceDisplay.from_catalogue(catalogue, hour="hour")
    with naming(Path(path)):
        display.figure_.savefig(path)
