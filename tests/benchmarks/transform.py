"""Images per second of `transform`, against the plain network and ONNX Runtime.

Run as ``python tests/benchmarks/transform.py``. A ResNet18 for grey images embeds
them with `SimCLRTransformer`, as a plain module in evaluation mode, and with ONNX
Runtime if it is installed (``pip install onnx onnxruntime onnxscript``), all with the
same batches and threads. They alternate in one process; medians are printed, and the
median ratio of the times of each round. Below 1, `transform` is faster. The last lines
compare embedding PNG files with decoding them first.
"""

import argparse
import contextlib
import importlib.util
import io
import os
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


def fitted(size):
    """Return a transformer whose batch normalisation looks as if it were trained."""
    simclr = SimCLRTransformer(
        image_size=size, stem="imagenet", max_epochs=0, random_state=0, device="cpu"
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


def compare(size, n_images, repeats):
    """Print a row for one size."""
    simclr = fitted(size)
    batch_size = default_batch_size(size, torch.device("cpu"))
    n_images = batch_size * max(1, round(n_images / batch_size))
    images = np.random.default_rng(0).random((n_images, size, size), np.float32)
    ways = [simclr.transform, plain(simclr.encoder_, batch_size)]
    if _HAS_ONNX:
        ways.append(onnx_runtime(simclr.encoder_, size, batch_size))
    results = [way(images) for way in ways]
    times = np.array([[seconds(way, images) for way in ways] for _ in range(repeats)])
    lengths = np.linalg.norm(results[1], axis=1)
    difference = (np.linalg.norm(results[0] - results[1], axis=1) / lengths).max()
    columns = [f"{rate:12.1f}" for rate in n_images / np.median(times, axis=0)]
    ratios = [
        f"{ratio:12.2f}" for ratio in np.median(times[:, :1] / times[:, 1:], axis=0)
    ]
    if not _HAS_ONNX:
        columns.append(f"{'-':>12}")
        ratios.append(f"{'-':>12}")
    few = np.median([seconds(simclr.transform, images[:1]) for _ in range(repeats)])
    print(
        f"{size:5} {batch_size:5}",
        *columns,
        *ratios,
        f"{difference:12.0e} {1000 * few:9.0f}",
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
    """Print a table for several sizes, and a line on files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--images", type=int, default=256, help="about as many")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(
        f"{torch.get_num_threads()} threads of {os.cpu_count()}, {options.repeats} "
        "alternating rounds, medians of images per second, ratios of times"
    )
    if not _HAS_ONNX:
        print("ONNX Runtime is left out: pip install onnx onnxruntime onnxscript")
    print(
        f"{'size':>5} {'batch':>5}"
        f" {'transform':>12} {'plain':>12} {'ONNX Runtime':>12}"
        f" {'to plain':>12} {'to ONNX':>12} {'difference':>12} {'ms for 1':>9}"
    )
    for size in options.sizes:
        compare(size, options.images, options.repeats)
    compare_files(options.sizes[0], options.images, options.repeats)


if __name__ == "__main__":
    main()
