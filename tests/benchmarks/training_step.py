"""Seconds of a training step against its limit, and the part that the views take.

Run as ``python tests/benchmarks/training_step.py``. The limit is forward, backward and
Adam of the same network, one channel, channels last, on a batch of 2 N views that lies
in memory. Epochs of `fit` and bare steps alternate in one process; medians are printed,
and ratios of pairs. With ``--keep-freed-memory``, as in ``sksimclr train``.
"""

import argparse
import time

import numpy as np
import torch

from sksimclr._engine.contrastive import ViewPlan, train
from sksimclr._engine.loop import LoopPlan, Seeds
from sksimclr._engine.losses import NTXent, nt_xent
from sksimclr._images.images import as_images
from sksimclr._machine.device import to_float
from sksimclr._machine.memory import keep_freed_memory
from sksimclr._networks.encoders import make_encoder, make_projection_head
from sksimclr.augmentations import ResizedCrop, VerticalFlip, make_view

AUGMENTATIONS = (ResizedCrop(), VerticalFlip())


def networks(size):
    """Return encoder and projection head."""
    torch.manual_seed(0)
    encoder = make_encoder("resnet18", n_channels=1, image_size=size, stem="imagenet")
    return encoder, make_projection_head(512, 64)


def seconds_of_fit(nets, images, size, batch_size):
    """Train for an epoch; return its seconds per step."""
    device, seeds = torch.device("cpu"), Seeds(0, 0, None)
    plan = LoopPlan(1, batch_size, 3e-4, 0.0, "adam", None, (), 0, device, seeds)
    views = ViewPlan(NTXent(0.5), AUGMENTATIONS, size)
    history, _ = train(*nets, as_images(images), views, plan)
    return history[0]["seconds"] * batch_size / len(images)


def seconds_of_bare_steps(nets, views, n_steps):
    """Return the seconds of a step on views that are there."""
    encoder, head = (net.to(memory_format=torch.channels_last).train() for net in nets)
    adam = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-4)
    start = time.perf_counter()
    for _ in range(n_steps):
        adam.zero_grad()
        nt_xent(head(encoder(views)), 0.5).backward()
        adam.step()
    return (time.perf_counter() - start) / n_steps


def seconds_of_views(images, size):
    """Return the seconds that both views of a batch take."""
    generator = torch.Generator().manual_seed(0)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        batch = to_float(torch.from_numpy(images)[:, None])
        for _ in range(2):
            make_view(batch, AUGMENTATIONS, generator=generator, size=size)
        seconds.append(time.perf_counter() - start)
    return np.median(seconds)


def main():
    """Print medians and ratios for several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="in an epoch")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep-freed-memory", action="store_true")
    options = parser.parse_args()
    if options.keep_freed_memory:
        keep_freed_memory()
    batch_size, n_steps = options.batch_size, options.steps
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size * n_steps, 256, 256), dtype=np.uint8)
    print(
        f"ResNet18, N = {batch_size} images of 256 px, {torch.get_num_threads()} "
        f"threads, {options.repeats} alternating runs of {n_steps} steps, seconds"
    )
    print("  px    fit   bare  fit/bare  views/step")
    for size in options.sizes:
        nets = networks(size)
        views = torch.rand(2 * batch_size, 1, size, size)
        views = views.contiguous(memory_format=torch.channels_last)
        rows = []
        for _ in range(options.repeats + 1):  # the first is a warm-up
            rows.append(
                [
                    seconds_of_fit(nets, images, size, batch_size),
                    seconds_of_bare_steps(nets, views, n_steps),
                    seconds_of_views(images[:batch_size], size),
                ]
            )
        fit, bare, of_views = np.array(rows[1:]).T
        print(
            f"{size:4} {np.median(fit):6.3f} {np.median(bare):6.3f} "
            f"{np.median(fit / bare):9.3f} {100 * np.median(of_views / fit):9.2f} %"
        )


if __name__ == "__main__":
    main()
