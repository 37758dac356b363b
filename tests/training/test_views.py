"""Training on two views of each image: the same equality, each network once a view."""

from pathlib import Path

import pytest
import torch
from toys import CLASSES, EPOCHS, MEAN, SHAPE, STD, images, make_student, make_teacher, train

from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.stream import Stream
from kdsweep.data.pipeline.strong_view import StrongView
from kdsweep.losses.base.multi_teacher import MultiTeacherLoss
from kdsweep.losses.kl import KL
from kdsweep.losses.mlkd import MLKD
from kdsweep.training.checkpoint import Saved, load_latest, save, sha256
from kdsweep.training.mutual import Peers
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.teacher import Ensemble

FACTORS = [0.5, 1.0, 1.5]


def views() -> Stream:
    augment = Augment(crop_padding=1, flip=True)
    strong = StrongView(augment, 2)
    normal = {"mean": MEAN, "std": STD}
    return Stream(images(40, 0), batch_size=16, seed=0, augment=augment, strong=strong, **normal)


def mlkd() -> MLKD:
    return MLKD(T=4, factors=FACTORS, weight=0.9, strong_factors=[1.0])


RECIPES = [
    {"terms": {}},
    {"dropout": 0.5, "precision": "bf16"},
    {"terms": {"mlkd": mlkd()}, "model": "cnn"},
]


@pytest.mark.ci
def test_student_among_many_equals_student_alone() -> None:
    together = [make_student(**recipe) for recipe in RECIPES]
    train(together, stream=views())
    for recipe, student in zip(RECIPES, together, strict=True):
        alone = make_student(**recipe)
        train([alone], stream=views())
        assert sha256(student.model) == sha256(alone.model), recipe
        assert student.epoch == EPOCHS


@pytest.mark.ci
def test_a_resumed_student_has_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole, begun = (make_student(terms={"mlkd": mlkd()}, dropout=0.5) for _ in range(2))
    train([whole], stream=views())
    train([begun], epochs=1, stream=views())
    save(tmp_path, begun, "mark")
    resumed = make_student(terms={"mlkd": mlkd()}, dropout=0.5)
    assert load_latest([Saved(tmp_path, resumed, "mark")])
    train([resumed], stream=views())
    assert sha256(resumed.model) == sha256(whole.model)


def test_each_network_runs_once_a_view_and_the_views_apart() -> None:
    """As the authors' code does: BatchNorm never sees both views at once."""
    batch = next(iter(views().epoch(0)))
    seen: list[torch.Tensor] = []
    teacher, students = make_teacher(), [make_student(model="cnn"), make_student(model="cnn")]
    teacher.network.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    target = teacher.targets(batch, 0)
    for student in students:
        student.step(batch, target, 0)
    assert [image.shape for image in seen] == [batch.images.shape] * 2
    assert torch.equal(seen[0], batch.images)
    assert torch.equal(seen[1], batch.strong)
    norms = [m for m in students[0].model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == 2 for norm in norms)
    assert not target.strong.logits.requires_grad


def test_each_term_and_the_hard_one_is_the_mean_over_the_views() -> None:
    batch = next(iter(views().epoch(0)))
    student, target = make_student(alpha=0.3), make_teacher().targets(batch, 0)
    output = student.forward(batch, 0)
    total, values, _ = student.objective(output, target, batch)
    apart = [
        student.objective(one, of_it, batch)
        for one, of_it in ((output._replace(strong=None), target), (output.strong, target.strong))
    ]
    torch.testing.assert_close(total, (apart[0][0] + apart[1][0]) / 2)
    for name in ("ce", "kl"):
        torch.testing.assert_close(values[name], (apart[0][1][name] + apart[1][1][name]) / 2)


def test_a_term_that_compares_the_views_gets_both_once() -> None:
    batch = next(iter(views().epoch(0)))
    student, target = make_student(terms={"mlkd": mlkd()}), make_teacher().targets(batch, 0)
    output = student.forward(batch, 0)
    values = student.objective(output, target, batch).values
    assert torch.equal(values["mlkd"], mlkd()(output, target, batch))
    assert values["mlkd"] != mlkd()(output._replace(strong=None), target, batch)


def test_ensembles_peers_and_online_teachers_have_both_views() -> None:
    batch = next(iter(views().epoch(0)))
    teachers = [make_teacher(), make_teacher()]
    with torch.no_grad():
        for parameter in teachers[1].network.model.parameters():
            parameter.mul_(0.5)
    target = Ensemble(teachers).targets(batch, 0)
    assert torch.equal(target.strong.logits, Ensemble(teachers)(batch.strong).logits)
    for member, teacher in zip(target.members, teachers, strict=True):
        assert torch.equal(member.strong.logits, teacher(batch.strong).logits)
    term = MultiTeacherLoss([mlkd(), mlkd()])
    student = make_student(terms={"mlkd": term})
    student.step(batch, target, 0)
    online = OnlineTeacher(make_student(model="cnn", terms={}, seed=7))
    assert online.targets(batch, 0).strong.logits.shape == (16, CLASSES)
    one = [MultiTeacherLoss([KL(T=1.0, weight=0.5)]) for _ in range(2)]
    peers = Peers({f"peer{n}": make_student(seed=n, terms={"kl": one[n]}) for n in range(2)})
    peers.step(batch, None, 0)
    assert peers.failure is None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stream_of_any_channels(channels: int) -> None:
    data = images(20, 0)
    data = data._replace(images=data.images.expand(-1, channels, -1, -1).contiguous())
    augment = Augment()
    made = Stream(
        data,
        batch_size=20,
        seed=0,
        augment=augment,
        strong=StrongView(augment, 2),
        mean=MEAN * channels,
        std=STD * channels,
    )
    batch = next(iter(made.epoch(0)))
    assert batch.strong.shape == (20, channels, *SHAPE[1:])
