"""Whether the doctor of one machine knows if a Ray starts there."""

from __future__ import annotations

import pytest

from cluster.doctor.start import try_start


@pytest.mark.slow
def test_a_ray_with_a_token_starts_and_ends() -> None:
    found = try_start()
    assert found.error is None
    assert found.seconds is not None
    assert found.seconds > 0


@pytest.mark.slow
def test_what_keeps_it_from_starting_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    found = try_start()
    assert found.seconds is None
    assert "has too long a name for Ray's sockets" in str(found.error)
