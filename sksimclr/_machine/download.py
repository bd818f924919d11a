"""Where downloads go, and downloads that go on where they stopped."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 16  # bytes, the most that a killed process loses


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
    return Path(home).expanduser()


def download(
    url: str,
    path: Path,
    *,
    n_retries: int,
    delay: float,
    known_hash: str | None = None,
) -> None:
    """Download a file, going on from what an earlier, interrupted call left.

    Nothing is downloaded if there is a file at `path` already, unless it has another
    hash than `known_hash`; then it is replaced once the right one has come.

    Parameters
    ----------
    url : str
        What to download.
    path : Path
        Where to put it. It appears there only when it is complete; until then what
        has come lies beside it, with ``.part`` appended.
    n_retries : int
        How often a broken connection is tried again, at least 0.
    delay : float
        Pause between tries, seconds.
    known_hash : str, default=None
        What the file must hash to, such as ``"sha256:1f2e..."``. By default anything
        is accepted, and pooch logs the SHA-256 of what came.

    Raises
    ------
    OSError
        If the server refuses, or the last try failed too.
    ValueError
        If what came has another hash. The message says both; what came is deleted,
        so that the next call starts over.
    """
    import pooch

    def fetch(url: str, output_file: str, _pooch: Any) -> None:
        part = path.with_name(f"{path.name}.part")
        _retry(lambda: _continue(url, part), url, n_retries, delay)
        os.replace(part, output_file)

    pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=fetch)


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


def _continue(url: str, part: Path) -> None:
    """Append to ``part`` what it lacks of ``url``, or start over if it must."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    # identity: some servers declare a .tgz as compressed transfer of a .tar
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return _check_complete(response, part, start)
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            start = 0  # the server sends everything
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _write(response, part, start, total)
    _check_size(part, total)


def _write(response: Any, part: Path, start: int, total: int | None) -> None:
    """Write the body of ``response`` to ``part`` from byte ``start`` on."""
    from tqdm import tqdm

    label = Path(part).stem
    with (
        open(part, "ab" if start else "wb") as file,
        tqdm(
            total=total, initial=start, unit="B", unit_scale=True, desc=label
        ) as progress,
    ):
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            file.write(chunk)
            progress.update(len(chunk))


def _check_complete(response: Any, part: Path, start: int) -> None:
    """Accept ``part`` if the server has no more bytes, else start over."""
    import requests

    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total != str(start):
        part.unlink()
        raise requests.ConnectionError(
            f"{str(part)!r} had {start} bytes of {total or 'unknown'}, so it was "
            "deleted"
        )


def _check_size(part: Path, total: int | None) -> None:
    """Raise unless ``part`` has as many bytes as were announced."""
    import requests

    size = part.stat().st_size
    if total is not None and size != total:
        raise requests.ConnectionError(f"got {size} of {total} bytes")
