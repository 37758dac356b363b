"""Everything that is wrong with the words of a command line, each in one sentence."""

from pathlib import Path

import hydra
import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from kdsweep.cli import CONF
from kdsweep.config.composition import Composition
from kdsweep.config.malformed import parse
from kdsweep.config.refusals import Checker, refusals, sweep_refusals


def loader() -> ConfigLoader:
    with hydra.initialize_config_dir(str(CONF)):
        return GlobalHydra.instance().config_loader()


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(Composition(loader()))


def faults(checker: Checker, *words: str) -> list[str]:
    overrides, found = parse(words)
    return found + checker.all_faults(overrides)


LOSSES = (
    "ab, at, cat_kd, cc, ce, cosine, crd, ctkd, deit, dist, dkd, embedding, fitnet, fsp, ft, ickd,"
    " kdsvd, kl, mgd, mlkd, mse, mse_probs, nkd, nst, ofa, ofd, pad, pkt, review, rkd, simkd,"
    " soft_ce, sp, srd, srrl, tfkd, vid, wttm"
)
FITNET_FIRST = f"fitnet, {LOSSES.replace('fitnet, ', '')}"
TRAINER = (
    "epochs, batch_size, device, precision, memory_format, threads, grad_clip, accumulate,"
    " test_curve, devices, sync_batchnorm, train, layer_decay, decay_norms, ema, ema_warmup,"
    " compile"
)
ALONE = {
    # keys
    "temprature=4": "temprature must be a key of the config, got temprature=4; did you mean T?",
    "epochs=3": "epochs must be a key of the config, got epochs=3; did you mean trainer.epochs?",
    "lr=0.1": "lr must be a key of the config, got lr=0.1; did you mean optimizer.lr?",
    "trianer.epochs=3": (
        "trianer.epochs must be a key of the config, got trianer.epochs=3;"
        " did you mean trainer.epochs?"
    ),
    "trainer.epoch=3": (
        f"trainer.epoch must be a key of trainer ({TRAINER}), got trainer.epoch=3;"
        " did you mean trainer.epochs?"
    ),
    "trainer.amp=perhaps": (
        f"trainer.amp must be a key of trainer ({TRAINER}), got trainer.amp=perhaps"
    ),
    "student.model.widht=1,2": (
        "student.model.widht must be a key of student.model (_target_, width, dropout), got"
        " student.model.widht=1,2; did you mean student.model.width?"
    ),
    "loss.fitnet.weight=2": (
        "loss.fitnet.weight must be a key of loss (kl), got loss.fitnet.weight=2; loss=fitnet may"
        " have it"
    ),
    "published.x=1": "published.x must be a key of published (there are none), got published.x=1",
    "dataset.augment={crop:3}": (
        "dataset.augment.crop must be a key of dataset.augment (crop_padding, padding_mode, flip,"
        " mixup, cutmix, strong_view, random_resized_crop, scale, ratio, auto_augment, num_ops,"
        " magnitude, color_jitter, random_erasing, own), got dataset.augment={crop:3}"
    ),
    "hydra.sweeper.n_trails=3": (
        "hydra.sweeper.n_trails must be a key of hydra.sweeper (_target_, max_batch_size, params),"
        " got hydra.sweeper.n_trails=3"
    ),
    "+sed=3": (
        "sed must be a key of the config, got +sed, which nothing reads; did you mean seed?"
    ),
    "+T=4": "T must be set without a +, T=4, got +T=4",
    "T.x=3": "T must be a number, got T.x=3",
    "nope@x=3": "nope must be a group of options to have an @, got nope@x=3",
    # deletions
    "~T": "T must be a number, got ~T, which deletes it",
    "~optimizer": (
        "optimizer must name at least one option of adam, adamw, dot, sgd, got ~optimizer"
    ),
    "~optimizer._target_": (
        "optimizer._target_ must be the path of a class, got ~optimizer._target_, which deletes it"
    ),
    "~sed": "sed must be a key of the config, got ~sed; did you mean seed?",
    "~optimizer.lr=3": (
        "optimizer.lr must be deleted with no value or its own, 0.02, got ~optimizer.lr=3"
    ),
    # options
    "loss=3": f"loss must be one of {LOSSES}, got 3",
    "loss=true": f"loss must be one of {LOSSES}, got true",
    "loss=null": f"loss must name at least one option of {LOSSES}, got null",
    "search=null": "search must name at least one option of bayes, methods, got null; leave it out"
    " for none",
    "schedule=null": (
        "schedule must name at least one option of constant, cosine, multistep, onecycle, got null"
    ),
    "loss=[kl,fitnett]": (
        f"loss must be one of {FITNET_FIRST}, got fitnett in [kl,fitnett]; did you mean fitnet?"
    ),
    "loss=kl,fitnett": f"loss must be one of {FITNET_FIRST}, got fitnett; did you mean fitnet?",
    "loss=[kl,null]": f"loss must be one of {LOSSES}, got null in [kl,null]",
    "loss=glob(zz*)": "loss must match at least one option, got glob(zz*)",
    "trainer=[a,b]": "trainer must be one of default, got a in [a,b]",
    "hydra/sweeper=optna": (
        "hydra/sweeper must be one of basic, grid, kdsweep, optuna, got optna; did you mean optuna?"
    ),
    "+loss=kl": "loss must be chosen without a +, loss=kl, got +loss=kl",
    "++loss=kl": "loss must be chosen without a ++, loss=kl, got ++loss=kl",
    "+optimizer=sgd": "optimizer must be chosen without a +, optimizer=sgd, got +optimizer=sgd",
    "loss@teacher.loss=kl": (
        "loss@teacher.loss must be added with a +, +loss@teacher.loss=kl, got loss@teacher.loss=kl"
    ),
    # types
    "trainer.epochs=ten": "trainer.epochs must be an integer, got ten",
    "trainer.epochs=null": "trainer.epochs must be an integer, got null",
    "trainer.test_curve=perhaps": "trainer.test_curve must be true or false, got perhaps",
    "dataset.limit=[1]": "dataset.limit must be null or an integer, got [1]",
    "dataset.mean=[a]": "dataset.mean must be null or a list of numbers, got [a]",
    "dataset.source=3": "dataset.source must be a mapping, got 3",
    "search.timeout=[1]": "search.timeout must be null or a string, got [1]",
    "dataset.augment=null": (
        "dataset.augment must be a mapping with keys of crop_padding, padding_mode, flip, mixup,"
        " cutmix, strong_view, random_resized_crop, scale, ratio, auto_augment, num_ops, magnitude,"
        " color_jitter, random_erasing, own, got null"
    ),
    "hydra.job.chdir=perhaps": "hydra.job.chdir must be true or false, got perhaps",
    "T=": "T must be a number, got nothing",
    "T=1,four": "T must be a number, got four",
    # sweeps
    "seed=range(0)": "seed must be a range with at least one value, got range(0)",
    "T=range(1,2,0)": "T must be a range with at least one value, got range(1,2,0)",
    "T=interval(1,4)": "T must be values or a range of steps without a search, got interval(1,4)",
    "T=glob(x*)": "T must be values or a range of steps, got glob(x*): glob() is of groups",
    "seed=range(3),7": "seed must be values or one range of steps, got range(3),7",
    # what composes and cannot be resolved
    "optimizer.lr=${nope}": "optimizer.lr must refer to a key, got ${nope}",
    "T=${tau}": "T must refer to a key, got ${tau}",  # not T itself
    "optimizer.lr=${tariner.epochs}": (
        "optimizer.lr must refer to a key, got ${tariner.epochs}; did you mean trainer.epochs?"
    ),
    "seed=${T}": "seed must be an integer, got ${T}",
    "optimizer.lr=${oc.env:KDSWEEP_NOPE}": (
        "optimizer.lr must be a value or lead to one, got ${oc.env:KDSWEEP_NOPE}: Environment"
        " variable 'KDSWEEP_NOPE' not found"
    ),
    "student.model._target_=null": "student.model._target_ must be the path of a class, got null",
    "loss.kl=null": "loss.kl must be a term's options, got null",
    "+teacher.members.a=3": "teacher.members.a must be a mapping of options, got 3",
}


