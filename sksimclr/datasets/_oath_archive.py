"""The archive of the OATH data set: where it is, what is in it, and unpacking it."""

import gzip
import hashlib
import re
import tarfile
import tempfile
import zlib
from collections import deque
from pathlib import Path

from sksimclr._machine.writing import naming, replacing

ARCHIVE = "oath_v1.1_20181026.tgz"
URL = f"http://tid.uio.no/plasma/oath/{ARCHIVE}"
HTTPS_URL = URL.replace("http:", "https:")
MAX_BYTES = 10**9  # of the archive, and of what it unpacks to; both have about half
_MOST_MEMBERS = 50_000  # of the archive; it has about 5,900
_MOST_OF_A_FILE = 10**8  # bytes; the features have 23 or 46 MB, images at most 0.4
_TAR_BLOCK = 512
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_NOTES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)  # on the next
_CHUNK = 1 << 20
_MEMBER = re.compile(  # below a folder of any name
    r"(?:\./)?(?:(?!\.)[\w.-]+/)?"
    r"(00_README"
    r"|classifications?/(?:classifications|train_test_split)\.csv"
    r"|features/auroral_feat\.h5"
    r"|images/files_origin\.csv"
    r"|images/cropped_scaled/0[0-5]\d{3}\.png)",
    re.ASCII,
)


def unpacked(archive):
    """Return the folder that ``archive`` is unpacked into."""
    return archive.with_name(f"{archive.name}.untar")


def unpack(archive, sha256=None):
    """Unpack ``archive`` beside itself, wholly or not at all, unless it is done.

    Its SHA-256 must be ``sha256``, by default the one that was noted beside it when it
    was first unpacked.
    """
    folder = unpacked(archive)
    if folder.is_dir() and sha256 is None:
        return folder
    found = _check_sha256(archive, sha256)
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".untar-") as scratch:
        inside = Path(scratch, "oath")
        inside.mkdir()
        _extract(archive, inside)
        try:
            inside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    with replacing(sha256_note(archive)) as path:
        path.write_text(f"{found}  {archive.name}\n")
    return folder


def noted_sha256(archive):
    """Return the SHA-256 that was noted beside ``archive``, None if none was."""
    note = sha256_note(archive)
    if not note.is_file():
        return None
    words = note.read_text(errors="replace").split()
    if not words or not re.fullmatch("[0-9a-f]{64}", words[0]):
        raise ValueError(
            f"load_oath: expected the SHA-256 of {archive.name} in {str(note)!r}, got "
            "something else. Delete it if you trust the archive."
        )
    return words[0]


def sha256_note(archive):
    """Return the path of the note, which ``sha256sum --check`` reads."""
    return archive.with_name(f"{archive.name}.sha256")


def _check_sha256(archive, given):
    """Return the SHA-256 of ``archive``, which must be the one given or noted."""
    expected = given or noted_sha256(archive)
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected not in (None, found):
        note = str(sha256_note(archive))
        raise ValueError(
            f"load_oath: expected the SHA-256 {expected}, "
            + ("as given" if given else f"noted in {note!r} when it was first unpacked")
            + f", but {str(archive)!r} has {found}. Delete it and get it again"
            + ("." if given else "; or delete the note, if you trust it.")
        )
    return found


def _extract(archive, folder):
    """Write what OATH has into ``folder``, and refuse all that it cannot have."""
    try:
        with gzip.open(archive) as stream:
            _extract_members(_Limited(stream), folder)
    except _Refused as error:
        raise ValueError(
            f"load_oath: refused to unpack {str(archive)!r}, which is not the OATH "
            f"archive as published: {error}. Delete it and download {URL}."
        ) from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"load_oath: expected a complete .tgz archive, but {str(archive)!r} is "
            f"damaged or cut short ({error}). Delete it and download {URL} again."
        ) from error


class _Refused(Exception):
    """The archive has something in it that OATH has not."""


class _Limited:
    """The first `MAX_BYTES` of a stream; `_Refused` beyond them."""

    def __init__(self, stream):
        self._stream, self._left = stream, MAX_BYTES

    def read(self, n_bytes):
        """Return so many bytes, fewer at the end alone."""
        data = self._stream.read(n_bytes)
        self._left -= len(data)
        if self._left < 0:
            raise _Refused(f"it unpacks to more than {MAX_BYTES:,} bytes")
        return data

    def chunks(self, n_bytes):
        """Yield so many bytes, piece by piece."""
        while n_bytes:
            data = self.read(min(n_bytes, _CHUNK))
            if not data:
                raise EOFError("it ends within a file")
            n_bytes -= len(data)
            yield data


def _extract_members(stream, folder):
    """Write the members of a tar file that are known, and pass over other files."""
    for _ in range(_MOST_MEMBERS):
        block = stream.read(_TAR_BLOCK)
        if block.count(0) == len(block) == _TAR_BLOCK:
            break
        member = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        known = _check_member(member)
        if member.type == tarfile.DIRTYPE:
            continue
        data = stream.chunks(member.size)
        if known:
            _write(folder / known[1], data)
        else:
            deque(data, maxlen=0)
        stream.read(-member.size % _TAR_BLOCK)
    else:
        raise _Refused(f"it has more than {_MOST_MEMBERS:,} members")
    while stream.read(_CHUNK):  # gzip's checksum comes last
        pass


def _check_member(member):
    """Return the match of a file that OATH has, None for what is passed over."""
    name, parts = member.name, member.name.split("/")
    if member.type not in (*_FILES, *_NOTES, tarfile.DIRTYPE):
        raise _Refused(f"{name!r} is neither a file nor a folder")
    if member.type not in _NOTES and (".." in parts or parts[0] == "" or "\\" in name):
        raise _Refused(f"{name!r} would land outside its folder")
    known = _MEMBER.fullmatch(name) if member.type in _FILES else None
    if member.size < 0 or known and member.size > _MOST_OF_A_FILE:
        raise _Refused(
            f"{name!r} has {member.size:,} bytes, expected at most {_MOST_OF_A_FILE:,}"
        )
    return known


def _write(path, chunks):
    """Write a new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path), open(path, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
    except FileExistsError as error:
        raise _Refused(f"it has {path.name!r} twice") from error
