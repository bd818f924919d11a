"""Variables in a CDF file (version 3), of which nothing is believed unchecked.

Other readers take the sizes and places that a file names as they are; a damaged one
makes them loop or ask for any amount of memory. Offsets are those of NASA's "CDF
Internal Format Description".
"""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.compressed import DEFLATE_RATIO, check_size, inflate, read_bytes

_MAGIC = b"\xcd\xf3\x00\x01"
_PLAIN, _COMPRESSED = b"\0\0\xff\xff", b"\xcc\xcc\x00\x01"
_CDR, _GDR, _VXR, _VVR, _ZVDR, _CCR, _CPR, _CVVR = 1, 2, 6, 7, 8, 10, 11, 13
_NAMES = {
    _CDR: "CDF descriptor",
    _GDR: "global descriptor",
    _VXR: "variable index",
    _VVR: "variable values",
    _ZVDR: "variable descriptor",
    _CCR: "compressed CDF",
    _CPR: "compression parameters",
    _CVVR: "compressed variable values",
}
_GZIP = 5  # kind of compression
_BIG, _LITTLE = (1, 2, 5, 7, 9, 11, 12, 18), (4, 6, 13, 16, 17, 19)  # encodings
_TYPES = {1: "i1", 2: "i2", 4: "i4", 8: "i8", 11: "u1", 12: "u2", 14: "u4", 21: "f4"}
_TYPES |= {22: "f8", 31: "f8", 33: "i8", 41: "i1", 44: "f4", 45: "f8"}
_TT2000 = 33  # the type of times in nanoseconds with leap seconds
_MAX_DIMS = 10
_ENTRY_BYTES = 16  # of an index
_MAX_BLOCKS = 1_000_000  # of one variable
_Block = tuple[int, int, int]  # first record, last record, position


class Variable(NamedTuple):
    """A variable as the file describes it; all values are checked for sense."""

    dtype: np.dtype[Any]
    is_tt2000: bool
    shape: tuple[int, ...]  # of one record
    n_records: int
    is_compressed: bool
    index_at: int  # where the index of its records is

    @property
    def record_bytes(self) -> int:
        """Number of bytes of one record."""
        return self.dtype.itemsize * math.prod(self.shape)


