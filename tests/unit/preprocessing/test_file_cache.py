"""What happens where files of an object store are brought to; tests/s3 has the rest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys, tempfile
sys.path[:0] = {path!r}
import fsspec
from preprocessing.common.errors import StorageFullError
from preprocessing.storage.files import to_path
from preprocessing.storage.file_cache import file_cache
small = tempfile.tempdir = {small!r}
memory = fsspec.filesystem("memory")
memory.pipe("/cohort/large", bytes(800_000))
memory.pipe("/cohort/small", b"abc")
large, little = (to_path("memory://cohort/" + name) for name in ("large", "small"))
try:
    with file_cache() as cache:
        cache.local([little, large])
except StorageFullError as error:
    print("said:", error)
print("left:", os.listdir(small))
with file_cache() as cache:
    print("then:", cache.local([little])[0].read_bytes())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_machine_without_room_is_named_and_nothing_is_left(tmp_path):
    """On a real full file system, in a mount namespace of its own."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         f"mount -t tmpfs -o size=500k tmpfs {small} && exec {sys.executable} -"],
        input=SCRIPT.format(path=[str(p) for p in sys.path], small=str(small)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount:" in mounted.stderr or "unshare:" in mounted.stderr:
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.strip()}")
    said, left, then = mounted.stdout.splitlines()
    assert said.startswith(f"said: disk full in {small} on ")
    assert said.endswith("run the same command again")
    assert left == "left: []"
    assert then == "then: b'abc'"
