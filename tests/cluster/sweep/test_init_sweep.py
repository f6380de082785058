"""The sweep that ``radiotrain init sweep`` writes is one that ``radiotrain tune`` takes."""

from __future__ import annotations

import yaml

from tests.commands import call


def test_a_sweep_from_a_store_to_its_dry_run(
    ray_here, store, split_url, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--split", split_url, "--network", "ResNet10-narrow", "--network", "ResNet10")
    out, _ = call("init", "sweep", store.url, *words)
    assert "next: radiotrain tune --config sweep.yaml --dry-run" in out
    values = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert values["targets"] == ["ER", "PR", "HER2"]
    out, _ = call("tune", "--config", "sweep.yaml", "--dry-run")
    assert "6 trials of at most 60 epochs, compared within 3 targets" in out
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]
