"""The batches of an epoch: which images, in which order, for which process."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.utils.data import DataLoader, TensorDataset

import sksimclr._engine.batches as module
from sksimclr._engine.batches import BatchDataset, Batches, batch_sizes
from sksimclr._images.images import as_images
from sksimclr._machine.processes import Processes

CPU = torch.device("cpu")
N_AND_SIZE = [(60, 16), (49, 16), (50, 16), (10, 16), (2, 2), (3, 2), (64, 16), (5, 4)]


def make_dataset(n_images, **params):
    """Return images that hold their numbers, and targets ten times those."""
    images = np.arange(n_images, dtype=np.float32)[:, None, None] * np.ones((2, 3))
    targets = 10 * np.arange(n_images)
    return BatchDataset(as_images(images.astype(np.float32)), targets, **params)


def make_batches(n_images, batch_size, seed=0, **params):
    """Return shuffled batches of them."""
    generator = torch.Generator().manual_seed(seed)
    return Batches(
        make_dataset(n_images),
        batch_size=batch_size,
        device=CPU,
        generator=generator,
        **params,
    )


def numbers(batches):
    """Run an epoch; return the numbers of the images in each batch."""
    rows = []
    for images, targets in batches:
        assert images.shape == (len(targets), 1, 2, 3) and images.dtype == torch.float32
        assert_array_equal(10 * images[:, 0, 1, 2].numpy(), targets.numpy())
        rows.append(images[:, 0, 0, 0].int().tolist())
    return rows


@pytest.mark.parametrize(("n_images", "batch_size"), N_AND_SIZE)
def test_order_is_that_of_torchs_data_loader(n_images, batch_size):
    """Over several epochs, with the same generator; but for a last batch of one."""
    batches = make_batches(n_images, batch_size, seed=3)
    loader = DataLoader(
        TensorDataset(torch.arange(n_images)),
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(3),
    )
    seen = []
    for _ in range(4):
        rows = numbers(batches)
        expected = [numbers.tolist() for (numbers,) in loader]
        assert rows == [batch for batch in expected if len(batch) > 1]
        seen.append(rows)
    assert n_images < 10 or seen[0] != seen[1]


@pytest.mark.parametrize(("n_images", "batch_size"), N_AND_SIZE)
def test_sizes_and_number_of_batches(n_images, batch_size):
    """Full ones, then what is left; every image at most once."""
    batches = make_batches(n_images, batch_size)
    rows = numbers(batches)
    sizes = [len(batch) for batch in rows]
    assert sizes == batch_sizes(n_images, batch_size)
    assert len(batches) == len(rows)
    assert all(size == min(batch_size, n_images) for size in sizes[:-1])
    assert min(sizes) > 1 and n_images - sum(sizes) in (0, 1)
    flat = sum(rows, [])
    assert len(set(flat)) == len(flat)


def test_without_a_generator_the_order_is_that_of_the_rows():
    """All images, also a last one alone; a subset if rows are given."""
    for rows, expected in [
        (None, [[0, 1, 2], [3, 4, 5], [6]]),
        (np.array([5, 1, 1, 6]), [[5, 1, 1], [6]]),
    ]:
        dataset = make_dataset(7, rows=rows)
        batches = Batches(dataset, batch_size=3, device=CPU)
        for _ in range(2):
            assert numbers(batches) == expected


def test_rows_are_shuffled_among_themselves():
    """The images of other rows do not come."""
    rows = np.array([2, 3, 5, 7, 11, 13])
    batches = Batches(
        make_dataset(20, rows=rows),
        batch_size=4,
        device=CPU,
        generator=torch.Generator().manual_seed(0),
    )
    first, second = numbers(batches), numbers(batches)
    assert [len(batch) for batch in first] == [4, 2]
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == rows.tolist()
    assert first != second


# Sequences

SEQUENCES = np.array([3, 0, 3, 1, 0, 3, 2, 3, 0, 1, 3])  # 2 is alone


def pairs_of_epoch(batches):
    """Run an epoch of the images of SEQUENCES; return (n, 2) numbers."""
    rows = []
    for images, targets in batches:
        assert images.shape == (len(targets), 2, 1, 2, 3)
        rows.append(images[:, :, 0, 0, 0].long().numpy())
    return np.concatenate(rows)


def make_pairs(size=4, processes=Processes()):  # noqa: B008 (it is frozen)
    """Return shuffled batches of pairs."""
    images = np.arange(11, dtype=np.float32)[:, None, None] * np.ones((2, 3))
    return Batches(
        BatchDataset(as_images(images.astype(np.float32)), sequences=SEQUENCES),
        batch_size=size,
        device=CPU,
        generator=torch.Generator().manual_seed(5),
        processes=processes,
    )


def test_partners_are_others_of_the_sequence_equally_often():
    """Each image comes first once an epoch; one that is alone is its own partner."""
    batches, counts = make_pairs(), np.zeros((11, 11), int)
    for _ in range(600):
        pairs = pairs_of_epoch(batches)
        assert sorted(pairs[:, 0]) == list(range(11))
        np.add.at(counts, tuple(pairs.T), 1)
    for image, row in enumerate(counts):
        others = np.flatnonzero(SEQUENCES == SEQUENCES[image])
        others = others[others != image] if len(others) > 1 else others
        assert set(np.flatnonzero(row)) == set(others)
        expected = 600 / len(others)
        assert np.abs(row[others] - expected).max() < 5 * expected**0.5


def test_partners_are_repeated_from_a_state_and_after_skipped_batches():
    """As a run that goes on needs them."""
    batches = make_pairs()
    pairs_of_epoch(batches)
    expected = pairs_of_epoch(batches)
    again = make_pairs()
    again.generator.set_state(batches.order_state)
    again.n_skipped = 1
    assert_array_equal(pairs_of_epoch(again), expected[4:])


def test_processes_share_the_pairs_of_one():
    """Each its part of every batch."""
    parts = [pairs_of_epoch(make_pairs(2, Processes(rank, 2))) for rank in (0, 1)]
    whole = pairs_of_epoch(make_pairs(4))
    together = [np.concatenate([p[k : k + 2] for p in parts]) for k in (0, 2)]
    assert_array_equal(np.concatenate(together), whole[:8])


# Processes


@pytest.mark.parametrize("n_processes", [1, 2, 3, 4])
@pytest.mark.parametrize("n_images", [48, 49, 50, 51, 52, 40, 7])
def test_parts_of_processes_make_the_batches_of_one(n_images, n_processes):
    """Disjoint, equally large, in order; what cannot be shared equally is left out."""
    size = 4
    parts = [
        make_batches(n_images, size, processes=Processes(rank, n_processes))
        for rank in range(n_processes)
    ]
    whole = make_batches(n_images, size * n_processes)
    for _ in range(3):
        of_ranks = [numbers(batches) for batches in parts]
        expected = numbers(whole)
        assert all(len(rows) == len(parts[0]) for rows in of_ranks)
        for k, batches in enumerate(zip(*of_ranks, strict=True)):
            assert len({len(batch) for batch in batches}) == 1 and batches[0]
            together = sum(batches, [])
            assert together == expected[k][: len(together)]
            assert len(expected[k]) - len(together) < n_processes
        assert len(expected) - len(parts[0]) in (0, 1)
        assert all(len(batch) < n_processes for batch in expected[len(parts[0]) :])


# On the device


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_images_kept_on_the_device_are_those_that_are_streamed(
    dtype, rng, tmp_path, monkeypatch
):
    """Bit for bit, in more than one block; from arrays and from memory maps."""
    X = (rng.random((50, 4, 5, 3)) * 255).astype(dtype)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr(module, "_UPLOAD_BLOCK", 16)
    streams = []
    for free_memory in (0, 10**9):
        monkeypatch.setattr(module, "_free_memory", lambda device, n=free_memory: n)
        for images in (X, np.load(tmp_path / "X.npy", mmap_mode="r")):
            batches = Batches(
                BatchDataset(as_images(images)),
                batch_size=16,
                device=CPU,
                generator=torch.Generator().manual_seed(0),
            )
            assert (batches._resident is None) == (free_memory == 0)
            streams.append([images for _ in range(2) for images, _ in batches])
    for stream in streams[1:]:
        for images, expected in zip(stream, streams[0], strict=True):
            assert images.dtype == expected.dtype
            assert torch.equal(images, expected)
    assert len(streams[0]) == 8


def test_images_stay_where_there_is_no_room():
    """Half of the free memory is theirs; what counts is their size on the device."""
    images = as_images(np.zeros((10, 8, 8)))  # float64, which become float32
    n_bytes = 10 * 64 * 4
    assert module._upload(images, CPU, 0) is None
    assert module._upload(images, CPU, 2 * n_bytes - 1) is None
    assert module._upload(images, CPU, 2 * n_bytes).shape == (10, 1, 8, 8)
    assert module._free_memory(CPU) == 0


# Going on


@pytest.mark.parametrize("n_skipped", [0, 1, 3, 4])
def test_skipped_batches_are_those_at_the_start_of_one_epoch(n_skipped):
    """The others, and the epochs after, are as if nothing had been skipped."""
    whole = make_batches(60, 16)
    epochs = [numbers(whole) for _ in range(3)]
    batches = make_batches(60, 16)
    assert numbers(batches) == epochs[0]
    batches.n_skipped = n_skipped
    assert numbers(batches) == epochs[1][n_skipped:]
    assert numbers(batches) == epochs[2]
    assert len(batches) == 4


def test_state_of_the_order_repeats_an_epoch():
    """At any moment of it, and from the generator alone for the next one."""
    batches = make_batches(60, 16)
    numbers(batches)
    rows = []
    for images, _ in batches:
        rows.append(images[:, 0, 0, 0].int().tolist())
        state = batches.order_state
    following = batches.generator.get_state()
    expected = numbers(batches)
    again = make_batches(60, 16, seed=9)
    again.generator.set_state(state)
    assert numbers(again) == rows
    again.generator.set_state(following)
    assert numbers(again) == expected


def test_unread_targets_are_zeros():
    """For learning without labels."""
    dataset = BatchDataset(as_images(np.ones((4, 2, 2))))
    (batch,) = Batches(dataset, batch_size=4, device=CPU)
    assert_array_equal(batch[1].numpy(), np.zeros(4))
    assert len(dataset) == 4
