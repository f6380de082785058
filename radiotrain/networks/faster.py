"""MONAI's modules with the same parameters and the same function, computed in less time.

Only the classes of submodules change, never their attributes, so that state dicts, parameter order
and random draws stay MONAI's. What each change gains is in ``docs/lab-log.md``; it is measured by
``benchmarks/networks.py``.

Axis legend: B patients, C channels, R rows, K columns, S slices.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks.squeeze_and_excitation import SEBlock
from monai.networks.nets.efficientnet import MBConvBlock
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_CHANNELS_LAST = torch.channels_last_3d


def make_faster(module: nn.Module) -> nn.Module:
    """Change a MONAI classifier, in place, so that it computes the same in less time.

    Parameters
    ----------
    module
        ResNet, SENet, DenseNet or EfficientNet of MONAI; anything else is left as it is.

    Returns
    -------
    The same module, with the same parameters, buffers and keys of its state dict.
    """
    _read_stem_channels_last(module)
    for part in module.modules():
        if isinstance(part, SEBlock):
            part.__class__ = _FusedSEBlock
        elif isinstance(part, MBConvBlock):
            _fold_padding(part)
            part.__class__ = _FusedMBConvBlock
        elif type(part) is nn.Conv3d and _is_strided_pointwise(part):
            part.__class__ = _StridedPointwise
    return module


class _Excite(torch.autograd.Function):
    """ReLU(x * scale + residual), the end of a squeeze-excite block, in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, residual: Tensor) -> Tensor:
        """Return (B, C, R, K, S) from x and residual of that shape and scale (B, C, 1, 1, 1)."""
        out = torch.addcmul(residual, x, scale).relu_()
        ctx.save_for_backward(x, scale, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of x, scale and residual."""
        x, scale, out = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, out, 0)
        return grad * scale, _dot_voxels(grad, x), grad


class _Scale(torch.autograd.Function):
    """x * scale, whose backward pass keeps no product of all voxels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        """Return (B, C, R, K, S) from x of that shape and scale (B, C, 1, 1, 1)."""
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of x and scale."""
        x, scale = ctx.saved_tensors
        return grad * scale, _dot_voxels(grad, x)


def _dot_voxels(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of a * b over voxels, (B, C, 1, 1, 1)."""
    if a.device.type == "cpu" and a.is_contiguous() and b.is_contiguous():
        rows = (a.shape[0] * a.shape[1], 1, -1)
        product = torch.bmm(a.view(rows), b.view(rows).transpose(1, 2))
        return product.view(*a.shape[:2], 1, 1, 1)
    return (a * b).sum((2, 3, 4), keepdim=True)


class _FusedSEBlock(SEBlock):  # type: ignore[misc]
    """SEBlock whose excitation, shortcut and last ReLU are one operation."""

    def forward(self, x: Tensor) -> Tensor:
        residual = self.project(x)
        x = self.conv3(self.conv2(self.conv1(x)))
        pooled = self.se_layer.avg_pool(x).flatten(1)
        scale = self.se_layer.fc(pooled)[:, :, None, None, None]
        # MONAI adds in place: under autocast, the shortcut takes the convolutions' precision.
        residual = residual.to(x.dtype)
        out: Tensor = _Excite.apply(x, scale, residual)  # type: ignore[no-untyped-call]
        return out


class _FusedMBConvBlock(MBConvBlock):  # type: ignore[misc]
    """MBConvBlock that keeps fewer copies; the random draw of its drop connect is MONAI's."""

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self.expand_ratio != 1:
            x = self._swish(self._bn0(self._expand_conv(x)))
        x = self._depthwise_conv(self._depthwise_conv_padding(x))
        x = self._swish(self._bn1(x))
        if self.has_se:
            squeezed = self._swish(self._se_reduce(self._se_adaptpool(x)))
            scale = torch.sigmoid(self._se_expand(squeezed))
            x = _Scale.apply(x, scale)  # type: ignore[no-untyped-call]
        x = self._bn2(self._project_conv(x))
        if self.id_skip and self.stride == 1 and self.in_channels == self.out_channels:
            x = self._add_shortcut(x, inputs)
        out: Tensor = x
        return out

    def _add_shortcut(self, x: Tensor, inputs: Tensor) -> Tensor:
        if not self.drop_connect_rate or not self.training:
            return x + inputs
        keep = 1 - self.drop_connect_rate
        drawn = torch.rand((x.shape[0], 1, 1, 1, 1), dtype=x.dtype, device=x.device)
        return torch.addcmul(inputs, x, torch.floor(drawn + keep) / keep)


def _fold_padding(block: nn.Module) -> None:
    """Let the depthwise convolution pad by itself where both sides are padded alike."""
    conv: Any = block._depthwise_conv
    sides = getattr(block._depthwise_conv_padding, "padding", None)
    if sides and sides[0::2] == sides[1::2]:
        conv.padding = tuple(reversed(sides[0::2]))
        conv._reversed_padding_repeated_twice = list(sides)
        block._depthwise_conv_padding = nn.Identity()


class _StridedPointwise(nn.Conv3d):
    """1×1×1 convolution with a stride: reads only the voxels that it uses."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        r, k, s = self.stride
        used = x[:, :, ::r, ::k, ::s].contiguous()
        return functional.conv3d(used, self.weight, self.bias)


def _is_strided_pointwise(conv: nn.Conv3d) -> bool:
    return (
        conv.kernel_size == (1, 1, 1)
        and max(conv.stride) > 1
        and conv.groups == 1
        and conv.padding in (0, (0, 0, 0))
    )


class _StemConv(nn.Conv3d):
    """First convolution: oneDNN's gradient of its weight is slow with few channels far apart."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        weight = self.weight.contiguous(memory_format=_CHANNELS_LAST)
        x = x.contiguous(memory_format=_CHANNELS_LAST)
        return functional.conv3d(x, weight, self.bias, self.stride, self.padding)


class _StemPool(nn.MaxPool3d):
    """Pooling at the end of the stem, after which the layout is the usual one."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out.contiguous() if x.device.type == "cpu" else out


def _read_stem_channels_last(module: nn.Module) -> None:
    """Keep channels together from the first convolution to the first pooling."""
    parts = list(module.modules())
    conv = next((p for p in parts if type(p) is nn.Conv3d), None)
    pool = next((p for p in parts if type(p) is nn.MaxPool3d), None)
    if conv is not None and pool is not None:
        conv.__class__ = _StemConv
        pool.__class__ = _StemPool
