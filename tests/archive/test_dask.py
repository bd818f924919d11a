"""Archives on threads, on processes and on a cluster of Dask: the same catalogue."""

import gc
import itertools
import os
import threading
import time
from concurrent.futures import Future

import archives
import numpy as np
import pytest
from archives import PART_BYTES, contents, fitted_pipeline, write_archive
from distributed import Client, LocalCluster, get_worker

from sksimclr._files import readers
from sksimclr._files.pgm import read_pgm
from sksimclr.archive import (
    _workers,
    label_archive,
    read_failures,
    read_frames,
    register_reader,
)
from sksimclr.archive._workers import _Cluster

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.alone]


@pytest.fixture(scope="module")
def pipeline():
    """Return a fitted pipeline."""
    return fitted_pipeline()


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of two processes with two threads each."""
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, memory_limit=0
    )
    with cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """Return the default client of two workers."""
    allowed_failures = cluster.scheduler.allowed_failures
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client
    cluster.scheduler.allowed_failures = allowed_failures


@pytest.fixture
def own_readers(monkeypatch):
    """Forget afterwards which readers a test has registered."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))


def test_threads_processes_and_cluster_give_the_same_bytes(pipeline, cluster, tmp_path):
    """One thread, two threads, and two processes with two threads each."""
    write_archive(tmp_path / "archive", n_files=10)
    run = {"embeddings": True, "part_bytes": PART_BYTES}
    for n_threads in (1, 2):
        folder = tmp_path / f"threads{n_threads}"
        label_archive(
            pipeline, tmp_path / "archive", folder, n_threads=n_threads, **run
        )
    with Client(cluster):
        label_archive(pipeline, tmp_path / "archive", tmp_path / "cluster", **run)
    expected = contents(tmp_path / "threads1")
    assert len(expected) > 10
    assert contents(tmp_path / "threads2") == expected
    assert contents(tmp_path / "cluster") == expected


def test_work_is_done_by_the_workers(pipeline, client, own_readers, tmp_path):
    """Both of them; a reader that only this process knows travels with its files."""

    def read_and_tell(path):
        (tmp_path / "seen" / str(get_worker().id)).touch()
        time.sleep(0.1)
        return read_frames(path)

    register_reader([".pgm"], read_and_tell)
    (tmp_path / "seen").mkdir()
    write_archive(tmp_path / "archive", n_files=8)
    label_archive(pipeline, tmp_path / "archive", tmp_path / "out", part_bytes=1)
    assert len(list((tmp_path / "seen").iterdir())) == 2


def test_each_worker_has_the_pipeline_once(pipeline, client, own_readers, tmp_path):
    """However many groups of files it works on."""

    def read_and_count(path):
        n_labellers = sum(type(o).__name__ == "Labeller" for o in gc.get_objects())
        with open(tmp_path / "counts", "a") as file:
            file.write(f"{os.getpid()} {n_labellers}\n")
        return read_frames(path)

    register_reader([".pgm"], read_and_count)
    write_archive(tmp_path / "archive", n_files=12)
    label_archive(pipeline, tmp_path / "archive", tmp_path / "out", part_bytes=1)
    lines = (tmp_path / "counts").read_text().splitlines()
    assert len(lines) == 12 and len(set(lines)) == 2
    assert {line.split()[1] for line in lines} == {"1"}


def test_catalogue_is_complete_when_a_worker_dies(
    pipeline, client, own_readers, tmp_path
):
    """Killed midway, it loses its pipeline and its groups to the others."""

    def read_and_die(path):
        flag = tmp_path / "dead"
        if "0604" in str(path) and not flag.exists():
            flag.touch()
            os._exit(1)
        return read_frames(path)

    paths = write_archive(tmp_path / "archive", n_files=10)
    run = {"part_bytes": PART_BYTES, "embeddings": True}
    label_archive(pipeline, paths, tmp_path / "out", **run)  # as readers are, on it
    expected = contents(tmp_path / "out")
    register_reader([".pgm"], read_and_die)
    label_archive(pipeline, paths, tmp_path / "again", **run)
    assert (tmp_path / "dead").exists()
    assert contents(tmp_path / "again") == expected


