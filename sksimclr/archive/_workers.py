"""Groups of files on threads of this process, or on a Dask cluster.

Each group is one task. While one thread runs the network, others read, so that as many
files are ahead as there are threads; and no more tasks are handed out than keep the
threads busy, which bounds memory.
"""

import sys
import threading
import warnings
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from threadpoolctl import threadpool_limits

from sksimclr.archive._part import fail_group, label_group

_N_AHEAD = 2  # tasks handed out for each thread
_PATIENCE = 10  # seconds without any result, after which it is looked what is going on


def run_groups(labeller, groups, catalogue, n_threads):
    """Label groups of files and yield what became of each.

    Parameters
    ----------
    labeller : Labeller
    groups : iterable of Group
    catalogue : str
    n_threads : int
        Of this process, unless Dask has a client.

    Yields
    ------
    PartDone
        In the order in which they are done. When a worker dies, others take over its
        groups; files with which workers die again and again become failures.
    """
    groups = iter(groups)
    with _workers(labeller, catalogue, n_threads) as workers:
        running = {}
        while True:
            room = max(0, _N_AHEAD * workers.n_threads() - len(running))
            for group in islice(groups, room):
                running[workers.submit(group)] = group
            if not running and workers.suspects:
                group = workers.suspects.pop()
                running[workers.submit(group)] = group
            if not running:
                return
            done, _ = wait(running, _PATIENCE, return_when=FIRST_COMPLETED)
            if not done:
                running = workers.handed_out_anew(running)
            for future in done:
                group = running.pop(future)
                part, again = workers.result(future, group)
                running |= {workers.submit(group): group for group in again}
                if part is not None:
                    yield part


@contextmanager
def _workers(labeller, catalogue, n_threads):
    """Give those who work: the cluster of Dask's default client, or threads."""
    client = _default_client()
    if client is None:
        workers = _Threads(labeller, catalogue, n_threads)
    else:
        workers = _Cluster(labeller, catalogue, client)
    with workers.at_work():
        yield workers


def _default_client():
    """Return the default client of Dask, None if there is none."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


class _Threads:
    """Threads of this process, each of which computes alone."""

    suspects = ()  # what kills a thread kills this process

    def __init__(self, labeller, catalogue, n_threads):
        self._labeller, self._catalogue = labeller, catalogue
        self._n_threads = n_threads
        self._stop = threading.Event()

    def n_threads(self):
        """Return how many groups can be worked on at a time."""
        return self._n_threads

    @contextmanager
    def at_work(self):
        """Start the threads; end them, and what they are doing, on the way out."""
        import torch

        n_torch_threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="sksimclr")
        with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
            try:
                yield
            finally:
                self._stop.set()
                self._pool.shutdown(cancel_futures=True)
                torch.set_num_threads(n_torch_threads)

    def submit(self, group):
        """Hand out a group."""
        return self._pool.submit(
            label_group, self._labeller, group, self._catalogue, self._stop
        )

    def handed_out_anew(self, running):
        """Return them as they are: threads lose nothing."""
        return running

    def result(self, future, group):
        """Return (what became of a group, groups to hand out instead)."""
        return future.result(), []


class _Cluster:
    """The workers of a Dask cluster, which may come and go.

    Attributes
    ----------
    suspects : list of Group
        Single files on which workers have died. Others may have been to blame, so they
        get another chance, with nothing beside them.
    """

    def __init__(self, labeller, catalogue, client):
        self._labeller, self._catalogue = labeller, catalogue
        self._client = client
        self.suspects = []

    def n_threads(self):
        """Return how many groups can be worked on at a time, by now."""
        return sum(self._client.nthreads().values())

    @contextmanager
    def at_work(self):
        """Send the pipeline to all workers; cancel what is not done on the way out."""
        self._scatter()
        self._executor = self._client.get_executor(pure=False)
        try:
            yield
        finally:
            self._executor.shutdown(wait=False)

    def _scatter(self):
        """Send the pipeline to each worker, as soon as there is one."""
        while True:
            self._client.wait_for_workers(1)
            try:
                self._shared = self._client.scatter(
                    self._labeller, broadcast=True, hash=False
                )
                return
            except TimeoutError:  # they were gone again
                continue

    def submit(self, group):
        """Hand out a group."""
        return self._executor.submit(label_group, self._shared, group, self._catalogue)

    def handed_out_anew(self, running):
        """Hand out again what no worker is at, as seen after workers have died."""
        if any(self._client.processing().values()):
            return running
        for future in running:
            future.cancel()
        return {self.submit(group): group for group in running.values()}

    def result(self, future, group):
        """Return (what became of a group, groups to hand out instead)."""
        from distributed import CancelledError as Lost
        from distributed import KilledWorker

        try:
            return future.result(), []
        except KilledWorker as error:
            if len(group.files) > 1:
                return None, _one_by_one(group)
            if not group.is_suspect:
                self.suspects.append(replace(group, is_suspect=True))
                return None, []
            reason = f"Worker processes died while they worked on this file: {error}"
            return fail_group(group, self._catalogue, reason), []
        except (CancelledError, Lost):  # no worker is left that had the pipeline
            self._scatter()
            return None, [group]


def _one_by_one(group):
    """Return a group for each file."""
    return [
        replace(group, name=f"{group.name}-{k}", files=(file,), readers=(reader,))
        for k, (file, reader) in enumerate(zip(group.files, group.readers, strict=True))
    ]
