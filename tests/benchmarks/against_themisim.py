"""Frames per second from files to images and to embeddings, against themisim's.

Run as ``python tests/benchmarks/against_themisim.py`` after ``pip install --no-deps
themisim faiss-cpu`` and ``pip install pandas "sksimclr[archive]"``. Copies of the real
THEMIS files are read and preprocessed; by `pack_frames` also written to a store of 224
and of 64 pixels, beside a bare loop over `read_frames` and the preprocessor; and then
taken all the way, by themisim to its shards of embeddings, by `label_archive` to a
catalogue of embeddings and labels. Both have the same recipe (percentiles of the whole
frame, a radius of 108 pixels), weights,
size and cores. themisim streams without workers, with one for each core, and with its
default of four; the fastest counts. Its workers are started before they are timed,
except on the whole way. It reads no PGM files: there our reader stands in for its own.
All alternate in one process; medians are printed, and the median ratio of the times of
each round to ours. The last lines say how far what comes out differs: themisim cuts
pixels to 8 bits before and after it resizes them.
"""

import argparse
import importlib.util
import itertools
import multiprocessing
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from joblib import cpu_count
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torchvision.models import resnet18

from sksimclr import AuroraPreprocessor, SimCLRTransformer

sys.path.append(str(Path(__file__).resolve().parents[1]))
from real_data import FOLDER  # noqa: E402

_NEEDED = ("themisim", "faiss", "pandas", "cdflib", "pyarrow", "distributed")
_SIZE = 224
_RECIPE = {"radius": 108 / 128, "percentiles_over": "frame", "size": _SIZE}


@dataclass
class Archive:
    """Copies of a real file, under names that we take and under such as themisim does.

    Attributes
    ----------
    kind : str
    ours, theirs : list of Path
    n_frames : int
        In all of them.
    """

    kind: str
    ours: list
    theirs: list
    n_frames: int


def copy_file(source, folder, n_copies):
    """Return an archive of copies of a file."""
    from sksimclr.archive import read_frames

    frames = read_frames(source)
    hours = itertools.product(range(1, 29), range(24))
    dates = [(f"201403{day:02}", f"{hour:02}") for day, hour in hours][:n_copies]
    theirs = [
        folder / "theirs" / f"thg_l1_asf_{frames.site}_{day}{hour}_v01.cdf"
        for day, hour in dates
    ]
    names = [path.name for path in theirs]
    if source.suffix == ".gz":
        names = [f"{day}_{hour}00_{frames.site}_full.pgm.gz" for day, hour in dates]
    ours = [folder / "ours" / name for name in names]
    (folder / "ours").mkdir()
    (folder / "theirs").mkdir()
    for our_path, their_path in zip(ours, theirs, strict=True):
        shutil.copyfile(source, our_path)
        their_path.symlink_to(our_path)
    kind = "PGM" if source.suffix == ".gz" else "CDF"
    return Archive(kind, ours, theirs, n_copies * len(frames))


def read_for_them(read_cdf, path):
    """Return what themisim's reader does, also of a file that it cannot read."""
    from sksimclr.archive import read_frames

    if Path(path).resolve().suffix == ".cdf":
        return read_cdf(path)
    frames = read_frames(Path(path).resolve())
    return frames.images, frames.times.astype(np.int64)


def their_loader(paths, folder, n_workers):
    """Return what themisim streams images from."""
    from themisim import embed

    records = [
        embed._CdfRecord(number, path, site, name)
        for number, path in enumerate(paths)
        for site, _, name in [embed.parse_cdf_filename(path)]
    ]
    return torch.utils.data.DataLoader(
        embed.MultiCDFDataset(records, folder),
        batch_size=embed.DEFAULT_BATCH_SIZE,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        collate_fn=embed._collate_streaming,
    )


def preprocess_theirs(loader):
    """Read and preprocess all frames; return how many."""
    return sum(len(batch["frames"]) for batch in loader)


def pack_ours(paths, preprocessor):
    """Read and preprocess all frames into a store."""
    from sksimclr.archive import pack_frames

    part_bytes = sum(path.stat().st_size for path in paths) // cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        pack_frames(paths, store, preprocessor=preprocessor, part_bytes=part_bytes)


def preprocess_bare(paths, preprocessor, threads):
    """Read and preprocess all frames, and keep nothing."""
    from sksimclr.archive import read_frames

    def work(path):
        preprocessor.transform(read_frames(path).images)

    list(threads.map(work, paths))


def embed_theirs(paths, folder, model, n_workers):
    """Write shards of embeddings; return those of the first file."""
    import pandas as pd
    from themisim import embed

    keys = [embed.parse_cdf_filename(path) for path in paths]
    inventory = pd.DataFrame(
        {
            "site": [site for site, _, _ in keys],
            "datetime": [name for _, _, name in keys],
            "drive_path": [str(path) for path in paths],
            "status": "unprocessed",
        }
    )
    _, failures = embed.embed_inventory_streaming(
        inventory, model, folder, resume=False, num_workers=n_workers
    )
    if len(failures):
        raise RuntimeError(f"themisim failed: {failures.iloc[0].to_dict()}")
    return np.load(embed.shard_paths(folder, paths[0])[0]).astype(np.float32)


def embed_ours(paths, pipeline):
    """Write a catalogue; return the embeddings of its first file."""
    from sksimclr.archive import label_archive, read_catalogue

    part_bytes = sum(path.stat().st_size for path in paths) // cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Path(folder, "catalogue")
        label_archive(
            pipeline, paths, catalogue, embeddings=True, part_bytes=part_bytes
        )
        table = read_catalogue(catalogue, columns=["file", "embedding"])
    names, embeddings = table["file"].to_pylist(), table["embedding"].to_pylist()
    first = [e for n, e in zip(names, embeddings, strict=True) if n == str(paths[0])]
    return np.array(first, np.float32)


