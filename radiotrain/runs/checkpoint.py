"""Checkpoints of a training.

Each is one file ``epoch-0007-step-00012-1a2b3c4d.pt``, named after where training goes on and the
CRC-32 of its content: the name tells a damaged file, and no second file can be out of step. Random
generators are not in it, because none carries over: each is seeded anew from the run's seed,
the epoch and the step. Nor is a gradient scaler: bfloat16 needs none.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zlib
from typing import Any, NamedTuple

import torch

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.storage.digests import check_zip, zip_with_digest

_NUM_KEPT = 2
_OF_OTHER_FILES = (
    RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError,
)  # fmt: skip
_NAME = re.compile(r"epoch-(\d{4,})-step-(\d{5,})-([0-9a-f]{8})\.pt")


class Position(NamedTuple):
    """Where training goes on: epochs done, and steps done of the next."""

    epoch: int
    step: int = 0

    def describe(self) -> str:
        """Say how far that is, in words that follow what was done there."""
        if self.step:
            return f"after step {self.step} of epoch {self.epoch + 1}"
        return f"after epoch {self.epoch}" if self.epoch else "before its first step"


def save_checkpoint(folder: str, position: Position, state: dict[str, Any]) -> str:
    """Write a checkpoint, remove all but the last two, return its URL.

    Parameters
    ----------
    state
        Tensors and plain values only, so that it loads with ``weights_only=True``.
    """
    content = _to_bytes(state)
    name = f"epoch-{position.epoch:04d}-step-{position.step:05d}-{zlib.crc32(content):08x}.pt"
    url = files.join(folder, name)
    files.write_bytes(url, content)
    outdated = [name for _, name in _newest_first(folder)[_NUM_KEPT:]]
    # A run has one writer, so what is half-written now was left by one that was killed.
    halves = [name for name in files.list_names(folder) if name.endswith(files.PARTIAL)]
    files.remove(*(files.join(folder, name) for name in (*outdated, *halves)))
    return url


def load_newest_checkpoint(folder: str) -> dict[str, Any] | None:
    """Return the newest checkpoint that is whole, on the CPU; None where there is none.

    A damaged one is passed over with a warning.
    """
    for crc, name in _newest_first(folder):
        content = files.read_bytes(files.join(folder, name))
        if zlib.crc32(content) == crc:
            return _from_bytes(content, files.join(folder, name))
        warnings.warn(
            f"checkpoint {files.join(folder, name)} is damaged: the one before is used",
            stacklevel=2,
        )
    return None


def damaged_checkpoints(folder: str) -> list[str]:
    """Return the URLs of checkpoints that are not what was written."""
    urls = {files.join(folder, name): crc for crc, name in _newest_first(folder)}
    return [url for url, crc in urls.items() if zlib.crc32(files.read_bytes(url)) != crc]


def newest_position(folder: str) -> Position:
    """Return where training would go on, by the checkpoints' names."""
    found = [m for name in files.list_names(folder) if (m := _NAME.fullmatch(name))]
    return max((Position(int(m[1]), int(m[2])) for m in found), default=Position(0))


def remove_checkpoints(folder: str, *, weights_too: bool) -> None:
    """Remove what an ended run left to go on from; also what it would predict with."""
    names = [n for n in files.list_names(folder) if _NAME.fullmatch(n) or weights_too]
    files.remove(*(files.join(folder, name) for name in names))


def save_weights(url: str, state: dict[str, Any]) -> str:
    """Write a network's weights and what is needed to build it; return the file's checksum."""
    content = zip_with_digest(_to_bytes(state))
    files.write_bytes(url, content)
    return weights_digest(content)


def read_weights(content: bytes, url: str, remedy: str) -> dict[str, Any]:
    """Return what `save_weights` was given, on the CPU, from the content of its file.

    Raises
    ------
    DamagedFileError
        If a byte of it is not what was written.
    InputError
        If the file holds anything else.
    """
    check_zip(content, url, remedy)
    return _from_bytes(content, url)


def weights_digest(content: bytes) -> str:
    """Return the checksum that a file of `save_weights` carries."""
    return content[-64:].decode("ascii", errors="replace")


def _newest_first(folder: str) -> list[tuple[int, str]]:
    """Return (CRC-32, name) of each checkpoint."""
    found = [(m, name) for name in files.list_names(folder) if (m := _NAME.fullmatch(name))]
    found.sort(key=lambda item: (int(item[0][1]), int(item[0][2])), reverse=True)
    return [(int(m[3], 16), name) for m, name in found]


def _to_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _from_bytes(content: bytes, url: str) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # Of a file that is not torch's, torch raises whatever its parts do.
    except (*_OF_OTHER_FILES, pickle.UnpicklingError) as error:
        is_code = isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error)
        what = (
            "holds Python objects that would run code when read, and was not read"
            if is_code
            else "cannot be read"
        )
        raise InputError(f"{url} {what}: it is not what radiotrain wrote, train again") from None
    if not isinstance(state, dict):
        raise InputError(f"{url} is not what radiotrain wrote: train again")
    return state
