"""The recurrent product U_k (h_{t-1} ⊙ M^k) of a time loop, forward and backward, tied or one mask a gate."""

from __future__ import annotations

import torch
from torch import Tensor

from recurdrop.ops.packed import pack


def rows(mask: Tensor | None, time: int) -> list[Tensor | None]:
    """Return the mask of each step; one that is shared over time stands at every step."""
    if mask is None:
        return [None] * time
    return list(mask.unbind(0)) if len(mask) > 1 else [mask[0]] * time


def previous(states: Tensor, first: Tensor, reverse: bool) -> Tensor:
    """Return for each step the state before it, (T, B, H), from the states after each step and the initial one."""
    return torch.cat((states[1:], first[None])) if reverse else torch.cat((first[None], states[:-1]))


class RecurrentProduct:
    """h (B, P) to all gates (B, G·H), or the transpose.

    Args:
        weight: (G·H, P).
        mask: (T|1, B|1, P|1), or with a gate axis (T|1, B|1, G|1, P|1), or None.
        gates: G.
        shape: T and B.
        back: prepare `backward` instead of `forward`.
        gradient: (T|1, 1|B, 1|P), what the gradient on its way back is multiplied by, or None.
    """

    def __init__(
        self,
        weight: Tensor,
        mask: Tensor | None,
        gates: int,
        shape: tuple[int, int],
        *,
        back: bool = False,
        gradient: Tensor | None = None,
    ) -> None:
        time, batch = shape
        self.weight, self.mask, self.gates = weight, mask, gates
        self.untied = mask is not None and mask.dim() == 4
        self.masks, self.gradients = rows(mask, time), rows(gradient, time)
        self.blocks = weight.unflatten(0, (gates, -1)) if self.untied else weight
        self.packed = None if self.untied else pack(weight.t() if back else weight, batch, time)

    def forward(self, t: int, h: Tensor, base: Tensor | None, out: Tensor) -> Tensor:
        """Write U (h ⊙ M_t), plus base if given, into out (B, G·H)."""
        mask = self.masks[t]
        if self.untied and mask is not None:
            masked = (h[:, None] * mask).expand(-1, self.gates, -1)
            product = torch.bmm(masked.transpose(0, 1), self.blocks.transpose(1, 2)).transpose(0, 1)
            out.unflatten(1, (self.gates, -1)).copy_(product)
            return out if base is None else out.add_(base)
        h = h if mask is None else h * mask
        if self.packed is not None:
            return out.copy_(self.packed(h)) if base is None else torch.add(self.packed(h), base, out=out)
        return torch.mm(h, self.weight.t(), out=out) if base is None else torch.addmm(base, h, self.weight.t(), out=out)

    def backward(self, t: int, gradient: Tensor) -> Tensor:
        """Return the gradient of h from that of all gates (B, G·H)."""
        mask, factor = self.masks[t], self.gradients[t]
        if self.untied and mask is not None:
            parts = torch.bmm(gradient.unflatten(1, (self.gates, -1)).transpose(0, 1), self.blocks)
            result = (parts.transpose(0, 1) * mask).sum(1)
        else:
            result = gradient @ self.weight if self.packed is None else self.packed(gradient)
            if mask is not None:
                result.mul_(mask)
        return result if factor is None else result.mul_(factor)

    def weight_gradient(self, gradients: Tensor, before: Tensor) -> Tensor:
        """Return dU from the gradients of all gates (T, B, G·H) and the states before each step."""
        if self.mask is None:
            return gradients.flatten(0, 1).t() @ before.flatten(0, 1)
        if not self.untied:
            return gradients.flatten(0, 1).t() @ (before * self.mask).flatten(0, 1)
        masked = (before[:, :, None] * self.mask).expand(-1, -1, self.gates, -1).flatten(0, 1)
        parts = gradients.flatten(0, 1).unflatten(1, (self.gates, -1))
        return torch.bmm(parts.permute(1, 2, 0), masked.transpose(0, 1)).flatten(0, 1)


def keep(zone: Tensor | None, old: Tensor, new: Tensor, out: Tensor) -> Tensor:
    """Write into out the old value by the weight zone, by selection where it is a bit."""
    if zone is None:
        return out if out is new else out.copy_(new)
    if zone.dtype == torch.bool:
        return torch.where(zone, old, new, out=out)
    return torch.lerp(new, old, zone, out=out)


def weights_of(zone: Tensor | None, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """Return the weights of old and of new value as numbers."""
    if zone is None:
        return None, None
    old = zone.to(dtype)
    return old, 1 - old
