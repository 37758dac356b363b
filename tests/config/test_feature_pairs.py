"""What the resolver `${pairs:...}` makes of what student and teacher offer."""

import pytest
from commands import Compose

from kdsweep.config.resolve import resolve_config
from kdsweep.errors import UserError

RESNETS = ("student=resnet20", "teacher=resnet56", "loss=fitnet")


@pytest.fixture
def pairs(compose: Compose):
    """`pairs("maps", "student=cnn")`: the pairs that fitnet gets with `${pairs:maps}`."""

    def found(kinds: str, *words: str):
        message = "loss.fitnet.pairs=${pairs:" + kinds + "}"
        return resolve_config(compose("loss=fitnet", message, *words)).loss["fitnet"]["pairs"]

    return found


@pytest.mark.ci
@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("maps", [["stage1"] * 2, ["stage2"] * 2, ["stage3"] * 2]),
        ("last_map", [["stage3"] * 2]),
        ("map_1", [["stage1"] * 2]),
        ("map_3", [["stage3"] * 2]),
        ("hint", [["stage2"] * 2]),
        ("embedding", [["pool"] * 2]),
        ("hint,embedding", [["stage2"] * 2, ["pool"] * 2]),
        (
            "maps/before_relu,embedding",
            [*([f"stage{n}", f"stage{n}:before_relu"] for n in (1, 2, 3)), ["pool", "pool"]],
        ),
        ("hint/last_map", [["stage2", "stage3"]]),
        ("pooled_map", [["pool:input"] * 2]),
        ("class_maps", [["pool:class_maps"] * 2]),
    ],
)
def test_a_kind_of_the_student_meets_that_of_the_teacher(pairs, kinds, expected) -> None:
    assert pairs(kinds, *RESNETS) == expected


def test_the_default_networks_have_a_hint(compose: Compose) -> None:
    assert resolve_config(compose("loss=fitnet")).loss["fitnet"]["pairs"] == [["hidden2", "pool"]]


def test_the_pairs_follow_what_the_networks_are_known_to_offer(pairs) -> None:
    words = ["student.features.maps=[stem,stage3.2]", "teacher.features.maps=[stage1,stage2]"]
    assert pairs("maps", *RESNETS, *words) == [["stem", "stage1"], ["stage3.2", "stage2"]]


@pytest.mark.parametrize(
    ("kinds", "words", "sentence"),
    [
        (
            "maps",
            ["student=convnet4"],
            "student.features.maps must be as many as teacher.features.maps, got 4 and 3; "
            r"or list the pairs themselves, \[\[student,teacher\],...\]",
        ),
        (
            "maps/before_relu",
            ["student=convnet4"],
            "student.features.maps must be as many as teacher.features.before_relu, got 4 and 3; ",
        ),
        ("maps/ends", ["student=cnn"], "a kind of pairs must be .*, got ends"),
        ("maps", ["student=mlp"], r"student.features.maps must be given, got \[\]; or list"),
        (
            "last_map",
            ["student=cnn", "teacher=torchvision"],
            "teacher.features.maps must be given, got null; or list",
        ),
        ("hint", ["teacher=none"], "teacher must be a model, got none"),
        (
            "ends",
            [],
            r"a kind of pairs must be maps \| before_relu \| hint \| embedding \| map_1 \| last_map"
            r" \| pooled_map \| class_maps, got ends",
        ),
        ("map_0", [], r"a kind of pairs must be .*, got map_0"),
        (
            "map_4",
            ["student=cnn"],
            "student.features.maps must be at least 4 for map_4, got 3; or list",
        ),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_sentence(pairs, kinds, words, sentence) -> None:
    with pytest.raises(UserError, match=f"^loss.fitnet.pairs: {sentence}"):
        pairs(kinds, *words)


def test_without_a_teacher_there_is_nothing_to_pair_and_nothing_wrong(compose: Compose) -> None:
    assert resolve_config(compose("loss=ce", "teacher=none")).loss == {}


def test_an_interpolation_that_leads_nowhere_is_named(compose: Compose) -> None:
    with pytest.raises(UserError, match=r"^loss\.kl\.T must refer to a key, got \$\{warmth\}$"):
        resolve_config(compose("loss.kl.T=${warmth}"))
