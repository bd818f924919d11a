"""Milliseconds to crop a batch against a loop over torchvision's `resized_crop`.

Run as ``python tests/benchmarks/views.py``. The two alternate in one process, on the
same boxes; medians are printed, and the ratio of each pair.
"""

import argparse
import time

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tvf

from sksimclr._images.resizing import resized_crop
from sksimclr.augmentations import ResizedCrop


def torchvision_loop(images, boxes, size):
    """Crop one image at a time."""
    crops = [
        tvf.resized_crop(image, *box, [size, size], antialias=True)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    return torch.stack(crops)


def milliseconds(function, *args):
    """Time one call."""
    start = time.perf_counter()
    function(*args)
    return 1000 * (time.perf_counter() - start)


def main():
    """Print medians and ratios for several sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    print(f"{options.images} views, {options.repeats} alternating runs, medians in ms")
    print(f"{'from':>5} {'to':>4} {'ours':>7} {'torchvision':>12} {'ratio':>6}")
    for side, size in [(64, 64), (128, 96), (256, 128), (256, 224)]:
        images = torch.rand(options.images, 1, side, side, generator=generator)
        boxes = ResizedCrop().draw_boxes(len(images), side, side, generator)
        pairs = np.array(
            [
                [
                    milliseconds(crop, images, boxes, size)
                    for crop in (resized_crop, torchvision_loop)
                ]
                for _ in range(options.repeats)
            ]
        )
        ours, theirs = np.median(pairs, axis=0)
        ratio = np.median(pairs[:, 0] / pairs[:, 1])
        print(f"{side:5} {size:4} {ours:7.1f} {theirs:12.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
