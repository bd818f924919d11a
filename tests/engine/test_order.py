"""Shuffling in windows of runs, as a disk can bear it."""

import itertools

import h5py
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from shards import write_shards

import sksimclr._engine.order as module
from sksimclr._engine.batches import BatchDataset, Batches
from sksimclr._engine.order import Runs, runs_of
from sksimclr._images.images import as_images
from sksimclr._machine.processes import Processes

LENGTHS = [50, 7, 0, 131, 64, 1, 147]  # of shards: 400 images
N_BYTES = 6  # of an image of 2 x 3 pixels


@pytest.fixture
def small_windows(monkeypatch):
    """Make runs of at most 8 images, windows of at most 80."""
    monkeypatch.setattr(module, "RUN_BYTES", 8 * N_BYTES)
    monkeypatch.setattr(module, "WINDOW_BYTES", 80 * N_BYTES)


@pytest.fixture
def shards(tmp_path, small_windows):
    """Return an array on the disk whose images hold their numbers, in two pixels."""
    X = np.zeros((sum(LENGTHS), 2, 3), np.uint8)
    X[:, 0, 0], X[:, 0, 1] = np.divmod(np.arange(len(X)), 256)
    return write_shards(tmp_path, X, LENGTHS)


def make_batches(X, size=16, seed=0, processes=Processes(), sequences=None):  # noqa: B008 (it is frozen)
    """Return shuffled batches."""
    return Batches(
        BatchDataset(as_images(X), sequences=sequences),
        batch_size=size,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(seed),
        processes=processes,
    )


def numbers(batches):
    """Run an epoch; return the numbers of the images in each batch, (n,) or (n, 2)."""
    found = []
    for images, targets in batches:
        assert len(images) == len(targets)
        pixels = images[..., 0, 0, :2].long().numpy()
        found.append(pixels[..., 0] * 256 + pixels[..., 1])
    return found


def windows_of(seed, n_images=400, size=8, per_window=10, **params):
    """Return the windows of an epoch of one shard."""
    return list(Runs(np.array([n_images]), size, per_window).windows(seed, **params))


# Windows


