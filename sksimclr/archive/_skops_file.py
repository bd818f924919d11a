"""A skops file as it is before it is loaded: how large it gets, and what it names."""

import io
import json
import zipfile
from typing import NamedTuple

SCHEMA = "schema.json"  # by which a file of skops is known
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others have no limit to ask for
_MOST_MEMBERS = 100_000
_MOST_BYTES = 1 << 26  # that any file may become; large ones, so many times their size:
_MOST_TIMES = 10
_MOST_OF_SCHEMA = 1 << 25  # a forest of two thousand trees
_MOST_OBJECTS = 2_000_000  # and values of theirs
_MOST_OF_NOTE = 1 << 16
_MOST_LEVELS = 200  # of objects in objects; Python ends at a thousand calls
_COMPILED = {"TreeNode": "sklearn.tree._tree.Tree"}  # whatever type the node names


class _Part(NamedTuple):
    """An object of a schema: how many it consists of, and how deep they are nested."""

    n_objects: int
    n_levels: int


class _Contents:
    """What a schema names and reads; a hook of json for its objects.

    An object that was there before is not loaded again: skops puts the first with its
    number in its place. What was written by skops has as many parts each time; where
    that is not so, a few numbers could stand for any number of objects.
    """

    def __init__(self, sizes):
        self.names = set()
        self.n_bytes = 0
        self._sizes = sizes
        self._n_objects = {}
        self._n_left = _MOST_OBJECTS
        self._was_read = set()

    def __call__(self, item):
        """Note an object, whose parts have been noted."""
        parts = []
        for value in item.values():
            values = value if isinstance(value, list) else [value]
            self._n_left -= len(values)
            if self._n_left < 0:
                raise ValueError(f"it has more than {_MOST_OBJECTS} objects")
            if any(isinstance(each, list) for each in values):
                raise ValueError("it has lists in lists, which skops does not write")
            parts += [each for each in values if isinstance(each, _Part)]
        n_objects = 1 + sum(part.n_objects for part in parts)
        if item.get("__loader__") == "JsonNode":  # text, of which skops makes objects
            n_objects += sum(map(str(item.get("content")).count, ",[{"))
            self._n_left -= n_objects
        n_levels = 1 + max((part.n_levels for part in parts), default=0)
        if n_levels > _MOST_LEVELS:
            raise ValueError(f"its objects are nested in more than {_MOST_LEVELS}")
        number = item.get("__id__")
        if number and not isinstance(number, _Part):
            if self._n_objects.setdefault(number, n_objects) != n_objects:
                raise ValueError(f"objects with the number {number!r} differ")
        self._note(item, number)
        return _Part(n_objects, n_levels)

    def _note(self, item, number):
        """Note what an object names, and which member it reads."""
        if isinstance(item.get("__class__"), str):
            self.names.add(f"{item.get('__module__')}.{item['__class__']}")
        loader, member = item.get("__loader__"), item.get("file")
        if loader == "ConstructorFromReduceNode":  # is called, with what the file says
            self.names.add(f"{item.get('__module__')}.{item.get('__class__')}()")
        if isinstance(loader, str) and loader in _COMPILED:
            self.names.add(_COMPILED[loader])
        if isinstance(member, str) and not (
            number and (number, member) in self._was_read
        ):
            self._was_read.add((number, member))
            self.n_bytes += self._sizes.get(member, 0)


def open_checked(path):
    """Return a skops file that can be loaded without surprise, and what it names.

    Parameters
    ----------
    path : Path

    Returns
    -------
    file : BytesIO
        What was looked at, whatever becomes of the path; nothing in it is compressed.
    names : set of str
        Of types and functions.

    Raises
    ------
    ValueError
        It would become too large, or is nothing that skops writes.
    """
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as source:
        members = source.infolist()
        sizes = {member.filename: member.file_size for member in members}
        most = max(_MOST_BYTES, _MOST_TIMES * content.getbuffer().nbytes)
        if not len(sizes) == len(members) <= _MOST_MEMBERS:
            raise ValueError(
                f"expected at most {_MOST_MEMBERS} members of different names, got "
                f"{len(members)}"
            )
        _check_size(sum(sizes.values()), most)
        contents = _Contents(sizes)
        try:
            json.loads(
                read_member(source, SCHEMA, _MOST_OF_SCHEMA), object_hook=contents
            )
        except RecursionError as error:
            raise ValueError("its objects are nested too deep") from error
        _check_size(contents.n_bytes, most)
        if all(member.compress_type == zipfile.ZIP_STORED for member in members):
            content.seek(0)
            return content, contents.names
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as target:
            for name, size in sizes.items():
                target.writestr(name, read_member(source, name, size))
    buffer.seek(0)
    return buffer, contents.names


def read_note(path, name):
    """Return a small member of a zip file as an object of JSON."""
    with zipfile.ZipFile(path) as file:
        return json.loads(read_member(file, name, _MOST_OF_NOTE))


def read_member(file, name, most):
    """Read a member of a zip file, never more than it says that it has."""
    member = file.getinfo(name)
    if member.compress_type not in _METHODS:
        raise ValueError(
            f"{name!r} is compressed by method {member.compress_type}, expected none "
            "or deflate"
        )
    _check_size(member.file_size, most)
    with file.open(member) as content:
        return content.read(member.file_size)


def _check_size(n_bytes, most):
    if n_bytes > most:
        raise ValueError(f"it would become {n_bytes} bytes, expected at most {most}")
