"""Numbers too large to be meant, odd names, unknown keys, values swept twice: all refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Check, Command, Compose, Refusal

from kdsweep.config.limits import odd_names, refuse_keys_of_some_options, refuse_sweep
from kdsweep.errors import UserError


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("trainer.epochs=1000000000000", "trainer.epochs must be at most 1000000"),
        ("trainer.threads=1000000", "trainer.threads must be at most 1024"),
        ("trainer.batch_size=1000000000000", "trainer.batch_size must be at most 1000000"),
        ("teacher.trainer.epochs=100000000000", "teacher.trainer.epochs must be at most 1000000"),
        ("teacher.seed=9223372036854775808", "teacher.seed must be at most 9223372036854775807"),
        ("seed=9223372036854775808", "seed must be at most 9223372036854775807"),
        ("dataset.split_seed=99999999999999999999", "dataset.split_seed must be at most"),
        ("dataset.augment.crop_padding=1000000", "dataset.augment.crop_padding must be at most"),
        ("dataset.augment.strong_view=1000000", "dataset.augment.strong_view must be at most 100"),
        ("dataset.source.num_train=1000000000000", "dataset.source.num_train must be at most"),
        ("dataset.source.num_classes=1000000000", "dataset.source.num_classes must be at most"),
        ("student.model.width=1000000000000", "student.model.width must be at most 16384"),
        ("teacher.model.width=1000000000000", "teacher.model.width must be at most 16384"),
    ],
)
def test_a_number_that_would_hang_or_crash(refusal: Refusal, word: str, key: str) -> None:
    assert key in refusal(word)


def test_stages_and_readers_have_limits_too(refusal: Refusal) -> None:
    epochs = refusal("stages=hints", "stages.hints.epochs=1000000000000")
    assert "stages.hints.epochs must be at most 1000000, got 1000000000000" in epochs
    words = ["dataset=image_folder", "dataset.root=x", "dataset.source.workers=100000"]
    assert "dataset.source.workers must be at most 256, got 100000" in refusal(*words)
    size = "dataset.source.image_size=1000000"
    assert "dataset.source.image_size must be at most 8192" in refusal(*words[:2], size)
    assert "width must be at most 64 times" in refusal("student=wrn16_2", "student.model.width=999")


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "..", ".hidden", "a\\b", "a\0b", "", "x" * 101, "a|b", "a\n", "a "]
)
def test_a_name_is_a_plain_word(name: str) -> None:
    values = {
        "stages": {name: {"loss": {name: {}}}, "hints": {"loss": {}}},
        "loss": {name: {}, "kl": {}},
        "teacher": {"peers": {name: {}}, "members": {name: {"loss": {name: {}}}}},
        "published": {"loss": {name: 1}},
    }
    found = odd_names(values)
    keys = ["stages", f"stages.{name}.loss", "loss", "teacher.peers", "teacher.members"]
    keys.append(f"teacher.members.{name}.loss")
    rule = "must have names of letters, digits, _, - and ., got"
    assert sorted(found) == sorted(f"{key} {rule} {name}" for key in keys)


@pytest.mark.parametrize("name", ["kl", "block_1", "straße", "a-b.c d", "2", "x" * 100])
def test_a_plain_name_passes(name: str) -> None:
    assert odd_names({"stages": {name: {}}, "loss": {name: {}}}) == []


@pytest.mark.ci
@pytest.mark.parametrize(
    ("group", "text"),
    [
        ("teacher", "defaults: [none]\nname: mine\npeers: {../../../out: {}}\n"),
        pytest.param(
            "stages", "defaults: [hints]\n../../out: {epochs: 1}\n", marks=pytest.mark.slow
        ),
    ],
)
def test_no_name_leads_out_of_the_folder(command: Command, group: str, text: str) -> None:
    mine = Path("conf", group, "mine.yaml")
    mine.parent.mkdir(parents=True)
    mine.write_text(text)
    outcome = command("hydra.searchpath=[conf]", f"{group}=mine")
    assert outcome.code == 1
    assert "must have names of letters, digits, _, - and ., got ../" in outcome.err
    assert not list(outcome.folder.rglob("run.json"))
    assert not list(outcome.folder.glob("out*"))


@pytest.mark.parametrize(
    "key", ["unknown", "trainer.unknown", "dataset.augment.nothing", "tracking.unknown", "hard.x"]
)
def test_an_unknown_key_is_refused(refusal: Refusal, key: str) -> None:
    message = refusal(f"+{key}=1")
    assert message == f"{key} must be a key of the config, got +{key}, which nothing reads"


def test_a_key_that_others_refer_to_is_read(check: Check) -> None:
    check("+wide=8", "student.model.width=${wide}")
    check("+published.mine=3")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=0,0"], "seed must have each value once to be swept, got 0 twice"),
        (["T=1,4,4.0"], "T must have each value once to be swept, got 4.0 twice"),
        (["loss=kl,ce,kl"], "loss must have each value once to be swept, got kl twice"),
        (["seed=range(100000000000)"], "a sweep must have at most 100000 runs, got 1000000000"),
        (["seed=range(1000)", "T=range(1,1000)"], "a sweep must have at most 100000 runs"),
    ],
)
def test_sweeps(words: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        refuse_sweep(words)
    assert sentence in str(refused.value)


def test_a_grid_of_different_values_passes() -> None:
    refuse_sweep(["seed=range(5)", "T=1,2", "loss=kl,[kl,fitnet],ce", "alpha=0.5"])


@pytest.mark.parametrize("launcher", ["lockstep", "basic"])
def test_a_value_twice_trains_nothing(command: Command, launcher: str) -> None:
    outcome = command("seed=0,0", f"hydra/launcher={launcher}")
    assert outcome.code == 1
    assert "seed must have each value once to be swept, got 0 twice" in outcome.err
    assert not list(outcome.folder.rglob("run.json"))


@pytest.mark.ci
def test_a_loss_without_a_term_is_no_ce(refusal: Refusal, tmp_path: Path) -> None:
    assert "must name at least one option" in refusal("~loss")
    mine = tmp_path / "loss" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text("# to be written\n")
    for loss, have in (("mine", "none"), ("[kl,mine]", "kl"), ("[ce,mine]", "none")):
        refused = refusal(f"hydra.searchpath=[{tmp_path}]", f"loss={loss}")
        assert f"which have {have} (ce is the option without)" in refused


@pytest.mark.ci
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["stages=none,hints", "stages.hints.epochs=5"],
            "stages.hints.epochs must be a key of every option of stages that is swept, got"
            " stages=none; write it into an option of your own (conf/stages/mine.yaml)",
        ),
        (["loss=ce,kl", "loss.kl.weight=2,3"], "loss.kl.weight must be a key of every option of"),
    ],
)
def test_a_key_of_some_options(command: Command, words: list[str], sentence: str) -> None:
    outcome = command(*words)
    assert outcome.code == 1
    assert outcome.err.startswith(sentence)
    assert outcome.err.count("\n") == 1
    assert not list(outcome.folder.rglob(".kdsweep"))


def test_a_key_of_all_options_is_swept_with_them(compose: Compose) -> None:
    tried = []

    def composes(chosen: Sequence[str]) -> bool:
        tried.append(compose(*chosen).loss.kl.weight)
        return True

    refuse_keys_of_some_options(["loss=kl,[kl,mse]", "loss.kl.weight=2"], composes)
    assert tried.count(2) == 2, "with each of the options"


@pytest.mark.parametrize("sweep", ["loss=glob(k*)", "alpha=interval(0,1)", "T=range(1,4)"])
def test_sweeps_without_keys_of_some_options_are_left_to_hydra(sweep: str) -> None:
    def composes(words: Sequence[str]) -> bool:
        raise AssertionError(f"nothing need be composed, got {words}")

    refuse_keys_of_some_options([sweep, "seed=1", "stages.hints.epochs=5"], composes)


def test_keys_are_checked_next_to_sweeps_that_name_no_value() -> None:
    words = ["stages=none,hints", "stages.hints.epochs=5", "loss=glob(k*)", "alpha=interval(0,1)"]

    def composes(chosen: Sequence[str]) -> bool:
        return "stages=none" not in chosen or "stages.hints.epochs=5" not in chosen

    with pytest.raises(UserError, match="got stages=none"):
        refuse_keys_of_some_options(words, composes)


@pytest.mark.parametrize(
    ("stages", "words", "epochs"),
    [
        ("hints", ["scale=tiny"], {1}),
        ("blocks", ["scale=tiny"], {1}),
        ("blocks", ["scale=full"], {5}),
        ("hints", ["scale=tiny", "stages.hints.epochs=3"], {3}),
        ("hints", [], {10}),
    ],
)
def test_a_scale_reaches_stages(
    compose: Compose, stages: str, words: list[str], epochs: set[int]
) -> None:
    config = compose(f"stages={stages}", *words)
    assert {stage.epochs for stage in config.stages.values()} == epochs
