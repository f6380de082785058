"""A network that leads nowhere and writes down what is asked of it.

Run as a program, by `unshare --net --mount`, it is the network's other end: all that leaves for another
machine comes out of a tunnel and is recorded, and so is each name that a name server is asked for.
No name is known, and connections are refused. The machine has an address and a default route, as any
machine in a hospital has: what looks for a network finds one.

`ClosedNetwork` starts it, and runs commands inside.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

_TOOLS = ("ip", "unshare", "nsenter")
_DEVICE = "out"
ADDRESSES = ("192.0.2.2/24", "2001:db8::2/64")  # of documentation: no other machine has them
_FILES = ("resolv.conf", "nsswitch.conf", "hosts")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_TCP = 6
_NAMES = {1: "icmp", _TCP: "tcp", 17: "udp"}
_RST_ACK = 0x14
_NO_SUCH_NAME = 0x8183
_NAME_SERVER = ("127.0.0.1", 53)


def missing() -> str | None:
    """Return what such a network needs and this machine does not have, or None."""
    if os.getuid() != 0:
        return "needs root"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: iproute2, util-linux)"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    if subprocess.run(["unshare", "--net", "--mount", "true"], check=False).returncode:
        return "may not make network namespaces"
    return None


class ClosedNetwork:
    """The network as a test has it.

    Parameters
    ----------
    folder
        For the record, and files that stand in the place of some of ``/etc``.

    Attributes
    ----------
    record
        The file that is written to.
    """

    def __init__(self, folder: Path) -> None:
        self.record = folder / "asked"
        self.record.touch()
        self._process = subprocess.Popen(
            ["unshare", "--net", "--mount", sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def words(self, *command: object) -> list[str]:
        """Return the words that run a command inside."""
        inside = [f"--target={self._process.pid}", "--net", "--mount", f"--wdns={Path.cwd()}"]
        return ["nsenter", *inside, "--", *map(str, command)]

    def asked(self) -> list[str]:
        """Return what has been asked since the last call: ``name …``, ``tcp ADDRESS:PORT``, …."""
        text = self.record.read_text()
        self.record.write_text("")
        return text.splitlines()

    def close(self) -> None:
        """End it, and with it what still runs inside has no network at all."""
        self._process.communicate()


def main(folder: Path) -> None:
    """Make the network, serve it, and end with standard input."""
    tunnel = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(tunnel, _TUNSETIFF, request)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    # Without multicast's own name service, which a socket in the file system may reach.
    (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    names = f"127.0.0.1 localhost\n::1 localhost\n{ADDRESSES[0].partition('/')[0]} {socket.gethostname()}\n"
    (folder / "hosts").write_text(names)
    commands = [
        "ip link set lo up",
        *(f"ip addr add {address} dev {_DEVICE}" for address in ADDRESSES),
        f"ip link set {_DEVICE} up",
        f"ip route add default dev {_DEVICE}",
        f"ip -6 route add default dev {_DEVICE}",
        *(f"mount --bind {folder}/{n} /etc/{n}" for n in _FILES),
    ]
    for command in commands:
        subprocess.run(command.split(), check=True)
    serve = [(_serve_names, _name_server()), (_serve_packets, tunnel)]
    for function, source in serve:
        threading.Thread(target=function, args=(source, folder / "asked"), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def _note(record: Path, line: str) -> None:
    """Add a line, which the reader may have taken the others away from."""
    with record.open("a") as file:
        file.write(f"{line}\n")


def _name_server() -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(_NAME_SERVER)
    return server


def _serve_names(server: socket.socket, record: Path) -> None:
    """Answer that there is no such name."""
    while True:
        question, client = server.recvfrom(4096)
        _note(record, f"name {_name_in(question)}")
        (number,) = struct.unpack("!H", question[:2])
        head = struct.pack("!HHHHHH", number, _NO_SUCH_NAME, 1, 0, 0, 0)
        server.sendto(head + question[12:], client)


def _name_in(question: bytes) -> str:
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode(errors="replace"))
        at += question[at] + 1
    return ".".join(labels)


def _serve_packets(tunnel: int, record: Path) -> None:
    """Refuse each connection, as a firewall does that keeps no program waiting."""
    while True:
        packet = _Packet(os.read(tunnel, 65536))
        if packet.protocol not in _NAMES:
            continue  # of the kernel: neighbours, routers, groups
        _note(record, f"{_NAMES[packet.protocol]} {packet.target}:{packet.ports[1]}")
        if packet.protocol == _TCP:
            os.write(tunnel, packet.refusal())


class _Packet:
    """What one packet of IP version 4 or 6 says."""

    def __init__(self, content: bytes) -> None:
        self.version = content[0] >> 4
        length = (content[0] & 0xF) * 4 if self.version == 4 else 40
        self.protocol = content[9] if self.version == 4 else content[6]
        size, start = (4, 12) if self.version == 4 else (16, 8)
        self._from, self._to = (
            content[start + i * size : start + (i + 1) * size] for i in range(2)
        )
        self.target = ipaddress.ip_address(self._to)
        self._inner = content[length:]

    @property
    def ports(self) -> tuple[int, int]:
        """Of the sender and of the target."""
        source, target = struct.unpack("!HH", self._inner[:4])
        return source, target

    def refusal(self) -> bytes:
        """Return the answer to a TCP packet that ends its connection."""
        source, target = self.ports
        (number,) = struct.unpack("!I", self._inner[4:8])
        fields = [target, source, 0, number + 1 & 0xFFFFFFFF, 5 << 4, _RST_ACK, 0, 0, 0]
        layout = "!HHIIBBHHH"
        ends = self._to + self._from
        fields[7] = _sum(ends + struct.pack("!II", 20, _TCP) + struct.pack(layout, *fields))
        tcp = struct.pack(layout, *fields)
        if self.version == 6:
            return struct.pack("!IHBB", 6 << 28, len(tcp), _TCP, 64) + ends + tcp
        head = [0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0]
        head[7] = _sum(struct.pack("!BBHHHBBH", *head) + ends)
        return struct.pack("!BBHHHBBH", *head) + ends + tcp


def _sum(content: bytes) -> int:
    """Return the checksum of the Internet's protocols."""
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


if __name__ == "__main__":
    main(Path(sys.argv[1]))
