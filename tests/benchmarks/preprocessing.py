"""Frames per second of `AuroraPreprocessor` against a loop over `np.percentile`.

Run as ``python tests/benchmarks/preprocessing.py``. The two alternate in one process;
medians are printed, and the ratio of each pair.
"""

import argparse
import time

import numpy as np

from sksimclr import AuroraPreprocessor
from sksimclr._images.sky import field_of_view


def percentile_loop(frames):
    """Equation (1) inside the disc, one frame at a time, as one would write it."""
    field = field_of_view(frames.shape[1:], 0.85, None)
    out = np.empty(frames.shape, np.float32)
    for k, frame in enumerate(frames):
        low, high = np.percentile(frame[field], (1, 99))
        out[k] = np.clip((frame - low) / (high - low), 0, 1) * field
    return out


def seconds(function, frames):
    """Time one call."""
    start = time.perf_counter()
    function(frames)
    return time.perf_counter() - start


def main():
    """Print medians, frames per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    shape = (options.frames, options.side, options.side)
    noise = np.random.default_rng(0).gamma(2.0, 2000.0, shape)
    frames = (3000 + noise).astype(np.uint16)
    ours = AuroraPreprocessor().fit(frames).transform
    error = np.abs(ours(frames) - percentile_loop(frames)).max()
    pairs = np.array(
        [
            (seconds(ours, frames), seconds(percentile_loop, frames))
            for _ in range(options.repeats)
        ]
    )
    rates = options.frames / np.median(pairs, axis=0)
    ratios = pairs[:, 1] / pairs[:, 0]
    print(f"{shape} uint16, {options.repeats} alternating runs, largest difference")
    print(f"{error:.1e}")
    print(f"{'':24} {'frames/s':>9}")
    print(f"{'AuroraPreprocessor':24} {rates[0]:9.0f}")
    print(f"{'np.percentile loop':24} {rates[1]:9.0f}")
    print(
        f"ratio: median {np.median(ratios):.2f}, from {ratios.min():.2f} to "
        f"{ratios.max():.2f}"
    )


if __name__ == "__main__":
    main()
