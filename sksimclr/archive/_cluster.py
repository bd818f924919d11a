"""Groups of files on the workers of a Dask cluster, which may die, come and go."""

import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import uuid4

from distributed import CancelledError, KilledWorker, WorkerPlugin, get_worker

from sksimclr.archive._folder import kind_of
from sksimclr.archive._part import do_group, fail_group, process_restored

_N_LOSSES = 3  # of a group, after which it is not tried again as it is
_N_TRIES = 5  # to give the work to all workers, while some of them die
_PAUSE = 1  # seconds between these
_LONGEST = 3600  # seconds to wait for any worker
_SILENT = 600  # seconds without a result, after which it is said what is waited for


class Cluster:
    """The workers of a Dask cluster, each of which has the pipeline or preprocessor.

    Attributes
    ----------
    suspects : list of Group
        Single files whose workers have died, or lost their task. Others may have been
        to blame, so they get another chance, with nothing beside them.
    """

    def __init__(self, work, folder, client):
        self._work, self._folder = work, folder
        self._client = client
        self._name = f"sksimclr-{uuid4().hex}"  # of this run alone
        self._alone_since = self._silent_since = None
        self.suspects = []

    def n_threads(self):
        """Return how many groups can be worked on at a time, by now."""
        return sum(self._client.nthreads().values())

    @contextmanager
    def at_work(self):
        """Send the work to all workers; cancel what is not done on the way out."""
        with process_restored():  # workers may be threads of this process
            self._send_work()
            executor = self._executor = self._client.get_executor(pure=False)
            try:
                yield
            finally:
                executor.shutdown(wait=False)
                with suppress(Exception):  # the cluster may be what ended the run
                    self._client.unregister_worker_plugin(self._name)

    def _send_work(self):
        """Give the work to all workers; the scheduler gives it to those to come."""
        kind = kind_of(self._folder)
        for k in range(_N_TRIES):
            try:
                plugin = _Plugin(self._work)
                self._client.register_plugin(plugin, name=self._name)
                return
            except ImportError:
                raise
            except Exception as error:  # of many classes, when a worker dies meanwhile
                if k + 1 == _N_TRIES:
                    raise RuntimeError(
                        f"The {kind.tool} could not be sent to the Dask cluster "
                        f"{self._where()} in {_N_TRIES} tries, the last of which ended "
                        f"with {error!r}. What is {kind.done} by now is in the "
                        f"{kind.name}; the same call goes on."
                    ) from error
            time.sleep(_PAUSE)

    def submit(self, group):
        """Hand out a group."""
        return self._executor.submit(_do, self._name, group, self._folder)

    def reclaim(self, running):
        """Return the tasks that nobody will do, cancelled, when none ends for long.

        Parameters
        ----------
        running : dict of Future to Group

        Raises
        ------
        TimeoutError
            There has been no worker for an hour.
        """
        is_ours = f"{_do.__name__}-"  # how the keys of our tasks begin
        tasks = self._client.processing().values()
        if any(str(key).startswith(is_ours) for keys in tasks for key in keys):
            self._alone_since = None
            self._say_who_is_silent(running)
            return []
        if not self._n_ready():
            self._wait_for_workers()
            return []
        self._alone_since = None
        self._send_work()
        for future in running:
            future.cancel()
        return list(running)

    def _n_ready(self):
        """Return how many workers would begin a task now; some are paused, or begin."""
        return self._client.run_on_scheduler(
            lambda dask_scheduler: len(dask_scheduler.running)
        )

    def _wait_for_workers(self):
        """Say that workers are waited for, and since when."""
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since > _LONGEST:
            kind = kind_of(self._folder)
            raise TimeoutError(
                f"The Dask cluster {self._where()} has had no worker for an hour that "
                f"takes tasks. What is {kind.done} by now is in the {kind.name}; the "
                "same call goes on when there are workers."
            )
        warnings.warn(
            f"Waiting, for up to an hour, for a worker of the Dask cluster "
            f"{self._where()}: it has none that takes tasks. A LocalCluster lets go of "
            "workers that have died; begin another one and call again, if they do not "
            "come back.",
            stacklevel=3,
        )

    def _say_who_is_silent(self, running):
        """Name the files that workers are at, if no group was done for long."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since > _SILENT:
            self._silent_since = None
            files = sorted(group.files[0] for group in running.values())
            warnings.warn(
                f"No group of files was done on the Dask cluster {self._where()} for "
                f"{_SILENT // 60} minutes. Its workers are at those that begin with "
                f"{files}. If one of them hangs, stop the run and leave it out.",
                stacklevel=3,
            )

    def result(self, future, group):
        """Return (what became of a group, groups to hand out instead)."""
        self._alone_since = self._silent_since = None
        try:
            outcome = future.result()
        except ImportError:  # the worker lacks what it needs
            raise
        except (Exception, CancelledError) as error:
            return self._after_loss(group, error)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, []

    def _after_loss(self, group, error):
        """Return the same for a group whose worker died, or lost it."""
        if isinstance(error, KeyError):  # a worker without the work
            self._send_work()
        n_losses = group.n_losses + 1
        if isinstance(error, KilledWorker):  # the scheduler has counted
            n_losses = _N_LOSSES
        if n_losses < _N_LOSSES:
            return None, [replace(group, n_losses=n_losses)]
        if len(group.files) > 1:
            return None, _one_by_one(group)
        if not group.is_suspect:
            self.suspects.append(replace(group, is_suspect=True, n_losses=0))
            return None, []
        reason = (
            "Worker processes died, or lost their task, whenever they worked on this "
            f"file. The last time: {error!r}"
        )
        return fail_group(group, self._folder, reason), []

    def _where(self):
        return self._client.scheduler.address


class _Plugin(WorkerPlugin):
    """What a worker has of a run, also one that has come late, or once more."""

    def __init__(self, work):
        self.work = work


def _do(name, group, folder):
    """Work on a group; return what it raises, so that all that is raised is a loss."""
    work = get_worker().plugins[name].work
    try:
        return do_group(work, group, folder)
    except Exception as error:
        error.add_note(f"On a worker:\n{traceback.format_exc()}")
        return error


def _one_by_one(group):
    """Return a group for each file."""
    return [
        replace(
            group,
            name=f"{group.name}-{k}",
            files=(file,),
            readers=(reader,),
            n_losses=0,
        )
        for k, (file, reader) in enumerate(zip(group.files, group.readers, strict=True))
    ]
