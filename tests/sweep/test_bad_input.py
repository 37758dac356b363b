"""Bad input: one sentence with key, value and what is allowed, exit code 1, nothing trained."""

import pickle
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from commands import Command, Refusal
from PIL import Image

from kdsweep.training import checkpoint


def refused(command: Command, *words: str, **options: bool) -> str:
    """Run a command that must be refused, and return its sentence."""
    outcome = command(*words, **options)
    assert outcome.code == 1, outcome.out
    assert "Traceback" not in outcome.err + outcome.out, outcome.err
    begun = [*outcome.folder.glob("multirun/**/run.json"), *outcome.folder.glob("**/.kdsweep")]
    assert not begun, "a refused command left a sweep behind"
    return outcome.err


ALL_AT_ONCE = [
    {
        "T=0": "T must be a number from 1e-6 to 1e6, got 0",
        "alpha=2": "alpha must be a number in [0, 1], got 2",
        "seed=-1": "seed must be an integer >= 0, got -1",
        "hard_weight=-1": "hard_weight must be null or a finite number >= 0, got -1",
        "hard.label_smoothing=1": "hard.label_smoothing must be a number in [0, 1), got 1",
        "trainer.epochs=0": "trainer.epochs must be at least 1, got 0",
        "trainer.batch_size=0": "trainer.batch_size must be at least 1, got 0",
        "trainer.threads=0": "trainer.threads must be at least 1, got 0",
        "trainer.precision=fp8": "trainer.precision must be fp32 | bf16, got fp8",
        "trainer.grad_clip=0": "trainer.grad_clip must be null or a number > 0, got 0",
        "teacher.trainer.epochs=0": "teacher.trainer.epochs must be at least 1, got 0",
        "tracking.plots=all": "tracking.plots must be run | sweep | none, got all",
    },
    {
        "T=-1": "T must be a number from 1e-6 to 1e6, got -1",
        "alpha=-0.1": "alpha must be a number in [0, 1], got -0.1",
    },
    {
        "T=nan": "T must be a number from 1e-6 to 1e6, got nan",
    },
]


@pytest.mark.parametrize("wrong", ALL_AT_ONCE, ids=len)
def test_all_wrong_values_are_said_at_once(command: Command, wrong: dict[str, str]) -> None:
    sentences = refused(command, *wrong)
    assert sorted(sentences.splitlines()) == sorted(wrong.values())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["T=-1", "loss=ce"], "T must be a number from 1e-6 to 1e6, got -1"),
        (["optimizer.lr=fast"], "optimizer.lr must be a finite number > 0, got fast"),
        (["loss=null"], "loss must name at least one option"),
        (["dataset.classes=7"], "dataset.classes"),
        (["teacher=vgg16", "dataset=digits"], "vgg16 needs images of at least 32 x 32, got 8 x 8"),
        (["tracking.uri=file:./mlruns"], "tracking.uri must be"),
        (["search.seeds=[0,1]"], "search.seeds must be left out unless search=bayes searches"),
        (
            ["search=bayes", "search.objectives=[test/acc]"],
            "search.objectives must be of val/acc, val/acc_best, val/loss, num_params, latency_ms,"
            " got test/acc",
        ),
        (["hydra.launcher.cohort_size=0"], "cohort_size must be null or at least 1, got 0"),
    ],
)
def test_values(command: Command, words: list[str], sentence: str) -> None:
    assert sentence in refused(command, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["T=inf"], "T must be a number from 1e-6 to 1e6, got inf"),
        (["loss.kl.T=null"], "T must be a number from 1e-6 to 1e6, got None"),
        (["loss.kl.weight=-1"], "loss.kl: weight must be a finite number >= 0, got -1"),
        (["loss.kl.standardize=maybe"], "loss.kl: standardize must be true or false, got 'maybe'"),
        (["loss.kl=3"], "loss.kl must be a term's options, got 3"),
        (["loss.kl.schedule=20"], "loss.kl.schedule: must be null or hold some of warmup, until,"),
        (["loss.kl.schedule={warm:3}"], "loss.kl.schedule: must be null or hold some of warmup,"),
        (["loss.kl.schedule={warmup:0}"], "loss.kl.schedule: warmup must be an integer >= 1, got"),
        (
            ["loss.kl.schedule={until:1}", "hard_weight=0"],
            "loss: hard_weight or the weight of a term must be > 0 in every epoch, got",
        ),
        (["optimizer.lr=-0.1"], "optimizer.lr must be a finite number > 0, got -0.1"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay must be a finite number >= 0"),
        (["trainer.batch_size=5000"], "trainer.batch_size must be at most the"),
        (["trainer.device=tpu9"], "trainer.device must be auto, cpu or a device"),
        (["schedule.warmup_epochs=9"], "warmup_epochs must be less than trainer.epochs=2, got 9"),
        (["schedule=multistep", "schedule.milestones=[3,2]"], "milestones must be rising"),
        (["teacher.optimizer.lr=-1"], "teacher.optimizer.lr must be a finite number > 0, got -1"),
        (["teacher.trainer.batch_size=5000"], "teacher.trainer.batch_size must be at most the"),
        (["loss=[kl,kl]"], "loss must name each option once, got [kl,kl]"),
        (["loss=[]"], "loss must name at least one option"),
        (["teacher=none"], "teacher must be a model for these loss terms, got none"),
        (["loss=fitnet", "loss.fitnet.pairs=[[layer9,stage1]]"], "feature 'layer9' must be"),
        (["loss=fitnet", "loss.fitnet.pairs=[]"], "loss.fitnet: pairs must be"),
        (
            ["loss=fitnet", "loss.fitnet.pairs=${pairs:maps}"],
            "loss.fitnet.pairs: student.features.maps must be given, got []; or list the pairs",
        ),
        (["loss=fitnet", "teacher=none"], "loss.fitnet.pairs: teacher must be a model, got none"),
        (["loss=fitnet", "loss.fitnet.pairs=[[pool,stage1]]"], "feature 'pool' must be"),
        (
            ["loss=fitnet", "loss.fitnet.pairs=[[hidden2,stage1]]"],
            "loss.fitnet: pairs [hidden2, stage1]: features must be two vectors",
        ),
        (["dataset.val_fraction=1"], "dataset.val_fraction must be"),
        (["dataset.train_fraction=0"], "dataset.train_fraction must be"),
        (["dataset.limit=0"], "dataset.limit must be"),
        (["student.model.width=0"], "width must be"),
        (
            ["student.checkpoint=nowhere.safetensors"],
            "student.checkpoint must be a file of weights",
        ),
        (["teacher.checkpoint=nowhere.pt"], "teacher.checkpoint must be a file of weights"),
    ],
)
def test_what_a_plan_refuses(refusal: Refusal, words: list[str], sentence: str) -> None:
    assert sentence in refusal(*words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=nope"], "Could not find 'loss/nope'"),
        (["student=nope"], "Available options in 'student'"),
        (["sed=1"], "Key 'sed' not in 'TrainConfig'"),
        (["dataset.vall_fraction=0.1"], "vall_fraction"),
        (["trainer.epochs=ten"], "Value 'ten' of type 'str' could not be converted to Integer"),
        (["T=warm"], "Value 'warm' of type 'str' could not be converted to Float"),
        (["search=nope"], "Available options in 'search'"),
    ],
)
def test_names_and_types_are_hydras_own_errors(
    command: Command, words: list[str], sentence: str
) -> None:
    assert sentence in refused(command, *words)


