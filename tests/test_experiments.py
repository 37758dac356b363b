"""Every recipe of conf/experiment composes; in the slow tier it runs, reduced."""

import json
from pathlib import Path

import pytest
from commands import Command, Compose
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from kdsweep.cli import CONF
from kdsweep.sweeps import dry_run

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PAIRS = sorted(path.stem for path in (CONF / "experiment" / "pair").glob("*.yaml"))

# Synthetic images with the shape and the number of classes of the recipe.
SMALL = [
    "scale=tiny",
    "dataset=fake",
    "dataset.source.num_test=20",
    "dataset.mean=null",
    "dataset.std=null",
    "teacher.store=teachers",
    "tracking.uri=null",
    "trainer.batch_size=8",
    "teacher.trainer.batch_size=8",
]


def made(experiment: str) -> list[str]:
    """The overrides that replace the data of a recipe by synthetic images."""
    if experiment == "logits_mse_folder":
        return [*(word for word in SMALL if word.startswith(("scale", "t"))), "dataset.root=photos"]
    if experiment.startswith("fitnets_imagenette"):
        small = [*SMALL, "dataset.source.shape=[3,224,224]", "dataset.source.num_train=20"]
        per_class = ["dataset.per_class=null,2"] if experiment.endswith("small") else []
        return [*small, *per_class]
    classes = 100 if experiment.startswith("cifar100") else 10
    number = 240 if classes == 100 else 80
    words = [f"dataset.source.num_classes={classes}", f"dataset.source.num_train={number}"]
    if classes == 100:
        # A teacher of one epoch at 0.05 has maps that send terms to infinity.
        words += ["optimizer.lr=0.001", "teacher.optimizer.lr=0.001"]
    if experiment == "cifar100_nkd":
        words += ["student.model.width=0.125", "teacher.model.width=0.125"]
    return [*SMALL, *words, "dataset.source.shape=[3,32,32]"]


