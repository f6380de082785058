"""What Ray starts as a worker: asks for a copy of the loaded process, and lives as long as that one.

It loads nothing but a few of Python's own modules, as it is started for each worker.
"""

import array
import json
import os
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    """Hand on words, environment, folder and output; wait for the end."""
    request = json.dumps([sys.argv[1:], dict(os.environ), str(Path.cwd())]).encode()
    with socket.socket(socket.AF_UNIX) as loaded:
        _connect(loaded)
        loaded.sendmsg(
            [len(request).to_bytes(8, "big")],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))],
        )
        loaded.sendall(request)
        # The copy holds the other end, and says nothing.
        loaded.recv(1)


def _connect(to: socket.socket) -> None:
    """Wait for the process to have loaded all: tests that need no worker do not."""
    end = time.monotonic() + 60
    while True:
        try:
            to.connect(os.environ["RAY_COPIES_SOCKET"])
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