def test_a_sentence_is_said_once_and_names_the_runs(command: Command) -> None:
    sentence = refused(command, "T=-1,4", "alpha=0.1,2")
    assert sentence.count("T must be") == sentence.count("alpha must be") == 1
    assert (
        "T must be a number from 1e-6 to 1e6, got -1 (run 0: T=-1 alpha=0.1; run 1: T=-1"
        in sentence
    )


def test_a_swept_key_without_effect_is_named(command: Command) -> None:
    assert "T must change some run of the sweep" in refused(command, "loss=ce", "T=1,4")
    assert "alpha must change" in refused(command, "loss=fitnet", "alpha=0.1,0.9")


def test_a_swept_key_with_an_effect_on_some_run_is_no_error(command: Command) -> None:
    assert command("loss=ce,kl", "T=1,4", "dry_run=true").code == 0


@pytest.mark.slow
def test_a_folder_named_in_a_refused_command_is_free_again(command: Command) -> None:
    refused(command, "hydra.sweep.dir=mine", "T=0")
    assert command("hydra.sweep.dir=mine", "T=1", "loss=kl").code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dataset=image_folder"], "dataset.root must be given"),
        (["teacher=torchvision"], "teacher.model.name must be given"),
        (["search=bayes", "resume=true"], "resume must be false in a search"),
        (["search=bayes", "seed=0,1"], "seed must not be searched"),
        (["hydra/launcher=basic", "dry_run=true"], "dry_run=true needs hydra/launcher=lockstep"),
        (["hydra/launcher=basic", "resume=true"], "resume=true needs hydra.sweep.dir=FOLDER"),
        (["optimizer=sgd", "optimizer.momentum=-1"], "optimizer.momentum must be a finite number"),
        (
            ["loss=fitnet", "loss.fitnet.pairs=[[nope,stage1]]"],
            "loss needs a feature that the student does not have",
        ),
    ],
)
def test_what_cannot_be_is_said_before_training(
    command: Command, words: list[str], sentence: str
) -> None:
    assert sentence in refused(command, *words)


@pytest.mark.slow
def test_a_stock_launcher_never_overwrites_another_run(command: Command) -> None:
    words = ["hydra/launcher=basic", "hydra.sweep.dir=mine"]
    first = command("T=1", *words)
    assert first.code == 0, first.err
    second = command("T=9", *words)
    assert second.code == 1
    assert "hydra.sweep.dir must be a folder of its own" in second.err
    again = command("T=1", *words, "resume=true")
    assert again.code == 0, again.err
    assert "epochs" not in again.err, "a finished run was trained again"


