"""The doctor's measurements of a machine, against what can be known otherwise."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from radiotrain.doctor import measure
from radiotrain.doctor.facts import PackageFacts, TokenFacts
from tests.commands import call

ROOT = Path(__file__).parents[3]


def test_packages_are_what_pyproject_names() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {package.name: package for package in measure.packages()}
    named = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    # An installation of another day may lack the newest ones; it names none that is not needed.
    assert {canonicalize_name(name) for name in found} <= named
    assert len(found) > 20
    assert found["torch"].found == torch.__version__
    assert found["torch"].fits
    assert found["torch"].pinned == torch.__version__.partition("+")[0]


@pytest.mark.parametrize(
    ("wanted", "pins", "found"),
    [
        (
            "pytest>=1",
            {"pytest": "9"},
            PackageFacts("pytest", pytest.__version__, ">=1", True, "9"),
        ),
        ("pytest<1", {}, PackageFacts("pytest", pytest.__version__, "<1", False, None)),
        ("no-such-one", {}, PackageFacts("no-such-one", None, "", False, None)),
    ],
)
def test_a_package_is_compared(wanted: str, pins: dict[str, str], found: PackageFacts) -> None:
    assert measure.package(Requirement(wanted), pins) == found


def test_python() -> None:
    found = measure.python()
    assert found.found == ".".join(map(str, sys.version_info[:3]))
    assert found.fits


def test_torch_is_asked_in_a_process_of_its_own() -> None:
    found = measure.torch_build()
    assert (found.version, found.cuda) == (torch.__version__, torch.version.cuda)
    assert len(found.gpus) == torch.cuda.device_count()
    broken = measure.torch_build({**os.environ, "PYTHONHOME": "/nowhere"})
    assert broken.error
    assert broken.gpus == ()


def test_a_folder_is_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there"
    found = measure.folder(str(place))
    assert found.error is None
    assert found.free_gb == pytest.approx(shutil.disk_usage(tmp_path).free / 1e9, rel=0.05)
    assert min(found.write_mb_per_s or 0, found.read_mb_per_s or 0) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = measure.folder(str(tmp_path / "file" / "runs"))
    assert found.error is not None
    assert found.write_mb_per_s is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_port_in_use_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = measure.ports({port: "radiotrain board"})
        assert found.taken == ((port, "radiotrain board"),)
    assert measure.ports({port: "radiotrain board"}).taken == ()
    assert found.loopback_error is None


def test_open_files_and_clock() -> None:
    assert measure.open_files() in (resource.getrlimit(resource.RLIMIT_NOFILE)[0], sys.maxsize)
    assert measure.clock().behind_install_s == 0


def test_a_clock_before_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiotrain.doctor.measure.time.time", lambda: 0.0)
    assert measure.clock().behind_install_s > 86400 * 365


def test_no_object_store_is_asked_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    assert measure.s3("/data") is None


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = measure.s3("/data")
    assert found is not None
    assert found.endpoint == "http://127.0.0.1:9"
    assert "Could not connect" in str(found.unreachable)


def test_passwords_in_addresses_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:planted@127.0.0.1:9")
    assert "planted" not in str(measure.s3("/data"))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    out, error = call("doctor", "--no-ray", "--json", "found.json")
    assert "starting a Ray" not in error
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["torch"]["version"] == torch.__version__
    assert f"PyTorch {torch.__version__}" in out
    assert {finding["check"] for finding in found["findings"]} >= {"Python", "GPU", "Ray"}
    (tmp_path / "file").write_text("in the way")
    out, _ = call("doctor", "--no-ray", "--storage", "file/runs", status=1)
    assert "broken" in out


def test_the_token_is_looked_at_where_ray_has_it(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert measure.token() is None
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("x")
    file.chmod(0o644)
    assert measure.token() == TokenFacts(str(file), 0o644)
    other = tmp_path / "other"
    other.write_text("x")
    other.chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert measure.token() == TokenFacts(str(other), 0o600)
