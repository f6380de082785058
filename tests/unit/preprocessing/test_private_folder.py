"""Who may look into folders that hold what is known of patients, whatever the user's umask is."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.storage.files import make_own, make_private, socket_folder
from preprocessing.storage.folder_lock import exclusive

OTHERS = 65534


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_folder_is_its_owners(tmp_path: Path, umask: int) -> None:
    with exclusive(tmp_path / "runs" / "one", "run", private=True):
        files.write_text(str(tmp_path / "runs" / "one" / "run.json"), "{}")
    assert mode(tmp_path / "runs" / "one") == 0o700
    # Those above it are no run's, and follow the umask.
    assert mode(tmp_path / "runs") == 0o777 & ~umask


@pytest.mark.parametrize("given", [0o770, 0o755, 0o700])
def test_a_folder_that_its_user_made_stays_as_it_is(tmp_path: Path, given: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(given)
    with exclusive(folder, "run", private=True):
        files.write_text(str(folder / "run.json"), "{}")
    assert mode(folder) == given


def test_a_store_is_for_a_group_that_the_umask_lets_in(tmp_path: Path, umask: int) -> None:
    with exclusive(tmp_path / "store"):
        files.write_text(str(tmp_path / "store" / "patients.json"), "{}")
    assert mode(tmp_path / "store") == 0o777 & ~umask
    assert mode(tmp_path / "store" / "patients.json") == 0o666 & ~umask


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refused"), exclusive(tmp_path / "run", private=True):
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_folders_place(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file"), exclusive(tmp_path / "run", private=True):
        pass
    make_private(str(tmp_path / "run"))
    assert (tmp_path / "run").is_file()


def test_a_private_file_is_its_owners_also_where_it_was_not(tmp_path: Path, umask: int) -> None:
    file = tmp_path / "key.csv"
    file.write_text("of an earlier version")
    file.chmod(0o644)
    files.write_bytes(str(file), b"number,patient\n", private=True)
    assert file.read_bytes() == b"number,patient\n"
    assert mode(file) == 0o600


def test_a_folder_under_a_name_that_others_know(tmp_path: Path, umask: int) -> None:
    for _ in range(2):
        make_own(tmp_path / "own", "sockets lie", "do another thing")
        assert mode(tmp_path / "own") == 0o700


@pytest.mark.parametrize("kind", ["open", "a link", "a file", "another user's"])
def test_what_others_have_put_there_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "own"
    if kind == "a file":
        place.write_text("")
    elif kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir(mode=0o700)
    if kind == "open":
        place.chmod(0o710)
    if kind == "another user's":
        if os.getuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(place, OTHERS, OTHERS)
    with pytest.raises(InputError, match=r"is not this user's own: have it removed, or wait$"):
        make_own(place, "sockets lie", "wait")


@pytest.mark.parametrize("length", [40, 106, 107, 108, 200])
def test_a_socket_can_be_made_where_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Of 107 bytes, and not of one more: the kernel decides."""
    name = "/" + "s" * 12
    wanted = Path("/tmp", "x" * (length - len(name) - len("/tmp/")))
    wanted.mkdir()
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(wanted))
        found = socket_folder(len(name))
        assert found == (str(wanted) if length <= 107 else "/tmp")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(found + name)
        Path(found + name).unlink()
    finally:
        wanted.rmdir()


def test_no_place_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 100)
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.raises(InputError, match="set TMPDIR to a folder with a short name"):
        socket_folder(30)