def test_a_search_needs_validation(command: Command) -> None:
    sentence = refused(command, "search=bayes", "dataset.val_fraction=0")
    assert "dataset.val_fraction must be > 0 in a search, got 0" in sentence


def test_debug_shows_the_traceback(command: Command) -> None:
    outcome = command("T=-1", "debug=true")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "T must be a number from 1e-6 to 1e6, got -1" in outcome.err


def folder_of_images(root: Path) -> Path:
    """A small image folder as a user has it."""
    for split, count in (("train", 20), ("test", 4)):
        for name, shade in (("cat", 60), ("dog", 200)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (32, 32), (shade, number, 7 * number))
                image.save(root / split / name / f"{number}.png")
    return root


def image_folder(root: Path) -> list[str]:
    sizes = ["trainer.batch_size=8", "teacher.trainer.batch_size=8"]
    return ["dataset=image_folder", f"dataset.root={root}", *sizes]


def test_a_missing_folder(command: Command, tmp_path: Path) -> None:
    sentence = refused(command, *image_folder(tmp_path / "nowhere"))
    assert "dataset.root" in sentence
    assert "nowhere" in sentence


def test_an_empty_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "dataset.root" in refused(command, *image_folder(tmp_path / "empty"))


def test_an_empty_class_folder(command: Command, tmp_path: Path) -> None:
    root = folder_of_images(tmp_path / "pets")
    (root / "train" / "eel").mkdir()
    assert "eel" in refused(command, *image_folder(root))


def test_an_unreadable_image_is_named_and_skipped_on_request(
    command: Command, tmp_path: Path
) -> None:
    root = folder_of_images(tmp_path / "pets")
    (root / "train" / "cat" / "3.png").write_bytes(b"not an image")
    sentence = refused(command, *image_folder(root))
    assert "3.png" in sentence
    assert command(*image_folder(root), "dataset.source.skip_unreadable=true").code == 0


def test_a_corrupt_checkpoint(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(b"\x08\x00")
    assert "cut.safetensors, which is damaged" in refused(command, f"teacher.checkpoint={path}")


def test_a_pickled_checkpoint(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"weights": Path("somewhere")}))
    assert "pickled objects; those are never loaded" in refused(
        command, f"student.checkpoint={path}"
    )


def test_a_foreign_checkpoint(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.save_weights(path, torch.nn.Linear(3, 2))
    sentence = refused(command, f"teacher.checkpoint={path}")
    assert "teacher.checkpoint" in sentence
    assert "other.safetensors" in sentence


def test_a_checkpoint_for_other_classes(command: Command, tmp_path: Path) -> None:
    from kdsweep.models.cnn import CNN

    path = tmp_path / "hundred.safetensors"
    checkpoint.save_weights(path, CNN(in_shape=(3, 32, 32), num_classes=100, width=32))
    sentence = refused(command, f"teacher.checkpoint={path}")
    assert "teacher.checkpoint" in sentence
    assert "(100" in sentence


def test_a_search_may_choose_by_the_validation_set_of_a_folder(
    command: Command, tmp_path: Path
) -> None:
    root = folder_of_images(tmp_path / "pets")
    shutil.copytree(root / "train", root / "val")
    words = ["search=bayes", "hydra.sweeper.n_trials=1", "dataset.val_fraction=0"]
    outcome = command(*image_folder(root), *words)
    assert outcome.code == 0, outcome.err
    assert outcome.rows[0]["val/acc"] is not None


def test_an_output_folder_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    # CI runs as root, whom permissions do not stop; nobody can make a folder inside a file.
    (tmp_path / "file").touch()
    sentence = refused(command, f"hydra.sweep.dir={tmp_path}/file/sweep")
    assert "hydra.sweep.dir must be a folder that can be written" in sentence


def test_a_store_of_teachers_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = refused(command, f"teacher.store={tmp_path}/file/teachers", tiny=True)
    assert "teacher.store must be a folder that can be written" in sentence


@pytest.mark.slow
def test_a_newer_mlflow_database(command: Command, tmp_path: Path, fresh_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_database.read_bytes())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    connection.close()
    assert "tracking.uri must be" in refused(command, tracking=True)


@pytest.mark.slow
def test_a_locked_mlflow_database(command: Command, tmp_path: Path, fresh_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_database.read_bytes())
    connection = sqlite3.connect(path)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        assert "tracking.uri must be" in refused(command, tracking=True)
    finally:
        connection.close()


def test_a_full_disk_at_a_checkpoint_ends_the_runs_with_the_reason(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, student: object, fingerprint: str) -> None:
        raise OSError(28, "No space left on device", str(folder))

    assert command().code == 0  # from here on the teacher is there
    monkeypatch.setattr(checkpoint, "save", full)
    outcome = command("T=1,4", "tracking.checkpoint_seconds=0")
    assert outcome.code == 1
    assert "the disk of" in outcome.err
    assert "is full" in outcome.err
    assert "Traceback" not in outcome.err
    assert {row["status"] for row in outcome.rows} == {"FAILED"}
