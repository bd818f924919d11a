"""Arguments that several commands have, and what each command begins with."""

import argparse
import os
import re

EXIT_CODES = """\
exit codes: 0 done, 1 error, 2 wrong arguments, 3 done but some files could not be read
(wholly), 130 stopped by Ctrl-C"""
path_of = os.path.expanduser  # of "--output=~/x", say, which shells leave as it is


def add_command(commands, name, module, summary, examples, after_interrupt=""):
    """Add a command with the options that all have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name, module=module, after_interrupt=after_interrupt)
    parser.add_argument(
        "--json",
        action="store_true",
        help="write the result to stdout as one JSON object, for scripts",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    return parser


def add_files(parser, more=""):
    """Add files and folders of frames; `more` is what else they may be."""
    parser.add_argument(
        "files",
        metavar="FILES",
        type=path_of,
        nargs="+",
        help=f"files of frames, and folders that are searched with all in them{more}",
    )


def add_circle(parser, radius="0.85", center="the middle"):
    """Add where the sky is in a frame; the texts say what is taken by default."""
    parser.add_argument(
        "--center",
        metavar=("ROW", "COLUMN"),
        type=float,
        nargs=2,
        help=f"of the zenith in the frames, pixels (default: {center})",
    )
    parser.add_argument(
        "--radius",
        metavar="PART",
        type=float,
        help="of the field of view, as a part of half the shorter side (default: "
        f"{radius})",
    )


def circle(args):
    """Return what was said of the circle, as parameters of `AuroraPreprocessor`."""
    center = args.center and tuple(args.center)
    given = {"center": center, "radius": args.radius}
    return {name: value for name, value in given.items() if value is not None}


def add_trust(parser):
    """Add what a model may load besides what is safe."""
    parser.add_argument(
        "--trust",
        metavar="TYPE",
        action="append",
        default=[],
        help="load this type or function that the model names, such as "
        "my_module.my_encoder; may be given more than once",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="load a model that is a pickle: runs whatever code is in it",
    )


def add_utc_offset(parser, name):
    """Add the offset of a camera's clock, for all files of a catalogue or store."""
    parser.add_argument(
        "--utc-offset",
        metavar="HOURS",
        type=hours,
        default=0.0,
        help="hours that the camera's clock is ahead of UTC, such as 1, -3 or +05:30 "
        f"(--utc-offset=-03:30); for all files of the {name}, also those that have "
        "UTC by definition (default: 0)",
    )


def add_quiet(parser):
    """Add the option to show no progress."""
    parser.add_argument(
        "--quiet", action="store_true", help="show no progress on stderr"
    )


def hours(text):
    """Return a text such as "-3", "5.5" or "+05:30" as a number of hours."""
    match = re.fullmatch(r"([+-]?)(\d\d?):([0-5]\d)", text)
    if match is None:
        return float(text)
    sign, whole, minutes = match.groups()
    return float(f"{sign}1") * (int(whole) + int(minutes) / 60)


def positive(text):
    """Return a text as an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text}")
    return number


positive.__name__ = "integer"  # in what argparse says of "x"
