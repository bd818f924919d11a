"""What `fit`, `transform` and `label_archive` reach on a GPU, beside the network alone.

Run as ``python tests/benchmarks/gpu.py`` on a machine with an NVIDIA GPU. Frames are
256 pixels, uint8, and N = 128. Each table has a flag; by default all are printed:

--fit        images per second of `fit`, and of forward, backward and fused Adam of the
             same network on views that lie on the GPU; with images on the GPU and read
             from the host; largest memory
--lightly    the recipe of lightly's documentation with workers (pip install lightly)
--transform  images per second of `transform`, and of the network on batches on the GPU
--paper      the paper's recipe: 100 epochs of as many frames as OATH has, 224 pixels,
             and what a linear classifier reaches on held-out sequences
--label      frames per second of `label_archive` over PGM files
"""

import argparse
import gzip
import itertools
import os
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchvision.transforms import v2

from sksimclr import AuroraPreprocessor, SimCLRTransformer, archive
from sksimclr._engine import batches
from sksimclr._engine.losses import nt_xent
from sksimclr._networks.encoders import make_encoder, make_projection_head
from sksimclr.datasets import make_aurora

N = 128


def frames(n_images, side=256):
    """Return grey noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n_images, side, side), dtype=np.uint8)


def synchronise():
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rate(function, n_images, repeats=5):
    """Return the median of images per second of a function, after two warm-ups."""
    seconds = []
    for _ in range(repeats + 2):
        synchronise()
        start = time.perf_counter()
        function()
        synchronise()
        seconds.append(time.perf_counter() - start)
    return n_images / statistics.median(seconds[2:])


@contextmanager
def read_from_host():
    """Let no image stay on the GPU."""
    before, batches._GPU_SHARE = batches._GPU_SHARE, 0
    try:
        yield
    finally:
        batches._GPU_SHARE = before


def rate_of_fit(images, epochs=5, **settings):
    """Return images per second of the median epoch after the first two."""
    simclr = SimCLRTransformer(
        max_epochs=epochs, batch_size=N, stem="imagenet", random_state=0, **settings
    ).fit(images)
    return statistics.median(row["images_per_second"] for row in simclr.history_[2:])


def rate_of_bare_steps(name, size, device, n_steps, *, bfloat16):
    """Return images per second of the network alone."""
    encoder = make_encoder(name, n_channels=1, image_size=size, stem="imagenet")
    n_features = encoder(torch.zeros(2, 1, size, size)).shape[1]
    head = make_projection_head(n_features, 64)
    net = nn.Sequential(encoder, head).to(device).train()
    net = net.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), lr=3e-4, fused=device.type == "cuda")
    views = torch.rand(2 * N, 1, size, size, device=device)
    views = views.contiguous(memory_format=torch.channels_last)

    def steps():
        for _ in range(n_steps):
            adam.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                out = net(views)
            nt_xent(out.float(), 0.5).backward()
            adam.step()

    return rate(steps, n_steps * N)


def print_fit(options, device):
    """Print the table of training."""
    images = frames(N * options.steps)
    print(f"fit, N = {N}, {options.steps} steps an epoch, images/s")
    print("encoder    px  precision    alone    fit  ratio  from host      GB")
    for name, size, precision in itertools.product(
        options.encoders, options.sizes, ("bfloat16", "float32")
    ):
        is_bfloat16 = precision == "bfloat16"
        alone = rate_of_bare_steps(
            name, size, device, options.steps, bfloat16=is_bfloat16
        )
        torch.cuda.reset_peak_memory_stats()
        settings = {"encoder": name, "image_size": size, "precision": precision}
        fit = rate_of_fit(images, **settings)
        peak = torch.cuda.max_memory_allocated() / 1e9
        with read_from_host():
            host = rate_of_fit(images, **settings)
        print(
            f"{name:9} {size:4}  {precision:9} {alone:8.0f} {fit:6.0f} "
            f"{fit / alone:6.2f} {host:10.0f} {peak:7.2f}",
            flush=True,
        )


class Frames(torch.utils.data.Dataset):
    """Images that a transform turns into views, one at a time, as lightly has it."""

    def __init__(self, images, transform):
        self.images, self.transform = images, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        """Return the views of an image, and a label."""
        return self.transform(Image.fromarray(self.images[number])), 0


def print_lightly(options, device):
    """Print what lightly's recipe reaches with workers."""
    from lightly.loss import NTXentLoss
    from lightly.transforms.multi_view_transform import MultiViewTransform

    images, n_workers = frames(N * options.steps), max(1, os.cpu_count() - 2)
    print(f"lightly, {n_workers} workers, bfloat16, resnet18, images/s (and ours)")
    for size in options.sizes:
        crop = v2.RandomResizedCrop(size, antialias=True)
        as_floats = v2.ToDtype(torch.float32, scale=True)
        view = v2.Compose([crop, v2.RandomVerticalFlip(), v2.ToImage(), as_floats])
        loader = torch.utils.data.DataLoader(
            Frames(images, MultiViewTransform([view, view])),
            N,
            shuffle=True,
            drop_last=True,
            num_workers=n_workers,
            persistent_workers=True,
            pin_memory=True,
        )
        encoder = make_encoder(
            "resnet18", n_channels=1, image_size=size, stem="imagenet"
        )
        net = nn.Sequential(encoder, make_projection_head(512, 64)).to(device)
        criterion, adam = NTXentLoss(0.5), torch.optim.Adam(net.parameters(), lr=3e-4)

        def epoch(loader=loader, net=net, criterion=criterion, adam=adam):
            for views, _ in loader:
                first, second = (x.to(device, non_blocking=True) for x in views)
                with torch.autocast(device.type, torch.bfloat16):
                    projections = net(first), net(second)
                loss = criterion(*(z.float() for z in projections))
                adam.zero_grad()
                loss.backward()
                adam.step()

        theirs = rate(epoch, len(images), 3)
        ours = rate_of_fit(images, image_size=size, precision="bfloat16")
        print(f"{size:4} {theirs:8.0f} {ours:8.0f} {ours / theirs:6.1f} times")


