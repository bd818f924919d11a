"""What is made of damaged files, by all that reads files.

Run as ``python tests/benchmarks/mutated_files.py``. Files of all formats, and the real
ones that are there, are truncated, altered and inflated in many ways; each is read by a
process whose time and memory are limited (Linux). Printed is, for every format and kind
of damage, how many `read_frames` refused (failure), gave the frames before the damage
and said so (damage), gave all frames as they were (equal), or others without a word
(differ). Then, for all that reads files: how many were read or refused; and how many
were refused by an error without the file's name, took over 1 GB, hung, or crashed.
A damaged checkpoint counts as read if the run ends as it would have without damage.
Every second one is damaged before its digest is taken, and may end otherwise.
"""

import argparse
import hashlib
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "datasets"))
import numpy as np  # noqa: E402
from mutants import (  # noqa: E402
    KINDS,
    SECONDS,
    Reader,
    format_of,
    limit_memory,
    memory_in_use,
    write_mutants,
    write_originals,
)
from PIL import Image  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from tiny import tiny_simclr  # noqa: E402

from sksimclr import AuroraPreprocessor  # noqa: E402
from sksimclr._commands._labels import read_labels  # noqa: E402
from sksimclr.archive import (  # noqa: E402
    find_files,
    label_archive,
    load_model,
    read_catalogue,
    read_failures,
    read_frames,
    save_model,
)
from sksimclr.datasets import load_oath, make_aurora  # noqa: E402

OUTCOMES = ["failure", "damage", "equal", "differ", "damage, differ"]
MUST_BE_NAMED = ["failure", "damage", "damage, differ"]
DEFECTS = ["defect", "hang", "crash"]
ENTRIES = [
    "transform",
    "oath",
    "features",
    "labels",
    "catalogue",
    "model",
    "weights",
    "checkpoint",
]
RESULTS = ["read", "refused", "no name", "over 1 GB", "hang", "crash"]
MOST_BYTES = 10**9
BATCH = 500  # damaged files on disk at a time
SIZE = 16  # pixels of the images of all but `read_frames`


def count_outcomes(folder, n_files, seed):
    """Return a Counter of (format, kind, outcome), and the reader with its records."""
    sources, counts = write_originals(folder / "originals"), Counter()
    with Reader(sources) as reader:
        for start in range(0, n_files, BATCH):
            n_now = min(BATCH, n_files - start)
            for path, kind, _ in write_mutants(folder, n_now, seed + start, sources):
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


def write_entries(folder):
    """Write what each entry reads; return {entry: paths of files to damage}."""
    for entry in ENTRIES:
        (folder / entry).mkdir(parents=True)
    data = make_aurora(12, size=SIZE, random_state=0)
    frames, labels = data.images, np.take(data.target_names, data.target)
    found = {entry: [] for entry in ENTRIES}
    for suffix in (".bmp", ".gif", ".webp", ".png", ".jpg", ".tif", ".npy"):
        path = folder / "transform" / f"20140310_0600_gill{suffix}"
        if suffix == ".npy":
            np.save(path, frames[0])
        else:
            is_wide = suffix in (".png", ".tif")
            pixels = frames[0] if is_wide else (frames[0] >> 8).astype(np.uint8)
            Image.fromarray(pixels).save(path)
        found["transform"].append(path)
    whole = write_originals(folder / "transform" / "whole", SIZE)
    found["transform"] += [whole[k] for k in ("pgm", "pgm.gz", "cdf", "png colour")]
    for entry in ("oath", "features"):
        from test_oath import make_copy

        copy = make_copy(folder / entry / "copy")
        files = [file for file in copy.rglob("*.*") if file.suffix in (".csv", ".png")]
        is_features = entry == "features"
        found[entry] = sorted(copy.rglob("*.h5") if is_features else files)
    rows = [f"{k:02}.png,{label},0" for k, label in enumerate(labels)]
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "labels" / f"{k:02}.png")
    found["labels"] = [folder / "labels" / "labels.csv"]
    found["labels"][0].write_text("\n".join(["file,label,frame", *rows, ""]))
    pipe = make_pipeline(AuroraPreprocessor(), tiny_simclr(), LogisticRegression())
    pipe.fit(frames, labels)
    catalogue = folder / "catalogue" / "catalogue"
    label_archive(pipe, folder / "labels", catalogue, part_bytes=2000, n_threads=1)
    found["catalogue"] = sorted(catalogue.rglob("*.*"))
    plain = make_pipeline(
        AuroraPreprocessor(), tiny_simclr(encoder="resnet18"), LogisticRegression()
    ).fit(frames, labels)
    for name, model in (("small", pipe), ("whole", plain)):
        path = folder / "model" / f"{name}.skops"
        try:
            save_model(model, path)
        except ValueError:  # an encoder of the tests
            continue
        found["model"].append(path)
    found["weights"] = [folder / "weights" / "weights.safetensors"]
    tiny_simclr().fit(frames).save_weights(found["weights"][0])
    _run(folder).fit(frames)
    found["checkpoint"] = sorted((folder / "checkpoint").glob("*.ckpt"))
    return found


def _run(folder):
    """Return an estimator with checkpoints."""
    return tiny_simclr(max_epochs=3, checkpoint_dir=folder / "checkpoint")


