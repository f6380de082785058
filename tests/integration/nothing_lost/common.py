"""What several of the tests of lost work need."""

from __future__ import annotations

import os
import re

import pytest

NUM_PATIENTS = 8
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


def skip_if_nobody_may_mount(error: str) -> None:
    if re.search(r"^(mount|unshare): ", error, re.MULTILINE):
        pytest.skip(f"this machine lets nobody mount: {error.strip()}")
