"""``sksimclr summary``: how often each class occurs, and what is missing."""

from collections import Counter

from sksimclr._commands._coverage import (
    coverage_of_cameras,
    coverage_text,
    hours_of_clocks,
    nights_of,
)
from sksimclr._commands._figures import check_figure, positions, write_figure
from sksimclr._commands._report import Report, failures_text, table
from sksimclr.archive import occurrence, read_failures
from sksimclr.archive._catalogue import open_rows, read_header
from sksimclr.archive._occurrence import has_instruments


def run(args):
    """Count, and draw if that is asked for."""
    if args.figure:
        check_figure(args.figure)
    hour, sites = "magnetic_hour" if args.mlt else "hour", positions(args)
    classes = read_header(args.catalogue)["classes"]
    where = ["site"] + ["instrument"] * has_instruments(open_rows(args.catalogue))
    counts = occurrence(args.catalogue, by=[*where, hour], sites=sites).to_pylist()
    if not _has_several_instruments(counts):
        where = ["site"]
        counts = [{k: v for k, v in c.items() if k != "instrument"} for c in counts]
    nights = nights_of(args.catalogue)
    cameras, hours = coverage_of_cameras(nights), hours_of_clocks(nights)
    failures = read_failures(args.catalogue).to_pylist()
    data = {
        "catalogue": args.catalogue,
        "n_frames": sum(row["n_frames"] for row in counts),
        "occurrence": counts,
        "coverage": cameras,
        "hours": hours,
        "failures": failures,
    }
    lines = [
        _table(counts, classes or [], [*where, hour]),
        coverage_text(cameras, hours),
        failures_text(failures),
    ]
    if args.figure:
        from sksimclr.plotting import OccurrenceDisplay

        display = OccurrenceDisplay.from_catalogue(
            args.catalogue, hour=hour, instrument=args.instrument, sites=sites
        )
        write_figure(display, args.figure)
        lines.append(f"Figure: {args.figure}")
        data["figure"] = args.figure
    return Report(data, "\n".join(line for line in lines if line))


def _has_several_instruments(counts):
    """Tell whether a station has more than one, as far as that is known."""
    cameras = {(row["site"], row.get("instrument")) for row in counts}
    return len(cameras) > len({site for site, _ in cameras})


def _table(counts, classes, keys):
    """Return frames by site and hour, with a column for each class.

    Parameters
    ----------
    counts : list of dict
        Rows of `occurrence`; none has a label if the catalogue is of embeddings.
    classes : list
    keys : list of str
        What they are counted by; the last is the hour.
    """
    if not counts:
        return "The catalogue is empty."
    cells = Counter()
    for row in counts:
        *where, hour = (row[key] for key in keys)
        hour = "?" if hour is None else f"{hour:02d}"
        cells[(*(place or "?" for place in where), hour), row.get("label")] += row[
            "n_frames"
        ]
    no_label = [None] * (bool(classes) and any(label is None for _, label in cells))
    columns = [*classes, *no_label]
    names = ["no label" if name is None else name for name in columns]
    hour = "hour MLT" if keys[-1] == "magnetic_hour" else "hour UT"
    rows = [[*keys[:-1], hour, *names, "all"]]
    for place in sorted({place for place, _ in cells}):
        numbers = [cells[place, name] for name in columns]
        everything = sum(n for (where, _), n in cells.items() if where == place)
        rows.append([*place, *numbers, everything])
    n_keys = len(keys)
    totals = [sum(row[k] for row in rows[1:]) for k in range(n_keys, len(rows[0]))]
    blank = [""] * (n_keys - 1)
    rows.append(["all", *blank, *totals])
    if columns:
        shares = [f"{number / totals[-1]:.1%}" for number in totals]
        rows.append(["", *blank, *shares])
    return table(rows)
