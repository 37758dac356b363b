"""In a training step the host never waits for the device; its queue of work stays full."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from device_training import BATCH, MEAN, STD, labelled_images, make_stream
from loss_students import LOSSES, SHAPE, make_batch, make_pair
from torch import Tensor

from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.stream import Stream, evaluation_batches
from kdsweep.data.types import LabelledImages
from kdsweep.training.trainer import Unwatched, train_epoch

pytestmark = pytest.mark.filterwarnings("error:.*deterministic")

WAIT = ("kdsvd",)  # docs/gpu.md


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in WAIT])
def test_the_step_of_every_loss(device, kernels, not_waiting, loss) -> None:
    student, teacher = make_pair(loss, "cnn", device, grad_clip=1.0)
    batch = make_batch(device)
    student.step(batch, teacher.targets(batch, 0), 0)  # libraries are loaded
    with not_waiting():
        for step in (0, 1):
            student.step(batch, teacher.targets(batch, step), step)


@pytest.mark.gpu
@pytest.mark.parametrize("loss", WAIT)
def test_the_losses_that_are_known_to_wait(loss) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    student, teacher = make_pair(loss, "cnn", "cuda")
    batch = make_batch("cuda")
    target = teacher.targets(batch, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
            student.step(batch, target, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_epoch_of_a_cohort(device, kernels, not_waiting, precision) -> None:
    pairs = [make_pair("mlkd", "resnet8", device, precision=precision) for _ in range(3)]
    students, teacher = [pair.student for pair in pairs], pairs[0].teacher
    stream = make_stream(device, mix=BatchMixer(mixup=1.0, cutmix=1.0), operations=2)
    train_epoch(students, stream, 0, teacher, Unwatched())
    with not_waiting():
        train_epoch(students, stream, 1, teacher, Unwatched())
    assert [student.failure for student in students] == [None] * 3  # they catch what is raised


class OnDisk:
    """Images that are read batch by batch."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels, self.shape = pixels, pixels.shape

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.pixels[index]

    def read(self, batches: Sequence[Tensor], *, pinned: bool = False) -> Iterator[Tensor]:
        return (self[index] for index in batches)


def test_images_on_disk_are_moved_without_waiting(device, not_waiting) -> None:
    memory = labelled_images()
    disk = LabelledImages(OnDisk(memory.images), memory.labels)  # type: ignore[arg-type]
    options = {"batch_size": BATCH, "seed": 0, "augment": Augment(2), "mean": MEAN, "std": STD}
    streams = [Stream(data, **options, device=device) for data in (memory, disk)]
    list(streams[1].epoch(1))
    with not_waiting():
        expected, found = (list(stream.epoch(0)) for stream in streams)
    for one, other in zip(expected, found, strict=True):
        assert other.images.device.type == device
        assert torch.equal(one.images, other.images)
    options = {"batch_size": BATCH, "mean": MEAN, "std": STD, "device": device}
    images = torch.cat([batch.images for batch in evaluation_batches(disk, **options)])
    assert images.shape == (len(memory.labels), *SHAPE)
