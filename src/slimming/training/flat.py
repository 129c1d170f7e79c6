"""All parameters of a network in one buffer, so that an update or a penalty is one operation, whatever the network.

Not for what a step does: that is training's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slimming import networks
from slimming.methods.base import Part
from slimming.networks.base import Network


class FlatParameters:
    """Values, gradients and momentum of a network's parameters, one float32 vector each.

    Scaling factors come first, then the shifts of the same channels, then what is left of vectors, then weights, so
    that a method's operation on any of these is one on a vector, however many layers there are. The network's own
    parameters become views; convolutions keep their memory format.

    With the precision "bf16" the weights of convolutions, which come last, are views of `rounded` instead, a copy in
    bfloat16. One cast of the whole vector a step replaces autocast's one a layer; BatchNorm and the last layer stay
    in float32.
    """

    def __init__(self, net: Network, precision: str = "fp32"):
        norms = networks.prunable(net).values()
        groups = {"gamma": [norm.weight for norm in norms], "shift": [norm.bias for norm in norms]}
        grouped = {id(parameter) for group in groups.values() for parameter in group}
        others = sorted((parameter for parameter in net.parameters() if id(parameter) not in grouped), key=Tensor.dim)
        groups["vectors"] = [parameter for parameter in others if parameter.dim() < 2]
        groups["weights"] = [parameter for parameter in others if parameter.dim() > 1]
        ordered = [parameter for group in groups.values() for parameter in group]
        self.values = torch.cat([_dense(parameter.detach()) for parameter in ordered])
        self.gradients, self.momentum = torch.zeros_like(self.values), torch.zeros_like(self.values)
        sizes = [sum(parameter.numel() for parameter in group) for group in groups.values()]
        parts = zip(self.values.split(sizes), self.gradients.split(sizes), strict=True)
        self.parts = dict(zip(groups, (Part(*both) for both in parts), strict=True))
        _view(ordered, self.values)
        of_network = {id(parameter): name for name, parameter in net.named_parameters()}
        self.layers = {
            of_network[id(parameter)]: Part(parameter.data, _like(parameter, self.gradients)) for parameter in ordered
        }

        self.convolutions = [parameter for parameter in ordered if parameter.dim() == 4] if precision == "bf16" else []
        self.others = ordered[: len(ordered) - len(self.convolutions)]
        count = sum(parameter.numel() for parameter in self.convolutions)
        self.exact = self.values[len(self.values) - count :]
        self.rounded = self.exact.bfloat16()
        self.rounded_gradients = torch.zeros_like(self.rounded)
        _view(self.convolutions, self.rounded)

    def round(self) -> None:
        """Bring the weights that convolutions compute with up to date."""
        self.rounded.copy_(self.exact)

    def restore(self) -> None:
        """Make every parameter a view of `values` again."""
        _view(self.convolutions, self.exact)

    def collect(self) -> None:
        """Move the gradients that backward has left in the parameters into `gradients`.

        Backward makes new tensors, and they are copied at once: nothing is zeroed, and nothing added layer by layer.
        """
        count = len(self.gradients) - len(self.rounded)
        torch.cat([_gradient(parameter) for parameter in self.others], out=self.gradients[:count])
        if self.convolutions:
            torch.cat([_gradient(parameter) for parameter in self.convolutions], out=self.rounded_gradients)
            self.gradients[count:].copy_(self.rounded_gradients)

    def update(self, lr: float, momentum: float, weight_decay: float) -> None:
        """w <- w - lr v, v <- momentum v + g + weight_decay w, in one pass over memory instead of four."""
        torch._fused_sgd_(
            [self.values], [self.gradients], [self.momentum], lr=lr, momentum=momentum, weight_decay=weight_decay,
            dampening=0.0, nesterov=False, maximize=False, is_first_step=False,
        )  # fmt: skip


def _dense(tensor: Tensor) -> Tensor:
    """The elements of a dense tensor in the order of its memory, (n,)."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Take a parameter's gradient, (n,), laid out as the parameter; zeros if the loss does not depend on it."""
    gradient, parameter.grad = parameter.grad, None
    return _dense(torch.zeros_like(parameter) if gradient is None else gradient)


def _like(parameter: nn.Parameter, buffer: Tensor) -> Tensor:
    """The elements of `buffer` at the place that `parameter` has in another buffer, in its shape."""
    return buffer.as_strided(parameter.shape, parameter.stride(), parameter.storage_offset())


def _view(parameters: list[nn.Parameter], buffer: Tensor) -> None:
    """Make `parameters`, one after the other, views of `buffer`."""
    start = buffer.storage_offset()
    for parameter in parameters:
        parameter.data = buffer.as_strided(parameter.shape, parameter.stride(), start)
        start += parameter.numel()
