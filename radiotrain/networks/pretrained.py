"""Load published weights."""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from radiotrain.networks.fusion import LateFusion

# Where training programs put the network's state dict among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# What wrappers of networks put before every key.
_PREFIXES = ("module.", "net.", "model.", "network.", "backbone.", "_orig_mod.")
_LEAST_SHARE = 0.5
_NAMES_SHOWN = 4


@dataclass(frozen=True)
class WeightsReport:
    """What became of a file of weights. Keys are the network's own, in its order.

    Parameters
    ----------
    share
        Of the network's parameters other than the head, how many come from the file.
    loaded
        Tensors taken from the file, among them `repeated` and a head that fits.
    repeated
        First convolution, made for one channel and repeated over `num_phases`.
    skipped
        The classifier head, where the file's has another shape or none is there.
    zeroed
        Biases that the file's convolutions do not have, which is a bias of 0.
    mismatched
        Other tensors of another shape, as ``key: (got), expected (wanted)``.
    missing
        Tensors that the file does not have; they keep their fresh values.
    unexpected
        Keys of the file that the network does not have.
    """

    url: str
    share: float
    num_phases: int
    loaded: tuple[str, ...]
    repeated: tuple[str, ...]
    skipped: tuple[str, ...]
    zeroed: tuple[str, ...]
    mismatched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def describe(self) -> str:
        """Return one line for each thing worth knowing."""
        share = f"{self.share:.0%} of the parameters other than the head"
        lines = [f"weights {self.url}: {len(self.loaded)} tensors read, {share}"]
        repeated = f"repeated over {self.num_phases} phases"
        for what, keys in (
            (repeated, self.repeated),
            ("head begins anew", self.skipped),
            ("set to 0, as the file has none", self.zeroed),
            ("other shape, begins anew", self.mismatched),
            ("missing in the file, begins anew", self.missing),
            ("in the file only", self.unexpected),
        ):
            if keys:
                lines.append(f"  {what}: {_shorten(keys)}")
        return "\n".join(lines)


def load_published_weights(network: nn.Module, url: str) -> WeightsReport:
    """Give a network the weights of a file, as far as they fit.

    Parameters
    ----------
    network
        Changed in place. Of a `LateFusion`, the image network.
    url
        File of a state dict, on a folder or an object store: whatever ``torch.save`` writes of
        tensors, or ``.safetensors``. A first convolution for one channel is repeated over the
        phases and divided by their number, so that equal phases give the published response.

    Raises
    ------
    MissingPathError
        If there is no such file.
    InputError
        If it holds anything but tensors, or less than half of the network's parameters.
    """
    if isinstance(network, LateFusion):
        network = network.network
    wanted = network.state_dict()
    found = _strip_prefixes(_read_state_dict(url), wanted)
    stem, head = _stem_key(network), _head_keys(network)
    fitting, repeated, mismatched = _fit(found, wanted, stem, head)
    _refuse_misfit(network, url, fitting, head, [*mismatched, *(set(found) - set(wanted))])

    absent = [k for k in wanted if k not in found and not k.endswith("num_batches_tracked")]
    zeroed = [k for k in absent if k.endswith(".bias") and _is_bias_of_loaded_conv(k, fitting)]
    fitting |= {k: torch.zeros_like(wanted[k]) for k in zeroed}
    network.load_state_dict(fitting, strict=False)
    return WeightsReport(
        url=url,
        share=_share(network, fitting, head),
        num_phases=wanted[stem].shape[1] if stem else 0,
        loaded=tuple(k for k in wanted if k in fitting and k not in zeroed),
        repeated=tuple(repeated),
        skipped=tuple(k for k in head if k not in fitting),
        zeroed=tuple(zeroed),
        mismatched=tuple(mismatched),
        missing=tuple(k for k in absent if k not in zeroed and k not in head),
        unexpected=tuple(k for k in found if k not in wanted),
    )


