"""Batch normalisation for weights that were exported without it, so that they can be trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def is_folded(module: Any) -> bool:
    """Whether its normalisations are as new: an export has moved what they had measured into the weights.

    Args:
        module: A network of torch.
    """
    return all(
        not norm.running_mean.any() and (norm.running_var == 1).all()  # both exactly, as they are set and not measured
        for norm in _norms(module)
    )


def unfold(module: Any, batches: Iterable[Any]) -> None:
    """Measure what each normalisation sees, and scale it back, so that the network computes what it did before.

    A network that trains normalises with the statistics of its batch. Where these were folded into the weights, that
    would undo what it has learned; afterwards it changes next to nothing.

    Args:
        module: A network of torch, float32.
        batches: Pictures like those that it will be trained with, (n, 3, h, w), RGB, 0..1.
    """
    import torch  # noqa: PLC0415 - heavy

    seen: dict[Any, list[Any]] = {norm: [0.0, 0.0, 0] for norm in _norms(module)}

    def note(norm: Any, inputs: tuple[Any, ...]) -> None:
        values = inputs[0].double()
        total = seen[norm]
        total[0] = total[0] + values.sum((0, 2, 3))
        total[1] = total[1] + (values * values).sum((0, 2, 3))
        total[2] += values.numel() // values.shape[1]

    hooks = [norm.register_forward_pre_hook(note) for norm in seen]
    module.eval()
    with torch.inference_mode():
        for batch in batches:
            module(batch)
    for hook in hooks:
        hook.remove()
    for norm, (total, squares, count) in seen.items():
        mean = total / count
        variance = squares / count - mean**2
        scale = norm.weight.data.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        shift = norm.bias.data.double() - norm.running_mean.double() * scale
        norm.weight.data = (scale * torch.sqrt(variance + norm.eps)).float()
        norm.bias.data = (shift + scale * mean).float()
        norm.running_mean, norm.running_var = mean.float(), variance.float()


def _norms(module: Any) -> list[Any]:
    import torch  # noqa: PLC0415 - heavy

    return [one for one in module.modules() if isinstance(one, torch.nn.BatchNorm2d)]
