"""Mixed batches: pixels, labels and shares belong together."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kdsweep.common.types import Batch
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.types import LabelledImages
from kdsweep.losses.base.hard_label import cross_entropy, hard_loss


def batch(size: int = 64) -> Batch:
    """Image i is black but for a grey i; its label is i."""
    labels = torch.arange(size)
    images = labels.float().view(-1, 1, 1, 1).expand(-1, 3, 8, 6).clone()
    return Batch(images, labels, labels.clone())


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def mixed(mixer: BatchMixer, images: Batch, seed: int) -> Batch:
    height, width = images.images.shape[-2:]
    return mixer.apply(images, mixer.draw(len(images.labels), (height, width), draws(seed)))


@pytest.mark.parametrize("seed", range(20))
def test_mixup_adds_images_by_the_shares_of_their_labels(seed: int) -> None:
    found = mixed(BatchMixer(mixup=1.0), batch(), seed)
    assert found.mixed is not None
    assert 0.5 <= found.mixed.lam <= 1
    expected = found.mixed.lam * found.labels + (1 - found.mixed.lam) * found.mixed.labels
    assert torch.allclose(found.images[:, 0, 0, 0], expected, atol=1e-4)
    assert torch.equal(found.index, batch().index)


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_a_box_as_large_as_its_share(seed: int) -> None:
    found = mixed(BatchMixer(cutmix=1.0), batch(), seed)
    assert found.mixed is not None
    first = found.images == found.labels.view(-1, 1, 1, 1)
    second = found.images == found.mixed.labels.view(-1, 1, 1, 1)
    assert bool((first | second).all())
    different = found.labels != found.mixed.labels
    lam = first[different].float().mean(dim=(1, 2, 3))
    assert torch.allclose(lam, torch.tensor(found.mixed.lam), atol=1e-6)
    assert found.mixed.lam >= 0.5


@pytest.mark.parametrize("options", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_both_views_are_mixed_alike(options: dict[str, float]) -> None:
    views = batch()._replace(strong=batch().images + 100)
    found, alone = (mixed(BatchMixer(**options), one, 3) for one in (views, batch()))
    assert alone.strong is None
    assert found.strong is not None
    assert torch.equal(found.images, alone.images)
    torch.testing.assert_close(found.strong, found.images + 100)


def test_shares_have_the_spread_of_their_beta() -> None:
    few = [mixed(BatchMixer(mixup=0.2), batch(2), seed).mixed for seed in range(400)]
    many = [mixed(BatchMixer(mixup=5.0), batch(2), seed).mixed for seed in range(400)]
    means = [float(np.mean([m.lam for m in found if m])) for found in (few, many)]
    assert means[0] == pytest.approx(0.899, abs=0.02)  # E max(x, 1 - x) of Beta(.2, .2)
    assert means[1] == pytest.approx(0.623, abs=0.02)  # of Beta(5, 5)


def test_with_both_some_batches_are_cut_and_some_are_blended() -> None:
    both = BatchMixer(mixup=1.0, cutmix=1.0)
    blended = 0
    for seed in range(200):
        images = mixed(both, batch(), seed).images
        blended += bool((images != images.round()).any())
    assert 60 < blended < 140


def test_the_hard_loss_counts_both_labels_by_their_shares() -> None:
    found = mixed(BatchMixer(mixup=1.0), batch(5), 3)
    assert found.mixed is not None
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    lam = found.mixed.lam
    target = torch.nn.functional.one_hot(found.labels, 7) * lam
    target = target + torch.nn.functional.one_hot(found.mixed.labels, 7) * (1 - lam)
    expected = torch.nn.functional.cross_entropy(logits, target)
    assert hard_loss(logits, found).item() == pytest.approx(expected.item(), rel=1e-6)
    plain = found._replace(mixed=None)
    assert torch.equal(hard_loss(logits, plain), cross_entropy(logits, found.labels))


def stream(mix: BatchMixer) -> Stream:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=generator)
    data = LabelledImages(images, torch.arange(40) % 7)
    none = (0.0,) * 3, (1.0,) * 3
    return Stream(data, batch_size=8, seed=1, augment=Augment(), mix=mix, mean=none[0], std=none[1])


def images_of(found: Stream, epoch: int) -> Tensor:
    return torch.cat([b.images for b in found.epoch(epoch)])


def test_a_stream_mixes_alike_every_time_and_each_epoch_anew() -> None:
    mixing = BatchMixer(mixup=0.4, cutmix=1.0)
    once, again = images_of(stream(mixing), 2), images_of(stream(mixing), 2)
    assert torch.equal(once, again)
    assert not torch.equal(once, images_of(stream(BatchMixer()), 2))
    batches = [next(iter(stream(mixing).epoch(epoch))).mixed for epoch in range(5)]
    assert len({found.lam for found in batches if found}) > 1


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf"), "much", True])
def test_alphas_that_are_refused(alpha: object) -> None:
    with pytest.raises(ValueError, match=r"dataset.augment.cutmix must be a finite number >= 0"):
        BatchMixer(cutmix=alpha)  # type: ignore[arg-type]