def _fit(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], stem: str | None, head: Sequence[str]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return the tensors that fit, the keys repeated over phases, and what has another shape."""
    fitting: dict[str, Tensor] = {}
    repeated, mismatched = [], []
    for key, target in wanted.items():
        value = found.get(key)
        if value is None:
            continue
        if value.shape == target.shape:
            fitting[key] = value
        elif key == stem and _is_one_channel_of(value, target):
            num_phases = target.shape[1]
            fitting[key] = value.repeat(1, num_phases, *[1] * (value.ndim - 2)) / num_phases
            repeated.append(key)
        elif key not in head:
            got, expected = tuple(value.shape), tuple(target.shape)
            mismatched.append(f"{key}: {got}, expected {expected}")
    return fitting, repeated, mismatched


def _is_one_channel_of(value: Tensor, target: Tensor) -> bool:
    return (
        value.ndim == target.ndim
        and value.shape[1] == 1
        and value.shape[:1] == target.shape[:1]
        and value.shape[2:] == target.shape[2:]
    )


def _is_bias_of_loaded_conv(key: str, fitting: Mapping[str, Tensor]) -> bool:
    weight = fitting.get(f"{key.removesuffix('bias')}weight")
    return weight is not None and weight.ndim == 5


def _refuse_misfit(
    network: nn.Module,
    url: str,
    fitting: Mapping[str, Tensor],
    head: Sequence[str],
    others: Sequence[str],
) -> None:
    share = _share(network, fitting, head)
    if share < _LEAST_SHARE:
        example = f", e.g. {others[0]}" if others else ""
        raise InputError(
            f"weights {url} fit {share:.0%} of the network's parameters other than the head{example},"
            f" expected {_LEAST_SHARE:.0%} or more: name the network that they were made for, or"
            " weights made for this one"
        )


def _share(network: nn.Module, fitting: Mapping[str, Tensor], head: Sequence[str]) -> float:
    sizes = {k: p.numel() for k, p in network.named_parameters() if k not in head}
    return sum(n for k, n in sizes.items() if k in fitting) / max(sum(sizes.values()), 1)


def _stem_key(network: nn.Module) -> str | None:
    """Return the key of the first convolution's weight."""
    names = (name for name, part in network.named_modules() if isinstance(part, nn.Conv3d))
    first = next(names, None)
    return None if first is None else f"{first}.weight"


def _head_keys(network: nn.Module) -> list[str]:
    """Return the keys of the classifier, the last linear layer."""
    names = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    return [f"{names[-1]}.weight", f"{names[-1]}.bias"] if names else []


def _strip_prefixes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names that they have without a wrapper."""
    stripped = {}
    for name, value in found.items():
        key = name
        while key not in wanted and (prefix := next(filter(key.startswith, _PREFIXES), None)):
            key = key.removeprefix(prefix)
        # A name that no prefix explains is told as it is in the file.
        stripped[key if key in wanted else name] = value
    return stripped


def _read_state_dict(url: str) -> dict[str, Tensor]:
    try:
        content = files.read_bytes(files.absolute(url))
    except FileNotFoundError:
        raise MissingPathError(f"no weights at {url}: name an existing file") from None
    except IsADirectoryError:
        raise InputError(f"weights {url} are a folder, expected a file of tensors") from None
    values = _from_safetensors(content, url) if url.endswith(".safetensors") else None
    values = _from_torch(content, url) if values is None else values
    for name in _WRAPPERS:
        if isinstance(values, Mapping) and isinstance(values.get(name), Mapping):
            values = values[name]
    tensors = {}
    if isinstance(values, Mapping):
        tensors = {str(k): v for k, v in values.items() if isinstance(v, Tensor)}
    if not tensors:
        raise InputError(
            f"weights {url} hold {type(values).__name__} without tensors, expected a state dict"
            " (names and tensors): save network.state_dict()"
        )
    return tensors


def _from_torch(content: bytes, url: str) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise InputError(
                f"weights {url} hold Python objects that would run code when read, expected a state"
                " dict of tensors alone: save network.state_dict()"
            ) from None
        raise _no_file_of_tensors(url) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        raise _no_file_of_tensors(url) from None


def _from_safetensors(content: bytes, url: str) -> Any:
    try:
        safetensors = importlib.import_module("safetensors")
        load = importlib.import_module("safetensors.torch").load
    except ImportError:
        raise InputError(
            f"weights {url} need the package safetensors, which is not installed: run 'pip install"
            " safetensors', or save them with torch.save"
        ) from None
    try:
        return load(content)
    except safetensors.SafetensorError:
        raise _no_file_of_tensors(url) from None


def _no_file_of_tensors(url: str) -> InputError:
    return InputError(
        f"weights {url} cannot be read, expected a state dict as torch.save or safetensors write it:"
        " download the file again, or name another"
    )


def _shorten(keys: Sequence[str]) -> str:
    shown = "; ".join(keys[:_NAMES_SHOWN])
    more = len(keys) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
