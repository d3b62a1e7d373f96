"""Teaching a detector new classes without losing the old: Learning without Forgetting (Li and Hoiem 2017)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch.nn import functional
from ultralytics.utils.loss import v8DetectionLoss


class DistilledLoss(v8DetectionLoss):
    """Labels teach some of the classes; of the others the network must say what its teacher says of the same picture.

    Set as `criterion` of the network in training. At every anchor the teacher's score of each kept class is the target
    of the student's (KL divergence), and its distribution of box sides likewise, weighted by its best score and left
    out where a label takes the anchor. Both are scaled as Ultralytics scales its own class and box losses.

    Args:
        network: In training.
        teacher: Of the same architecture; knows the kept classes by the same names; is set to evaluate.
        kept: Names of the classes that the teacher teaches; there are no labels of them.
    """

    def __init__(self, network: Any, teacher: Any, *, kept: Collection[str]) -> None:
        super().__init__(network)
        self.teacher = teacher.to(self.device).float().eval()
        self.kept = [number for number, name in network.names.items() if name in kept]
        numbers = {name: number for number, name in teacher.names.items()}
        self.teachers = [numbers[network.names[number]] for number in self.kept]
        weights = torch.ones(self.nc, device=self.device)
        weights[self.kept] = 0
        self.class_weights = weights.view(1, 1, -1)

    def __call__(self, preds: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The loss of box, class and distribution, times the number of pictures; and each of them for a table."""
        hyp: Any = self.hyp
        student = self.parse_output(preds)
        (taken, *_), loss, _ = self.get_assigned_targets_and_loss(student, batch)
        with torch.no_grad():
            teacher = self.parse_output(self.teacher(batch["img"]))
        says = teacher["scores"][:, self.teachers].float().sigmoid()  # (pictures, classes, anchors)
        score_loss = _divergence(student["scores"][:, self.kept].float(), says).sum() / says.sum().clamp(min=1)
        sides = (len(says), 4, self.reg_max, -1)
        weight = says.amax(1) * ~taken
        side_loss = functional.kl_div(
            student["boxes"].float().view(sides).log_softmax(2),
            teacher["boxes"].float().view(sides).log_softmax(2),
            reduction="none",
            log_target=True,
        )
        box_loss = (side_loss.sum(2).mean(1) * weight).sum() / weight.sum().clamp(min=1)
        loss[1] = loss[1] + hyp.cls * score_loss
        loss[2] = loss[2] + hyp.dfl * box_loss
        return loss * len(says), dict(zip(self.loss_names, loss.detach(), strict=True))


def _divergence(logits: Any, target: Any) -> Any:
    """Kullback-Leibler, of what a class is there or not; 0 where they agree."""
    entropy = functional.binary_cross_entropy(target, target, reduction="none")
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy
