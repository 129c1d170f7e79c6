"""Convolution and BatchNorm with ReLU as training on a CPU wants them: the same functions, computed another way.

Every trick here is for bfloat16 on a CPU and says what it buys; in float32, on other devices and in evaluation mode
the plain operators run, which define what is correct. Which way is taken depends on shapes alone, never on timing,
so that a run's bits can be repeated. Figures are of two AMD EPYC cores (AVX512-BF16); `make bench` measures anew.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

# Where a 3x3 convolution is one matrix product. Backward: on maps of at most SMALL pixels, or with NARROW times fewer
# outputs than inputs. Forward too: on TINY maps, or on SMALL ones with WIDE outputs.
TINY, SMALL, WIDE, NARROW = 4, 16, 512, 8
LARGE = 2**18  # elements; of fewer an operation costs less than calling Python in its backward pass


class Conv2d(nn.Conv2d):
    """nn.Conv2d that computes in its weight's type, and is trained by `_Convolution` where that is faster."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.to(weight.dtype)
        bias = None if bias is None else bias.to(weight.dtype)
        shape = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        plain_3x3 = shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and bias is None
        if self.training and _tricky(x) and plain_3x3 and _product_pays(x, weight):
            return _Convolution.apply(x, weight)
        return super()._conv_forward(x, weight, bias)


def norm_relu(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """relu(norm(x)), (N, C, H, W) -> the same."""
    y = norm(x)
    integer = norm.training and _tricky(x) and x.numel() >= LARGE
    in_place = _IntegerReLU.apply if integer else torch.relu_
    return in_place(y)  # BatchNorm needs its input for the gradient, not its output


def _tricky(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.compiler.is_compiling()


def _product_pays(x: Tensor, weight: Tensor) -> bool:
    outputs, inputs = weight.shape[:2]
    return _pixels(x) <= SMALL or inputs >= NARROW * outputs


class _IntegerReLU(torch.autograd.Function):
    """ReLU in place on bfloat16 read as int16, forward and backward: 7 and 2 times as fast, and the same bits.

    A negative number is a negative integer. torch computes bfloat16 by way of float32, but integers directly. Half of
    all NaNs become 0, the sign decides: a training that diverges shows it in its weights, which training checks.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        x.view(torch.int16).relu_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient.view(torch.int16), y.view(torch.int16), 0).view(y.dtype)


class _Convolution(torch.autograd.Function):
    """3x3 convolution, stride 1, as one matrix product where oneDNN's convolution falls behind its matrix product.

    In VGG's last stages 1.2 to 2 times as fast forward, 1.1 to 3.5 times backward; in DenseNet, where the gradient is
    much narrower than the image and cheap to unfold, 1.3 to 1.9 times backward. One unfolding serves both products.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        if _pixels(x) > (SMALL if len(weight) >= WIDE else TINY):
            return functional.conv2d(x, weight, padding=1)
        y = _unfold(x) @ weight.permute(2, 3, 1, 0).flatten(0, 2)
        return _image(y, x.shape)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        outputs, inputs = weight.shape[:2]
        # y[p] = sum_t w[t] x[p + t], so dx[p] = sum_t w[t]' dy[p - t] and dw[t] = sum_p dy[p - t] x[p]'.
        unfolded = _unfold(gradient)
        turned = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
        dx = _image(unfolded @ turned, x.shape)
        dw = (unfolded.T @ x.permute(0, 2, 3, 1).flatten(0, 2)).view(3, 3, outputs, inputs)
        return dx, dw.permute(2, 3, 0, 1).flip(2, 3)


def _pixels(x: Tensor) -> int:
    return x.shape[2] * x.shape[3]


def _unfold(x: Tensor) -> Tensor:
    """The 3x3 neighbourhood of every pixel, (N, C, H, W) -> (N H W, 9 C), ordered row, column, channel."""
    batch, channels, height, width = x.shape
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    image, row, column, channel = padded.stride()
    windows = padded.as_strided((batch, height, width, 3, 3, channels), (image, row, column, row, column, channel))
    return windows.reshape(batch * height * width, 9 * channels)


def _image(rows: Tensor, shape: torch.Size) -> Tensor:
    """(N H W, C) as images (N, C, H, W) in channels_last, without a copy; `shape` gives N, H and W."""
    batch, _, height, width = shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)
