"""Groups of files on threads of this process, or on a Dask cluster.

Each group is one task. While one thread runs the network, others read, so that as many
files are ahead as there are threads; and no more tasks are handed out than keep the
threads busy, which bounds memory.
"""

import sys
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain, islice

from sksimclr.archive._part import do_group, process_restored

_N_AHEAD = 2  # tasks handed out for each thread
_PATIENCE = 10  # seconds without any result, after which it is looked what is going on


def run_groups(work, groups, folder, n_threads):
    """Work on groups of files and yield what became of each.

    Parameters
    ----------
    work : Labeller or Packer
    groups : iterable of Group
    folder : str
        The catalogue or store.
    n_threads : int
        Of this process, unless Dask has a client.

    Yields
    ------
    PartDone
        In the order in which they are done. When a worker dies, others take over its
        groups; files with which workers die again and again become failures.
    """
    groups, again = iter(groups), deque()
    with _workers(work, folder, n_threads) as workers:
        running = {}
        while True:
            room = _N_AHEAD * max(1, workers.n_threads()) - len(running)
            for group in islice(chain(_emptied(again), groups), max(0, room)):
                running[workers.submit(group)] = group
            if not running and workers.suspects:
                group = workers.suspects.pop()
                running[workers.submit(group)] = group
            if not running:
                return
            done, _ = wait(running, _PATIENCE, return_when=FIRST_COMPLETED)
            for future in done or workers.reclaim(running):
                part, instead = workers.result(future, running.pop(future))
                again += instead
                if part is not None:
                    yield part


def _emptied(queue):
    """Yield what is in a queue, and take it out."""
    while queue:
        yield queue.popleft()


@contextmanager
def _workers(work, folder, n_threads):
    """Give those who work: the cluster of Dask's default client, or threads."""
    client = _default_client()
    if client is None:
        workers = _Threads(work, folder, n_threads)
    else:
        from sksimclr.archive._cluster import Cluster

        workers = Cluster(work, folder, client)
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

    def __init__(self, work, folder, n_threads):
        self._work, self._folder = work, folder
        self._n_threads = n_threads
        self._stop = threading.Event()

    def n_threads(self):
        """Return how many groups can be worked on at a time."""
        return self._n_threads

    @contextmanager
    def at_work(self):
        """Start the threads; end them, and what they are doing, on the way out."""
        self._pool = ThreadPoolExecutor(self._n_threads, thread_name_prefix="sksimclr")
        with process_restored():
            try:
                yield
            finally:
                self._stop.set()
                self._pool.shutdown(cancel_futures=True)

    def submit(self, group):
        """Hand out a group."""
        return self._pool.submit(do_group, self._work, group, self._folder, self._stop)

    def reclaim(self, running):
        """Return no task: threads lose nothing."""
        return []

    def result(self, future, group):
        """Return (what became of a group, groups to hand out instead)."""
        return future.result(), []
