"""Keys of data sets, trainers and networks that were added later.

Where they have no effect they are left out of all that is hashed, so that earlier runs and searches
are found.
"""

from collections.abc import Mapping
from typing import Any

from kdsweep.common.teacher_views import SAME
from kdsweep.config.schema import DROP_PATH, AugmentConfig, DatasetConfig, TrainerConfig
from kdsweep.models.hf_folder import OF_A_VIEW

OF_DATA = "${dataset.interpolation}"  # in a config before it is resolved
# Without effect at their defaults.
LATER = ("train", "layer_decay", "decay_norms", "accumulate", "ema", "ema_warmup", "compile")


def without_added(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trainer for what is hashed.

    With one device neither `devices` nor `sync_batchnorm` has an effect.
    """
    default = TrainerConfig()
    # In a config before it is resolved, one that follows the root's trainer is in that one.
    left_out = {
        key for key in LATER if trainer.get(key) in (getattr(default, key), f"${{trainer.{key}}}")
    }
    if trainer.get("devices", 1) == 1:
        left_out |= {"devices", "sync_batchnorm"}
    elif not trainer.get("sync_batchnorm"):
        left_out.add("sync_batchnorm")
    return {key: value for key, value in trainer.items() if key not in left_out}


def without_added_data(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a data set for what is hashed, with those of its augmentation."""
    default = DatasetConfig()
    left_out = {
        key for key in ("image_size", "interpolation") if dataset.get(key) == getattr(default, key)
    }
    if dataset.get("image_size") is None:
        left_out.add("crop_pct")
    kept = {key: value for key, value in dataset.items() if key not in left_out}
    if "source" in kept:
        of_data = dataset.get("interpolation", default.interpolation)
        kept["source"] = without_added_of_source(kept["source"], of_data)
    if "augment" in kept:
        kept["augment"] = without_added_augmentations(kept["augment"])
    return kept


def without_added_of_source(source: Mapping[str, Any], of_data: object) -> dict[str, Any]:
    """The options of a source of kdsweep's for what is hashed; of the user's all count.

    ``of_data``: the interpolation of the data set, which the source has unless it has its own.
    """
    if not is_of_kdsweep(source):
        return dict(source)
    own, default = source.get("interpolation"), DatasetConfig().interpolation
    left_out = {"interpolation"} if own == OF_DATA or own == of_data == default else set()
    return {key: value for key, value in source.items() if key not in left_out}


def is_of_kdsweep(node: Mapping[str, Any]) -> bool:
    """Whether a config node is of a class of kdsweep's, not of the user's."""
    return str(node.get("_target_")).startswith("kdsweep.")


def without_added_of_model(model: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The node of a network for what is hashed.

    How images were made for the weights of a folder is there for a note, and without effect.
    """
    if model is None or not isinstance(preprocessing := model.get("preprocessing"), Mapping):
        return None if model is None else dict(model)
    kept = {key: value for key, value in preprocessing.items() if key not in OF_A_VIEW}
    return {**model, "preprocessing": kept}


def without_added_augmentations(augment: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an augmentation for what is hashed: those of another one have no effect."""
    default = AugmentConfig()
    left_out = {
        key
        for key in ("random_resized_crop", "auto_augment", "color_jitter", "random_erasing")
        if augment.get(key) == getattr(default, key)
    }
    if not augment.get("random_resized_crop"):
        left_out |= {"scale", "ratio"}
    if augment.get("auto_augment") != "randaugment":
        left_out |= {"num_ops", "magnitude"}
    if not augment.get("own"):
        left_out.add("own")
    return {key: value for key, value in augment.items() if key not in left_out}


def without_added_below(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """A config as plain values, with every trainer and data set in it as above.

    A network without weights to start from has neither `start` nor `start_match`, one for images of
    the data set's size no `image_size`, one whose stochastic depth is not set no
    `drop_path`, a teacher of these images no `view`.
    """
    left_out = set()
    if values.get("start", "") is None:
        left_out |= {"start", "start_match"}
    if values.get(DROP_PATH, "") in (None, f"${{student.{DROP_PATH}}}"):
        left_out.add(DROP_PATH)
    if "model" in values and values.get("image_size") is None:  # of a network, not of a source
        left_out.add("image_size")
    if values.get("view") == SAME:
        left_out.add("view")

    def below(key: Any, child: Any) -> Any:
        if not isinstance(child, Mapping):
            return child
        if key == "dataset":
            return without_added_data(child)
        return without_added(child) if key == "trainer" else without_added_below(child)

    return {key: below(key, child) for key, child in values.items() if key not in left_out}
