"""Which processes listen where, read from the kernel."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.processes import command_line, descendants

_LISTEN = "0A"


class Listening(NamedTuple):
    """A socket that waits for connections."""

    pid: int
    program: str
    address: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether this machine alone can connect."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


def listening(root: int | None = None) -> list[Listening]:
    """Return the sockets on which a process (by default this one) and those below it listen."""
    sockets = _sockets()
    found = set()
    for pid in (root or os.getpid(), *descendants(root or os.getpid())):
        for handle in _handles(pid):
            if handle in sockets:
                address, port = sockets[handle]
                found.add(Listening(pid, _program(pid), address, port))
    return sorted(found)


def _sockets() -> dict[str, tuple[str, int]]:
    """Return address and port of each listening TCP socket, by its inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTEN:
                address, _, port = words[1].partition(":")
                found[words[9]] = (_address(address), int(port, 16))
    return found


def _address(text: str) -> str:
    """Read the kernel's way: words of 32 bits, each in the machine's own order of bytes."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _handles(pid: int) -> list[str]:
    targets = []
    with suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                targets.append(str(handle.readlink()))
    return [t[8:-1] for t in targets if t.startswith("socket:[")]


def _program(pid: int) -> str:
    words = command_line(pid).decode(errors="replace").replace("\0", " ").split()
    return " ".join(Path(w).name if i == 0 else w for i, w in enumerate(words))
