"""Checkpoints: all that is needed to go on, whole or not at all, the last two kept.

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

from preprocessing import files
from preprocessing.errors import InputError

_NUM_KEPT = 2
_OF_OTHER_FILES = (
    RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError,
)  # fmt: skip
_NAME = re.compile(r"epoch-(\d{4,})-step-(\d{5,})-([0-9a-f]{8})\.pt")


class Position(NamedTuple):
    """Where training goes on: epochs done, and steps done of the next."""

    epoch: int
    step: int = 0


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
    for name in (*outdated, *halves):
        files.remove(files.join(folder, name))
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


def remove_checkpoints(folder: str, *, weights_too: bool) -> None:
    """Remove what an ended run left to go on from; also what it would predict with."""
    for name in files.list_names(folder):
        if _NAME.fullmatch(name) or weights_too:
            files.remove(files.join(folder, name))


def save_weights(url: str, state: dict[str, Any]) -> None:
    """Write a network's weights and what is needed to build it."""
    files.write_bytes(url, _to_bytes(state))


def load_weights(url: str) -> dict[str, Any]:
    """Read what `save_weights` wrote, on the CPU.

    Raises
    ------
    InputError
        If the file holds anything else.
    """
    return _from_bytes(files.read_bytes(url), url)


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
