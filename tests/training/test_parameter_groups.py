"""Learning rates by depth, and no weight decay for norms, biases and tokens."""

from pathlib import Path

import pytest
import torch
from hf_folders import write_vit
from torch import nn

from kdsweep.builders.optimizers import build_optimizer, build_schedule
from kdsweep.models.hf_model import HuggingFace
from kdsweep.models.vit import VisionTransformer
from kdsweep.training.parameter_groups import SCALE, layer_numbers, parameter_groups

ADAMW = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1, "weight_decay": 0.05}


def vit() -> VisionTransformer:
    return VisionTransformer((1, 8, 8), num_classes=3, width=6, depth=2)


def cnn() -> nn.Sequential:
    block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), block, nn.Linear(4, 3))


def rates(model: nn.Module, **options: float | bool) -> dict[str, tuple[float, float]]:
    """The learning rate and the weight decay of each parameter."""
    optimizer = build_optimizer(ADAMW, parameter_groups(model, **options))  # type: ignore[arg-type]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_by_default_it_is_one_list() -> None:
    model, other = cnn(), nn.Linear(2, 2)
    model[0].requires_grad_(False)
    expected = [p for p in (*model.parameters(), *other.parameters()) if p.requires_grad]
    found = parameter_groups(model, list(other.parameters()))
    assert [id(p) for p in found] == [id(p) for p in expected]


def test_layers_are_blocks_and_the_head_is_the_last() -> None:
    assert layer_numbers(vit()) == {
        name: number
        for name, _ in vit().named_parameters()
        for part, number in {
            **dict.fromkeys(("cls_token", "pos_embed", "patch_embed"), 0),
            **{"blocks.0": 1, "blocks.1": 2, "norm": 2, "head": 3},
        }.items()
        if name.startswith((f"{part}.", part)) and not name.startswith(f"{part}_")
    }
    numbers = layer_numbers(cnn())
    assert numbers["0.weight"] == numbers["1.bias"] == 0
    assert numbers["2.0.weight"] == numbers["2.1.weight"] == 1
    assert numbers["3.bias"] == 2


def test_the_learning_rate_falls_from_the_head_to_the_stem() -> None:
    found = rates(cnn(), layer_decay=0.5)
    assert found["3.weight"] == (0.1, 0.05)
    assert found["2.0.weight"] == (0.05, 0.05)
    assert found["0.weight"] == found["1.bias"] == (0.025, 0.05)


def test_norms_biases_and_tokens_need_not_decay() -> None:
    found = rates(vit(), decay_norms=False)
    assert {rate for rate, _ in found.values()} == {0.1}
    decayed = {name for name, (_, decay) in found.items() if decay}
    assert decayed == {
        name
        for name, parameter in vit().named_parameters()
        if parameter.ndim > 1 and name not in ("cls_token", "pos_embed")
    }


def test_parameters_of_loss_terms_have_the_full_rate() -> None:
    other = nn.Linear(2, 2)
    groups = parameter_groups(cnn(), list(other.parameters()), layer_decay=0.5, decay_norms=False)
    scales = {id(p): group[SCALE] for group in groups for p in group["params"]}  # type: ignore[index]
    assert scales[id(other.weight)] == scales[id(other.bias)] == 1


def test_the_first_group_has_the_full_rate_and_the_schedule_moves_all() -> None:
    optimizer = build_optimizer(ADAMW, parameter_groups(cnn(), layer_decay=0.5, decay_norms=False))
    node = {"_target_": "kdsweep.training.schedule.Cosine"}
    schedule = build_schedule(node, optimizer, epochs=1, steps_per_epoch=2)
    before = [group["lr"] for group in optimizer.param_groups]
    assert before[0] == max(before) == 0.1
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
        [rate / 2 for rate in before]
    )


def test_the_state_of_groups_is_restored() -> None:
    model = cnn()
    first = build_optimizer(ADAMW, parameter_groups(model, layer_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.step()
    again = build_optimizer(ADAMW, parameter_groups(model, layer_decay=0.5))
    again.load_state_dict(first.state_dict())
    assert again.state_dict()["param_groups"] == first.state_dict()["param_groups"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "tf_efficientnet_lite0", "resnet18", "convnext_atto"]
)
def test_layers_of_a_network_of_timm_are_those_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

    model = timm.create_model(name, num_classes=3)
    listed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    expected = param_groups_layer_decay(model, 0.05, no_weight_decay_list=listed, layer_decay=0.75)
    theirs = {
        id(p): (0.1 * group["lr_scale"], group["weight_decay"])
        for group in expected
        for p in group["params"]
    }
    found = rates(model, layer_decay=0.75, decay_norms=False)
    for parameter_name, parameter in model.named_parameters():
        assert found[parameter_name] == pytest.approx(theirs[id(parameter)]), parameter_name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224"),
        *("swin_tiny_patch4_window7_224", "convnext_atto", "mobilenetv4_conv_small", "fastvit_t8"),
        *("tf_efficientnet_lite0", "test_vit", "vit_small_patch16_dinov3", "xcit_nano_12_p16_224"),
    ],
)
def test_what_does_not_decay_in_a_network_of_timm_is_what_timm_leaves_out(name: str) -> None:
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_weight_decay

    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3)
    listed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    theirs, own = (
        {
            names[id(parameter)]
            for group in groups
            if group.get("weight_decay") == 0
            for parameter in group["params"]
        }
        for groups in (
            param_groups_weight_decay(model, 0.05, no_weight_decay_list=listed),
            parameter_groups(model, decay_norms=False),
        )
    )
    assert own == theirs


def test_a_network_of_transformers_is_taken_apart_down_to_its_blocks(tmp_path: Path) -> None:
    write_vit(tmp_path)
    model = HuggingFace((3, 32, 32), 4, path=str(tmp_path))
    numbers = layer_numbers(model)
    assert numbers["vit.embeddings.cls_token"] == 0
    assert numbers["vit.layers.0.layernorm_before.weight"] == 1
    assert numbers["vit.layers.1.layernorm_before.weight"] == 2
    assert numbers["vit.layernorm.weight"] == 2
    assert numbers["classifier.weight"] == 3
    found = rates(model, decay_norms=False)
    assert found["vit.embeddings.position_embeddings"] == (0.1, 0)
    assert found["classifier.weight"] == (0.1, 0.05)
