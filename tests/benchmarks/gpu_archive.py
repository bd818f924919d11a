"""From files and from a frame store to embeddings: what bounds it."""

import gzip
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cost_model
import numpy as np
import torch
from gpu_steps import frames, rate
from sklearn.pipeline import make_pipeline

from sksimclr import AuroraPreprocessor, SimCLRTransformer, archive
from sksimclr._networks.encoders import make_encoder
from sksimclr.datasets import make_aurora

HEADER = (
    *("encoder", "pixels", "from", "to embeddings", "reading", "preprocessing"),
    *("copying", "computing", "slowest", "expected"),
)
TEXT = (
    "Embedding, frames per second: ``transform`` of frames in memory and of a store, "
    "and ``label_archive`` of PGM files of 20 frames; then each part by itself. "
    "*copying*: from pinned memory to the GPU; *computing*: the network on batches "
    "that lie on the GPU; *expected*: that, by counting, for an H100."
)
_BATCH = 256
_FRAMES_OF_FILE = 20
_N_DIFFERENT = 24  # files; others are links to these


def rows(scale, device, clock):
    """Yield a row for each encoder, size and place of the frames."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_minutes(Path(folder), scale)
        parts = {
            "reading": rate_of_threads(archive.read_frames, files),
            "preprocessing": rate_of_preprocessing(files),
        }
        left_out, stores = [], {}
        for name in scale.encoders:
            for size in scale.sizes:
                if clock.left < 20:
                    left_out.append(f"{name} at {size} px")
                    continue
                if size not in stores:
                    stores[size], note = pack(files, Path(folder, f"{size}"), size)
                    yield note
                yield from measured_rows(
                    name, size, scale, device, files, stores[size], parts
                )
    if left_out:
        yield f"Left out, for there was no time: {'; '.join(left_out)}."


def pack(files, folder, size):
    """Return a store of the files, opened, and a sentence on how long it took."""
    start = time.perf_counter()
    archive.pack_frames(
        files, folder, preprocessor=AuroraPreprocessor(size=size, dtype="uint8")
    )
    seconds, store = time.perf_counter() - start, archive.open_frames(folder)
    return store, f"Packed at {size} pixels: {len(store) / seconds:,.0f} frames/s."


def measured_rows(name, size, scale, device, files, store, parts):
    """Yield the rows of an encoder at a size."""
    settings = {"image_size": size, "stem": "imagenet", "width": scale.width}
    simclr = SimCLRTransformer(name, **settings, max_epochs=0, random_state=0)
    images = frames(scale.n_images, scale.side)
    simclr.fit(images[:2])
    pipe = make_pipeline(AuroraPreprocessor(), simclr)
    pipe[0].fit(images[:2])
    computing = rate_of_network(name, size, scale, device)
    model = f"{cost_model.expected(name, size, 128)['embedded_per_second']:,.0f}"

    def row(place, whole, **own):
        found = own | {"computing": computing}
        shown = [f"{found[p]:,.0f}" if p in found else "\\" for p in HEADER[4:8]]
        slowest = min(found, key=found.get)
        return [name, size, place, f"{whole:,.0f}", *shown, slowest, model]

    whole = rate(lambda: simclr.transform(images), len(images), 2)
    yield row("memory", whole, copying=rate_of_copies(images, device))
    whole = rate_of_labelling(pipe, files)
    yield row("files", whole, **parts, copying=rate_of_copies(images, device))
    whole = rate(lambda: of_store(name, settings, store), len(store), 2)
    reading = rate(lambda: read_store(store), len(store), 2)
    copying = rate_of_copies(np.asarray(store[: 4 * _BATCH]), device)
    yield row("store", whole, reading=reading, copying=copying)


def of_store(name, settings, store):
    """Embed a store."""
    simclr = SimCLRTransformer(name, **settings, max_epochs=0, random_state=0)
    return simclr.fit(store).transform(store)


def read_store(store):
    """Read a store from its beginning to its end."""
    for start in range(0, len(store), _BATCH):
        store[start : start + _BATCH]


def rate_of_threads(function, files):
    """Return frames per second of a function of files, on all cores."""

    def run():
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(function, files):
                pass

    return rate(run, _FRAMES_OF_FILE * len(files), 2)


def rate_of_preprocessing(files):
    """Return frames per second of the preprocessor, on all cores."""
    read, preprocessor = archive.read_frames(files[0]).images, AuroraPreprocessor()
    preprocessor.fit(read)
    return rate_of_threads(lambda _: preprocessor.transform(read), files)


def rate_of_copies(images, device):
    """Return images per second that are copied to the device."""
    batch = torch.from_numpy(images[:_BATCH])
    if device.type == "cuda":
        batch = batch.pin_memory()

    def copy():
        for _ in range(10):
            batch.to(device, non_blocking=True, copy=True)

    return rate(copy, 10 * len(batch))


def rate_of_network(name, size, scale, device):
    """Return images per second of the network on a batch that lies on the device."""
    net = make_encoder(
        name, n_channels=1, image_size=size, stem="imagenet", width=scale.width
    )
    net = net.to(device, memory_format=torch.channels_last).eval()
    n_images = min(_BATCH, scale.n_images)
    batch = torch.rand(n_images, 1, size, size, device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return rate(lambda: net(batch), n_images)


def rate_of_labelling(pipe, files):
    """Return frames per second from files to a catalogue of embeddings."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for run in range(2):  # the first is a warm-up
            start = time.perf_counter()
            archive.label_archive(pipe, files, Path(folder, f"{run}"), embeddings=True)
            seconds.append(time.perf_counter() - start)
    return _FRAMES_OF_FILE * len(files) / seconds[-1]


def write_minutes(folder, scale):
    """Write files of 20 frames like those of THEMIS, some of them under many names."""
    sky = make_aurora(60, size=scale.side, random_state=0).images.astype(">u2")
    files = []
    for k in range(scale.n_files):
        hour, minute = k // 60 % 24, k % 60
        name = f"20140310_{hour:02}{minute:02}_gill_themis{k // 1440:02}_full.pgm.gz"
        files.append(folder / name)
        if k >= _N_DIFFERENT:
            os.link(files[k % _N_DIFFERENT], files[k])
            continue
        header = b"P5\n%d %d\n65535\n" % (scale.side, scale.side)
        frames_of_file = np.roll(sky, k, axis=0)[:_FRAMES_OF_FILE]
        data = b"".join(header + frame.tobytes() for frame in frames_of_file)
        files[k].write_bytes(gzip.compress(data, 1))
    return files