class CDFFile:
    """The variables of a file, found when it is opened and read on request.

    Attributes
    ----------
    variables : dict of str to Variable
        Those that numbers can be read of.
    damage : str
        What is wrong with the file as a whole; "" for nothing.
    """

    def __init__(self, path: Path):
        raw = read_bytes(path)
        self._n_stored = len(raw)
        self._data = memoryview(_uncompressed(raw))
        cdr = self._record(8, _CDR, 48)
        encoding, flags = struct.unpack_from(">ii", cdr, 28)
        if encoding not in _BIG + _LITTLE or not flags & 2:
            raise ValueError(
                f"it is a CDF of encoding {encoding} and flags {flags}, which cannot "
                "be read. Convert it with NASA's cdfconvert"
            )
        self._order: Literal[">", "<"] = ">" if encoding in _BIG else "<"
        self._row_major = bool(flags & 1)
        gdr = self._record(_at(">q", cdr, 12), _GDR, 64)
        first, self._end = _at(">q", gdr, 20), _at(">q", gdr, 36)
        self.damage = self._find_damage(raw, has_checksum=flags & 12 == 12)
        self.variables = self._find_variables(first)

    def read(self, name: str) -> tuple[NDArray[Any], str]:
        """Return the records of a variable, and what is wrong with the others.

        Returns
        -------
        records : ndarray of shape (n, *shape)
            All of them, or those before the first that cannot be read.
        damage : str
        """
        variable = self.variables[name]
        self._check_memory(variable, name)
        blocks, damage = self._blocks(variable)
        n_values = math.prod(variable.shape)
        records = np.empty((variable.n_records, n_values), variable.dtype)
        n_read = 0
        for first, last, position in blocks:
            if first != n_read or n_read == len(records):
                continue
            try:
                values = self._values(variable, position, last - first + 1)
            except ValueError as error:
                damage = str(error)
                break
            n_new = min(last + 1, len(records)) - n_read
            records[n_read : n_read + n_new] = values[:n_new]
            n_read += n_new
        if n_read == len(records):
            damage = ""
        elif not damage:
            damage = "the others are not in the file"
        if damage:
            damage = f"{name}: {n_read} of {len(records)} records are read; {damage}"
        return self._in_rows(records[:n_read], variable.shape), damage

    def _find_damage(self, raw: bytes, has_checksum: bool) -> str:
        """Say whether the file ends too early; raise a ValueError if it was changed."""
        if len(self._data) < self._end:
            return f"it ends after {len(self._data):,} of {self._end:,} bytes"
        if has_checksum and hashlib.md5(raw[:-16]).digest() != raw[-16:]:
            raise ValueError("its checksum is wrong: its values are not what they were")
        return ""

    def _find_variables(self, position: int) -> dict[str, Variable]:
        """Follow the chain of the descriptors of variables."""
        variables: dict[str, Variable] = {}
        seen: set[int] = set()
        while position and position not in seen:
            seen.add(position)
            try:
                name, variable, following = self._descriptor(position)
            except ValueError as error:
                self.damage = self.damage or str(error)
                break
            if variable is not None:
                variables[name] = variable
            position = following
        return variables

    def _descriptor(self, position: int) -> tuple[str, Variable | None, int]:
        """Return name, variable (None for texts and oddities) and next position."""
        vdr = self._record(position, _ZVDR, 344)
        following, kind, last, index = struct.unpack_from(">qiiq", vdr, 12)
        flags, n_dims = _at(">i", vdr, 44), _at(">i", vdr, 340)
        name = bytes(vdr[84:340]).split(b"\0")[0].decode("latin-1").strip()
        if not 0 <= n_dims <= _MAX_DIMS or len(vdr) < 344 + 8 * n_dims:
            raise ValueError(f"the descriptor of {name!r} is damaged")
        numbers = struct.unpack_from(f">{2 * n_dims}i", vdr, 344)
        sizes, varies = numbers[:n_dims], numbers[n_dims:]
        shape = tuple(s for s, vary in zip(sizes, varies, strict=True) if vary)
        n_records = last + 1 if flags & 1 else min(last + 1, 1)
        if kind not in _TYPES or min(shape, default=1) < 1 or n_records < 0:
            return name, None, following
        compression = self._compression(_at(">q", vdr, 72)) if flags & 4 else 0
        if compression not in (0, _GZIP):
            return name, None, following
        dtype = np.dtype(self._order + _TYPES[kind]).newbyteorder("=")
        is_compressed = bool(compression)
        is_tt2000 = kind == _TT2000
        found = Variable(dtype, is_tt2000, shape, n_records, is_compressed, index)
        return name, found, following

    def _compression(self, position: int) -> int:
        """Return how a variable is compressed."""
        return _at(">i", self._record(position, _CPR, 16), 12)

    def _check_memory(self, variable: Variable, name: str) -> None:
        """Raise a ValueError if a variable cannot be as large as it is said to be."""
        n_bytes = variable.record_bytes * variable.n_records
        check_size(n_bytes, self._n_stored)
        ratio = DEFLATE_RATIO if variable.is_compressed else 1
        if variable.record_bytes > ratio * len(self._data):
            raise ValueError(
                f"a record of {name} should have {variable.record_bytes:,} bytes, "
                f"which {len(self._data):,} bytes of file cannot hold"
            )

    def _blocks(self, variable: Variable) -> tuple[list[_Block], str]:
        """Return (first record, last record, position) of all blocks, and damage."""
        blocks: list[_Block] = []
        waiting, seen, damage = [variable.index_at], set[int](), ""
        room = len(self._data) // _ENTRY_BYTES
        while waiting:
            position = waiting.pop()
            if not position or position in seen:
                continue
            seen.add(position)
            try:
                following, entries = self._index(position)
            except ValueError as error:
                damage = damage or str(error)
                continue
            waiting.append(following)
            room -= max(1, len(entries))
            if room < 0:
                raise ValueError("its indices overlap: they are larger than the file")
            for first, last, place in entries:
                is_index = self._kind(place) == _VXR
                waiting += [place] if is_index else []
                blocks += [] if is_index or last < first else [(first, last, place)]
            if len(blocks) > _MAX_BLOCKS:
                raise ValueError(f"it names more than {_MAX_BLOCKS:,} blocks")
        return sorted(blocks), damage

    def _index(self, position: int) -> tuple[int, list[_Block]]:
        """Return the place of the next index and the entries of this one."""
        vxr = self._record(position, _VXR, 28)
        following, n_entries, n_used = struct.unpack_from(">qii", vxr, 12)
        if not 0 <= n_used <= n_entries <= (len(vxr) - 28) // 16 or not n_entries:
            raise ValueError(f"the index of records at byte {position:,} is damaged")
        firsts, lasts = np.frombuffer(vxr, ">i4", 2 * n_entries, 28).reshape(2, -1)
        places = np.frombuffer(vxr, ">i8", n_entries, 28 + 8 * n_entries)
        columns = (column[:n_used].tolist() for column in (firsts, lasts, places))
        return following, list(zip(*columns, strict=True))

    def _values(
        self, variable: Variable, position: int, n_records: int
    ) -> NDArray[Any]:
        """Return the values (n_records, n_values) of a block as they are stored."""
        n_bytes = n_records * variable.record_bytes
        check_size(n_bytes, self._n_stored)
        if self._kind(position) == _CVVR:
            block = self._record(position, _CVVR, 24)
            size = _at(">q", block, 16)
            if not 0 < size <= len(block) - 24 or n_bytes > DEFLATE_RATIO * size:
                raise ValueError(f"the block at byte {position:,} is damaged")
            values: bytes | memoryview = inflate(block[24 : 24 + size], n_bytes)
        else:
            values = self._record(position, _VVR, 12 + n_bytes)[12 : 12 + n_bytes]
        stored = variable.dtype.newbyteorder(self._order)
        return np.frombuffer(values, stored).reshape(n_records, -1)

    def _in_rows(self, records: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Give records their shape, the last dimension varying fastest."""
        if self._row_major:
            return records.reshape(-1, *shape)
        columns = records.reshape(-1, *reversed(shape))
        return columns.transpose(0, *range(len(shape), 0, -1))

    def _kind(self, position: int) -> int:
        """Return the type of the record at a position, 0 if there can be none."""
        is_inside = 8 <= position <= len(self._data) - 12
        return _at(">i", self._data, position + 8) if is_inside else 0

    def _record(self, position: int, kind: int, n_bytes: int) -> memoryview:
        """Return the bytes of a record of a kind that has at least `n_bytes`."""
        return _record(self._data, position, kind, n_bytes)


def _record(data: memoryview, position: int, kind: int, n_bytes: int) -> memoryview:
    if not 8 <= position <= len(data) - 12:
        raise ValueError(
            f"the file has {len(data):,} bytes, and its record {_NAMES[kind]!r} should "
            f"be at byte {position:,}"
        )
    size, found = struct.unpack_from(">qi", data, position)
    if found != kind or size < n_bytes:
        raise ValueError(
            f"expected the CDF record {_NAMES[kind]!r} at byte {position:,}, got "
            f"type {found} of {size:,} bytes"
        )
    if position + size > len(data):
        raise ValueError(
            f"the CDF record {_NAMES[kind]!r} at byte {position:,} has {size:,} bytes, "
            f"but the file ends after {len(data):,}"
        )
    return data[position : position + size]


def _uncompressed(raw: bytes) -> bytes:
    """Return the bytes of a file, which can be compressed as a whole."""
    if raw[:4] != _MAGIC:
        raise ValueError(
            f"expected a CDF of version 3, which begins with {_MAGIC!r}, got "
            f"{raw[:4]!r}. Convert older ones with NASA's cdfconvert"
        )
    if raw[4:8] == _PLAIN:
        return raw
    if raw[4:8] != _COMPRESSED:
        raise ValueError(f"expected a CDF, got {raw[4:8]!r} after its first bytes")
    ccr = _record(memoryview(raw), 8, _CCR, 32)
    parameters, n_bytes = struct.unpack_from(">qq", ccr, 12)
    kind = _at(">i", _record(memoryview(raw), parameters, _CPR, 16), 12)
    if kind != _GZIP or not 0 <= n_bytes <= DEFLATE_RATIO * len(raw):
        raise ValueError(
            f"its compression of kind {kind} to {n_bytes:,} bytes cannot be undone"
        )
    check_size(n_bytes, len(raw))
    return raw[:8] + inflate(ccr[32:], n_bytes)


def _at(form: str, record: memoryview, position: int) -> int:
    """Return one number of a record."""
    number: int = struct.unpack_from(form, record, position)[0]
    return number
