"""The arguments of all commands, and what ``--help`` says of them."""

import argparse
from importlib import import_module

from sksimclr._commands._arguments import (
    EXIT_CODES,
    add_circle,
    add_command,
    add_files,
    add_quiet,
    add_trust,
    add_utc_offset,
    path_of,
    positive,
)
from sksimclr._commands._parser_of_views import (
    add_info,
    add_keogram,
    add_review,
    add_summary,
)

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
        "  sksimclr label --help\n\n" + EXIT_CODES,
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
        add_review,
        add_summary,
        add_keogram,
        add_info,
    ):
        add(commands)
    return parser


def _add_label(commands):
    parser = add_command(
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
    parser = add_command(
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
        "model", metavar="MODEL", type=path_of, help="file of a fitted pipeline"
    )
    _add_run(parser, "catalogue")
    add_circle(parser, "as in training", "as in training")
    add_trust(parser)


def _add_run(parser, name):
    """Add what all commands share that stream an archive to a folder."""
    add_files(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar=name.upper(),
        type=path_of,
        required=True,
        help=f"folder of the {name}, which is made, or gone on with",
    )
    add_utc_offset(parser, name)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--threads",
        metavar="N",
        type=positive,
        help="threads, each of which works on files of its own (default: one per core)",
    )
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        type=path_of,
        help="work on a running Dask cluster: the address of its scheduler, such as "
        "tcp://node1:8786, or the file that `dask scheduler --scheduler-file` wrote",
    )
    parser.add_argument(
        "--retry-failures",
        action="store_true",
        help="read files again from which an earlier run got no frame",
    )
    add_quiet(parser)


def _add_pack(commands):
    parser = add_command(
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
        type=positive,
        default=64,
        help="side of the frames in the store (default: 64)",
    )
    add_circle(parser)
    parser.add_argument(
        "--every",
        metavar="N",
        type=positive,
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
        type=positive,
        help="take at most N frames of each night of a station, spread evenly over it",
    )


def _add_train(commands):
    parser = add_command(
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
    add_files(parser, "; or the folder of one frame store, read as it is needed")
    parser.add_argument(
        "-o",
        "--output",
        metavar="MODEL",
        type=path_of,
        required=True,
        help="name of the new file, which ends in .skops",
    )
    parser.add_argument(
        "--labels",
        metavar="CSV",
        type=path_of,
        help="table with the columns file, label and maybe frame (counted from 0, by "
        "default 0); without it, the model gives embeddings but no labels",
    )
    _add_frames(parser)
    _add_recipe(parser)
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        type=path_of,
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
    add_quiet(parser)


def _add_frames(parser):
    """Add what becomes of the frames to train on."""
    add_circle(parser)
    parser.add_argument(
        "--size",
        metavar="PIXELS",
        type=positive,
        help="make squares of this side of all frames (default: of frames of several "
        "shapes, as large as most, and of those of more than four times --image-size)",
    )
    parser.add_argument(
        "--max-frames",
        metavar="N",
        type=positive,
        help="train on N frames that are spread evenly over all, and on the labelled "
        "ones (default: as many as 2 GiB hold, 8192 of 256 x 256 pixels)",
    )


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
        type=positive,
        help="passes over the frames (default: quick 100, paper 100)",
    )
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=positive,
        help="side of the images that the encoder sees (default: quick 64, paper 224)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        help="images in a step (default: quick 64, paper 128)",
    )
