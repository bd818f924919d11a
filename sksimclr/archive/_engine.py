"""Groups of files on Dask: on a cluster if there is one, else on threads of this process.

Each group is one task. While one thread runs the network, the others read, so that as
many files are ahead as there are threads; and no more tasks are handed out than keep the
threads busy, which bounds memory.
"""

import logging
import threading
import warnings
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from uuid import uuid4

import torch
from threadpoolctl import threadpool_limits

from sksimclr.archive._part import fail_group, label_group

_N_AHEAD = 2  # tasks handed out for each thread
_STOPS = {}  # events that stop the runs of this process


def run_groups(labeller, groups, catalogue, client):
    """Label groups of files on a Dask cluster and yield what became of each.

    Parameters
    ----------
    labeller : Labeller
        Sent once to each worker.
    groups : iterable of Group
    catalogue : str
    client : distributed.Client

    Yields
    ------
    PartDone
        In the order in which they are done. When a worker dies, others take over its
        groups; files with which workers die again and again become failures.
    """
    from distributed import as_completed

    groups, run = iter(groups), uuid4().hex
    _STOPS[run] = threading.Event()
    tasks = _Tasks(labeller, catalogue, client, run)
    done = as_completed(loop=client.loop)
    try:
        while True:
            for group in islice(groups, tasks.room()):
                done.add(tasks.submit(group))
            if not tasks.groups:
                return
            future = next(done)
            group = tasks.groups.pop(future)
            part, again = _result(future, group, tasks)
            future.release()
            for group in again:
                done.add(tasks.submit(group))
            if part is not None:
                yield part
    finally:
        _STOPS[run].set()
        tasks.end()
        del _STOPS[run]


class _Tasks:
    """The groups that a cluster is working on.

    Attributes
    ----------
    groups : dict of Future to Group
    """

    def __init__(self, labeller, catalogue, client, run):
        self._labeller, self._catalogue = labeller, catalogue
        self._client, self._run = client, run
        self.groups = {}
        client.wait_for_workers(1)
        self.scatter()

    def scatter(self):
        """Send the pipeline to all workers."""
        self._shared = self._client.scatter(
            self._labeller, broadcast=True, hash=False
        )

    def room(self):
        """Return how many tasks more keep the threads of all workers busy."""
        n_threads = sum(self._client.nthreads().values())
        return max(0, _N_AHEAD * n_threads - len(self.groups))

    def submit(self, group):
        """Hand out a group."""
        future = self._client.submit(
            _label, self._shared, group, self._catalogue, self._run, pure=False
        )
        self.groups[future] = group
        return future

    def fail(self, group, reason):
        """Note a reason why a group has no labels."""
        return fail_group(group, self._catalogue, reason)

    def end(self):
        """Let go of what is not done; tasks of this process end, before this returns."""
        from distributed import wait

        futures = list(self.groups)
        if futures and self._client.scheduler.address.startswith("inproc"):
            wait(futures)
        self._client.cancel(futures)
        self._shared.release()


def _label(labeller, group, catalogue, run):
    """Label a group on a worker."""
    return label_group(labeller, group, catalogue, _STOPS.get(run))


def _result(future, group, tasks):
    """Return (what became of a group, groups to hand out instead)."""
    from distributed import CancelledError, KilledWorker

    try:
        return future.result(), []
    except KilledWorker as error:
        if len(group.files) > 1:
            return None, _one_by_one(group)
        reason = f"Worker processes died while they worked on this file: {error}"
        return tasks.fail(group, reason), []
    except CancelledError:  # the workers that held the pipeline are gone
        tasks.scatter()
        return None, [group]


def _one_by_one(group):
    """Return a group for each file."""
    return [
        replace(group, name=f"{group.name}-{k}", files=(file,), readers=(reader,))
        for k, (file, reader) in enumerate(zip(group.files, group.readers, strict=True))
    ]


@contextmanager
def dask_client(n_threads):
    """Give the default client of Dask, or one that has threads of this process.

    Parameters
    ----------
    n_threads : int
        Of the latter; each computes alone, with one thread of torch and of BLAS.
    """
    from distributed import Client, LocalCluster, default_client

    try:
        client = default_client()
    except ValueError:
        client = None
    if client is not None:
        yield client
        return
    n_torch_threads = torch.get_num_threads()
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=n_threads,
        processes=False,
        memory_limit=0,
        dashboard_address=None,
        silence_logs=logging.ERROR,
    )
    try:
        with (
            warnings.catch_warnings(),
            threadpool_limits(1, user_api="blas"),
            cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
    finally:
        torch.set_num_threads(n_torch_threads)
