"""The arguments of all commands, and what ``--help`` says of them."""

import argparse
import os
from importlib import import_module

_EXIT_CODES = """\
exit codes: 0 done, 1 error, 2 wrong arguments, 3 done but some files could not be read
(wholly), 130 stopped by Ctrl-C"""
_path = os.path.expanduser  # of "--output=~/x", say, which shells leave as it is
_AGAIN = "Run the same command again to go on."


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="sksimclr",
        description="Label all-sky images of the aurora, from a folder of files to a "
        "catalogue.",
        epilog="examples:\n"
        "  sksimclr train night1/ night2/ --labels labels.csv -o aurora.skops\n"
        "  sksimclr label aurora.skops /data/themis -o catalogue\n"
        "  sksimclr summary catalogue\n"
        "  sksimclr label --help\n\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = import_module("sksimclr").__version__
    parser.add_argument("--version", action="version", version=f"sksimclr {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _add_label,
        _add_embed,
        _add_pack,
        _add_train,
        _add_review,
        _add_summary,
        _add_keogram,
        _add_info,
    ):
        add(commands)
    return parser


def _add(commands, name, module, summary, examples, after_interrupt=""):
    """Add a command with the options that all have."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}\n\n{_EXIT_CODES}",
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


def _add_label(commands):
    parser = _add(
        commands,
        "label",
        "_label",
        "label all frames of an archive",
        "  sksimclr label aurora.skops /data/themis -o catalogue\n"
        "  sksimclr label aurora.skops 2014/03/10 2014/03/11 -o catalogue --threads 8\n"
        "  sksimclr label aurora.skops /data/themis -o catalogue \\\n"
        "      --scheduler tcp://node1:8786",
        _AGAIN,
    )
    _add_archive(parser)
    parser.add_argument(
        "--embeddings",
        action="store_true",
        help="write embeddings beside the labels, as float16",
    )


def _add_embed(commands):
    parser = _add(
        commands,
        "embed",
        "_label",
        "write the embeddings of all frames of an archive, without labels",
        "  sksimclr embed encoder.skops /data/themis -o embeddings",
        _AGAIN,
    )
    _add_archive(parser)
    parser.set_defaults(embeddings=True)


def _add_archive(parser):
    """Add what `label` and `embed` share."""
    parser.add_argument(
        "model", metavar="MODEL", type=_path, help="file of a fitted pipeline"
    )
    _add_run(parser, "catalogue")
    _add_trust(parser)


def _add_run(parser, name):
    """Add what all commands share that stream an archive to a folder."""
    _add_files(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar=name.upper(),
        type=_path,
        required=True,
        help=f"folder of the {name}, which is made, or gone on with",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--threads",
        metavar="N",
        type=_positive,
        help="threads, each of which works on files of its own (default: one per core)",
    )
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        type=_path,
        help="work on a running Dask cluster: the address of its scheduler, such as "
        "tcp://node1:8786, or the file that `dask scheduler --scheduler-file` wrote",
    )
    parser.add_argument(
        "--retry-failures",
        action="store_true",
        help="read files again from which an earlier run got no frame",
    )
    _add_quiet(parser)


def _add_pack(commands):
    parser = _add(
        commands,
        "pack",
        "_pack",
        "reduce the frames of an archive once, into a store to train on",
        "  sksimclr pack /data/themis -o store\n"
        "  sksimclr pack /data/themis -o store --size 128 --per-night 200\n"
        "  sksimclr pack /data/themis -o store --every 10 --quality good",
        _AGAIN,
    )
    _add_run(parser, "store")
    parser.add_argument(
        "--size",
        metavar="PIXELS",
        type=_positive,
        default=64,
        help="side of the frames in the store (default: 64)",
    )
    parser.add_argument(
        "--every",
        metavar="N",
        type=_positive,
        default=1,
        help="take each N-th frame alone (default: 1)",
    )
    parser.add_argument(
        "--quality",
        action="append",
        choices=("good", "saturated", "short"),
        help="take frames of this quality alone; may be given more than once "
        "(default: all three)",
    )
    parser.add_argument(
        "--per-night",
        metavar="N",
        type=_positive,
        help="take at most N frames of each night of a station, spread evenly over it",
    )


def _add_train(commands):
    parser = _add(
        commands,
        "train",
        "_train",
        "train an encoder on frames, and a classifier on those that have labels",
        "  sksimclr train night1/ night2/ --labels labels.csv -o aurora.skops\n"
        "  sksimclr train /data/2014 --recipe paper --device cuda -o encoder.skops\n"
        "  sksimclr train store --labels labels.csv -o aurora.skops\n\n"
        "labels.csv has a row for each labelled frame:\n"
        "  file,frame,label\n"
        "  20140310_0600_gill_themis19_full.pgm.gz,0,cloudy\n"
        "  20140310_0602_gill_themis19_full.pgm.gz,7,arc",
        _AGAIN,
    )
    _add_files(parser, "; or the folder of one frame store, read as it is needed")
    parser.add_argument(
        "-o",
        "--output",
        metavar="MODEL",
        type=_path,
        required=True,
        help="name of the new file, which ends in .skops",
    )
    parser.add_argument(
        "--labels",
        metavar="CSV",
        type=_path,
        help="table with the columns file, label and maybe frame (counted from 0, by "
        "default 0); without it, the model gives embeddings but no labels",
    )
    _add_recipe(parser)
    parser.add_argument(
        "--max-frames",
        metavar="N",
        type=_positive,
        help="train on N frames that are spread evenly over all, and on the labelled "
        "ones (default: as many as 2 GiB hold, 8192 of 256 x 256 pixels)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        type=_path,
        help="keep the state of the training there (default: a folder beside MODEL, "
        "which is removed at the end)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="of all random draws; on a CPU, the same one gives the same model "
        "(default: 0)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)",
    )
    _add_quiet(parser)


def _add_recipe(parser):
    """Add the settings of SimCLR."""
    parser.add_argument(
        "--recipe",
        choices=("quick", "paper"),
        default="quick",
        help="settings of SimCLR (default: quick)",
    )
    parser.add_argument(
        "--epochs",
        metavar="N",
        type=_positive,
        help="passes over the frames (default: quick 100, paper 100)",
    )
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=_positive,
        help="side of the images that the encoder sees (default: quick 64, paper 224)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=_positive,
        help="images in a step (default: quick 64, paper 128)",
    )


def _add_review(commands):
    parser = _add(
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
        type=_path,
        help="folder of a catalogue with embeddings",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PAGE",
        type=_path,
        required=True,
        help="name of the page, which ends in .html; one that is there is replaced",
    )
    parser.add_argument(
        "-n",
        "--number",
        metavar="N",
        type=_positive,
        default=200,
        help="how many frames to show, those that most need a label (default: 200)",
    )
    parser.add_argument(
        "--labels",
        metavar="CSV",
        type=_path,
        help="table of what is labelled already: these frames are not shown, and are "
        "part of the table that the page saves",
    )


def _add_summary(commands):
    parser = _add(
        commands,
        "summary",
        "_summary",
        "count the frames of each class by site and hour",
        "  sksimclr summary catalogue\n"
        "  sksimclr summary catalogue --mlt --figure occurrence.pdf",
    )
    parser.add_argument(
        "catalogue", metavar="CATALOGUE", type=_path, help="folder of a catalogue"
    )
    parser.add_argument(
        "--figure",
        metavar="FILE",
        type=_path,
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


def _add_keogram(commands):
    parser = _add(
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
        "catalogue", metavar="CATALOGUE", type=_path, help="folder of a catalogue"
    )
    parser.add_argument("date", metavar="DATE", help="day in UTC, YYYY-MM-DD")
    parser.add_argument("site", metavar="SITE", help="code of the station")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=_path,
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
    parser.add_argument(
        "--center",
        metavar=("ROW", "COLUMN"),
        type=float,
        nargs=2,
        help="of the zenith, pixels (default: the middle)",
    )
    parser.add_argument(
        "--radius",
        metavar="PART",
        type=float,
        default=0.85,
        help="of the field of view, as a part of half the shorter side (default: 0.85)",
    )
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


def _add_info(commands):
    parser = _add(
        commands,
        "info",
        "_info",
        "say what a file of frames, a model, a catalogue or a store holds",
        "  sksimclr info 20140310_0600_gill_themis19_full.pgm.gz\n"
        "  sksimclr info aurora.skops\n"
        "  sksimclr info catalogue\n"
        "  sksimclr info store",
    )
    parser.add_argument("file", metavar="FILE", type=_path, help="a file, or a folder")
    _add_trust(parser)


def _add_files(parser, more=""):
    parser.add_argument(
        "files",
        metavar="FILES",
        type=_path,
        nargs="+",
        help=f"files of frames, and folders that are searched with all in them{more}",
    )


def _add_trust(parser):
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


def _add_quiet(parser):
    parser.add_argument(
        "--quiet", action="store_true", help="show no progress on stderr"
    )


def _positive(text):
    """Return a text as an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text}")
    return number


_positive.__name__ = "integer"  # in what argparse says of "x"
