"""What `read_frames` makes of damaged files.

Run as ``python tests/benchmarks/mutated_files.py``. Files of all formats, and the real
ones that are there, are truncated, altered and inflated in many ways; each is read by a
process whose time and memory are limited. Printed is, for every format and kind of
damage, how many were refused (failure), gave the frames before the damage and said so
(damage), gave all frames as they were (equal), or gave others without a word (differ).
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
from mutants import KINDS, Reader, format_of, write_mutants, write_originals  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from tiny import tiny_simclr  # noqa: E402

from sksimclr import AuroraPreprocessor  # noqa: E402
from sksimclr.archive import label_archive, read_failures, read_frames  # noqa: E402

OUTCOMES = ["failure", "damage", "equal", "differ", "damage, differ"]
MUST_BE_NAMED = ["failure", "damage", "damage, differ"]
DEFECTS = ["defect", "hang", "crash"]


def count_outcomes(folder, n_files, seed):
    """Return a Counter of (format, kind, outcome), and the reader with its records."""
    sources, counts = write_originals(folder / "originals"), Counter()
    with Reader(sources) as reader:
        for path, kind, _ in write_mutants(folder, n_files, seed, sources):
            outcome, detail = reader.outcome(path)
            counts[format_of(path, sources), kind, outcome] += 1
            if outcome in DEFECTS:
                print(f"{outcome}: {path.name}, {kind}: {detail}")
            path.unlink()
    return counts, reader


def print_table(title, rows, counts, position):
    """Print a row of numbers for each format or kind of damage."""
    print(f"\n{title:16} {'files':>6}", *(f"{name:>14}" for name in OUTCOMES + DEFECTS))
    for row in rows:
        own = {key: n for key, n in counts.items() if key[position] == row}
        numbers = [
            sum(n for key, n in own.items() if key[2] == outcome)
            for outcome in OUTCOMES + DEFECTS
        ]
        print(f"{row:16} {sum(numbers):6}", *(f"{number:14}" for number in numbers))


def label_all(folder, n_files, seed):
    """Label damaged files in one run; say whether the right ones are failures.

    Those of which `Reader` says that they are damaged must be named, those that equal
    the original must not. Others are whole images that differ from it, which may still
    be of another size than the pipeline was fitted on.
    """
    sources = write_originals(folder / "originals")
    sources = {form: path for form, path in sources.items() if "real" not in form}
    archive, outcomes = folder / "mutants", {}
    archive.mkdir()
    with Reader(sources) as reader:
        for path, _, _ in write_mutants(archive, n_files, seed, sources):
            outcomes[str(path)] = reader.outcome(path)[0]
    frames = read_frames(sources["pgm"]).images
    pipe = make_pipeline(AuroraPreprocessor(), tiny_simclr(), LogisticRegression())
    pipe.fit(frames, np.arange(len(frames)) % 2)
    run = label_archive(pipe, list(outcomes), folder / "catalogue", part_bytes=1 << 22)
    named = set(read_failures(folder / "catalogue")["file"].to_pylist())
    must = {path for path, outcome in outcomes.items() if outcome in MUST_BE_NAMED}
    must_not = {path for path, outcome in outcomes.items() if outcome == "equal"}
    print(f"\n{run}")
    print(f"damaged: {len(must)}, of them not among the failures: {len(must - named)}")
    print(
        f"whole: {len(must_not)}, of them among the failures: {len(must_not & named)}"
    )
    print(f"different images: {len(outcomes) - len(must) - len(must_not)}")


def main():
    """Print two tables and the worst of time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, reader = count_outcomes(Path(folder), options.files, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        label_all(Path(folder), options.files, options.seed)
    formats = list(dict.fromkeys(key[0] for key in counts))
    print_table("format", formats, counts, 0)
    print_table("damage", KINDS, counts, 1)
    for what, (worst, path) in (
        ("slowest, s", reader.slowest),
        ("largest, MB", reader.largest),
    ):
        print(f"{what}: {worst:.2f} ({path.name})")


if __name__ == "__main__":
    main()
