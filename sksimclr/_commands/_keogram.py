"""``sksimclr keogram``: a night of a catalogue as a picture."""

from sksimclr._commands._arguments import circle
from sksimclr._commands._figures import check_figure, positions, write_figure
from sksimclr._commands._report import Report


def run(args):
    """Draw the night, and say what is on the picture."""
    check_figure(args.output)
    from sksimclr.plotting import KeogramDisplay

    display = KeogramDisplay.from_catalogue(
        args.catalogue,
        args.site,
        args.date,
        hours=args.hours,
        instrument=args.instrument,
        **circle(args),
        north=args.north,
        edge_elevation=args.edge_elevation,
        mlt=args.mlt,
        sites=positions(args),
    )
    write_figure(display, args.output)
    data = {
        "catalogue": args.catalogue,
        "title": display.title,
        "n_frames": len(display.times),
        "first_time": str(display.times[0]),
        "last_time": str(display.times[-1]),
        "north": display.north,
        "figure": args.output,
    }
    n = len(display.times)
    first, last = _clock(display.times[0]), _clock(display.times[-1])
    lines = [f"{display.title}: {n} frame{'s' * (n > 1)}, {first} to {last} UTC"]
    if display.north is None:
        lines.append("Where north is in these frames is not known; --north says it.")
    return Report(data, "\n".join([*lines, f"Figure: {args.output}"]))


def _clock(time):
    """Return a time to the second."""
    return str(time.astype("datetime64[s]")).replace("T", " ")
