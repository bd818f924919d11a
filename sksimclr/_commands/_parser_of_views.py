"""The arguments of commands that look at what is there."""

from sksimclr._commands._arguments import (
    add_circle,
    add_command,
    add_trust,
    path_of,
    positive,
)


def add_review(commands):
    """Add the command that writes a page to label frames in."""
    parser = add_command(
        commands,
        "review",
        "_review",
        "write a page for the browser in which frames of a catalogue are labelled",
        "  sksimclr review catalogue -o review.html\n"
        "  sksimclr review catalogue -o review.html --labels labels.csv -n 60",
    )
    parser.add_argument(
        "catalogue",
        metavar="CATALOGUE",
        type=path_of,
        help="folder of a catalogue with embeddings",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PAGE",
        type=path_of,
        required=True,
        help="name of the page, which ends in .html; one that is there is replaced",
    )
    parser.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=positive,
        default=200,
        help="how many frames to show, those that most need a label (default: 200)",
    )
    parser.add_argument(
        "--labels",
        metavar="CSV",
        type=path_of,
        help="table of what is labelled already: these frames are not shown, and are "
        "part of the table that the page saves",
    )
    add_circle(parser)


def add_summary(commands):
    """Add the command that counts frames by class."""
    parser = add_command(
        commands,
        "summary",
        "_summary",
        "count the frames of each class by site and hour, and those that are missing",
        "  sksimclr summary catalogue\n"
        "  sksimclr summary catalogue --mlt --figure occurrence.pdf",
    )
    parser.add_argument(
        "catalogue", metavar="CATALOGUE", type=path_of, help="folder of a catalogue"
    )
    parser.add_argument(
        "--figure",
        metavar="FILE",
        type=path_of,
        help="draw it too: the name of a file that ends in .png, .pdf or .svg",
    )
    parser.add_argument(
        "--mlt",
        action="store_true",
        help="by hours of magnetic local time, not UTC",
    )
    parser.add_argument(
        "--instrument",
        metavar="NAME",
        action="append",
        help="of the figure: these alone; may be given more than once",
    )
    _add_position(parser)


def add_keogram(commands):
    """Add the command that draws a night."""
    parser = add_command(
        commands,
        "keogram",
        "_keogram",
        "draw a night of one station, with the labels of its frames",
        "  sksimclr keogram catalogue 2014-03-10 gill -o night.png\n"
        "  sksimclr keogram catalogue 2014-03-10 gill -o night.pdf --mlt\n"
        "  sksimclr keogram catalogue 2015-10-07 pkr -o night.png --hours -2 16 \\\n"
        "      --mlt --position pkr 65.126 -147.479",
    )
    parser.add_argument(
        "catalogue", metavar="CATALOGUE", type=path_of, help="folder of a catalogue"
    )
    parser.add_argument("date", metavar="DATE", help="day in UTC, YYYY-MM-DD")
    parser.add_argument("site", metavar="SITE", help="code of the station")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=path_of,
        required=True,
        help="name of the picture, which ends in .png, .pdf or .svg",
    )
    parser.add_argument(
        "--hours",
        metavar=("FIRST", "LAST"),
        type=float,
        nargs=2,
        default=(0, 24),
        help="counted from 0 UTC of the date; -6 10 begins on the day before",
    )
    parser.add_argument(
        "--instrument", metavar="NAME", help="if the station had several that night"
    )
    parser.add_argument(
        "--mlt", action="store_true", help="add an axis of magnetic local time"
    )
    _add_position(parser)
    _add_sky(parser)


def _add_sky(parser):
    """Add what `keogram` may be told of the frames."""
    parser.add_argument(
        "--north",
        metavar="ANGLE",
        type=float,
        help="where magnetic north is in the frames, degrees anticlockwise from the "
        "top (default: known for THEMIS; else from top to bottom)",
    )
    add_circle(parser)
    parser.add_argument(
        "--edge-elevation",
        metavar="DEGREES",
        type=float,
        help="elevation at that radius (default: known for THEMIS; else 0)",
    )


def _add_position(parser):
    parser.add_argument(
        "--position",
        metavar=("SITE", "LATITUDE", "LONGITUDE"),
        nargs=3,
        action="append",
        default=[],
        help="for --mlt, of a station that is not THEMIS's: degrees north and east; "
        "may be given more than once",
    )


def add_info(commands):
    """Add the command that says what a file or folder holds."""
    parser = add_command(
        commands,
        "info",
        "_info",
        "say what a file of frames, a model, a catalogue or a store holds",
        "  sksimclr info 20140310_0600_gill_themis19_full.pgm.gz\n"
        "  sksimclr info aurora.skops\n"
        "  sksimclr info catalogue\n"
        "  sksimclr info store",
    )
    parser.add_argument(
        "file", metavar="FILE", type=path_of, help="a file, or a folder"
    )
    add_trust(parser)