@pytest.mark.slow
def test_file_that_kills_its_workers_is_a_failure(
    pipeline, client, own_readers, tmp_path
):
    """It is named, and the other files of its group are labelled."""

    def read_or_die(path):
        if "0603" in str(path):
            os._exit(1)
        return read_frames(path)

    register_reader([".pgm"], read_or_die)
    write_archive(tmp_path / "archive", n_files=5, sites=("gill",))
    client.cluster.scheduler.allowed_failures = 0
    run = label_archive(
        pipeline, tmp_path / "archive", tmp_path / "out", part_bytes=1 << 30
    )
    (failure,) = read_failures(tmp_path / "out").to_pylist()
    assert "0603" in failure["file"] and "died" in failure["reason"]
    assert run.n_frames == 4 * archives.N_FRAMES


class Forgetful:
    """A client whose cluster forgets the first tasks that it is given."""

    def __init__(self, client, n_forgotten):
        self._client, self._n_forgotten = client, n_forgotten
        self.futures = []

    def __getattr__(self, name):
        return getattr(self._client, name)

    def get_executor(self, **options):
        """Return it, but for the tasks that are forgotten."""
        executor = self._client.get_executor(**options)
        submit = executor.submit

        def submit_or_forget(*args):
            is_lost = len(self.futures) < self._n_forgotten
            self.futures.append(Future() if is_lost else submit(*args))
            return self.futures[-1]

        executor.submit = submit_or_forget
        return executor


def test_tasks_that_nobody_works_on_are_handed_out_anew(
    pipeline, client, tmp_path, monkeypatch
):
    """Rather than waited for without end; the catalogue is that of other runs."""
    paths = write_archive(tmp_path / "archive", n_files=6)
    run = {"part_bytes": PART_BYTES, "embeddings": True}
    label_archive(pipeline, paths, tmp_path / "out", **run)
    forgetful = Forgetful(client, n_forgotten=2)
    monkeypatch.setattr(_workers, "_default_client", lambda: forgetful)
    monkeypatch.setattr(_workers, "_PATIENCE", 0.2)
    label_archive(pipeline, paths, tmp_path / "again", **run)
    assert all(future.cancelled() for future in forgetful.futures[:2])
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_no_more_files_are_in_memory_than_threads(pipeline, own_readers, tmp_path):
    """However many wait; while one thread computes, another one reads."""
    lock, alive, peaks = threading.Lock(), set(), []

    class Counted(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    def read_counted(path):
        frames = read_pgm(path)
        images = frames.images.copy().view(Counted)
        with lock:
            alive.add(id(images))
            peaks.append(len(alive))
        time.sleep(0.02)
        return type(frames)(images, frames.times, frames.site)

    register_reader([".pgm"], read_counted)
    write_archive(tmp_path / "archive", n_files=30)
    label_archive(
        pipeline, tmp_path / "archive", tmp_path / "out", part_bytes=1, n_threads=3
    )
    assert len(peaks) == 30
    assert 2 <= max(peaks) <= 3


def test_no_more_tasks_are_handed_out_than_keep_workers_busy(
    pipeline, client, monkeypatch, tmp_path
):
    """Two for each of the four threads."""
    running, submit, result = [], _Cluster.submit, _Cluster.result
    n_done = itertools.count(1)

    def counted(self, group):
        running.append(len(running) + 1 - done[-1])
        return submit(self, group)

    def noted(self, future, group):
        done.append(next(n_done))
        return result(self, future, group)

    done = [0]
    monkeypatch.setattr(_Cluster, "submit", counted)
    monkeypatch.setattr(_Cluster, "result", noted)
    write_archive(tmp_path / "archive", n_files=30)
    label_archive(pipeline, tmp_path / "archive", tmp_path / "out", part_bytes=1)
    assert len(running) == 30
    assert max(running) == 8


def test_threads_of_torch_are_as_before(pipeline, tmp_path):
    """Each worker thread computes alone, this one does not."""
    import torch

    write_archive(tmp_path / "archive")
    torch.set_num_threads(2)
    label_archive(pipeline, tmp_path / "archive", tmp_path / "out", n_threads=2)
    assert torch.get_num_threads() == 2
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    torch.set_num_threads(1)
    assert seen == [2]
