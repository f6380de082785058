"""Opens a test set in many processes at once: ``python -m tests.accesses_at_once SPLIT NUMBER``.

They are copies of one process that has loaded what they need, and wait for each other.
"""

from __future__ import annotations

import os
import sys
import traceback
from multiprocessing import get_context

import s3fs  # noqa: F401 - loaded once for all copies

from radiotrain.split.test_set_access import open_test_set


def main(split_url: str, num: int) -> None:
    at_once = get_context("fork").Barrier(num, timeout=60)
    children = []
    for number in range(num):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                at_once.wait()
                open_test_set(split_url, f"look {number}", ["run"])
                status = 0
            except BaseException:  # noqa: BLE001 - told by the status
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, statuses)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
