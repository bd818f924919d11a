"""Archives on threads, on processes and on a cluster of Dask: the same catalogue."""

import gc
import itertools
import os
import threading
import time
import warnings
from concurrent.futures import Future
from types import SimpleNamespace

import archives
import dask
import numpy as np
import pytest
from archives import PART_BYTES, contents, fitted_pipeline, write_archive
from distributed import (
    CancelledError,
    Client,
    KilledWorker,
    LocalCluster,
    get_worker,
)
from distributed.comm import CommClosedError
from threadpoolctl import threadpool_info

from sksimclr._files import readers
from sksimclr._files.pgm import read_pgm
from sksimclr.archive import (
    _cluster,
    _workers,
    label_archive,
    open_frames,
    read_failures,
    read_frames,
    register_reader,
)
from sksimclr.archive._cluster import Cluster
from sksimclr.archive._labeller import Labeller
from sksimclr.archive._part import Group, fail_group

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.alone]


@pytest.fixture(scope="module")
def pipeline():
    """Return a fitted pipeline."""
    return fitted_pipeline()


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of two processes with two threads each."""
    params = {"threads_per_worker": 2, "dashboard_address": None, "memory_limit": 0}
    # else it would let go of workers that begin anew when another one has died before
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}):
        with LocalCluster(n_workers=2, **params) as cluster:
            yield cluster


@pytest.fixture
def client(cluster):
    """Return the default client of two workers."""
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


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


@pytest.mark.parametrize("per_night", [None, 7])
def test_cluster_packs_the_same_bytes(cluster, tmp_path, per_night):
    """All frames, or some of each night."""
    paths = write_archive(tmp_path / "archive", n_files=10)
    archives.pack(paths, tmp_path / "threads", per_night=per_night)
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        archives.pack(paths, tmp_path / "cluster", per_night=per_night)
    assert len(contents(tmp_path / "threads")) > 6
    assert contents(tmp_path / "cluster") == contents(tmp_path / "threads")


def test_file_whose_workers_died_is_no_frame_of_a_store(tmp_path):
    """But a failure of it."""
    archives.pack(write_archive(tmp_path / "archive", 2), tmp_path / "out")
    group = Group("0123456789abcdef", ("a.pgm",), (read_pgm,), is_suspect=True)
    part = fail_group(group, str(tmp_path / "out"), "its worker died")
    assert (part.n_files, part.n_frames, part.n_failures) == (1, 0, 1)
    (failure,) = read_failures(tmp_path / "out").to_pylist()
    assert failure["reason"] == "its worker died"
    assert len(open_frames(tmp_path / "out")) == 2 * archives.N_FRAMES


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


class Unlucky:
    """A client on whose cluster some call fails some times."""

    def __init__(self, client, name, errors):
        self._client, self._name, self.errors = client, name, errors

    def __getattr__(self, name):
        if name == self._name and self.errors:
            return self._fail
        return getattr(self._client, name)

    def _fail(self, *args, **kwargs):
        raise self.errors.pop()


def test_worker_may_die_while_the_pipeline_is_sent(
    pipeline, client, tmp_path, monkeypatch
):
    """Whatever the error is then; but not without end."""
    paths = write_archive(tmp_path / "archive", n_files=2)
    monkeypatch.setattr(_cluster, "_PAUSE", 0.01)
    errors = [CommClosedError("gone"), KeyError("tcp://127.0.0.1"), TimeoutError()]
    unlucky = Unlucky(client, "register_plugin", errors)
    monkeypatch.setattr(_workers, "_default_client", lambda: unlucky)
    run = label_archive(pipeline, paths, tmp_path / "out")
    assert run.n_frames == 2 * archives.N_FRAMES and not errors
    unlucky.errors = [CommClosedError("gone")] * 9
    with pytest.raises(RuntimeError, match="could not be sent to the Dask cluster"):
        label_archive(pipeline, paths, tmp_path / "again")


def failed(error):
    """Return a future that has failed."""
    future = Future()
    future.set_exception(error)
    return future


@pytest.mark.parametrize(
    "error",
    [
        CommClosedError("gone"),
        KeyError("key"),
        CancelledError("key"),
        TimeoutError(),
        OSError(),
    ],
)
def test_every_loss_of_a_group_counts(pipeline, tmp_path, monkeypatch, error):
    """After three it is divided, after three more a file is tried alone, then named."""
    cluster = Cluster(Labeller(pipeline, embeddings=False), str(tmp_path), client=None)
    monkeypatch.setattr(cluster, "_send_work", lambda: None)
    (tmp_path / "_files").mkdir()
    files = tuple(str(tmp_path / name) for name in ("a.pgm", "b.pgm"))
    group, n_losses = Group("0123456789abcdef", files, (read_pgm, read_pgm)), 0
    while len(group.files) > 1:
        part, (group, *_) = cluster.result(failed(error), group)
        n_losses += 1
    assert n_losses == 3 and group.files == files[:1] and group.n_losses == 0
    while not cluster.suspects:
        part, again = cluster.result(failed(error), group)
        group, n_losses = again[0] if again else cluster.suspects[0], n_losses + 1
    assert n_losses == 6 and part is None and not again
    while part is None:
        part, again = cluster.result(failed(error), group)
        group, n_losses = again[0] if again else group, n_losses + 1
    assert n_losses == 9 and part.n_failures == 1 and not again


def test_groups_that_kill_are_divided_at_once(pipeline):
    """The scheduler has tried them on several workers."""
    cluster = Cluster(Labeller(pipeline, embeddings=False), "", client=None)
    group = Group("0", ("a.pgm", "b.pgm"), (read_pgm, read_pgm))
    killed = failed(KilledWorker("task", "worker", 3))
    part, again = cluster.result(killed, group)
    assert part is None
    assert [g.files for g in again] == [("a.pgm",), ("b.pgm",)]
    assert len({g.name for g in again}) == 2


class Watched:
    """A client of a cluster whose workers do nothing, or are at something."""

    scheduler = SimpleNamespace(address="tcp://127.0.0.1:1")

    def __init__(self, n_ready=0, tasks=()):
        self.n_ready, self.tasks = n_ready, tasks

    def processing(self):
        """Return which tasks each worker is at."""
        return {"worker": self.tasks}

    def nthreads(self):
        """Return how many threads each worker has, also those that are paused."""
        return {"worker": 2}

    def run_on_scheduler(self, function):
        """Return what a function says of the scheduler."""
        return function(dask_scheduler=SimpleNamespace(running=range(self.n_ready)))

    def register_plugin(self, plugin, name):
        """Take the pipeline."""


@pytest.fixture
def clock(monkeypatch):
    """Return a clock of which a test turns the hands."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def watching(pipeline, client):
    """Return a cluster, and what is running on it."""
    cluster = Cluster(Labeller(pipeline, embeddings=False), "", client)
    return cluster, {Future(): Group("0", ("a.pgm", "b.pgm"), (read_pgm, read_pgm))}


