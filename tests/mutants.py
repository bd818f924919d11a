"""Damaged all-sky files, and a process that reads them within limits.

`write_mutants` writes any number of them; `Reader` says what `read_frames` makes of
each, in a process whose time and memory are limited (Linux).
"""

import gzip
import importlib
import multiprocessing
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import real_data
from archive_files import (
    frame_name,
    frame_times,
    in_green,
    pgm_bytes,
    write_cdf,
    write_pgm,
    write_png,
)
from astropy.io import fits
from PIL import Image

from sksimclr._files import compressed
from sksimclr.archive import Frames, UnreadableFileError, read_frames, register_reader
from sksimclr.datasets import make_aurora

N_FRAMES = 4
SECONDS = 30  # after which a read is said to hang
MEGABYTES = 4096  # of address space beyond what the process had before
HAS_CHECKSUM = ("pgm.gz", "cdf checksum", "png", "png colour", "fits", "fits packed")


def write_originals(folder, size=48):
    """Write a whole file of each format; return {format: path}.

    And the real ones, if they are there: "real pgm.gz" and so on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = make_aurora(N_FRAMES, size=size, random_state=0).images
    eight, times = (images >> 8).astype(np.uint8), frame_times(N_FRAMES)

    def path(suffix, site="rank"):
        return folder / frame_name(times[0], site, suffix)

    found = {
        "pgm": write_pgm(path(".pgm", "fsmi"), images, times, "fsmi"),
        "pgm.gz": write_pgm(path(".pgm.gz"), images, times, "rank"),
        "cdf": write_cdf(path(".cdf"), images, times, Block_Factor=2),
        "cdf 2024": write_cdf(path(".cdf", "fsim"), images, times, layout="2024"),
        "cdf checksum": write_cdf(path(".cdf", "atha"), images, times, Checksum=True),
        "cdf packed": write_cdf(path(".cdf", "inuv"), images, times, Compressed=6),
        "png": write_png(path(".png"), images[:1]),
        "png colour": write_png(path(".png", "fsmi"), in_green(images[:1])),
        "jpg": write_png(path(".jpg"), eight[:1]),
        "tif": path(".tif"),
        "npy": path(".npy"),
        "fits": path(".fits"),
        "fits packed": path(".fits.fz", "gbay"),
    }
    first, *others = [Image.fromarray(image) for image in images]
    first.save(found["tif"], save_all=True, append_images=others)
    np.save(found["npy"], images)
    fits.PrimaryHDU(images).writeto(found["fits"], checksum=True)
    fits.CompImageHDU(images).writeto(found["fits packed"], checksum=True)
    return found | _real_files()


def _real_files():
    """Return {format: path} of the real files that are there."""
    themis, oath = real_data.FOLDER / "themis", real_data.FOLDER / "oath" / "images"
    first = {
        "real pgm.gz": sorted(themis.glob("*.pgm.gz"))[:1],
        "real cdf": sorted(themis.glob("thg_*.cdf"))[:1],
        "real png": sorted(oath.glob("*.png"))[:1],
    }
    return {name: paths[0] for name, paths in first.items() if paths}


def write_mutants(folder, n_files, seed=0, sources=None):
    """Write damaged copies of files of all formats.

    Parameters
    ----------
    folder : Path
        Gets them; their originals go to its folder "originals" unless `sources` are
        given.
    n_files : int
    seed : int
    sources : dict of str to Path, optional
        By format, whole files to damage.

    Returns
    -------
    list of (path, kind, is_whole)
        Those of the kind "untouched" are whole; a few others are by chance, such as
        those with a flipped bit in a comment.
    """
    rng = np.random.default_rng(seed)
    sources = sources or write_originals(folder / "originals")
    formats, written = list(sources), []
    for number in range(n_files):
        source = sources[formats[number % len(formats)]]
        kind = list(KINDS)[number // len(formats) % len(KINDS)]
        path = folder / f"{number:05}_{source.name}"
        path.write_bytes(KINDS[kind](source, rng, sources))
        written.append((path, kind, kind == "untouched"))
    return written


def format_of(path, sources):
    """Return the format of the file that a mutant was made of."""
    name = path.name.split("_", 1)[1]
    return next(form for form, source in sources.items() if source.name == name)


# What is done to files: functions of the source, a generator, and all sources


def _untouched(source, rng, sources):
    return source.read_bytes()


def _empty(source, rng, sources):
    return b""


def _truncated(source, rng, sources):
    data = source.read_bytes()
    return data[: rng.integers(1, len(data))]


def _flipped(source, rng, sources):
    """Flip a bit anywhere."""
    return _flip(source.read_bytes(), rng, 0, None)


def _flipped_at_ends(source, rng, sources):
    """Flip a bit where files have what describes them."""
    data = source.read_bytes()
    at_end = rng.random() < 0.3
    return _flip(data, rng, max(0, len(data) - 2000) if at_end else 0, 1000)


def _flip(data, rng, start, length):
    data = bytearray(data)
    stop = len(data) if length is None else min(len(data), start + length)
    data[rng.integers(start, stop)] ^= 1 << rng.integers(8)
    return bytes(data)


def _overwritten(source, rng, sources):
    """Replace some bytes by noise or zeros, as a bad sector does."""
    data = bytearray(source.read_bytes())
    start, length = rng.integers(len(data)), int(2 ** rng.uniform(1, 12))
    noise = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    data[start : start + length] = noise[: len(data) - start]
    return bytes(data)


def _shifted(source, rng, sources):
    """Lose or gain some bytes somewhere."""
    data = source.read_bytes()
    start, length = rng.integers(len(data)), rng.integers(1, 100)
    if rng.random() < 0.5:
        return data[:start] + data[start + length :]
    return data[:start] + rng.bytes(length) + data[start:]


def _as_text(source, rng, sources):
    """Be sent in a mode for texts, which changes the ends of lines."""
    return source.read_bytes().replace(b"\n", b"\r\n")


def _longer(source, rng, sources):
    """Have something after the end."""
    return source.read_bytes() + rng.bytes(rng.integers(1, 5000))


def _other_type(source, rng, sources):
    """Have the contents of a file of another format."""
    others = [p for p in sources.values() if p.suffix != source.suffix]
    return others[rng.integers(len(others))].read_bytes()


def _noise(source, rng, sources):
    return rng.bytes(rng.integers(1, 100_000))


def _large_numbers(source, rng, sources):
    """Have 32 bits near the beginning that say two billions, or minus one."""
    data = bytearray(source.read_bytes())
    if source.suffix == ".npy":
        return bytes(data).replace(b"(4, 48", b"(9999999, 48")
    if source.suffix == ".png":
        return _png(rng.integers(5000, 2**31), rng.integers(5000, 2**31), bytes(1000))
    if source.suffix == ".pgm":
        return bytes(data).replace(b"48 48\n", b"99999 99999\n")
    start = rng.integers(8, min(1000, len(data) - 4))
    number = b"\x7f\xff\xff\xff" if rng.random() < 0.7 else b"\xff\xff\xff\xff"
    data[start : start + 4] = number
    return bytes(data)


def _bomb(source, rng, sources):
    """Decompress to gigabytes, or say so."""
    if source.suffix == ".png":
        side = rng.choice([8192, 12_000, 30_000])
        return _png(side, side, zlib.compress(bytes(1 << 26), 1))
    if source.suffix == ".cdf":
        return _cdf_bomb(source.read_bytes(), rng)
    frame = pgm_bytes(np.zeros((1, 4096, 4096), np.uint16))
    filling = [bytes(1 << 25), b"#" * (1 << 25), frame][rng.integers(3)]
    start = pgm_bytes(np.zeros((1, 4, 4), np.uint8)) if rng.random() < 0.5 else b""
    start += b"P5\n" if filling[:1] == b"#" else b""
    return gzip.compress(start) + 100 * gzip.compress(filling, 1)


def _cdf_bomb(data, rng):
    """Return a CDF compressed as a whole, of zeros or with a block of zeros."""
    zeros = gzip.compress(bytes(1 << 26), 1)
    if rng.random() < 0.5:
        size = int(rng.choice([1 << 26, 1 << 29, 1 << 40]))
        ccr = struct.pack(">qiqqi", 32 + len(zeros), 10, 40 + len(zeros), size, 0)
        cpr = struct.pack(">qiiiii", 28, 11, 5, 0, 1, 6)
        return b"\xcd\xf3\x00\x01\xcc\xcc\x00\x01" + ccr + zeros + cpr
    start = max(data.find(struct.pack(">i", 13), 300), 300)  # maybe a compressed block
    return data[: start + 16] + zeros + data[start + 16 :]


def _png(width, height, data):
    """Return a grey PNG of 8 bits with right checksums and any data."""
    header = struct.pack(">IIBBBBB", int(width), int(height), 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for kind, part in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        crc = zlib.crc32(kind + part)
        png += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", crc)
    return png


KINDS = {
    "untouched": _untouched,
    "truncated": _truncated,
    "flipped bit": _flipped,
    "flipped at ends": _flipped_at_ends,
    "overwritten": _overwritten,
    "shifted": _shifted,
    "sent as text": _as_text,
    "longer": _longer,
    "empty": _empty,
    "other type": _other_type,
    "noise": _noise,
    "large numbers": _large_numbers,
    "bomb": _bomb,
}


def count_noticed(path, flips, images):
    """Return of how many flipped bits of a file `read_frames` says something.

    Of the others, the frames must be what they were, `images`.
    """
    data, n_noticed = path.read_bytes(), 0
    for number in flips:
        flipped = bytearray(data)
        flipped[number // 8] ^= 1 << number % 8
        path.write_bytes(flipped)
        try:
            frames = read_frames(path)
        except UnreadableFileError:
            n_noticed += 1
            continue
        n_noticed += frames.damage != ""
        assert frames.damage or (frames.images == images).all()
    return n_noticed


class Reader:
    """A process that reads files, and is replaced when one hangs or kills it.

    Parameters
    ----------
    sources : dict of str to Path
        The files that were damaged, by format.
    inflater : str, optional
        Name of the module that decompresses, instead of the one that is there.
    others : dict of str to callable, optional
        Readers to compare with, by the endings of names.

    Attributes
    ----------
    slowest, largest : tuple of (float, Path)
        Seconds and megabytes of private memory of the worst files so far.
    """

    def __init__(self, sources, inflater=None, others=None):
        self._arguments = sources, inflater, others or {}
        self._process = None
        self.slowest = self.largest = (0.0, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def outcome(self, path):
        """Return what `read_frames` makes of a mutant.

        Returns
        -------
        outcome : str
            "failure", an `UnreadableFileError`; "damage", what is returned is the
            beginning of the original, and `damage` says so; "equal", the frames are
            those of the original, or those of another one whose contents the file
            has; "differ", frames of a file said to be whole are others; "damage,
            differ"; or "defect", "hang", "crash".
        detail : str
            The message.
        """
        self._start()
        self._pipe.send(path)
        if not self._pipe.poll(SECONDS):
            self._end()
            return "hang", f"no answer after {SECONDS} s"
        try:
            outcome, detail, seconds, megabytes = self._pipe.recv()
        except EOFError:
            self._end()
            return "crash", f"the process ended with {self._status}"
        self.slowest = max(self.slowest, (seconds, path))
        self.largest = max(self.largest, (megabytes, path))
        return outcome, detail

    def _start(self):
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, there = context.Pipe()
            arguments = (there, *self._arguments)
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            there.close()

    def _end(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._status = self._process.exitcode
            self._process = None


def _serve(pipe, sources, inflater, others):
    """Read one file after the other, with limited memory."""
    if inflater is not None:
        compressed.zlib = importlib.import_module(inflater)
    for suffix, reader in others.items():
        register_reader(suffix, reader)
    limit_memory()
    originals = {form: read_frames(path) for form, path in sources.items()}
    while True:
        path = pipe.recv()
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of memory
        before, began = memory_in_use("VmRSS"), time.perf_counter()
        outcome, detail = _try(path, format_of(path, sources), originals)
        seconds = time.perf_counter() - began
        pipe.send((outcome, detail, seconds, (memory_in_use("VmHWM") - before) / 2**20))


def limit_memory():
    """Let this process have no more than `MEGABYTES` beyond what it has."""
    import resource  # which not all systems have

    limit = memory_in_use("VmSize") + (MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def memory_in_use(name):
    """Return a number of bytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    return int(line.split()[1]) << 10


def _try(path, form, originals):
    """Read a file and compare its frames to what they were."""
    original = originals[form]
    try:
        frames = read_frames(path)
    except UnreadableFileError as error:
        return "failure", str(error)
    except BaseException as error:
        return "defect", repr(error)
    is_same = _is_beginning(frames, original)
    if frames.damage:
        return "damage" if is_same else "damage, differ", frames.damage
    is_same &= len(frames) == len(original)
    others = (np.array_equal(o.images, frames.images) for o in originals.values())
    return "equal" if is_same or any(others) else "differ", ""


def _is_beginning(frames: Frames, original: Frames):
    """Say whether frames are the first ones of others."""
    n_frames = len(frames)
    first = original.images[:n_frames]
    if frames.images.shape != first.shape or frames.site != original.site:
        return False
    late = np.abs(frames.times - original.times[:n_frames])
    right_time = np.isnat(late) | (late < np.timedelta64(1, "s"))  # CDFs have two
    return bool((frames.images == first).all() and right_time.all())
