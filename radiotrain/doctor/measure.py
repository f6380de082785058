"""Single measurements, none of which raises."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from preprocessing.common.redaction import without_credentials
from preprocessing.storage import files
from radiotrain.doctor.facts import (
    ClockFacts,
    DriverFacts,
    FolderFacts,
    GpuFacts,
    PackageFacts,
    PortFacts,
    PythonFacts,
    S3Facts,
    TokenFacts,
    TorchFacts,
)

_PROJECT = "radiotrain"
_CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
_BYTES = 16_000_000
_TORCH_TIMEOUT_S = 120
# ntp_gettime(3) for a clock that nobody keeps right.
_TIME_ERROR = 5
_ROOM_FOR_NTPTIMEVAL = 256
_PORTS = {
    6006: "radiotrain board",
    8265: "Ray's dashboard",
    6379: "ray start --head",
    10001: "ray start --head",
}
_S3_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")
_LOOK = """
import json, torch
gpus = []
for i in range(torch.cuda.device_count()):
    found = torch.cuda.get_device_properties(i)
    # The first generation that computes it by itself is 8.
    gpus.append((found.name, found.total_memory / 1e9, found.major >= 8))
print(json.dumps((torch.__version__, torch.version.cuda, gpus)))
"""


def python() -> PythonFacts:
    """Look at the interpreter, and which ones the project wants."""
    found = sys.version.split()[0]
    try:
        wanted = metadata.metadata(_PROJECT)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return PythonFacts(found, None, True)
    return PythonFacts(found, wanted, SpecifierSet(wanted or "").contains(found, prereleases=True))


def packages(constraints: Path = _CONSTRAINTS) -> tuple[PackageFacts, ...]:
    """Look at what the project needs; nothing where it is not installed but runs from its folder."""
    try:
        lines = metadata.requires(_PROJECT) or []
    except metadata.PackageNotFoundError:
        return ()
    pins = dict(_pins(constraints))
    return tuple(
        package(wanted, pins)
        for wanted in map(Requirement, lines)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    )


def package(wanted: Requirement, pins: Mapping[str, str]) -> PackageFacts:
    """Look at one package."""
    pinned = pins.get(canonicalize_name(wanted.name))
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return PackageFacts(wanted.name, None, str(wanted.specifier), False, pinned)
    fits = wanted.specifier.contains(found, prereleases=True)
    return PackageFacts(wanted.name, found, str(wanted.specifier), fits, pinned)


def _pins(constraints: Path) -> Iterator[tuple[str, str]]:
    if constraints.is_file():
        for line in constraints.read_text().splitlines():
            name, equals, version = line.partition("#")[0].strip().partition("==")
            if equals:
                yield canonicalize_name(name), version


def torch_build(environment: Mapping[str, str] | None = None) -> TorchFacts:
    """Ask PyTorch, in a process of its own: a broken build may end it.

    Parameters
    ----------
    environment
        Of that process; by default this one's.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TORCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TorchFacts("unknown", None, (), f"no answer in {_TORCH_TIMEOUT_S} s")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        return TorchFacts("unknown", None, (), said[-1][:300])
    version, cuda, gpus = json.loads(done.stdout.splitlines()[-1])
    return TorchFacts(version, cuda, tuple(GpuFacts(*gpu) for gpu in gpus))


def driver() -> DriverFacts | None:
    """Ask NVIDIA's driver; None where there is none that answers."""
    if shutil.which("nvidia-smi") is None:
        return None
    words = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    rows = [line.split(", ", 1) for line in done.stdout.splitlines() if ", " in line]
    return DriverFacts(rows[0][0], tuple(name for _, name in rows)) if rows else None


def free_gb(folder: Path) -> float | None:
    """Return the free room of a folder, 10^9 bytes; None where it is not there."""
    try:
        return shutil.disk_usage(folder).free / 1e9
    except OSError:
        return None


