"""One command for a GPU: its tests, and what `fit`, `transform` and archives reach.

Run as ``python tests/benchmarks/gpu.py`` on a machine with an NVIDIA GPU; no network is
needed, and at most nine minutes. It writes reStructuredText to stdout, or to the file
of ``-o``, that goes into docs/benchmarks.rst as it is; progress goes to stderr. Before
each row the time that it will take is predicted: rows that would not fit are left out,
and named. An error in one table is shown in its place, and makes the exit code 1.

Without a GPU, everything is run once on the CPU at toy size, so that it is known to
work; numbers then mean nothing.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import gpu_archive
import gpu_paper
import gpu_steps
import torch

TESTS = Path(__file__).resolve().parents[1]
SECONDS = 520  # in all, of nine minutes: Python and torch must start


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    batch_size: int = 128  # N
    n_steps: int = 20  # in an epoch
    encoders: tuple = ("resnet18", "resnet50")
    width: int = 64
    sizes: tuple = (224, 64, 128)  # pixels of the views, the most important first
    side: int = 256  # pixels of the frames
    n_images: int = 8192  # to embed
    n_files: int = 360  # of 20 frames
    n_frames: int = 5824  # of the paper
    paper_size: int = 224
    n_epochs: int = 100
    compiles: bool = True
    tests: tuple = (TESTS,)


TOY = Scale(
    batch_size=4,
    n_steps=2,
    encoders=("resnet18",),
    width=16,
    sizes=(16,),
    side=32,
    n_images=8,
    n_files=2,
    n_frames=96,
    paper_size=16,
    n_epochs=1,
    compiles=False,
    tests=(TESTS / "networks" / "test_thin_stem.py",),
)


class Clock:
    """What is left of the time of a table, and of all."""

    def __init__(self, seconds):
        self._end = time.monotonic() + seconds
        self._end_of_table = self._end

    def begin(self, seconds, later):
        """Begin a table of so many seconds; those of later tables are not for it."""
        left = self._end - time.monotonic()
        self._end_of_table = time.monotonic() + max(seconds, left - later)
        self._end_of_table = min(self._end_of_table, self._end)

    @property
    def left(self):
        """Seconds that are left of this table."""
        return self._end_of_table - time.monotonic()


def run_tests(scale, device, clock):
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu"]
    command += ["-p", "no:cacheprovider", *map(str, scale.tests)]
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=TESTS.parent,
            timeout=max(1, clock.left),
            # whoever measures coverage of all tests does not of these
            env={k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"},
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the tests took over {error.timeout:.0f} s") from error
    if run.returncode:
        print(run.stdout, run.stderr, file=sys.stderr)
        raise RuntimeError(f"pytest ended with {run.returncode}, see stderr")
    yield ["pytest -m gpu", run.stdout.strip().splitlines()[-1].strip("= ")]


TABLES = {  # name: what it does, seconds, title of its columns, text above it
    "tests": (run_tests, 80, ("tests", "outcome"), "Tests that need a GPU."),
    "steps": (gpu_steps.rows, 160, gpu_steps.HEADER, gpu_steps.TEXT),
    "archive": (gpu_archive.rows, 90, gpu_archive.HEADER, gpu_archive.TEXT),
    "paper": (gpu_paper.rows, 150, gpu_paper.HEADER, gpu_paper.TEXT),
    "lightly": (gpu_steps.lightly_rows, 30, *gpu_steps.LIGHTLY),
}


def text_of(name, scale, device, clock):
    """Return the text of a table, and whether nothing went wrong.

    Functions of tables yield rows, which are lists, and sentences to say below.
    """
    make, _, header, above = TABLES[name]
    rows, notes, is_right = [], [], True
    try:
        for found in make(scale, device, clock):
            (notes if isinstance(found, str) else rows).append(found)
            print(f"[{name}] {found}", file=sys.stderr, flush=True)
    except Exception as error:  # the other tables are to be had nevertheless
        traceback.print_exc()
        notes.append(f"*This table is not whole*: ``{type(error).__name__}: {error}``.")
        is_right = False
    parts = [above, rest_table(header, rows) if rows else "", " ".join(notes)]
    return "\n\n".join(filter(None, parts)) + "\n\n", is_right


def rest_table(header, rows):
    """Return a simple table of reStructuredText."""
    cells = [[" ".join(str(cell).split()) or "\\" for cell in row] for row in rows]
    cells = [[*header], *cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = " ".join("=" * width for width in widths)
    lines = [
        " ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    lines = [line.rstrip() for line in lines]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def heading(device):
    """Say on what all was measured."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = "**no GPU: a dry run on the CPU, whose numbers mean nothing**"
    return (
        f"``python tests/benchmarks/gpu.py``, on {name}, {os.cpu_count()} processor "
        f"cores, Python {platform.python_version()}, torch {torch.__version__}.\n\n"
    )


def main():
    """Write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="in all")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = Scale() if device.type == "cuda" else TOY
    output = open(options.output, "w", encoding="utf-8") if options.output else None
    output, clock, are_right = output or sys.stdout, Clock(options.seconds), []
    output.write(heading(device))
    for k, name in enumerate(options.tables):
        start = time.monotonic()
        later = sum(TABLES[table][1] for table in options.tables[k + 1 :])
        clock.begin(TABLES[name][1], later)
        text, is_right = text_of(name, scale, device, clock)
        output.write(text)
        output.flush()
        are_right.append(is_right)
        seconds = time.monotonic() - start
        print(f"[{name}] took {seconds:.0f} s", file=sys.stderr, flush=True)
    return 0 if all(are_right) else 1


if __name__ == "__main__":
    sys.exit(main())