def photos(folder: Path) -> None:
    """Two classes of synthetic photographs."""
    for name in ("cat", "dog"):
        (folder / "photos" / "train" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.effect_noise((40, 30), 10 + 5 * number).convert("RGB")
            image.save(folder / "photos" / "train" / name / f"{number}.png")


def test_every_experiment_is_listed() -> None:
    assert len(EXPERIMENTS) == 31
    assert len(PAIRS) == 21


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(compose: Compose, experiment: str) -> None:
    cfg = compose(f"experiment={experiment}", "scale=tiny")
    assert cfg.trainer.epochs == 2
    assert cfg.teacher.trainer.epochs == 1
    assert not OmegaConf.missing_keys(cfg)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_has_its_networks_and_its_figures(pair: str) -> None:
    config = OmegaConf.load(CONF / "experiment" / "pair" / f"{pair}.yaml")
    assert isinstance(config, DictConfig)
    _, teacher, student = config.defaults
    assert pair == f"{teacher['override /teacher']}_{student['override /student']}"
    assert config.keys() == {"defaults", "optimizer", "published"}
    assert config.optimizer.keys() == {"lr"}
    assert config.published.acc.ce < config.published.teacher
    defaults = OmegaConf.load(CONF / "experiment" / "base" / "cifar100.yaml").published
    for recipe in defaults.keys() & config.published.keys():
        assert config.published[recipe].keys() <= defaults[recipe].keys(), recipe


# The others differ in names and figures.
@pytest.mark.parametrize(
    "pair", [PAIRS[0], *(pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS[1:])]
)
def test_a_pair_is_composed_with_its_recipe(compose: Compose, pair: str) -> None:
    cfg = compose("experiment=cifar100_dkd", f"experiment/pair={pair}")
    assert pair == f"{cfg.teacher.name}_{cfg.student.name}"
    assert cfg.loss.dkd.beta == cfg.published.dkd.beta


@pytest.mark.parametrize(
    ("pair", "lr"), [("resnet56_resnet20", 0.01), ("wrn40_2_wrn16_2", 0.01), ("vgg13_vgg8", 0.05)]
)
def test_a_paraphraser_has_the_learning_rate_of_repdistiller(
    compose: Compose, pair: str, lr: float
) -> None:
    """helper/pretrain.py: .01 for resnets and wrns, else that of the student."""
    cfg = compose("experiment=cifar100_crd_ft", f"experiment/pair={pair}")
    optimizer = cfg.stages.factors.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (lr, 0.9, 5e-4)
    assert optimizer._target_ == "torch.optim.SGD"
    assert cfg.optimizer.lr == 0.05


@pytest.mark.parametrize(
    ("pair", "last"),
    [
        ("resnet56_resnet20", ["stage3:before_relu", "stage3:before_relu"]),
        ("wrn40_2_wrn16_2", ["stage3", "last.0"]),  # without the student's last BatchNorm
        ("wrn40_2_wrn40_1", ["stage3", "last.0"]),
        ("wrn28_4_wrn28_2", ["stage3", "last.0"]),
        ("resnet32x4_wrn40_2", ["stage3", "stage3:before_relu"]),
    ],
)
def test_the_boundaries_of_the_recipe_are_those_of_repdistiller(
    compose: Compose, pair: str, last: list[str]
) -> None:
    ab = compose("experiment=cifar100_crd_ab", f"experiment/pair={pair}").stages.boundaries.loss.ab
    assert (ab.connector, ab.teacher_mode) == ("identity", "eval")
    assert [len(ab.pairs), ab.pairs[-1]] == [3, last]


@pytest.mark.parametrize(
    ("pair", "recipe", "expected"),
    [
        ("resnet32x4_resnet8x4", "cifar100_mlkd", (0.025, 240, 0.9)),
        ("resnet32x4_shufflenetv2", "cifar100_mlkd", (0.01, 960, 0.9)),
        ("resnet32x4_resnet8x4", "cifar100_mlkd_logit_std", (0.025, 480, 9)),
        ("vgg13_vgg8", "cifar100_mlkd_logit_std", (0.01, 480, 6)),
    ],
)
def test_mlkd_has_the_settings_of_its_pair_and_two_views(
    compose: Compose, pair: str, recipe: str, expected: tuple[float, int, float]
) -> None:
    """Rates, epochs, weights: configs and logs of its authors' and of logit-standardization-KD."""
    cfg = compose(f"experiment={recipe}", f"experiment/pair={pair}")
    assert (cfg.optimizer.lr, cfg.trainer.epochs, cfg.loss.mlkd.weight) == expected
    assert (cfg.dataset.augment.strong_view, cfg.hard_weight) == (2, 0.2)
    temperatures = [cfg["T"] * factor for factor in cfg.loss.mlkd.factors]
    assert temperatures == ([2, 3, 4, 5, 6] if recipe == "cifar100_mlkd" else [2, 3, 5, 2, 6])
    assert cfg.schedule.milestones == [150, 180, 210]


STAGES = {  # scale=tiny leaves their epochs
    "cifar100_crd_ab": "boundaries",
    "cifar100_crd_fsp": "flow",
    "cifar100_crd_ft": "factors",
}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_reduced(command: Command, experiment: str) -> None:
    photos(Path.cwd())
    words = [f"experiment={experiment}", *made(experiment), "seed=0", "trainer.epochs=1"]
    stage = STAGES.get(experiment)
    words += [f"stages.{stage}.epochs=1"] if stage else []
    outcome = command(*words, tiny=False)
    assert outcome.code == 0, outcome.err
    paths = outcome.folder.glob("multirun/*/*/*/result.json")
    results = [json.loads(path.read_text()) for path in sorted(paths)]
    assert {result["status"] for result in results} == {"FINISHED"}
    assert all(0 <= result["test/acc"] <= 1 for result in results)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [e for e in EXPERIMENTS if not e.startswith("cifar100")])
def test_published_figures_belong_to_cells_of_the_sweep(
    command: Command, compose: Compose, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        dry_run, "print_estimate", lambda *rest: None
    )  # the estimate is not tested here
    photos(Path.cwd())
    words = [f"experiment={experiment}", *made(experiment), "dry_run=true", "seed=0"]
    outcome = command(*words, tiny=False)
    assert outcome.code == 0, outcome.err
    for cell in compose(f"experiment={experiment}").published.get("acc", {}):
        assert f"{cell} seed=0" in outcome.out
