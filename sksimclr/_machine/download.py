"""Where downloads go, and downloads that go on where they stopped."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from sksimclr._machine.writing import naming

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 16  # bytes, the most that a killed process loses
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def data_home(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder for downloaded data, which may not exist yet.

    Parameters
    ----------
    folder : str or path-like, default=None
        The user's choice. By default the folder that the environment variable
        ``SKSIMCLR_DATA`` names, else ``pooch.os_cache("sksimclr")``.

    Returns
    -------
    Path
        With ``~`` expanded.
    """
    import pooch

    home = folder or os.environ.get("SKSIMCLR_DATA") or pooch.os_cache("sksimclr")
    return Path(os.path.expanduser(home))


def is_served(url: str) -> bool:
    """Say whether a server has a file, without downloading it.

    An answer that leads from https to http counts as none.
    """
    import requests

    try:
        response = requests.head(url, allow_redirects=True, timeout=_TIMEOUT)
    except requests.RequestException:
        return False
    return response.ok and not _is_less_safe(response, url)


def download(
    url: str,
    path: Path,
    *,
    n_retries: int,
    delay: float,
    max_bytes: int,
    known_hash: str | None = None,
) -> None:
    """Download a file, going on from what an earlier, interrupted call left.

    Nothing is downloaded if there is a file at `path` already, unless it has another
    hash than `known_hash`; then it is replaced once the right one has come. While
    another process downloads the same file, this one waits for it.

    Parameters
    ----------
    url : str
        What to download. If it begins with https, so must all that it leads to.
    path : Path
        Where to put it. It appears there only when it is complete; until then what
        has come lies beside it, with ``.part`` appended. Where files cannot be locked,
        as on Windows, it has a name of its own, and only later tries of this call go
        on with it.
    n_retries : int
        How often a broken connection is tried again, at least 0.
    delay : float
        Pause between tries, seconds.
    max_bytes : int
        The most that is accepted.
    known_hash : str, default=None
        What the file must hash to, such as ``"sha256:1f2e..."``. By default anything
        is accepted, and pooch logs the SHA-256 of what came.

    Raises
    ------
    OSError
        If the server refuses, or has more than `max_bytes`, or the last try failed
        too; or if what lies at the name with ``.part`` is no file of its own.
    ValueError
        If what came has another hash. The message says both; what came is deleted,
        so that the next call starts over.
    """
    import pooch

    with ExitStack() as until_it_is_in_place:

        def fetch(url: str, output_file: str, _pooch: Any) -> None:
            part = until_it_is_in_place.enter_context(_partial_file(path))
            if part is None:  # another process has just downloaded it
                shutil.copyfile(path, output_file)
                return
            _retry(lambda: _continue(url, part, max_bytes), url, n_retries, delay)
            part.move(output_file)

        pooch.retrieve(
            url, known_hash, fname=path.name, path=path.parent, downloader=fetch
        )


