from __future__ import annotations

from pathlib import Path

import pytest
import torch

from preprocessing.common.errors import InputError
from radiotrain.runs.checkpoint import Position, load_newest_checkpoint, save_checkpoint

STATE = {"network": {"w": torch.arange(3.0)}, "history": [{"auc": 0.5, "epoch": 0}]}


@pytest.mark.parametrize("where", ["folder", "memory://checkpoints"])
def test_newest_two_are_kept_and_the_newest_is_read(tmp_path: Path, where: str) -> None:
    url = str(tmp_path) if where == "folder" else where
    assert load_newest_checkpoint(url) is None
    for position in (Position(1), Position(9), Position(9, 12), Position(10), Position(9, 100_001)):
        save_checkpoint(url, position, {**STATE, "position": list(position)})
    loaded = load_newest_checkpoint(url)
    assert loaded["position"] == [10, 0]
    assert torch.equal(loaded["network"]["w"], STATE["network"]["w"])
    if where == "folder":
        kept = sorted(p.name.rpartition("-")[0] for p in tmp_path.iterdir())
        assert kept == ["epoch-0009-step-100001", "epoch-0010-step-00000"]


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_damaged_newest_falls_back_with_a_warning(tmp_path: Path, damage: str) -> None:
    save_checkpoint(str(tmp_path), Position(0), {"epoch": 0})
    newest = Path(save_checkpoint(str(tmp_path), Position(1), {"epoch": 1}))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    with pytest.warns(UserWarning, match="is damaged: the one before is used"):
        assert load_newest_checkpoint(str(tmp_path)) == {"epoch": 0}


def test_half_written_file_is_not_seen(tmp_path: Path) -> None:
    save_checkpoint(str(tmp_path), Position(0), {"epoch": 0})
    (tmp_path / ".epoch-0001-00000000.pt.abc.partial").write_bytes(b"half")
    assert load_newest_checkpoint(str(tmp_path)) == {"epoch": 0}
    save_checkpoint(str(tmp_path), Position(1), {"epoch": 1})
    assert not list(tmp_path.glob(".*.partial"))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    save_checkpoint(str(tmp_path), Position(0), {"path": Path("x")})
    with pytest.raises(InputError, match="would run code when read, and was not read"):
        load_newest_checkpoint(str(tmp_path))
