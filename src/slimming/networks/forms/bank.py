"""A bank of filters: a layer's weight is a mixture of more filters than the layer has outputs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.forms.base import Form, check_ranks


class Bank(Form):
    """W = P B Q': the rows of P (O, outputs) mix the filters of the bank B, those of Q (I, inputs) its input channels.

    P and Q are data, not parameters; gradients reach the whole bank. A side of which no number is given is not mixed.
    """

    name = "bank"

    def __init__(self, plain: nn.Conv2d | nn.Linear, outputs: int | None = None, inputs: int | None = None):
        super().__init__(plain)
        self.outputs, self.inputs = outputs, inputs
        given = {"outputs": (outputs, self.out_channels), "inputs": (inputs, self.in_channels)}
        for side, (number, least) in given.items():
            if number is not None:
                check_ranks("bank", **{side: number})
                if number < least:
                    raise InputError(f"form bank: {side} must be at least the layer's {least}, got {number}")
        filters, channels = outputs or self.out_channels, inputs or self.in_channels
        self.bank = nn.Parameter(torch.empty(filters, channels, *self.kernel_size))
        nn.init.normal_(self.bank, 0.0, math.sqrt(2.0 / (self.taps * filters)))  # as networks.base.initialise
        self.register_buffer("rows", torch.eye(self.out_channels, filters))
        self.register_buffer("columns", torch.eye(self.in_channels, channels))

    @property
    def settings(self) -> dict[str, Any]:
        sides = {"outputs": self.outputs, "inputs": self.inputs}
        return {side: number for side, number in sides.items() if number is not None}

    @property
    def weight(self) -> Tensor:
        """(O, I, k, k), of the bank's type."""
        weight = self.bank
        if self.outputs is not None:
            weight = torch.einsum("op,pikl->oikl", self.rows.to(weight.dtype), weight)
        if self.inputs is not None:
            weight = torch.einsum("iq,oqkl->oikl", self.columns.to(weight.dtype), weight)
        return weight

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """The layer's filters come first in the bank, and are mixed with none; the others are zero."""
        self.bank.zero_()
        self.bank[: self.out_channels, : self.in_channels] = weight
        for code in (self.rows, self.columns):
            code.copy_(torch.eye(*code.shape))

    def dense(self) -> Tensor:
        return self.weight

    def compute(self, x: Tensor) -> Tensor:
        weight = self.weight
        return nn.functional.conv2d(x.to(weight.dtype), weight, stride=self.stride, padding=self.padding)