def make_networks(folder):
    """Return our pipeline and themisim's encoder, with the same weights."""
    from themisim.model import SimCLR, load_simclr

    torch.manual_seed(0)
    network = SimCLR(resnet18(), projection_dim=64, n_features=512)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as if it had been trained
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
    weights = folder / "weights.tar"
    torch.save(network.state_dict(), weights)
    simclr = SimCLRTransformer(
        weights=weights, image_size=_SIZE, stem="imagenet", max_epochs=0, device="cpu"
    )
    pipeline = make_pipeline(
        AuroraPreprocessor(**_RECIPE), simclr, LogisticRegression()
    )
    noise = np.random.default_rng(0).integers(0, 9999, (8, 256, 256), dtype=np.uint16)
    return pipeline.fit(noise, ["arc", "cloudy"] * 4), load_simclr(weights, "cpu")


def compare(title, n_frames, ours, theirs, repeats):
    """Print a row: frames per second of ours and of each of theirs, and the ratio."""
    ways = (ours, *theirs)
    times = [[seconds(way) for way in ways] for _ in range(repeats + 1)]
    times = np.array(times[1:])  # the first is a warm-up
    medians = np.median(times, axis=0)
    fastest = 1 + medians[1:].argmin()
    rates = " ".join(f"{n_frames / median:10.1f}" for median in medians)
    ratio = np.median(times[:, fastest] / times[:, 0])
    print(f"{title:18} {rates} {ratio:8.2f}", flush=True)


def seconds(function):
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_results(archive, ours, theirs, pipeline, model):
    """Print how far pixels and embeddings of the first file differ."""
    from themisim.preprocess import preprocess_frame

    from sksimclr.archive import read_frames

    images = read_frames(archive.ours[0]).images
    inputs = torch.stack([preprocess_frame(image) for image in images])
    pixels = inputs[:, 1].numpy()
    difference = 255 * np.abs(pipeline[0].transform(images) - pixels)
    with torch.no_grad():
        exact = model(inputs).numpy()
    print(
        f"{archive.kind}: pixels differ by {difference.mean():.2f} of 255, at most "
        f"{difference.max():.1f}; what was written by {distance(ours, theirs):.0e} of "
        f"its length, of which rounding to float16 {distance(exact, theirs):.0e}; our "
        f"network from theirs by {distance(pipeline[1].transform(pixels), exact):.0e}"
    )


def distance(embeddings, others):
    """Return how far embeddings are from others, relative to these."""
    return np.linalg.norm(embeddings - others) / np.linalg.norm(others)


def run(folder, options):
    """Print two tables, and what differs."""
    n_cores = cpu_count()
    torch.set_num_threads(n_cores)
    n_workers = sorted({0, n_cores, 4})
    cdf = sorted((FOLDER / "themis").glob("thg_*.cdf"))[:1]
    pgm = sorted((FOLDER / "themis").glob("*.pgm.gz"))[:1]
    archives = []
    for source in cdf + pgm:
        (folder / source.stem).mkdir()
        archives.append(copy_file(source, folder / source.stem, options.copies))
    names = " ".join(f"{f'workers={n}':>10}" for n in n_workers)
    print(f"frames/s on {n_cores} cores, {options.repeats} alternating rounds")
    print(f"{'':18} {'ours':>10} {names} {'ratio':>8}")
    with ThreadPoolExecutor(n_cores) as threads:
        for archive in archives:
            loaders = [their_loader(archive.theirs, folder, n) for n in n_workers]
            theirs = [partial(preprocess_theirs, loader) for loader in loaders]
            images = AuroraPreprocessor(**_RECIPE)
            ours = partial(preprocess_bare, archive.ours, images, threads)
            title = f"{archive.kind} to images"
            compare(title, archive.n_frames, ours, theirs, options.repeats)
            for size in (_SIZE, 64):
                small = clone(images).set_params(size=size, dtype="uint8")
                ours = partial(pack_ours, archive.ours, small)
                title = f"{archive.kind} packed, {size}"
                compare(title, archive.n_frames, ours, theirs, options.repeats)
    pipeline, model = make_networks(folder)
    for archive in archives:
        n_files = options.embedded
        rest = archive.theirs[:n_files], folder / "shards", model
        ours = partial(embed_ours, archive.ours[:n_files], pipeline)
        theirs = [partial(embed_theirs, *rest, n) for n in n_workers]
        n_frames = archive.n_frames * n_files // options.copies
        title = f"{archive.kind} to the end"
        compare(title, n_frames, ours, theirs, options.repeats)
        compare_results(archive, ours(), theirs[0](), pipeline, model)


def main():
    """Compare, if there is all that it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=24, help="of each file to read")
    parser.add_argument("--embedded", type=int, default=8, help="of these, to embed")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing or not FOLDER.is_dir():
        what = f"{', '.join(missing)}: see above" if missing else f"a folder {FOLDER}"
        return print(f"{__doc__}\nSkipped, for want of {what}.")
    warnings.filterwarnings("ignore", "This DataLoader will create")
    multiprocessing.set_start_method("fork")  # workers shall have our reader too
    from themisim import embed

    reader = partial(read_for_them, embed._read_cdf)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(embed, "_read_cdf", reader),
    ):
        run(Path(folder), options)


if __name__ == "__main__":
    main()
