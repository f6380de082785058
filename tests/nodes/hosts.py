"""Several hosts on one machine: each its own network, processes, home, shared memory and small disk.

A host is a set of Linux namespaces with an sshd; the hosts meet on a bridge in a namespace of its own.
Everything else, the project and its environment among it, they all see. Needs root, iproute2,
openssh-server and rsync; `missing` says what is not there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TOOLS = ("ip", "unshare", "nsenter", "sshd", "ssh", "rsync")
_PREFIX = "10.77.0"
_SHM_MB = 1024
# Ray's folder and that of temporary files lie on it. It takes memory for what is there alone.
_DISK, _DISK_MB = "/tmp/ray", 12_000

# Process 1 of a host: reaps orphans for ever.
_REAPER = """\
import os, time
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.1)
"""


def missing() -> str | None:
    """Return what hosts need and this machine lacks, or None."""
    if os.getuid() != 0:
        return "needs root"
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: iproute2, openssh-server, rsync)"
    tried = subprocess.run(["ip", "netns", "add", f"rt{os.getpid()}"], check=False)
    if tried.returncode:
        return "may not make network namespaces"
    subprocess.run(["ip", "netns", "del", f"rt{os.getpid()}"], check=True)
    return None


class Hosts:
    """Hosts that are made, cut off, killed and made again.

    Parameters
    ----------
    folder
        For what the hosts keep.
    addresses
        Name of each host to the last number of its address.
    environment
        What a login on any host finds set.
    """

    def __init__(
        self, folder: Path, addresses: Mapping[str, int], environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.addresses = dict(addresses)
        self.environment = dict(environment)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # Namespaces are the machine's own: two runs must not meet.
        self._mark = f"rt{os.getpid() % 100_000}"

    def ip(self, name: str) -> str:
        """Return a host's address."""
        return f"{_PREFIX}.{self.addresses[name]}"

    @property
    def key(self) -> Path:
        """The private key that opens every host."""
        return self.folder / "ssh" / "id"

    def up(self) -> None:
        """Make the network, then all hosts."""
        self._make_keys()
        self._make_network()
        for name in self.addresses:
            self.start(name)

    def down(self) -> None:
        """End all hosts and take the network away."""
        for name in list(self._processes):
            self.kill(name)
        for name in ("sw", *self.addresses):
            subprocess.run(["ip", "netns", "del", self._namespace(name)], check=False)

    def start(self, name: str) -> None:
        """Start a host; after a power cut only its home is as it was."""
        home = self.folder / name
        (home / "up").unlink(missing_ok=True)
        for part in ("home", "log"):
            (home / part).mkdir(parents=True, exist_ok=True)
        exports = "".join(
            f"export {key}={shlex.quote(value)}\n" for key, value in self._login().items()
        )
        (home / "home" / ".profile").write_text(exports)
        (home / "home" / ".bashrc").write_text("")
        names = "".join(f"{self.ip(other)} {other}\n" for other in self.addresses)
        (home / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (home / "init.sh").write_text(self._init(name))
        words = ["ip", "netns", "exec", self._namespace(name), "unshare", "--pid", "--fork"]
        words += ["--kill-child", "--mount", "--uts", "--mount-proc", "bash", str(home / "init.sh")]
        with (home / "log" / "init").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_up(name)

    def kill(self, name: str) -> None:
        """End a host as a power cut does: no process of it is asked."""
        process = self._processes.pop(name)
        # Process 1 of the host; all others of its namespace go with it.
        first = self._first_process(process.pid)
        if first is not None:
            os.kill(first, 9)
        process.kill()
        process.wait()

    def cut(self, name: str) -> None:
        """Pull a host's network cable."""
        self._ip("sw", "link", "set", self._port(name), "down")

    def heal(self, name: str) -> None:
        """Put it back."""
        self._ip("sw", "link", "set", self._port(name), "up")

    def fill_disk(self, name: str) -> None:
        """Leave a host no byte of its disk."""
        # Made small first: a large one would be filled with this machine's memory. dd ends with an
        # error when there is no more room, as it is meant to.
        self.run(name, f"mount -o remount,size=200m {_DISK}")
        self.run(name, f"dd if=/dev/zero of={_DISK}/filler bs=64k 2> /dev/null; true")

    def free_disk(self, name: str) -> None:
        """Take away what fills a host's disk."""
        self.run(name, f"rm {_DISK}/filler && mount -o remount,size={_DISK_MB}m {_DISK}")

    def popen(self, name: str, command: str) -> subprocess.Popen[str]:
        """Start a command on a host, as after a login."""
        first = self._first_process(self._processes[name].pid)
        words = ["nsenter", "-t", str(first), "-m", "-n", "-u", "-p", "env", "-i", "TERM=dumb"]
        words += [f"HOME={Path.home()}", "bash", "--login", "-c", f"cd; {command}"]
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str, command: str, *, timeout_s: float = 300, status: int = 0) -> str:
        """Run a command on a host and check its exit status; return what it printed."""
        process = self.popen(name, command)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"{name}: {command}: over {timeout_s} s:\n{output}") from None
        assert process.returncode == status, f"{name}: {command}: {process.returncode}:\n{output}"
        return output

    def _login(self) -> dict[str, str]:
        bin_folder = Path(sys.executable).parent
        return {
            "PATH": f"{bin_folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            # Otherwise gloo asks the resolver for the host's name.
            "GLOO_SOCKET_IFNAME": "eth0",
            "TP_SOCKET_IFNAME": "eth0",
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": "/tmp",
            "TMPDIR": f"{_DISK}/tmp",
            **self.environment,
        }

    def _init(self, name: str) -> str:
        home, inside = self.folder / name, Path.home()
        lines = ["set -e", f"hostname {name}"]
        base = Path(sys.base_prefix)
        if base.is_relative_to(inside):
            # Python itself lies in the home that is about to be covered.
            place = home / "home" / base.relative_to(inside)
            lines += [f"mkdir -p {place}", f"mount --bind {base} {place}"]
        lines += [
            f"mount --rbind {home / 'home'} {inside}",
            f"mkdir -p {_DISK}",
            f"mount -t tmpfs -o size={_DISK_MB}m tmpfs {_DISK}",
            f"mkdir {_DISK}/tmp",
            f"mount -t tmpfs -o size={_SHM_MB}m tmpfs /dev/shm",
            f"mount --bind {home / 'hosts'} /etc/hosts",
            "mkdir -p /run/sshd",
            f"/usr/sbin/sshd -f {self.folder / 'ssh' / 'config'} -E {home / 'log' / 'sshd'}",
            f"touch {home / 'up'}",
            f"exec {sys.executable} -c {shlex.quote(_REAPER)}",
        ]
        return "\n".join(lines) + "\n"

    def _wait_until_up(self, name: str) -> None:
        deadline = time.monotonic() + 20
        while not (self.folder / name / "up").exists():
            if time.monotonic() > deadline or self._processes[name].poll() is not None:
                said = (self.folder / name / "log" / "init").read_text()
                raise RuntimeError(f"host {name} did not come up: {said}")
            time.sleep(0.05)

    def _make_keys(self) -> None:
        folder = self.folder / "ssh"
        folder.mkdir(parents=True, mode=0o700)
        for name in ("id", "host"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        (folder / "config").write_text(
            f"Port 22\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized_keys'}\n"
            "StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPidFile none\n"
            "UseDNS no\nMaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n"
        )

    def _make_network(self) -> None:
        subprocess.run(["ip", "netns", "add", self._namespace("sw")], check=True)
        self._ip("sw", "link", "add", "br0", "type", "bridge")
        self._ip("sw", "addr", "add", f"{_PREFIX}.1/24", "dev", "br0")
        self._ip("sw", "link", "set", "br0", "up")
        for name in self.addresses:
            there, here = self._namespace(name), self._port(name)
            subprocess.run(["ip", "netns", "add", there], check=True)
            self._ip(
                "sw", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", there
            )
            self._ip("sw", "link", "set", here, "master", "br0", "up")
            self._ip(name, "addr", "add", f"{self.ip(name)}/24", "dev", "eth0")
            self._ip(name, "link", "set", "eth0", "up")
            self._ip(name, "link", "set", "lo", "up")
            # Ray looks for its own address by the way to the outside.
            self._ip(name, "route", "add", "default", "via", f"{_PREFIX}.1")

    def _ip(self, name: str, *words: str) -> None:
        subprocess.run(["ip", "-n", self._namespace(name), *words], check=True)

    def _namespace(self, name: str) -> str:
        return f"{self._mark}-{name}"

    def _port(self, name: str) -> str:
        return f"p-{name}"

    def in_network(self, name: str, words: Sequence[str]) -> list[str]:
        """Return a command that runs in a host's network, outside of its other walls."""
        return ["ip", "netns", "exec", self._namespace(name), *words]

    def _first_process(self, pid: int) -> int | None:
        """Return the child of `unshare` (which `ip netns exec` has become)."""
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None
