"""Seconds and peak memory of an epoch against lightly's documented SimCLR recipe.

Run as ``python tests/benchmarks/against_lightly.py`` after ``pip install lightly``.
The recipe is that of lightly's documentation (a DataLoader over images that a
transform turns into two views, one forward for each of them, its NT-Xent), with the
same network, optimizer, views, batch and image size as ours, and no workers. Epochs
alternate in one process; medians are printed, and the ratio of each pair. Peak memory
is that of processes of their own, less what they had before the first epoch.
"""

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from sksimclr import SimCLRTransformer
from sksimclr._networks.encoders import make_encoder, make_projection_head


class Frames(torch.utils.data.Dataset):
    """Images that a transform turns into views, one at a time."""

    def __init__(self, images, transform):
        self.images = images
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        """Return the views of an image, and a label as lightly has it."""
        return self.transform(Image.fromarray(self.images[number])), 0


class Lightly:
    """The recipe of lightly's documentation."""

    def __init__(self, images, size, batch_size, width):
        from lightly.loss import NTXentLoss
        from lightly.transforms.multi_view_transform import MultiViewTransform

        view = v2.Compose(
            [
                v2.RandomResizedCrop(size, antialias=True),
                v2.RandomVerticalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        frames = Frames(images, MultiViewTransform([view, view]))
        self.loader = torch.utils.data.DataLoader(
            frames, batch_size, shuffle=True, drop_last=True
        )
        torch.manual_seed(0)
        self.model = nn.Sequential(
            make_encoder(
                "resnet18", n_channels=1, image_size=size, stem="imagenet", width=width
            ),
            make_projection_head(8 * width, 64),
        )
        self.criterion = NTXentLoss(temperature=0.5)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-4)

    def epoch(self):
        """Train for an epoch; return its seconds."""
        start = time.perf_counter()
        for (first, second), _ in self.loader:
            loss = self.criterion(self.model(first), self.model(second))
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return time.perf_counter() - start


class Ours:
    """`SimCLRTransformer`, one epoch after the other."""

    def __init__(self, images, size, batch_size, width):
        self.images = images
        self.simclr = SimCLRTransformer(
            image_size=size,
            batch_size=batch_size,
            stem="imagenet",
            width=width,
            max_epochs=1,
            warm_start=True,
            random_state=0,
        )

    def epoch(self):
        """Train for an epoch; return its seconds."""
        return self.simclr.fit(self.images).history_[-1]["seconds"]


def peak_megabytes():
    """Return the most memory this process ever had (Linux).

    Not `ru_maxrss`, which a process takes over from the one that started it.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def make_images(options):
    """Return grey frames of 256 pixels."""
    shape = (options.batch_size * options.steps, 256, 256)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def print_memory(options):
    """Print the memory that two epochs of one system took."""
    images, size = make_images(options), options.sizes[0]
    for name in ("lightly.transforms", "lightly.loss", "sksimclr._engine.contrastive"):
        importlib.import_module(name)  # which both systems have, and neither counts
    before = peak_megabytes()
    if options.memory_of == "ours":
        run = Ours(images, size, options.batch_size, options.width)
        run.simclr.set_params(max_epochs=2).fit(images)
    else:
        run = Lightly(images, size, options.batch_size, options.width)
        run.epoch()
        run.epoch()
    print(peak_megabytes() - before)


def memory_of(name, size, options):
    """Return what `print_memory` prints in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", name, "--sizes", str(size)]
    command += ["--batch-size", str(options.batch_size), "--steps", "2"]
    command += ["--width", str(options.width)]
    return float(subprocess.check_output(command, text=True).split()[-1])


def main():
    """Print medians and ratios for several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="in an epoch")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory-repeats", type=int, default=3)
    parser.add_argument("--width", type=int, default=64, help="of the first stage")
    parser.add_argument("--memory-of", choices=["ours", "lightly"])
    options = parser.parse_args()
    if options.memory_of:
        return print_memory(options)
    images = make_images(options)
    print(
        f"ResNet18, width={options.width}, N = {options.batch_size} images of 256 px, "
        f"{torch.get_num_threads()} threads, {options.repeats} alternating epochs of "
        f"{options.steps} steps"
    )
    print("  px  ours, s  lightly, s  ratio   ours, MB  lightly, MB")
    for size in options.sizes:
        settings = (size, options.batch_size, options.width)
        runs = [system(images, *settings) for system in (Ours, Lightly)]
        pairs = [[run.epoch() for run in runs] for _ in range(options.repeats + 1)]
        ours, theirs = np.array(pairs[1:]).T  # the first is a warm-up
        megabytes = np.median(
            [
                [memory_of(name, size, options) for name in ("ours", "lightly")]
                for _ in range(options.memory_repeats)
            ],
            axis=0,
        )
        print(
            f"{size:4} {np.median(ours):8.2f} {np.median(theirs):11.2f} "
            f"{np.median(ours / theirs):6.2f} {megabytes[0]:10.0f} {megabytes[1]:12.0f}"
        )


if __name__ == "__main__":
    main()
