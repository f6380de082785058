"""Whether the doctor of one machine knows if a Ray starts there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.doctor.start import try_start


@pytest.mark.slow
def test_a_ray_with_a_token_starts_and_ends() -> None:
    found = try_start()
    assert found.error is None
    assert found.seconds is not None
    assert found.seconds > 0


@pytest.mark.slow
def test_a_long_folder_for_temporary_files_and_no_home_do_not_keep_it_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert try_start().error is None
    assert list(long.iterdir()) == []
