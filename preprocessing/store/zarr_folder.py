"""A Zarr store on a folder whose writes are on the disk, in their order, when they return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from preprocessing import durable


class ZarrFolder(LocalStore):
    """Zarr's own writes files whole, but syncs neither them nor their folders."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        # What `together` is to sync; None where each write is synced by itself.
        self._unsynced: list[Path] | None = None
        self._lock = threading.Lock()

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk, or what describes an array."""
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a chunk, or what describes an array."""
        if self._unsynced is None:
            self._check_writable()
            durable.write(self.root / key, value.as_buffer_like())
        else:
            super().set_sync(key, value)
            self._unsynced.append(self.root / key)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write what is not there; a store has one writer that makes it."""
        if not await self.exists(key):
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove a chunk: one of zeros is not kept."""
        if self._unsynced is None:
            await asyncio.to_thread(durable.remove, [self.root / key])
        else:
            await super().delete(key)
            self._unsynced.append(self.root / key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove an array that is made anew."""
        await super().delete_dir(prefix)
        if (above := (self.root / prefix).parent).is_dir():
            await asyncio.to_thread(durable.sync_folder, above)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Sync the writes inside when all are done: several times as fast as each by itself.

        One thread at a time.
        """
        with self._lock:
            unsynced: list[Path] = []
            self._unsynced = unsynced
            try:
                yield
            finally:
                self._unsynced = None
            durable.sync_together(unsynced, self.root)
