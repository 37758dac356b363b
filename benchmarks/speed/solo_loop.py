"""Knowledge distillation as a user writes it for one run: the reference of all ratios.

Plain PyTorch and torchvision, nothing of kdsweep: a data set that returns PIL images, as
torchvision's CIFAR10 does, its transforms, a DataLoader, the teacher in eval mode without
gradients, and the loss of Hinton et al. 2015 (arXiv 1503.02531):

    alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + (1 - alpha) CE(z_s, y)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class LabelledPictures(Dataset[tuple[Tensor, int]]):
    """Images in memory and their labels: uint8 (N, channels, H, W), (N,)."""

    def __init__(self, images: Tensor, labels: Tensor, transform: transforms.Compose) -> None:
        self.pixels = images.permute(0, 2, 3, 1).cpu().numpy()
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.pixels[index]
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self.transform(picture), self.labels[index]


def make_loader(
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    augment: bool = True,
    workers: int = 0,
) -> DataLoader[tuple[Tensor, int]]:
    """Shuffled batches; with ``augment`` a random crop with a padding of 4 and a random flip."""
    steps = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    if augment:
        crop = transforms.RandomCrop(tuple(images.shape[2:]), padding=4)
        steps = [crop, transforms.RandomHorizontalFlip(), *steps]
    pictures = LabelledPictures(images, labels, transforms.Compose(steps))
    return DataLoader(pictures, batch_size=batch_size, shuffle=True, num_workers=workers)


def distillation_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float, alpha: float
) -> Tensor:
    """Of logits (B, C) and labels (B,): a scalar."""
    soft = F.kl_div(
        F.log_softmax(logits / T, dim=1),
        F.softmax(teacher_logits / T, dim=1),
        reduction="batchmean",
    )
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(logits, labels)


@dataclass
class SoloRun:
    """One run of the loop."""

    student: nn.Module
    teacher: nn.Module
    optimizer: Optimizer
    T: float
    alpha: float
    device: str = "cpu"

    def train_epoch(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Train for one epoch; returns the mean loss."""
        self.student.train()
        self.teacher.eval()
        total, count = 0.0, 0
        for images, labels in batches:
            images, labels = images.to(self.device), labels.to(self.device)
            loss = self.step(images, labels)
            total, count = total + loss.item() * len(labels), count + len(labels)
        return total / count

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on one batch: normalised images (B, channels, H, W); returns the loss."""
        loss = self.loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, from a forward pass of both networks."""
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        return distillation_loss(self.student(images), teacher_logits, labels, self.T, self.alpha)
