"""The skeleton of the configuration: names and types of the keys that kdsweep reads itself.

Leaves (a model, a loss term, an optimizer) have no dataclass: the constructor of the object that
uses them is their schema. Nothing in this package imports torch, so that `--help`, `--cfg job` and
a wrong key need no time. Nothing anywhere changes a config value after it was composed.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from kdsweep.common.teacher_views import SAME

# What a config may call, with the modules that the user allows (allow.py).
EXECUTION_WHITELIST = ("kdsweep.*", "torch.optim.*", "torchvision.models.*")


# Stochastic depth: a key of networks, and the argument of their models that it is passed as.
DROP_PATH = "drop_path"
# How the tensors of a file of weights are matched with those of a network: `start_match`.
BY_NAME, BY_POSITION = "name", "position"


@dataclass
class AugmentConfig:
    crop_padding: int = 0
    padding_mode: str = "constant"
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    strong_view: int = 0
    random_resized_crop: bool = False
    scale: list[float] = field(default_factory=lambda: [0.08, 1.0])
    ratio: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])
    auto_augment: str | None = None  # randaugment, trivialaugment, autoaugment
    num_ops: int = 2
    magnitude: int = 9
    color_jitter: Any = None  # a number, or three or four
    random_erasing: float = 0.0
    own: dict[str, Any] = field(default_factory=dict)  # of the user's, by name, in their order


@dataclass
class DatasetConfig:
    name: str = MISSING
    source: dict[str, Any] = MISSING
    root: str | None = None
    val_fraction: float = 0.1
    test_fraction: float | None = None
    split_seed: int = 0
    train_fraction: float = 1.0
    limit: int | None = None
    per_class: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    classes: int | None = None
    image_size: Any = None  # a number of pixels, or [H, W]
    crop_pct: float = 0.875
    interpolation: str = "bilinear"
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class HardConfig:
    label_smoothing: float = 0.0


@dataclass
class TrainerConfig:
    epochs: int = 60
    batch_size: int = 64
    device: str = "auto"
    precision: str = "fp32"
    memory_format: str = "auto"
    threads: Any = 1  # a number, or auto
    grad_clip: float | None = None
    accumulate: int = 1
    test_curve: bool = False
    devices: int = 1
    sync_batchnorm: bool = False
    train: str = "all"
    layer_decay: float = 1.0
    decay_norms: bool = True
    ema: float | None = None
    ema_warmup: bool = False
    compile: bool = False


@dataclass
class FeaturesConfig:
    """The features of a network: module paths, under names that all networks share."""

    maps: list[str] | None = None
    # The maps before their last ReLU; None if `maps` end without one.
    before_relu: list[str] | None = None
    hint: str | None = None
    embedding: str | None = None


@dataclass
class StudentConfig:
    name: str = MISSING
    model: dict[str, Any] = MISSING
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    checkpoint: str | None = None
    start: str | None = None
    start_match: str = BY_NAME
    drop_path: float | None = None
    image_size: Any = None  # a number of pixels, or [H, W]; None: that of the data set


@dataclass
class TeacherConfig:
    """A teacher's whole recipe. It depends on no key of the root, so that a sweep has one teacher.

    ``teacher`` is a TeacherConfig itself (a structured config cannot nest): that of an assistant,
    which learns by the terms of ``loss`` with ``T`` and ``alpha`` of its own. ``members`` are
    TeacherConfigs by name: those of an ensemble, which has no model itself. ``peers`` are
    StudentConfigs by name: those that learn with the student, and there is no trained teacher.
    ``born_again``: model, optimizer and schedule that are not given are those of the root.
    ``start``: weights that its training starts from, ``checkpoint``: those that it has without one.
    ``online``: it is trained with its students, with epochs, batches and seed of the root.
    ``precision`` and ``memory_format`` are those of its forward pass once it is frozen; null: the
    precision of its students' trainer. ``logits``: the type that its logits are rounded to.
    ``fold_batchnorm``: whether its BatchNorms are folded into the convolutions before them.
    ``view``: what it sees of a batch, and ``image_size`` in which size; null: that of the data set.
    """

    name: str = MISSING
    model: dict[str, Any] | None = None
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    checkpoint: str | None = None
    start: str | None = None
    start_match: str = BY_NAME
    drop_path: float | None = None
    precision: str | None = None
    memory_format: str = "auto"
    logits: str = "fp32"
    fold_batchnorm: bool = False
    view: str = SAME
    image_size: Any = None
    store: str = "teachers"
    seed: int = 0
    T: float = 4.0
    alpha: float = 0.5
    hard_weight: float | None = None
    hard: HardConfig = field(default_factory=HardConfig)
    loss: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] | None = None
    members: dict[str, Any] = field(default_factory=dict)
    peers: dict[str, Any] = field(default_factory=dict)
    born_again: bool = False
    online: bool = False
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass
class StageConfig:
    """What a student learns before its run; ``optimizer`` and ``schedule`` are the run's if empty.

    ``T``, ``alpha`` and all else are those of the run.
    """

    epochs: int = MISSING
    loss: dict[str, Any] = field(default_factory=dict)
    hard_weight: float | None = None
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScaleConfig:
    """How conf/scale/ cuts a recipe down where keys have names of their own."""

    stage_epochs: int | None = None  # most of a stage that conf/stages/ gives; None: as given there


@dataclass
class TrackingConfig:
    uri: str | None = None
    experiment: str = "kdsweep"
    artifacts: str = "mlartifacts"
    plots: str = "sweep"
    answers: bool = True
    report: bool = True
    models: bool = True
    tensorboard: bool = False
    system_metrics: bool = False
    checkpoint_seconds: float = 1.0
    wait: float = 60.0


@dataclass
class DeployConfig:
    """What is made of a sweep's best run when it has ended; it changes no number."""

    export: list[str] = field(default_factory=list)
    quantize: list[str] = field(default_factory=list)


@dataclass
class CacheConfig:
    """What is kept on disk for later commands; it changes no number."""

    folder: str = "cache"
    gib: float = 8.0


@dataclass
class SearchConfig:
    """The keys of a search in addition to those of the sweeper; set by conf/search/."""

    name: str | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    objectives: list[str] = field(default_factory=lambda: ["val/acc"])
    pruner: dict[str, Any] | None = None
    finalists: int = 3
    finalist_seeds: int = 3
    max_failures: int = 10
    workers: int | None = None
    timeout: str | None = None


@dataclass
class TrainConfig:
    T: float = 4.0
    alpha: float = 0.5
    seed: int = 0
    hard_weight: float | None = None
    hard: HardConfig = field(default_factory=HardConfig)
    allow: list[str] = field(default_factory=list)
    resume: bool = False
    dry_run: bool = False
    debug: bool = False
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    stages: dict[str, Any] = field(default_factory=dict)  # StageConfigs by name, in their order
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    published: dict[str, Any] = field(default_factory=dict)  # results in the literature; never read
