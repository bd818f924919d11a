"""Our reader of CDF files against cdflib behind a guard.

Run as ``python tests/benchmarks/cdf_readers.py``, after ``pip install cdflib``. The
guard looks at the sizes that cdflib finds in a file before it lets it read. Printed are
milliseconds a frame, median of alternating rounds, and what becomes of damaged files,
each read in a process with limited time and memory: nothing (an error that names the
file), frames that are said to be incomplete, others than there were, or none at all
because the process hung, died or asked for more than 4 GB.
"""

import argparse
import collections
import importlib
import math
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import archive_files  # noqa: E402
import mutants  # noqa: E402
import real_data  # noqa: E402

from sksimclr._files import compressed  # noqa: E402
from sksimclr.archive import Frames, read_frames  # noqa: E402
from sksimclr.datasets import make_aurora  # noqa: E402

_IMAGES = re.compile(r"[a-z]{3}_[a-z]{3}_([a-z0-9]{3,8})")


def read_with_cdflib(path):
    """Read the frames of a file with cdflib, whose sizes are looked at before."""
    import cdflib

    compressed.check_size(path.stat().st_size)
    file = cdflib.CDF(path)
    names = file.cdf_info().zVariables
    name = next(name for name in names if _IMAGES.fullmatch(name.lower()))
    about = file.varinq(name)
    n_bytes = 2 * math.prod(about.Dim_Sizes) * (about.Last_Rec + 1)
    compressed.check_size(n_bytes)
    if n_bytes > compressed.DEFLATE_RATIO * path.stat().st_size:
        raise ValueError("it cannot hold that many values")
    images = file.varget(name)
    seconds = (file.varget(f"{name}_epoch") - 62_167_219_200_000) / 1000
    if images.ndim == 4 and len(images) == 1:
        images = np.ascontiguousarray(np.moveaxis(images[0], -1, 0))
        seconds = file.varget(f"{name}_time").ravel()
    times = np.round(seconds * 1e6).astype("datetime64[us]").astype("datetime64[ns]")
    return Frames(images, times, _IMAGES.fullmatch(name.lower())[1])


def milliseconds(paths, repeats):
    """Print how long a frame takes to read."""
    print(f"milliseconds a frame, median of {repeats} alternating rounds")
    print("file                        frames   ours  with zlib  cdflib  ours/cdflib")
    inflate = importlib.import_module("zlib")
    ours = compressed.zlib
    for label, path in paths.items():
        n_frames, rows = len(read_frames(path)), []
        for _ in range(repeats + 1):
            row = []
            for module, read in (
                (ours, read_frames),
                (inflate, read_frames),
                (ours, read_with_cdflib),
            ):
                compressed.zlib = module
                start = time.perf_counter()
                read(path)
                row.append(1000 * (time.perf_counter() - start) / n_frames)
            rows.append(row)
        compressed.zlib = ours
        times = np.array(rows[1:])
        middle = np.median(times, axis=0)
        ratio = np.median(times[:, 0] / times[:, 2])
        print(
            f"{label:27} {n_frames:6} {middle[0]:6.3f} {middle[1]:10.3f} "
            f"{middle[2]:7.3f} {ratio:12.2f}"
        )


def write_files(folder):
    """Write files of CDF in the layouts that there are; return {name: path}."""
    images = make_aurora(120, size=256, random_state=0).images
    times = archive_files.frame_times(len(images))
    write, found = archive_files.write_cdf, {}
    for name, options in {
        "compressed": {"Compress": 6},
        "not compressed": {"Compress": 0},
        "compressed as a whole": {"Compressed": 6},
        "layout of 2024": {"layout": "2024", "Compress": 6},
    }.items():
        path = folder / f"{name.replace(' ', '_')}.cdf"
        found[name] = write(path, images, times, **options)
    return found


def damaged(folder, n_files):
    """Print what both make of damaged files."""
    sources = mutants.write_originals(folder / "originals")
    files = mutants.write_mutants(folder, n_files, sources=sources)
    files = [each for each in files if each[0].suffix == ".cdf"]
    for name, others in (("ours", {}), ("cdflib", {".cdf": read_with_cdflib})):
        found = collections.Counter()
        with mutants.Reader(sources, others=others) as reader:
            for path, _, is_whole in files:
                outcome, detail = reader.outcome(path)
                found["of whole files: " * is_whole + outcome] += 1
                if outcome in ("differ", "damage, differ", "hang", "crash", "defect"):
                    found[f"  {outcome}: {detail[:60]}"] += 1
            (seconds, _), (megabytes, _) = reader.slowest, reader.largest
        print(
            f"{name}: {len(files)} files, slowest {seconds:.1f} s, {megabytes:.0f} MB"
        )
        for outcome, n in sorted(found.items()):
            print(f"  {outcome:70} {n}")


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--files", type=int, default=1500, help="of all formats")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder))
        paths |= {
            f"real, {path.name[:13]}": path
            for path in sorted((real_data.FOLDER / "themis").glob("thg_*.cdf"))
        }
        milliseconds(paths, options.repeats)
        damaged(Path(folder), options.files)


if __name__ == "__main__":
    main()