def sign(path):
    """Let a checkpoint have the digest of its contents, damaged as they are."""
    data = path.read_bytes()
    begin, end = data.find(b"\n") + 1, len(data) - hashlib.sha256().digest_size
    path.write_bytes(data[:end] + hashlib.sha256(data[begin:end]).digest())


def go_on(path, folder):
    """Go on with a run whose checkpoint is damaged; raise what it says of that."""
    frames = make_aurora(12, size=SIZE, random_state=0).images
    if not hasattr(go_on, "expected"):
        go_on.expected = tiny_simclr(max_epochs=3).fit(frames).transform(frames)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        found = _run(folder).fit(frames).transform(frames)
    same = np.array_equal(found, go_on.expected)
    said = [
        str(each.message) for each in caught if "cannot be read" in str(each.message)
    ]
    if said and same:
        raise ValueError(said[0])
    if not same and not path.with_suffix(".signed").exists():
        raise AssertionError("the run ended otherwise")


def read_entry(entry, path, folder):
    """Read what an entry reads, of which one file is damaged."""
    if entry == "transform":
        _fitted().transform([path])
    elif entry in ("oath", "features"):
        is_features = entry == "features"
        copy = folder / entry / "copy"
        load_oath(copy, as_array=not is_features, features=is_features)
    elif entry == "labels":
        read_labels(path, find_files(folder / "labels"))
    elif entry == "catalogue":
        read_catalogue(folder / "catalogue" / "catalogue")
        read_failures(folder / "catalogue" / "catalogue")
    elif entry == "model":
        load_model(path)
    elif entry == "checkpoint":
        go_on(path, folder)
    else:
        frames = np.zeros((4, SIZE, SIZE), np.uint16)
        tiny_simclr(weights=path, max_epochs=0).fit(frames)


def _fitted():
    """Return a fitted transformer, of this process."""
    if not hasattr(_fitted, "found"):
        frames = make_aurora(12, size=SIZE, random_state=0).images
        _fitted.found = tiny_simclr().fit(frames)
    return _fitted.found


def serve(pipe, folder):
    """Read one damaged file after the other, with limited memory."""
    warnings.simplefilter("ignore")
    _fitted()
    limit_memory()
    while True:
        entry, path = pipe.recv()
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of memory
        before, result, said = memory_in_use("VmRSS"), "read", ""
        try:
            read_entry(entry, path, folder)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
            is_named = path.name in said
            if entry in ("catalogue", "checkpoint"):  # whose files belong together
                is_named |= str(folder / entry) in said
            result = "refused" if is_named else "no name"
            if isinstance(error, MemoryError):
                result = "over 1 GB"
        if memory_in_use("VmHWM") - before > MOST_BYTES:
            result = "over 1 GB"
        pipe.send((result, said))


def count_results(folder, n_files, seed):
    """Return a Counter of (entry, result); print what should not be."""
    found, rng, counts = write_entries(folder), np.random.default_rng(seed), Counter()
    shown, process, pipe = Counter(), None, None
    context = multiprocessing.get_context("spawn")
    for number in range(n_files):
        if process is None:
            pipe, there = context.Pipe()
            process = context.Process(target=serve, args=(there, folder), daemon=True)
            process.start()
            there.close()
        entry = ENTRIES[number % len(ENTRIES)]
        if entry == "features" and number % 10:  # it starts a process each time
            entry = "transform"
        path = found[entry][rng.integers(len(found[entry]))]
        kind = list(KINDS)[rng.integers(len(KINDS))]
        original = path.read_bytes()
        others = {each.name: each for each in found[entry] + found["transform"]}
        path.write_bytes(KINDS[kind](path, rng, others))
        is_signed = path.with_suffix(".signed")
        if entry == "checkpoint" and rng.integers(2):
            sign(path)
            is_signed.touch()
        pipe.send((entry, path))
        wait = SECONDS + 30 * (number == 0)
        try:
            result, said = pipe.recv() if pipe.poll(wait) else ("hang", "")
        except EOFError:
            result, said = "crash", ""
        if result in ("hang", "crash"):
            process.kill()
            process.join()
            said, process = f"the process ended with {process.exitcode}", None
        counts[entry, result] += 1
        if result in RESULTS[2:]:
            shown[entry, result, said[:30]] += 1
            if shown[entry, result, said[:30]] <= 3:
                print(f"{result}: {entry}, {path.name}, {kind}, {number}: {said[:300]}")
        path.write_bytes(original)
        is_signed.unlink(missing_ok=True)
    if process is not None:
        process.kill()
    return counts


def print_results(counts):
    """Print a row of numbers for each entry."""
    print(f"\n{'reads':16} {'files':>6}", *(f"{name:>14}" for name in RESULTS))
    for entry in ENTRIES:
        numbers = [counts[entry, result] for result in RESULTS]
        print(f"{entry:16} {sum(numbers):6}", *(f"{number:14}" for number in numbers))


def main():
    """Print three tables and the worst of time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n_frames_files = options.files // (len(ENTRIES) + 1)
    with tempfile.TemporaryDirectory() as folder:
        n_others, began = options.files - n_frames_files, time.monotonic()
        print_results(count_results(Path(folder), n_others, options.seed))
        print(f"{time.monotonic() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        counts, reader = count_outcomes(Path(folder), n_frames_files, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        label_all(Path(folder), min(1000, n_frames_files), options.seed)
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
