"""`${pairs:...}`: which features of the student a loss term compares with which of the teacher."""

import re
from typing import Any

from omegaconf import DictConfig

from kdsweep.common.feature_names import CLASS_MAPS, INPUT
from kdsweep.models.offered_features import offered_features

MAPS = ("maps", "before_relu")  # those of one network are given together
AT_THE_EMBEDDING = {"pooled_map": INPUT, "class_maps": CLASS_MAPS}
LIST_THE_PAIRS = "or list the pairs themselves, [[student,teacher],...]"


def pairs(*kinds: str, _root_: DictConfig) -> list[list[str]]:
    """`${pairs:maps}` in a loss term: each feature of the student with that of the teacher.

    `${pairs:maps/before_relu}` pairs the student's `maps` with the teacher's `before_relu`.
    An ensemble offers what its first member does, peers what the first of the others does.

    Args:
        kinds: of `maps`, `before_relu`, `map_1`, `map_2` and so on, `last_map`, `hint`,
            `embedding`, `pooled_map` and `class_maps`, or two of them, `STUDENT/TEACHER`; the pairs
            come in this order.

    Raises ValueError if a network does not offer them, or if they are not equally many.
    """
    key, node = _first_teacher(_root_.teacher)
    paired = []
    for kind in kinds:
        of_student, _, of_teacher = kind.partition("/")
        of_teacher = of_teacher or of_student
        student = _offered(_root_.student, "student", of_student)
        teacher = _offered(node, key, of_teacher)
        if len(student) != len(teacher):
            raise ValueError(
                f"student.features.{of_student} must be as many as {key}.features.{of_teacher}, "
                f"got {len(student)} and {len(teacher)}; {LIST_THE_PAIRS}"
            )
        paired += [list(pair) for pair in zip(student, teacher, strict=True)]
    return paired


def _first_teacher(teacher: DictConfig) -> tuple[str, DictConfig]:
    """The key and the node of a teacher, or of the first of several."""
    for kind in ("members", "peers"):
        for name, node in teacher[kind].items():
            return f"teacher.{kind}.{name}", node
    if teacher.model is None:
        raise ValueError("teacher must be a model, got none")
    return "teacher", teacher


def _features(node: DictConfig) -> dict[str, Any]:
    """The features of a network by their names, those of its family where the config has null."""
    features = {str(key): value for key, value in node.features.items()}
    family = None if node.get("model") is None else offered_features(node.model)
    if family is None:
        return features
    given = [key for key in MAPS if features.get(key) is not None]
    known = {k: v for k, v in family._asdict().items() if not (given and k in MAPS)}
    return {k: known.get(k) if v is None else v for k, v in features.items()}


def _offered(node: DictConfig, network: str, kind: str) -> list[str]:
    features = _features(node)
    place = re.fullmatch(r"map_([1-9]\d*)", kind)
    as_they_are = kind == "before_relu" and features.get("before_relu") is None
    key = "maps" if place or kind == "last_map" or as_they_are else kind
    key = "embedding" if kind in AT_THE_EMBEDDING else key
    if key not in features:
        derived = ["map_1", "last_map", *AT_THE_EMBEDDING]
        allowed = " | ".join([*(str(key) for key in features), *derived])
        raise ValueError(f"a kind of pairs must be {allowed}, got {kind}")
    offered = features[key]
    if not offered:
        got = "null" if offered is None else "[]"
        raise ValueError(f"{network}.features.{key} must be given, got {got}; {LIST_THE_PAIRS}")
    if kind in AT_THE_EMBEDDING:
        return [f"{offered}:{AT_THE_EMBEDDING[kind]}"]
    names = [offered] if isinstance(offered, str) else list(offered)
    if place and int(place[1]) > len(names):
        raise ValueError(
            f"{network}.features.maps must be at least {place[1]} for {kind}, got {len(names)};"
            f" {LIST_THE_PAIRS}"
        )
    if place:
        return [names[int(place[1]) - 1]]
    return names[-1:] if kind == "last_map" else names