@pytest.mark.parametrize("word", ALONE)
def test_a_word(checker: Checker, word: str) -> None:
    assert faults(checker, word) == [ALONE[word]]


def test_a_recipe_for_a_teacher_that_is_not_trained(checker: Checker) -> None:
    (sentence,) = faults(checker, "recipe=finetune", "teacher=none")
    assert sentence == (
        "teacher must fit recipe=finetune, got teacher=none: there is no teacher/recipe@teacher to"
        " replace"
    )


def test_all_words_are_checked(checker: Checker) -> None:
    words = ["temprature=4", "trainer.epoch=3", "alpha", "loss=kll", "trainer.epochs=ten", "seed=1"]
    starts = ["alpha must", "loss must", "temprature must", "trainer.epoch must"]
    found = faults(checker, *words)
    assert len(found) == 5
    for sentence, start in zip(found, [*starts, "trainer.epochs must"], strict=True):
        assert sentence.startswith(start)


def test_values_are_checked_next_to_words_that_cannot_be_composed(checker: Checker) -> None:
    found = faults(checker, "temprature=4", "trainer.epochs=0", "alpha=2")
    assert found[1:] == [
        "alpha must be a number in [0, 1], got 2",
        "trainer.epochs must be at least 1, got 0",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["dataset=cifra10", "dataset.source.download=true"],
        ["experiment=nope", "loss.fitnet.weight=2", "hydra.sweeper.n_trials=3"],
        ["+student@teacher.peers.second=nope", "teacher.peers.second.model.width=3"],
    ],
)
def test_keys_of_a_refused_option_are_no_errors(checker: Checker, words: list[str]) -> None:
    assert len(faults(checker, *words)) == 1