def test_runs_are_consecutive_rows_of_one_shard():
    """All rows once, at most 8 together; their windows are about equally large."""
    windows = list(Runs(np.array(LENGTHS), 8, 10).windows(0))
    shard_of = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    seen = []
    for window in windows:
        starts = [run.start for run in window.runs]
        assert starts == sorted(starts) and 8 <= len(starts) <= 9
        rows = np.concatenate([np.arange(run.start, run.stop) for run in window.runs])
        assert_array_equal(np.sort(window.rows), rows)
        assert window.start == len(seen)
        seen += rows.tolist()
        for run in window.runs:
            assert len(set(shard_of[run])) == 1 and run.stop - run.start <= 8
    assert sorted(seen) == list(range(400))
    assert len(windows) == -(-sum(-(-n // 8) for n in LENGTHS) // 10)


@pytest.mark.parametrize("n_skipped", [0, 1, 79, 80, 81, 399, 400])
def test_windows_that_are_skipped_are_not_shuffled(n_skipped, monkeypatch):
    """The others are as they would have been."""
    whole = windows_of(3)
    drawn = []
    make = module.make_generator
    monkeypatch.setattr(
        module, "make_generator", lambda seed: drawn.append(seed) or make(seed)
    )
    rest = windows_of(3, n_skipped=n_skipped)
    n_whole = n_skipped // 80
    assert len(rest) == len(drawn) - 1 == 5 - n_whole
    for window, expected in zip(rest, whole[n_whole:], strict=True):
        assert_array_equal(window.rows, expected.rows)
        assert (window.start, window.runs) == (expected.start, expected.runs)


def test_every_image_comes_at_every_place_equally_often():
    """Its mean place over many epochs is the middle, and varies as places at random."""
    places = np.empty((400, 400))
    for seed in range(400):
        rows = np.concatenate([window.rows for window in windows_of(seed)])
        places[seed, rows] = np.arange(400)
    error = 400 / np.sqrt(12) / np.sqrt(400)  # standard one of a mean of 400
    scores = (places.mean(axis=0) - 199.5) / error
    assert abs(scores).max() < 5 and 0.7 < scores.std() < 1.4


@pytest.mark.parametrize(("size", "per_window"), [(8, 10), (4, 20), (16, 5)])
def test_neighbours_in_a_batch_are_as_many_as_the_documentation_says(size, per_window):
    """Pairs of one run: (run - 1) / (window - 1) of all pairs of a batch."""
    window, batch, n_epochs = size * per_window, 20, 200
    counts = []
    for seed in range(n_epochs):
        for each in windows_of(seed, size=size, per_window=per_window):
            for rows in each.rows.split(batch):
                runs = np.bincount(rows // size)
                counts.append((runs * (runs - 1) // 2).sum())
    expected = batch * (batch - 1) / 2 * (size - 1) / (window - 1)
    error = np.std(counts) / np.sqrt(len(counts))
    assert abs(np.mean(counts) - expected) < 4 * error
    fully = batch * (batch - 1) / 2 * (size - 1) / (400 - 1)
    assert np.mean(counts) - fully > 20 * error  # so the test can tell them apart


# Which images


def test_small_and_large_images_memory_and_files_are_shuffled_all_together(tmp_path):
    """And a large array on a disk is not, whatever reads it."""
    shape = (module.WINDOW_BYTES // 4096 + 1, 64, 64)
    lazy = np.memmap(tmp_path / "m", np.uint8, "w+", shape=shape)  # takes no room
    assert runs_of(as_images(lazy[1:])) is None
    assert len(runs_of(as_images(lazy))) == 1025
    assert runs_of(as_images(np.broadcast_to(np.uint8(0), shape))) is None
    large = np.memmap(tmp_path / "m", np.uint8, "r", shape=(1500, 362, 363))
    assert large.nbytes < module.WINDOW_BYTES and runs_of(as_images(large)) is None
    with h5py.File(tmp_path / "m.h5", "w") as file:
        data = file.create_dataset("X", shape, np.uint8, chunks=(64, 64, 64))
        assert len(runs_of(as_images(data))) == 1025
        few = file.create_dataset("few", (1025, 512, 512), np.uint8, chunks=True)
        assert runs_of(as_images(few)) is None  # a run would be one image


def test_shards_that_do_not_add_up_are_refused(shards):
    """With both numbers."""
    shards.shard_lengths = np.array([1, 2])
    with pytest.raises(ValueError, match="X has 400 images, .* are 3 together"):
        as_images(shards)


def test_fewer_images_than_a_window_come_as_in_memory(shards, monkeypatch):
    """To the image, over epochs."""
    in_memory = make_batches(shards[:])
    monkeypatch.setattr(module, "WINDOW_BYTES", 400 * N_BYTES)
    batches = make_batches(shards)
    for _ in range(2):
        for rows, expected in zip(numbers(batches), numbers(in_memory), strict=True):
            assert_array_equal(rows, expected)


# Batches of windows


@pytest.mark.parametrize("size", [16, 3, 57, 200, 399, 1000])
def test_epoch_has_every_image_once_in_another_order(shards, size):
    """The same with the same seed; each batch in the order of the disk."""
    batches, again = make_batches(shards, size), make_batches(shards, size)
    epochs = [numbers(batches) for _ in range(3)]
    for rows, expected in zip(epochs[0], numbers(again), strict=True):
        assert_array_equal(rows, expected)
    n_images = 400 - (400 % min(size, 400) == 1)
    for epoch in epochs:
        flat = np.concatenate(epoch)
        assert len(set(flat)) == len(flat) == n_images
        assert all((np.diff(rows) > 0).all() for rows in epoch)
        assert {len(rows) for rows in epoch[:-1]} <= {size}
        assert len(batches) == len(epoch)
    if size < 400:
        for a, b in itertools.pairwise(epochs):
            assert any(set(x) != set(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("with_sequences", [False, True])
@pytest.mark.parametrize("n_skipped", [0, 1, 5, 6, 24])
def test_skipped_batches_are_not_read(shards, n_skipped, with_sequences):
    """And those that follow, and the epoch after, are as if they had been."""
    sequences = np.arange(400) // 9 if with_sequences else None
    whole = make_batches(shards, sequences=sequences)
    first, second, third = (numbers(whole) for _ in range(3))
    batches = make_batches(shards, sequences=sequences)
    numbers(batches)
    shards.read.clear()
    batches.n_skipped = n_skipped
    found = numbers(batches) + numbers(batches)
    for rows, expected in zip(found, [*second[n_skipped:], *third], strict=True):
        assert_array_equal(rows, expected)
    n_batches = 25 - n_skipped + 25
    assert sum(not isinstance(key, slice) for key in shards.read) == n_batches


def test_partners_are_others_of_the_sequence(shards):
    """Also from other windows."""
    sequences = np.arange(400) % 37
    pairs = np.concatenate(numbers(make_batches(shards, sequences=sequences)))
    assert sorted(pairs[:, 0]) == list(range(400))
    assert (sequences[pairs[:, 0]] == sequences[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all() and len(set(pairs[:, 1])) > 200


@pytest.mark.parametrize("n_processes", [2, 3])
def test_processes_share_each_batch_and_read_parts_of_the_disk(shards, n_processes):
    """Together that of one; each the images between those of its neighbours."""
    parts = []
    for rank in range(n_processes):
        processes = Processes(rank, n_processes)
        parts.append(numbers(make_batches(shards, 8, processes=processes)))
    whole = numbers(make_batches(shards, 8 * n_processes))
    for rows, *of_ranks in zip(whole, *parts, strict=True):
        n_shared = len(rows) // n_processes * n_processes
        assert_array_equal(np.concatenate(of_ranks), rows[:n_shared])


def test_runs_are_loaded_before_their_batches(shards):
    """Each once, in one go; and shared by the processes."""
    for n_processes in (1, 2):
        loaded = []
        for rank in range(n_processes):
            shards.read.clear()
            numbers(make_batches(shards, 16, processes=Processes(rank, n_processes)))
            pieces, wanted, unloaded = set(), [], 0
            for key in shards.read:  # one thread, so that this is their order
                if isinstance(key, slice):
                    loaded.append(key)
                    pieces.update(range(key.start, key.stop))
                else:
                    unloaded += len(set(key.tolist()) - pieces)
                    wanted += key.tolist()
            # at the borders of their parts, processes read some of another's
            assert unloaded <= (0 if n_processes == 1 else 0.3 * len(wanted))
        rows = [row for key in loaded for row in range(key.start, key.stop)]
        assert sorted(rows) == list(range(400))


def test_error_of_loading_is_left_to_the_batch(shards):
    """Which has the image, and is not swallowed."""
    shards.paths[3].unlink()
    with pytest.raises(FileNotFoundError):
        numbers(make_batches(shards))
