"""A disk that loses power: which files it may hold then.

Nothing lasts but what was synced: a file's content with the file, a name with the folder it is in. What was not
may have reached the disk or not, each by itself and in any order. That is harsher than most file systems, and as
harsh as POSIX allows.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.power_loss.recording import Operation

Tree = dict[str, bytes | None]
"""Content by relative path; None of a folder."""


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    position: int = 0
    # Made once for all trees that hold it.
    whole: bytes | None = None

    def snapshot(self) -> bytes:
        if self.whole is None:
            self.whole = bytes(self.content)
        return self.whole


@dataclass
class _Folder:
    names: dict[str, _Node] = field(default_factory=dict)
    synced: dict[str, _Node] = field(default_factory=dict)
    # All that a name stood for since the folder was synced.
    since: dict[str, list[_Node | None]] = field(default_factory=dict)

    def put(self, name: str, node: _Node | None) -> None:
        self.since.setdefault(name, [self.synced.get(name)]).append(node)
        if node is None:
            del self.names[name]
        else:
            self.names[name] = node

    def sync(self) -> None:
        self.synced = dict(self.names)
        self.since.clear()


_Node = _File | _Folder


class Disk:
    """Replays operations below a folder that was there, and on the disk, before."""

    def __init__(self, folder: Path, before: Tree | None = None) -> None:
        self._prefix = f"{folder}/"
        self._root = _Folder()
        for path, content in sorted((before or {}).items()):
            parent, name = self._parent(self._prefix + path)
            node: _Node = _Folder() if content is None else _File(bytearray(content), content)
            parent.names[name] = parent.synced[name] = node

    def apply(self, op: Operation) -> None:
        """Do one operation."""
        if op.kind == "mark":
            return
        if op.kind == "sync":
            node = self._find(op.path)
            if isinstance(node, _Folder):
                node.sync()
            elif node is not None:
                node.synced = node.snapshot()
            return
        if op.kind in ("open", "write", "seek", "truncate"):
            self._change_file(op)
            return
        parent, name = self._parent(op.path)
        if op.kind == "mkdir":
            parent.put(name, _Folder())
        elif op.kind in ("unlink", "rmdir"):
            parent.put(name, None)
        else:
            node = parent.names[name]
            other, new_name = self._parent(op.other)
            other.put(new_name, node)
            if op.kind == "rename":
                parent.put(name, None)

    def _change_file(self, op: Operation) -> None:
        node = self._find(op.path)
        if op.kind == "open" and node is None:
            parent, name = self._parent(op.path)
            node = _File()
            parent.put(name, node)
        if not isinstance(node, _File):
            return  # one that was removed while it was open
        if op.kind in ("open", "write", "truncate"):
            node.whole = None
        if op.kind == "open":
            if "O_TRUNC" in op.flags:
                node.content.clear()
            node.position = len(node.content) if "O_APPEND" in op.flags else 0
        elif op.kind == "seek":
            node.position = op.number
        elif op.kind == "truncate":
            del node.content[op.number :]
            node.content.extend(bytes(op.number - len(node.content)))
        else:
            start = node.position if op.number < 0 else op.number
            node.content.extend(bytes(max(0, start - len(node.content))))
            node.content[start : start + len(op.content)] = op.content
            if op.number < 0:
                node.position = start + len(op.content)

    def volatile_tree(self) -> Tree:
        """What a program sees while there is power."""
        return _tree(self._root, lambda f: dict(f.names), lambda f: f.snapshot())

    def worst_tree(self) -> Tree:
        """Nothing but what was synced."""
        return _tree(self._root, lambda f: f.synced, lambda f: f.synced)

    def names_only_tree(self) -> Tree:
        """All names, and of contents what was synced: files that were renamed too early are empty."""
        return _tree(self._root, lambda f: dict(f.names), lambda f: f.synced)

    def zeroed_tree(self) -> Tree:
        """All names and lengths, and zeros where nothing was synced."""

        def content(file: _File) -> bytes:
            zeros = len(file.content) - len(file.synced)
            return file.synced + bytes(zeros) if zeros > 0 else file.synced

        return _tree(self._root, lambda f: dict(f.names), content)

    def random_tree(self, generator: random.Random) -> Tree:
        """Some of what was not synced, each name and content by itself."""

        def names(folder: _Folder) -> dict[str, _Node]:
            found = dict(folder.synced)
            for name, choices in folder.since.items():
                node = generator.choice(choices)
                if node is None:
                    found.pop(name, None)
                else:
                    found[name] = node
            return found

        def content(file: _File) -> bytes:
            whole = file.snapshot()
            if whole == file.synced:
                return file.synced
            # What is appended to may be cut short, but not by what was synced of it.
            kept = len(file.synced) if whole.startswith(file.synced) else 0
            half = whole[: generator.randint(kept, len(whole))]
            return generator.choice(
                [file.synced, whole, half, half + bytes(len(whole) - len(half))]
            )

        return _tree(self._root, names, content)

    def _parent(self, path: str) -> tuple[_Folder, str]:
        folder, name = path.removeprefix(self._prefix).rpartition("/")[::2]
        node = self._find(self._prefix + folder) if folder else self._root
        assert isinstance(node, _Folder), path
        return node, name

    def _find(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for part in path.removeprefix(self._prefix.rstrip("/")).strip("/").split("/"):
            if not part:
                continue
            node = node.names.get(part) if isinstance(node, _Folder) else None
        return node


def _tree(
    root: _Folder,
    names: Callable[[_Folder], dict[str, _Node]],
    content: Callable[[_File], bytes],
) -> Tree:
    found: Tree = {}

    def walk(folder: _Folder, prefix: str) -> None:
        for name, node in names(folder).items():
            if isinstance(node, _Folder):
                found[prefix + name] = None
                walk(node, f"{prefix}{name}/")
            else:
                found[prefix + name] = content(node)

    walk(root, "")
    return found


def read_tree(folder: Path) -> Tree:
    """Return what lies below a folder."""
    return {
        p.relative_to(folder).as_posix(): None if p.is_dir() else p.read_bytes()
        for p in folder.rglob("*")
    }


def write_tree(tree: Tree, folder: Path) -> None:
    """Make a folder hold a tree."""
    folder.mkdir()
    for path, content in sorted(tree.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def replayed(folder: Path, operations: Sequence[Operation], before: Tree | None = None) -> Tree:
    """Return what a folder holds after all operations, without a loss."""
    disk = Disk(folder, before)
    for op in operations:
        disk.apply(op)
    return disk.volatile_tree()


@dataclass(frozen=True)
class Loss:
    """A loss of power after some operations, and what it left.

    Parameters
    ----------
    marks
        How many marks the program had left by then.
    """

    after: int
    how: str
    marks: int
    tree: Tree


def losses(
    folder: Path, operations: Sequence[Operation], before: Tree | None = None, seed: int = 0
) -> Iterator[Loss]:
    """Yield what a loss of power may leave, after each operation; the same tree once for equal marks."""
    disk, generator = Disk(folder, before), random.Random(seed)
    seen: set[int] = set()
    marks = 0
    for number in range(len(operations) + 1):
        if number:
            disk.apply(operations[number - 1])
            marks += operations[number - 1].kind == "mark"
        for how, tree in (
            ("nothing unsynced", disk.worst_tree()),
            ("names only", disk.names_only_tree()),
            ("zeros", disk.zeroed_tree()),
            ("all", disk.volatile_tree()),
            ("some", disk.random_tree(generator)),
            ("some", disk.random_tree(generator)),
        ):
            key = hash((marks, frozenset(tree.items())))
            if key not in seen:
                seen.add(key)
                yield Loss(number, how, marks, tree)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one: `fsync` to a disk takes most of the time otherwise."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)