@pytest.mark.ci
def test_a_key_of_some_swept_options(checker: Checker) -> None:
    (sentence,) = faults(checker, "loss=[kl,fitnet],kl", "loss.fitnet.weight=2")
    assert sentence.startswith("loss.fitnet.weight must be a key of every option of loss that is")


def test_a_fixed_key_of_an_option_that_is_no_default(checker: Checker) -> None:
    words = ["loss=[kl,fitnet],fitnet", "loss.fitnet.weight=2"]
    assert faults(checker, *words) == [
        "loss.fitnet.weight must be set with ++ where its group is swept, ++loss.fitnet.weight=2,"
        " got loss.fitnet.weight=2"
    ]


def test_values_of_own_keys_are_checked_next_to_refused_options(checker: Checker) -> None:
    found = faults(checker, "loss=3", "seed=-1", "alpha=2")
    assert found[1:] == [
        "alpha must be a number in [0, 1], got 2",
        "seed must be an integer >= 0, got -1",
    ]


def test_nothing_is_wrong(checker: Checker) -> None:
    assert faults(checker, "loss=kl,[kl,fitnet]", "T=1,4", "seed=range(3)", "+published.x=3") == []
    assert faults(checker, "search=bayes", "T=interval(1,4)", "hydra.sweeper.n_trials=4") == []
    assert faults(checker, "~optimizer.lr", "student=glob(resnet*)") == []


def test_sweeps_and_deletions_of_a_config_that_composes(checker: Checker) -> None:
    config = checker.composition.compose()
    words = ["T=1,four", "~seed", "loss=kl,dkdd", "alpha=0.5", "sed=range(2)", "seed=range(0)"]
    starts = ["loss must be one of dkd,", "T must be a number, got four", "seed must be an integer"]
    starts += ["sed must be a key", "seed must be a range with at least one value, got range(0)"]
    found = sweep_refusals(config, words, loader())
    assert len(found) == len(starts)
    assert all(map(str.startswith, found, starts))
    assert sweep_refusals(config, ["T=1,4", "loss=kl,ce", "~optimizer.lr"], loader()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["loss=[kl,fitnet],fitnet", "loss.fitnet.weight=1,2"],
        ["loss.kl.schedule={warmup:2},{until:1}"],
        ["trainer={epochs:3},{epochs:4}"],
        ["experiment=cifar100_dkd,cifar100_dkd_logit_std", "loss.dkd.beta=1,2"],
        ["student.features.maps=[stage1],[stage2,stage3]"],
    ],
)
def test_sweeps_that_hydra_composes_are_accepted(checker: Checker, words: list[str]) -> None:
    config = checker.composition.compose()
    assert sweep_refusals(config, words, loader()) == []


def test_a_search_draws_keys_of_some_options(checker: Checker) -> None:
    config = checker.composition.compose(["search=bayes"])
    words = ["loss=kl,dkd", "loss.dkd.beta=1,2", "T=interval(1,4)"]
    assert sweep_refusals(config, words, loader()) == []


FILES = {
    "broken": ("mine: [\n", "line 2: "),
    "tabbed": ("mine:\n\tweight: 1\n", "must be indented with spaces, and a tab was found"),
    "python": ("mine: !!python/object:os.x {}\n", "must hold no tag of Python's, and"),
    "double": ("a: 1\na: 2\n", "found duplicate key a"),
    "list": ("- 1\n", "must be"),
    "nested": (
        "defaults: [kll]\n",
        "with loss/kll in the defaults of loss/nested.yaml",
    ),
}


@pytest.mark.ci
def test_own_yaml_files(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    for name, (text, _) in FILES.items():
        (tmp_path / "loss" / f"{name}.yaml").write_text(text)
    (tmp_path / "loss" / "binary.yaml").write_bytes(b"\x80\x81\xff\x00")
    (tmp_path / "loss" / "null.yaml").write_bytes(b"a: \x00")
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "typed.yaml").write_text("epochs: ten\n")
    hydra_loader = loader()
    source = f"hydra.searchpath=[{tmp_path}]"
    for name, (_, reason) in FILES.items():
        (sentence,) = refusals([source, f"loss={name}"], hydra_loader)
        assert sentence.startswith("loss must "), sentence
        assert f"got loss={name}" in sentence
        assert reason in sentence, sentence
        assert "\n" not in sentence
    (sentence,) = refusals([source, "loss=binary"], hydra_loader)
    file = tmp_path / "loss" / "binary.yaml"
    got = f"got loss=binary: {file}: it is no text in UTF-8"
    assert sentence == f"loss must be options that can be read, {got}"
    both = refusals([source, "loss=tabbed", "trainer=typed", "sed=1"], hydra_loader)
    assert [sentence.partition(" ")[0] for sentence in both] == ["loss", "trainer", "sed"]
    assert "trainer.epochs" in both[1]
