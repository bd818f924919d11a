"""What commands that draw share: names of figures, and positions of stations."""

from pathlib import Path

from sksimclr._machine.writing import naming

_FIGURES = (".pdf", ".png", ".svg")


def check_figure(path):
    """Raise a ValueError unless the name is one of a figure.

    Examples
    --------
    >>> check_figure("night.png")
    """
    if Path(path).suffix not in _FIGURES:
        raise ValueError(
            f"The name of a figure must end in one of {_FIGURES}, got {path!r}."
        )


def write_figure(display, path):
    """Write the figure of a display; an error names the file."""
    with naming(Path(path)):
        display.figure_.savefig(path, dpi=200)


def positions(args):
    """Return {site: (latitude, longitude)} of the options ``--position``."""
    found = {}
    for site, *place in args.position:
        try:
            found[site] = tuple(float(angle) for angle in place)
        except ValueError as error:
            raise ValueError(
                "--position takes a site, and its latitude and longitude in degrees, "
                f"got {' '.join([site, *place])!r}."
            ) from error
    return found
