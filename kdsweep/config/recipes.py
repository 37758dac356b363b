"""The configs of the runs that belong to a run: teachers, online teachers, peers, stages.

Pure functions of resolved values.
"""

from typing import Any

# What a recipe says for itself: it follows no key of the root.
OWN = ("T", "alpha", "alpha_weighted", "hard_weight", "hard", "loss", "optimizer", "schedule")
NOBODY: dict[str, Any] = {
    "name": "none",
    "model": None,
    "checkpoint": None,
    "teacher": None,
    "members": {},
    "peers": {},
    "online": False,
}
# What the others of a unit of peers call the student of the run itself.
ITSELF = "student"


def teachers(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each trained teacher that a run has, by its key, as the config of a run that has it alone.

    One under `teacher`, or the members of an ensemble under `teacher.members.<name>`, in order.
    None where the teacher is trained beside the run.
    """
    if values["teacher"]["online"]:
        return {}
    members = values["teacher"]["members"]
    found = {f"teacher.members.{name}": member for name, member in members.items()}
    found = found or {"teacher": values["teacher"]}
    return {
        key: {**values, "teacher": teacher}
        for key, teacher in found.items()
        if teacher["model"] is not None
    }


def teacher_recipe(values: dict[str, Any]) -> dict[str, Any]:
    """The config of the run that trains this run's one teacher.

    A teacher is trained by the very path that trains a student: on hard labels, or taught by a
    teacher of its own if its recipe names one. It shares the data set and its split, but sees all
    training images whatever the students see.
    """
    teacher = values["teacher"]
    whole = {"limit": None, "per_class": None, "train_fraction": 1.0}
    return {
        **values,
        "dataset": {**values["dataset"], **whole},
        "student": {**_parts(teacher, "name", "model", "features"), "checkpoint": None},
        "stages": {},
        "teacher": teacher["teacher"] or {**teacher, **NOBODY},
        **_parts(teacher, *OWN, "trainer", "seed"),
    }


def online_recipe(values: dict[str, Any]) -> dict[str, Any] | None:
    """The config of the run of a teacher that trains beside this one; None if there is none.

    Network, optimizer, schedule and the hard term are its recipe's; data, epochs and batches are
    those of the students, and so is the seed, from which it starts elsewhere than they do.
    """
    teacher = values["teacher"]
    if not teacher["online"] or teacher["model"] is None:
        return None
    return {
        **teacher_recipe(values),
        "dataset": values["dataset"],
        "trainer": {**values["trainer"], **_parts(teacher["trainer"], "precision", "grad_clip")},
        "seed": values["seed"],
        "beside": "teacher",
    }


def peers(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every other peer of a run, by name, as the config of a run of its own.

    It shares all with the run but its network, its initialisation, and what `${pairs:...}` means to
    it, which is why its loss terms were resolved for it.
    """
    teacher = values["teacher"]
    everyone = {ITSELF: values["student"], **teacher["peers"]}
    return {
        name: {
            **values,
            "beside": name,
            "student": _parts(peer, "name", "model", "features", "checkpoint"),
            "loss": peer.get("loss", {}),
            "teacher": {**teacher, "peers": {k: v for k, v in everyone.items() if k != name}},
        }
        for name, peer in teacher["peers"].items()
    }


def how_many_teach(values: dict[str, Any]) -> int:
    """Over how many teachers a term is averaged; 0 where it looks at one alone, or at none."""
    return len(values["teacher"]["members"]) or len(values["teacher"]["peers"])


def has_company(values: dict[str, Any]) -> bool:
    """Whether runs of other roles belong to the teaching of a run: beside it, or before it."""
    assisted = any(one["teacher"]["teacher"] is not None for one in teachers(values).values())
    return assisted or bool(values["teacher"]["peers"]) or online_recipe(values) is not None


def _parts(node: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: node[key] for key in keys}


# What a stage says for itself where it says anything; all else is the run's.
STAGE_OWN = ("optimizer", "schedule")


def stage_before(values: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The name and the config of the stage whose weights a run begins with; None if it has none.

    That run has the earlier stages for its own, and so has another one before it.
    """
    if not values["stages"]:
        return None
    *earlier, name = values["stages"]
    stage = values["stages"][name]
    return name, {
        **values,
        "stages": {key: values["stages"][key] for key in earlier},
        **{key: stage[key] for key in ("loss", "hard_weight", "alpha_weighted")},
        **{key: stage[key] or values[key] for key in STAGE_OWN},
        "trainer": {**values["trainer"], "epochs": stage["epochs"]},
    }
