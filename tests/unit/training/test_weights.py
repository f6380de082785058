from __future__ import annotations

import builtins
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from preprocessing.common.errors import InputError, MissingPathError
from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.pretrained import load_published_weights
from radiotrain.networks.registry import build_network

CROP = (16, 16, 8)


def published(depth: int = 10, shortcut_type: str = "B", **options: Any) -> nn.Module:
    """Stand for MedicalNet: one channel, no head, narrow."""
    torch.manual_seed(1)
    return getattr(nets, f"resnet{depth}")(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
        shortcut_type=shortcut_type,
        widen_factor=0.25,
        **options,
    )


def ours(num_phases: int = 3, num_targets: int = 2) -> nn.Module:
    torch.manual_seed(2)
    return build_network("ResNet10-narrow", num_phases, num_targets, CROP)


def save(values: Any, folder: Path, name: str = "resnet_10.pth") -> str:
    torch.save(values, folder / name)
    return str(folder / name)


def test_equal_phases_give_the_published_response(tmp_path: Path) -> None:
    medical, network = published().eval(), ours().eval()
    # As MedicalNet saves: the optimiser's program around it, and DataParallel's prefix.
    state = {f"module.{k}": v for k, v in medical.state_dict().items()}
    url = save({"epoch": 90, "state_dict": state, "optimizer": {}}, tmp_path)
    report = load_published_weights(network, url)
    image = torch.randn(2, 1, *CROP)
    network.fc = nn.Identity()
    torch.testing.assert_close(network(image.expand(-1, 3, -1, -1, -1)), medical(image))
    assert report.repeated == ("conv1.weight",)
    assert report.skipped == ("fc.weight", "fc.bias")
    assert report.zeroed == tuple(f"layer{i}.0.downsample.0.bias" for i in (2, 3, 4))
    assert report.mismatched == report.missing == report.unexpected == ()
    assert report.share == pytest.approx(1, abs=0.001)


def test_report_says_what_became_of_the_file(tmp_path: Path) -> None:
    state = published().state_dict()
    state["fc.weight"], state["fc.bias"] = torch.zeros(400, 128), torch.zeros(400)
    state["layer4.0.bn2.weight"] = torch.zeros(7)
    state["decoder.weight"] = torch.zeros(2)
    del state["layer1.0.conv1.weight"]
    report = load_published_weights(ours(), save(state, tmp_path))
    assert report.skipped == ("fc.weight", "fc.bias")
    assert report.mismatched == ("layer4.0.bn2.weight: (7,), expected (128,)",)
    assert report.missing == ("layer1.0.conv1.weight",)
    assert report.unexpected == ("decoder.weight",)
    described = report.describe()
    assert "repeated over 3 phases: conv1.weight" in described
    for told in ("head begins anew: fc.weight; fc.bias", "layer4.0.bn2.weight: (7,), expected"):
        assert told in described
    assert "in the file only: decoder.weight" in described


def test_shortcuts_that_medicalnet_has_not_are_listed(tmp_path: Path) -> None:
    """MedicalNet's ResNet18 and 34 have shortcuts of type A, without weights; MONAI's default is B."""
    url = save(published(18, "A").state_dict(), tmp_path)
    with_weights = published(18, "B")
    report = load_published_weights(with_weights, url)
    assert {key.rpartition(".downsample")[0] for key in report.missing} == {
        "layer2.0",
        "layer3.0",
        "layer4.0",
    }
    assert load_published_weights(published(18, "A"), url).missing == ()


def test_whole_state_dict_comes_back_as_it_was(tmp_path: Path) -> None:
    network, other = ours(), ours()
    nn.init.normal_(network.fc.weight)
    url = save(network.state_dict(), tmp_path)
    load_published_weights(LateFusion(other, 2, 2), url)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)


def test_weights_of_another_network_are_refused_and_leave_it_unchanged(tmp_path: Path) -> None:
    network = ours()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    wide = nets.resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False, widen_factor=0.5)
    for values in (wide.state_dict(), {"a": torch.zeros(3)}):
        with pytest.raises(
            InputError, match=r"fit \d+% of the network's parameters .*expected 50%"
        ):
            load_published_weights(network, save(values, tmp_path))
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code that must not run",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (_Evil(), "hold Python objects that would run code"),
        (nn.Linear(2, 2), "hold Python objects that would run code"),
        ({"epoch": 3}, "hold dict without tensors"),
        ([1, 2], "hold list without tensors"),
    ],
)
def test_anything_but_tensors_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_published_weights(ours(), save(values, tmp_path))
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut short"])
def test_no_torch_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read, expected a state dict"):
        load_published_weights(ours(), str(tmp_path / "x.pth"))


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="no weights at"):
        load_published_weights(ours(), str(tmp_path / "x.pth"))
    with pytest.raises(InputError, match="are a folder"):
        load_published_weights(ours(), str(tmp_path))


def test_safetensors_need_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("safetensors"):
            raise builtins.ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match="run 'pip install safetensors'"):
        load_published_weights(ours(), str(tmp_path / "x.safetensors"))


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = {k: v.contiguous() for k, v in published().state_dict().items()}
    safetensors.save_file(state, tmp_path / "x.safetensors")
    assert load_published_weights(ours(), str(tmp_path / "x.safetensors")).share > 0.99
