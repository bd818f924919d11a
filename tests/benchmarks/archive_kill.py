"""Catalogues and stores of runs that were killed or doubled, against one that was not.

Run as ``python tests/benchmarks/archive_kill.py process`` (a process that labels an
archive is killed at a random moment of its work, and started again until it ends by
itself), ``cluster`` (it labels on a Dask cluster, of which a worker, the nanny of a
worker, or the client is killed; the client is then called again at once, while the
workers are still at its tasks), ``double`` (two runs at once that see no locks) or
``pack`` (a process that packs frames is killed ten times on the way to one store, which
must then be, byte for byte, that of a run that nobody disturbed). The
catalogue must then have the same rows as that of a run that nobody disturbed, each
once, and no row of the list of files without them. All kills are SIGKILL. Prints a line
for each catalogue, and ends with exit code 1 at the first that differs.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_READY = "labelling"
_LIMIT = 300  # seconds for a run that was disturbed; then it hangs
_LONGEST_WAIT = 2.0  # seconds from the begin of the work to a kill
_N_KILLS, _SHORT_WAIT = 10, 0.4  # of a run that packs, and the same of each
_COMMAND = [sys.executable, __file__]


def label(archive, catalogue, how):
    """Be a process that labels: print when all is ready, begin when told to."""
    import archives

    from sksimclr.archive import label_archive

    if how == "without-locks":
        archives.without_locks()
    elif how.startswith("tcp"):
        from distributed import Client

        Client(how).wait_for_workers(1, timeout=60)
    pipeline = archives.fitted_pipeline()
    print(_READY, flush=True)
    sys.stdin.readline()
    label_archive(
        pipeline,
        archive,
        catalogue,
        embeddings=True,
        n_threads=2,
        part_bytes=archives.PART_BYTES,
    )


def pack(archive, store, how):
    """Be a process that packs: print when all is ready, begin when told to."""
    import archives

    print(_READY, flush=True)
    sys.stdin.readline()
    archives.pack(archive, store, n_threads=2)


def prepare(archive, catalogue, how="threads"):
    """Start a process that is ready to label."""
    arguments = ["--label", str(archive), str(catalogue), how]
    process = subprocess.Popen(
        [*_COMMAND, "process", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    for line in process.stdout:
        if line.strip() == _READY:
            return process
    raise RuntimeError("the process ended before it began")


def begin(process):
    """Tell a process to label."""
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def start(archive, catalogue, how="threads"):
    """Start a process; return it when it labels."""
    return begin(prepare(archive, catalogue, how))


def rows_of(catalogue):
    """Return the rows of a catalogue, and what is said of its files."""
    from sksimclr.archive import read_catalogue
    from sksimclr.archive._folder import read_files

    return read_catalogue(catalogue), read_files(catalogue).sort_by("file")


def bytes_of(store):
    """Return the bytes of all files of a store by name."""
    from archives import contents

    return [contents(store)]


def n_done(catalogue):
    """Return how many parts are done."""
    return len(list((catalogue / "_files").glob("part-*")))


def kill_process(archive, catalogue, draw, cluster):
    """Kill a run three times, then let it end."""
    moments = []
    for _ in range(3):
        process, wait = start(archive, catalogue), draw.uniform(0.1, _LONGEST_WAIT)
        try:
            process.wait(wait)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            moments.append(f"{wait:.2f} s, {n_done(catalogue)} parts done")
    finish(start(archive, catalogue))
    return "process: " + "; ".join(moments)


def kill_packing(archive, store, draw, cluster):
    """Kill a run ten times, then let it end."""
    moments = []
    while len(moments) < _N_KILLS:
        process, wait = start(archive, store, "pack"), draw.uniform(0, _SHORT_WAIT)
        try:
            process.wait(wait)
            return f"pack: ended before kill {len(moments) + 1}; give more --files"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            moments.append(str(n_done(store)))
    finish(start(archive, store, "pack"))
    return f"pack: {_N_KILLS} kills, when {', '.join(moments)} parts were done"


def kill_in_cluster(archive, catalogue, draw, cluster):
    """Kill a part of a cluster, or the client of it."""
    victim, wait = next(cluster.victims), draw.uniform(0, _LONGEST_WAIT)
    process, other = (prepare(archive, catalogue, cluster.address) for _ in range(2))
    begin(process)
    time.sleep(wait)
    parts = n_done(catalogue)
    if victim == "client":
        process.kill()
        process.wait()
        process = begin(other)
    else:
        cluster.kill(victim, draw)
    finish(process)
    other.kill()
    other.wait()
    cluster.mend()
    return f"{victim}: {wait:.2f} s, {parts} parts done"


def run_twice(archive, catalogue, draw, cluster):
    """Let two runs work on one catalogue, the second a moment later."""
    first, second = (prepare(archive, catalogue, "without-locks") for _ in range(2))
    begin(first)
    time.sleep(draw.uniform(0, _LONGEST_WAIT))
    parts = n_done(catalogue)
    begin(second)
    finish(first)
    finish(second)
    return f"double: {parts} parts done when the second began"


def finish(process):
    """Wait until a run has ended by itself, without an error."""
    code = process.wait(_LIMIT)
    if code:
        raise SystemExit(f"a run ended with exit code {code}")


class Cluster:
    """A scheduler, and two workers with nannies, all processes of their own.

    Attributes
    ----------
    victims : iterator of str
        What to kill next.
    """

    def __init__(self, folder):
        self._file = Path(folder) / "scheduler.json"
        self._scheduler = self._start("scheduler", "--port", "0")
        while not self._file.exists():
            time.sleep(0.1)
        self._nannies = []
        self.victims = itertools.cycle(["worker", "client", "nanny"])
        self.mend()

    @property
    def address(self):
        """Address of the scheduler."""
        return json.loads(self._file.read_text())["address"]

    def _start(self, *arguments):
        log = open(self._file.with_suffix(".log"), "a")
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
            + ["--scheduler-file", str(self._file)],
            stdout=log,
            stderr=log,
            env=os.environ
            | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def mend(self):
        """Have two workers again."""
        self._nannies = [nanny for nanny in self._nannies if nanny.poll() is None]
        while len(self._nannies) < 2:
            worker = ["worker", "--nthreads", "2", "--memory-limit", "0"]
            self._nannies.append(self._start(*worker))

    def kill(self, victim, draw):
        """Kill a worker, which its nanny starts again, or a nanny."""
        nanny = draw.choice(self._nannies)
        if victim == "nanny":
            nanny.kill()
            nanny.wait()
            return
        for pid in children(nanny.pid):
            os.kill(pid, signal.SIGKILL)

    def end(self):
        """End all processes."""
        for process in [*self._nannies, self._scheduler]:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def children(pid):
    """Return the numbers of the processes that a process has started (Linux)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@contextmanager