def folder(url: str) -> FolderFacts:
    """Write a file into a folder, read it again, remove it.

    A folder that is not there yet is made, and removed again.
    """
    made = _missing_folders(Path(url)) if files.is_local(url) else []
    free = free_gb(_nearest(Path(url))) if files.is_local(url) else None
    place = files.join(url, f".doctor-{uuid.uuid4().hex[:8]}")
    try:
        written, read = write_and_read(place)
        files.remove(place)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
        told = " ".join(str(error).split())[:300]
        return FolderFacts(url, free, error=without_credentials(told) or type(error).__name__)
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()
    return FolderFacts(url, free, written, read)


def write_and_read(url: str) -> tuple[float, float]:
    """Write a file and read it again; return MB/s of each.

    Raises
    ------
    OSError
        If it cannot be written or read, or is not the same.
    """
    content = os.urandom(_BYTES)
    begin = time.perf_counter()
    files.write_bytes(url, content)
    written = time.perf_counter()
    same = files.read_bytes(url) == content
    end = time.perf_counter()
    if not same:
        raise OSError("what was read is not what was written")
    return _BYTES / 1e6 / (written - begin), _BYTES / 1e6 / (end - written)


def _missing_folders(path: Path) -> list[Path]:
    """Return a folder and those above it that are not there yet, the deepest first."""
    return [one for one in (path, *path.parents) if not one.exists()]


def _nearest(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def open_files() -> int:
    """Return how many files a process may have open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def clock() -> ClockFacts:
    """Compare the time with that of the installation, and ask the kernel who keeps it."""
    installed = Path(metadata.__file__).stat().st_mtime
    with suppress(metadata.PackageNotFoundError):
        installed = Path(str(metadata.distribution("numpy").locate_file("numpy"))).stat().st_mtime
    return ClockFacts(max(0.0, installed - time.time()), _is_kept())


def _is_kept() -> bool | None:
    try:
        state = ctypes.CDLL(None).ntp_gettime(ctypes.create_string_buffer(_ROOM_FOR_NTPTIMEVAL))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def ports(wanted: Mapping[int, str] = _PORTS) -> PortFacts:
    """Connect to oneself, and look whether the usual ports are free."""
    error = None
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as found:
        error = str(found)
    return PortFacts(error, tuple((port, what) for port, what in wanted.items() if _taken(port)))


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def token() -> TokenFacts | None:
    """Look at who may read the token of Ray clusters, where Ray looks for it."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        found = path.stat()
    except OSError:
        return None
    return TokenFacts(str(path), stat.S_IMODE(found.st_mode), found.st_uid == os.getuid())


def s3(url: str) -> S3Facts | None:
    """Ask the object store that the environment or a folder's address names: anonymously, then with credentials."""
    if not url.startswith(("s3://", "s3a://")) and not any(map(os.environ.get, _S3_VARIABLES)):
        return None
    from botocore import UNSIGNED
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        nobody = _client(signature_version=UNSIGNED)
    except (BotoCoreError, ValueError) as error:
        return S3Facts(_named_endpoint(), unreachable=_told(error))
    endpoint = without_credentials(str(nobody.meta.endpoint_url))
    try:
        answer = nobody.list_buckets()
    except ClientError as error:
        answer = error.response
    except BotoCoreError as error:
        return S3Facts(endpoint, unreachable=_told(error))
    skew = _skew(answer)
    try:
        _client().list_buckets()
    except ClientError as error:
        return S3Facts(endpoint, None, skew, str(error.response["Error"]["Code"]))
    except BotoCoreError as error:
        return S3Facts(endpoint, None, skew, type(error).__name__)
    return S3Facts(endpoint, None, skew)


def _client(**settings: Any) -> Any:
    from botocore.config import Config
    from botocore.session import get_session

    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "us-east-1"
    config = Config(
        connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1}, **settings
    )
    return get_session().create_client("s3", region_name=region, config=config)


def _named_endpoint() -> str:
    found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
    return without_credentials(found)


def _told(error: Exception) -> str:
    return without_credentials(" ".join(str(error).split()))[:300]


def _skew(answer: Mapping[str, Any]) -> float | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(date).timestamp() - time.time() if date else None
    except ValueError:
        return None