def print_transform(options, device):
    """Print the table of embedding."""
    images = frames(options.images)
    print(f"transform, {len(images)} images of 256 px, float32, images/s")
    print("encoder    px   alone  transform  ratio  ms for 1")
    for name in options.encoders:
        for size in options.sizes:
            simclr = SimCLRTransformer(
                name, image_size=size, stem="imagenet", max_epochs=0, random_state=0
            ).fit(images[:2])
            net = make_encoder(
                name, n_channels=1, image_size=size, stem="imagenet"
            ).to(device, memory_format=torch.channels_last).eval()  # fmt: skip
            batch = torch.rand(256, 1, size, size, device=device)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                alone = rate(lambda net=net, batch=batch: net(batch), 256)
            ours = rate(lambda s=simclr: s.transform(images), len(images), 3)
            one = rate(lambda s=simclr: s.transform(images[:1]), 1)
            print(
                f"{name:9} {size:4} {alone:8.0f} {ours:9.0f} {ours / alone:6.2f} "
                f"{1000 / one:8.0f}",
                flush=True,
            )


def print_paper(options, device):
    """Print seconds and scores of the paper's recipe at the size of OATH."""
    draws = Parallel(n_jobs=-1)(
        delayed(make_aurora)(options.frames // 16, size=256, random_state=k)
        for k in range(16)
    )
    raw, target = (
        np.concatenate([d[key] for d in draws]) for key in ("images", "target")
    )
    groups = np.concatenate([1000 * k + draw.groups for k, draw in enumerate(draws)])
    images = AuroraPreprocessor(dtype="uint8").fit_transform(raw)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))

    def score(features):
        scores = cross_val_score(
            probe, features, target, groups=groups, cv=GroupKFold(5), n_jobs=5
        )
        return f"{100 * scores.mean():.1f} +- {100 * scores.std():.1f}"

    print(f"paper, {len(images)} frames of make_aurora, held-out sequences")
    pixels = AuroraPreprocessor(size=32).fit_transform(raw)
    print("raw pixels, 32 px:", score(pixels.reshape(len(pixels), -1)), flush=True)
    for epochs in options.epochs:
        start = time.perf_counter()
        simclr = SimCLRTransformer(max_epochs=epochs, random_state=0).fit(images)
        trained = time.perf_counter()
        features = simclr.transform(images)
        seconds = trained - start, time.perf_counter() - trained
        print(
            f"ResNet18, 224 px, {epochs} epochs: fit {seconds[0]:.1f} s, transform "
            f"{seconds[1]:.1f} s, {score(features)}",
            flush=True,
        )


def write_minutes(folder, n_files, n_different=24):
    """Write files of 20 frames like those of THEMIS, some of them under many names."""
    sky, files = make_aurora(60, size=256, random_state=0).images.astype(">u2"), []
    for k in range(n_files):
        hour, minute = k // 60 % 24, k % 60
        name = f"20140310_{hour:02}{minute:02}_gill_themis{k // 1440:02}_full.pgm.gz"
        files.append(Path(folder, name))
        if k >= n_different:
            os.link(files[k % n_different], files[k])
            continue
        header = b"P5\n256 256\n65535\n"
        frames_of_file = np.roll(sky, k, axis=0)[:20]
        data = b"".join(header + frame.tobytes() for frame in frames_of_file)
        files[k].write_bytes(gzip.compress(data, 1))
    return files


def print_label(options, device):
    """Print frames per second from PGM files to a catalogue."""
    simclr = SimCLRTransformer(max_epochs=0, random_state=0)
    pipe = make_pipeline(AuroraPreprocessor(), simclr).fit(frames(2))
    with tempfile.TemporaryDirectory() as folder:
        files, rates = write_minutes(folder, options.files), []
        for run in range(3):
            start = time.perf_counter()
            out = Path(folder, f"out{run}")
            archive.label_archive(pipe, files, out, embeddings=True)
            rates.append(20 * len(files) / (time.perf_counter() - start))
    print(
        f"label_archive, {20 * len(files)} frames in PGM files, ResNet18 at 224 px, "
        f"{os.cpu_count()} cores: {statistics.median(rates[1:]):.0f} frames/s "
        f"(first run {rates[0]:.0f})"
    )


TABLES = {
    "fit": print_fit,
    "lightly": print_lightly,
    "transform": print_transform,
    "paper": print_paper,
    "label": print_label,
}


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in TABLES:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--steps", type=int, default=40, help="in an epoch")
    parser.add_argument("--images", type=int, default=16384, help="of --transform")
    parser.add_argument("--frames", type=int, default=5824, help="of --paper")
    parser.add_argument("--epochs", type=int, nargs="+", default=[0, 100])
    parser.add_argument("--files", type=int, default=720, help="of --label")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU"
    print(f"{name}, {os.cpu_count()} cores, torch {torch.__version__}")
    chosen = [table for table in TABLES if getattr(options, table)] or list(TABLES)
    for table in chosen:
        start = time.perf_counter()
        TABLES[table](options, device)
        print(f"[{table}: {time.perf_counter() - start:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