def cluster_of(kind, folder):
    """Give a cluster if there is to be one."""
    if kind != "cluster":
        yield None
        return
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.end()


def main():
    """Disturb as many runs as asked for."""
    from archives import write_archive

    disturb = {
        "process": kill_process,
        "cluster": kill_in_cluster,
        "double": run_twice,
        "pack": kill_packing,
    }
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=disturb)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.label:
        (pack if options.label[2] == "pack" else label)(*options.label)
        return
    how, state = ("pack", bytes_of) if options.kind == "pack" else ("threads", rows_of)
    draw = random.Random(options.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster_of(options.kind, folder) as cluster,
    ):
        archive, whole = Path(folder) / "archive", Path(folder) / "whole"
        write_archive(archive, options.files)
        began = time.monotonic()
        finish(start(archive, whole, how))
        expected = state(whole)
        print(f"{len(expected[0])} rows or files, {time.monotonic() - began:.1f} s")
        for _ in range(options.runs):
            catalogue = Path(folder) / "disturbed"
            began = time.monotonic()
            what = disturb[options.kind](archive, catalogue, draw, cluster)
            found = state(catalogue)
            same = found == expected
            verdict = "the same" if same else "DIFFERS"
            print(f"{what}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)
            if not same:
                raise SystemExit(1)
            shutil.rmtree(catalogue)


if __name__ == "__main__":
    main()
