"""What `AuroraPreprocessor` makes of every real frame there is, file by file.

Run as ``python tests/benchmarks/real_images.py``; see tests/real_data.py for where the
frames are looked for.
"""

import sys
from pathlib import Path

import numpy as np

from sksimclr import AuroraPreprocessor
from sksimclr._files.readers import read_image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import real_data  # noqa: E402


def preprocess_frames():
    """Preprocess every real frame and describe the result."""
    folder = real_data.FOLDER
    paths = real_data.oath_paths(folder)
    images = AuroraPreprocessor(center=(127, 128)).fit_transform(paths)
    before = np.stack([read_image(path)[..., 1] / 65535 for path in paths])
    change = 100 * np.abs(images - before).max()
    print(f"OATH: {len(paths)} images change by at most {change:.3f} % of full scale")
    readers = {"PGM": real_data.read_pgm_frames, "CDF": real_data.read_cdf_frames}
    for name, read in readers.items():
        frames = read(folder)
        images = AuroraPreprocessor().fit_transform(frames)
        inside = images[:, images.any(axis=0)]
        print(
            f"THEMIS {name}: {len(frames)} frames, counts {frames.min()} to "
            f"{frames.max()}; {100 * (inside == 0).mean():.2f} % of the field becomes "
            f"0 and {100 * (inside == 1).mean():.2f} % becomes 1"
        )


if __name__ == "__main__":
    preprocess_frames()