def test_workers_are_waited_for_an_hour(pipeline, clock):
    """It is said what is waited for; and no task counts as lost, or as done."""
    cluster, running = watching(pipeline, Watched())
    with pytest.warns(UserWarning, match="Waiting, for up to an hour, for a worker"):
        assert cluster.reclaim(running) == []
    clock.now += 3601
    with pytest.raises(TimeoutError, match="has had no worker for an hour"):
        cluster.reclaim(running)
    assert not any(future.cancelled() for future in running)


def test_hour_begins_anew_when_something_was_done(pipeline, clock):
    """However long ago workers were away the last time."""
    cluster, running = watching(pipeline, Watched())
    done = Future()
    done.set_result("a part")
    for _ in range(2):
        with pytest.warns(UserWarning, match="Waiting"):
            assert cluster.reclaim(running) == []
        assert cluster.result(done, None) == ("a part", [])
        clock.now += 6000


def test_tasks_of_others_are_not_waited_for(pipeline):
    """Ours are handed back, if workers are only at those."""
    cluster, running = watching(
        pipeline, Watched(n_ready=1, tasks=["sum-1", "label-2"])
    )
    assert cluster.reclaim(running) == list(running)
    assert all(future.cancelled() for future in running)


def test_it_is_said_which_files_take_long(pipeline, clock):
    """Every ten minutes."""
    cluster, running = watching(pipeline, Watched(n_ready=1, tasks=["_do-0"]))
    for _ in range(2):
        assert cluster.reclaim(running) == []
        clock.now += 601
        with pytest.warns(UserWarning, match=r"for 10 minutes.*\['a.pgm'\]"):
            assert cluster.reclaim(running) == []
    assert not any(future.cancelled() for future in running)


def test_two_runs_of_one_model_share_a_cluster(pipeline, client, tmp_path):
    """The pipeline stays when the other run ends."""
    (path,) = write_archive(tmp_path / "archive", n_files=1)
    cluster = Cluster(Labeller(pipeline, embeddings=False), str(tmp_path), client)
    (tmp_path / "_files").mkdir()
    with cluster.at_work():
        label_archive(pipeline, path, tmp_path / "other")
        group = Group("0123456789abcdef", (str(path),), (read_pgm,))
        part, again = cluster.result(cluster.submit(group), group)
    assert part.n_frames == archives.N_FRAMES and not again


def test_part_that_a_worker_wrote_before_it_died_is_no_failure(pipeline, tmp_path):
    """Its rows are there, and its note stays."""
    label_archive(pipeline, write_archive(tmp_path / "archive", 1), tmp_path / "out")
    (note,) = (tmp_path / "out" / "_files").iterdir()
    before = contents(tmp_path / "out")
    name = note.name.removeprefix("part-").removesuffix(".parquet")
    group = Group(name, ("a.pgm",), (read_pgm,), is_suspect=True)
    part = fail_group(group, str(tmp_path / "out"), "its worker died")
    assert (part.n_files, part.n_frames, part.n_failures) == (1, archives.N_FRAMES, 0)
    assert contents(tmp_path / "out") == before


def test_cluster_of_threads_leaves_this_process_as_it_was(
    pipeline, own_readers, tmp_path
):
    """And its errors, which no file is to blame for, are raised here."""
    import torch

    def read_without_library(path):
        raise ImportError("no such library")

    write_archive(tmp_path / "archive", n_files=3)
    state = warnings.filters[:], threadpool_info(), torch.get_num_threads()
    with LocalCluster(processes=False, n_workers=2, dashboard_address=None) as cluster:
        with Client(cluster):
            label_archive(pipeline, tmp_path / "archive", tmp_path / "out")
            assert (
                warnings.filters,
                threadpool_info(),
                torch.get_num_threads(),
            ) == state
            register_reader([".pgm"], read_without_library)
            with pytest.raises(ImportError, match="no such library"):
                label_archive(pipeline, tmp_path / "archive", tmp_path / "again")


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
    running, submit, result = [], Cluster.submit, Cluster.result
    n_done = itertools.count(1)

    def counted(self, group):
        running.append(len(running) + 1 - done[-1])
        return submit(self, group)

    def noted(self, future, group):
        done.append(next(n_done))
        return result(self, future, group)

    done = [0]
    monkeypatch.setattr(Cluster, "submit", counted)
    monkeypatch.setattr(Cluster, "result", noted)
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