class _Part:
    """An open file of what has come of a download."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file = path, file

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return os.fstat(self.file.fileno()).st_size

    def start_over(self) -> None:
        """Forget what has come."""
        self.file.truncate(0)

    def move(self, target: str) -> None:
        """Give the complete file another name."""
        if os.name != "posix":
            self.file.close()  # open files cannot be moved there
        os.replace(self.path, target)


@contextmanager
def _partial_file(path: Path) -> Iterator[_Part | None]:
    """Open the partial file of a download, which no other process writes to meanwhile.

    Gives None if another process had it, and has completed `path` by now.
    """
    part = path.with_name(f"{path.name}.part")
    can_lock = os.name == "posix"
    while can_lock:
        with _open_own(part) as file:
            can_lock = _lock(file, part)
            try:
                if can_lock and _is_still(part, file):
                    yield _Part(part, file)
                    return
            finally:
                if _is_still(part, file) and os.path.getsize(part) == 0:
                    part.unlink()
        if can_lock and path.is_file():
            yield None
            return
    part = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    try:
        with _open_own(part) as file:
            yield _Part(part, file)
    finally:
        part.unlink(missing_ok=True)


def _open_own(part: Path) -> BinaryIO:
    """Open a file for reading and writing, made if need be, and never through a link.

    Raises an OSError if something else is there: a link to a file, or one of its
    names, would lead what comes into somebody else's file.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with suppress(FileNotFoundError):
        _check_own(part, os.lstat(part))
    file = os.fdopen(os.open(part, flags, 0o666), "r+b", buffering=0)
    try:
        _check_own(part, os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _check_own(part: Path, status: os.stat_result) -> None:
    """Raise an OSError unless this is a regular file with one name."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise OSError(
            f"Expected a part of an earlier download, or nothing, at {str(part)!r}, "
            "got a link or something else that is no file of its own. Remove it."
        )


def _lock(file: BinaryIO, path: Path) -> bool:
    """Wait until no other process has a file locked, and lock it; False if none can."""
    import fcntl

    import pooch

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pooch.get_logger().info("Another process downloads '%s': waiting.", path)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network file systems have no locks
        return False
    return True


def _is_still(path: Path, file: BinaryIO) -> bool:
    """Say whether an open file still has its name, or was moved by another process."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _retry(action: Callable[[], None], url: str, n_retries: int, delay: float) -> None:
    """Call ``action`` until it succeeds, is refused or has failed too often."""
    import requests
    import urllib3

    for attempt in range(n_retries + 1):
        try:
            return action()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            refused = 400 <= _status(error) < 500
            if refused or attempt == n_retries:
                raise OSError(
                    f"Could not download {url} in {attempt + 1} tries: {error}."
                ) from error
            warnings.warn(
                f"Download of {url} broke off ({error}); trying again.", stacklevel=2
            )
        time.sleep(delay)


def _status(error: Exception) -> int:
    """Return the HTTP status that an exception reports, 0 if none."""
    response = getattr(error, "response", None)
    return 0 if response is None else response.status_code


def _continue(url: str, part: _Part, max_bytes: int) -> None:
    """Append to ``part`` what it lacks of ``url``, or start over if it must."""
    import requests

    if part.size > max_bytes:
        part.start_over()
    start = part.size
    # identity: some servers declare a .tgz as compressed transfer of a .tar
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if _is_less_safe(response, url):
            raise OSError(f"{url} leads to {response.url} by an address without https.")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return _check_complete(response, part, start)
        response.raise_for_status()
        if response.status_code == requests.codes.partial_content:
            total: int | None = _total_after(start, response, part)
        else:
            start = 0  # the server sends everything
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
        if total is not None and total > max_bytes:
            _refuse(url, part, f"{total:,}", max_bytes)
        _write(response, part, start, total, max_bytes)
    if total is not None and part.size != total:
        raise requests.ConnectionError(f"got {part.size} of {total} bytes")


def _is_less_safe(response: Any, asked: str) -> bool:
    """Say whether a redirection gave up https, if only on the way."""
    urls = [each.url for each in (*response.history, response)]
    return asked.startswith("https:") and not all(u.startswith("https:") for u in urls)


def _total_after(start: int, response: Any, part: _Part) -> int:
    """Return the size of the whole file, of which the server sends the rest."""
    import requests

    text = response.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(text)
    first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
    if (first, last) != (start, total - 1):
        part.start_over()
        raise requests.ConnectionError(
            f"expected the bytes from {start} to the last one, got {text!r}; the "
            "download starts over"
        )
    return total


def _refuse(url: str, part: _Part, size: str, max_bytes: int) -> None:
    """Raise an OSError for a file that is too large, of which nothing is kept."""
    part.start_over()
    raise OSError(
        f"Refused to download {url}: it has {size} bytes, expected at most "
        f"{max_bytes:,}. It is not the file that was published."
    )


def _write(
    response: Any, part: _Part, start: int, total: int | None, max_bytes: int
) -> None:
    """Write the body of ``response`` to ``part`` from byte ``start`` on."""
    from tqdm import tqdm

    if start == 0:
        part.start_over()
    part.file.seek(start)
    with tqdm(
        total=total, initial=start, unit="B", unit_scale=True, desc=part.path.stem
    ) as progress:
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            if part.file.tell() + len(chunk) > max_bytes:
                _refuse(response.url, part, f"more than {max_bytes:,}", max_bytes)
            with naming(part.path):
                _write_all(part.file, chunk)
            progress.update(len(chunk))


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write to a file without a buffer, which may take a part only."""
    while data:
        data = data[file.write(data) :]


def _check_complete(response: Any, part: _Part, start: int) -> None:
    """Accept ``part`` if the server has no more bytes, else start over."""
    import requests

    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total != str(start):
        part.start_over()
        raise requests.ConnectionError(
            f"{str(part.path)!r} had {start} bytes of {total or 'unknown'}, so it was "
            "deleted"
        )
