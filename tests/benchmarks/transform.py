"""Images per second of `transform`, against other ways to run the same network.

Run as ``python tests/benchmarks/transform.py``. A ResNet18 for grey images, and the
slim one of `recipes.QUICK`, embed images with `SimCLRTransformer`; as a plain module in
evaluation mode; compiled by `torch.compile` with frozen weights, if there is a C++
compiler; and with ONNX Runtime if it is installed (``pip install onnx onnxruntime
onnxscript``), with the batches that suit it best, as found by trying. They alternate in
one process; medians are printed, and the median ratio of the times of each round. Below
1, `transform` is faster. Times for 1,000 and 100,000 images have the time in which each
way gets ready: a copy of the network, a compilation, an export. The last lines compare
embedding PNG files with decoding them first.
"""

import argparse
import contextlib
import copy
import importlib.util
import io
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from sksimclr import SimCLRTransformer
from sksimclr._engine.embedding import default_batch_size
from sksimclr._files.readers import read_image
from sksimclr.datasets import make_aurora

_HAS_ONNX = all(
    importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript")
)
_BATCH_SIZES = (8, 16, 32, 64)  # tried with ONNX Runtime


def fitted(size, width=64):
    """Return a transformer whose batch normalisation looks as if it were trained."""
    simclr = SimCLRTransformer(
        image_size=size,
        width=width,
        stem="imagenet",
        max_epochs=0,
        random_state=0,
        device="cpu",
    ).fit(np.zeros((2, size, size), np.float32))
    torch.manual_seed(0)
    for layer in simclr.encoder_.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
    return simclr


def plain(encoder, batch_size):
    """Embed as a few lines of torch would."""

    def embed(images):
        with torch.no_grad():
            batches = torch.from_numpy(images)[:, None].split(batch_size)
            return torch.cat([encoder(batch) for batch in batches]).numpy()

    return embed


def compiled(encoder, size, batch_size):
    """Embed with the code that torch's compiler makes of a copy."""
    import torch._inductor.config as config

    config.freezing = config.force_disable_caches = True
    torch._dynamo.reset()
    encoder = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
    embed = plain(torch.compile(encoder), batch_size)
    embed(np.zeros((batch_size, size, size), np.float32))
    return embed


def onnx_runtime(encoder, size, batch_size):
    """Embed with ONNX Runtime, in as many threads."""
    import onnxruntime

    shape = (batch_size, 1, size, size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder, "encoder.onnx"))
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(encoder, (torch.zeros(shape),), path, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    (name,) = [node.name for node in session.get_inputs()]

    def embed(images):
        starts = range(0, len(images), batch_size)
        batches = [images[start : start + batch_size, None] for start in starts]
        return np.concatenate([session.run(None, {name: b})[0] for b in batches])

    return embed


def seconds(function, *args):
    """Time one call."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def best_onnx_runtime(encoder, images):
    """Return ONNX Runtime with its best batches, their size, and the time it took.

    The time is that of one export and session.
    """
    sizes = [size for size in _BATCH_SIZES if len(images) % size == 0]
    ways, times = [], []
    for batch_size in sizes:
        start = time.perf_counter()
        ways.append(onnx_runtime(encoder, images.shape[1], batch_size))
        ready = time.perf_counter() - start
        times.append((min(seconds(ways[-1], images) for _ in range(3)), ready))
    best = int(np.argmin([each for each, _ in times]))
    return ways[best], sizes[best], times[best][1]


def ways_to_embed(simclr, images, has_compiler):
    """Return each way, the images in its batches, and the time to get it ready."""
    size, encoder = images.shape[1], simclr.encoder_
    batch_size = default_batch_size(size, torch.device("cpu"), encoder)
    first = seconds(simclr.transform, images)
    ready = max(0.0, first - seconds(simclr.transform, images))
    ways = {
        "transform": (simclr.transform, batch_size, ready),
        "plain": (plain(encoder, batch_size), batch_size, 0.0),
    }
    if has_compiler:
        start = time.perf_counter()
        way = compiled(encoder, size, batch_size)
        ways["compiled"] = way, batch_size, time.perf_counter() - start
    if _HAS_ONNX:
        ways["ONNX Runtime"] = best_onnx_runtime(encoder, images)
    return ways


def compare(width, size, n_images, repeats, has_compiler):
    """Print the rows for one network and size."""
    n_images = round(n_images * (64 / width) * min(1, 96 / size) / 64) * 64 or 64
    images = np.random.default_rng(0).random((n_images, size, size), np.float32)
    simclr = fitted(size, width)
    ways = ways_to_embed(simclr, images, has_compiler)
    results = {name: way(images) for name, (way, _, _) in ways.items()}
    times = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (way, _, _) in ways.items():
            times[name].append(seconds(way, images) / n_images)
    few = 1000 * np.median([seconds(simclr.transform, images[:1]) for _ in range(20)])
    ours = np.array(times["transform"])
    lengths = np.linalg.norm(results["plain"], axis=1)
    for name, (_, batch_size, ready) in ways.items():
        each = float(np.median(times[name]))
        totals = [ready + n * each for n in (1_000, 100_000)]
        errors = np.linalg.norm(results[name] - results["plain"], axis=1) / lengths
        print(
            f"{width:5} {size:6} {name:12} {batch_size:5} {1 / each:8.1f}"
            f" {np.median(ours / np.array(times[name])):9.2f} {ready:7.2f}"
            f" {totals[0]:8.1f} {totals[1]:8.0f} {errors.max():10.0e}"
            + f" {few:9.1f}"
            * (name == "transform")
        )


def compare_files(size, n_images, repeats):
    """Print what decoding PNG files adds when it overlaps with the network."""
    simclr = fitted(size)
    frames = make_aurora(n_images, size=256, random_state=0).images
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{k:05}.png") for k in range(n_images)]
        for path, frame in zip(paths, frames, strict=True):
            Image.fromarray(frame).save(path)
        simclr = simclr.fit(paths[:2])
        times = np.array(
            [
                [
                    seconds(lambda: [read_image(path) for path in paths]),
                    seconds(simclr.transform, frames),
                    seconds(simclr.transform, paths),
                ]
                for _ in range(repeats)
            ]
        )
    decoding, network, overlapped = n_images / np.median(times, axis=0)
    ratio = np.median(times[:, 2] / times[:, :2].sum(axis=1))
    print(
        f"\n{n_images} PNG files of 256 x 256 pixels, embedded at {size}: "
        f"{decoding:.0f} decoded, {network:.1f} embedded, {overlapped:.1f} decoded and "
        f"embedded per second; {ratio:.2f} of the time of one after the other"
    )


def main():
    """Print a table for two networks and several sizes, and a line on files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 16])
    parser.add_argument("--images", type=int, default=256, help="about as many")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-compiler", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    has_compiler = not options.no_compiler and bool(shutil.which("g++"))
    print(
        f"{options.threads} threads of {os.cpu_count()}, {options.repeats} alternating "
        "rounds, medians; ratio: time of transform to that of the row"
    )
    if not _HAS_ONNX:
        print("ONNX Runtime is left out: pip install onnx onnxruntime onnxscript")
    print(
        f"{'width':>5} {'pixels':>6} {'way':12} {'batch':>5} {'images/s':>8}"
        f" {'ratio':>9} {'ready s':>7} {'1,000 s':>8} {'100,000':>8}"
        f" {'difference':>10} {'ms for 1':>9}"
    )
    for width in options.widths:
        for size in options.sizes:
            compare(width, size, options.images, options.repeats, has_compiler)
    compare_files(options.sizes[0], options.images, options.repeats)


if __name__ == "__main__":
    main()
