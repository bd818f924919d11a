"""Files that are whole or not there, and errors that name them."""

import errno
import os
import subprocess
import sys

import pytest

from sksimclr._machine.writing import replacing

TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
from sksimclr._machine.writing import replacing

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(bytes(2000))
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of Unix")
def test_a_file_that_cannot_be_written_wholly_is_named(tmp_path):
    """By the system's own error, past a limit that is as good as a full disk."""
    path = tmp_path / "model.skops"
    command = [sys.executable, "-c", TOO_LARGE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"[Errno {errno.EFBIG}] File too large: {str(path)!r}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    """Also when only the last bytes do not fit; a file that was there stays."""
    path = tmp_path / "model.skops"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as raised, replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["missing folder", "a folder"])
def test_no_error_names_the_temporary_file(kind, tmp_path):
    """It would be of a name that nobody has given."""
    path = tmp_path / "nodir" / "w" if kind == "missing folder" else tmp_path / "w"
    if kind == "a folder":
        (path / "full").mkdir(parents=True)
    with pytest.raises(OSError) as raised, replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert raised.value.filename == str(path)
    assert ".tmp" not in str(raised.value)


def test_errors_that_name_a_file_keep_its_name(tmp_path):
    """Such as one that was to be read meanwhile."""
    with pytest.raises(FileNotFoundError) as raised, replacing(tmp_path / "out"):
        (tmp_path / "missing").read_bytes()
    assert raised.value.filename == str(tmp_path / "missing")
