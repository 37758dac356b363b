"""The digests of what a config only names: data, and files of weights."""

from pathlib import Path

import pytest
from commands import Compose
from PIL import Image

from kdsweep.builders.digests import content_digests
from kdsweep.config.resolve import resolve_config
from kdsweep.data.images import content, file_digests
from kdsweep.errors import UserError


@pytest.fixture
def digests(compose: Compose):
    """`digests("teacher=none")`: the digests of what a run of these words names."""

    def of(*words: str) -> dict[str, str]:
        data = [] if "dataset=image_folder" in words else ["dataset=fake"]
        return content_digests(resolve_config(compose(*data, *words)))

    return of


def test_other_images_in_the_same_folder_have_another_digest(digests, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 30).save(tmp_path / "train" / name / "0.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", f"cache.folder={tmp_path}/cache"]
    before = digests(*words)
    assert digests(*words, "dataset.split_seed=3") == before  # the same images, split differently
    Image.new("L", (8, 8), 31).save(tmp_path / "train" / "cat" / "0.png")
    assert digests(*words)["dataset"] != before["dataset"]


def test_files_that_have_not_changed_are_not_hashed_again(
    digests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "UNSETTLED_NS", 0)
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 30).save(tmp_path / "train" / name / "0.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", f"cache.folder={tmp_path}/cache"]
    before = digests(*words)
    monkeypatch.setattr(content, "content_sha256", None)
    assert digests(*words) == before
    with pytest.raises(UserError, match="not callable"):
        digests(*words, "cache.gib=0")


@pytest.mark.ci
def test_files_of_weights_are_digested_wherever_they_are_named(digests, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.safetensors" for name in ("student", "one", "two", "below")}
    for name, path in files.items():
        path.write_text("same" if name in ("one", "two") else name)
    given = digests(
        "teacher=ensemble",
        f"student.checkpoint={files['student']}",
        f"teacher.members.first.checkpoint={files['one']}",
        f"teacher.members.second.checkpoint={files['two']}",
    )
    below = digests("teacher=assistant", f"teacher.teacher.checkpoint={files['below']}")
    peer = digests("teacher=peers", f"teacher.peers.second.checkpoint={files['below']}")
    assert set(given) == {"dataset", *(str(files[name]) for name in ("student", "one", "two"))}
    assert given[str(files["one"])] == given[str(files["two"])] != given[str(files["student"])]
    assert below[str(files["below"])] == peer[str(files["below"])]


def test_a_file_that_is_not_there_is_named_with_its_key(digests) -> None:
    key = "teacher.members.second.checkpoint"
    with pytest.raises(UserError, match=rf"{key} must be a file of weights, got no\.pt"):
        digests("teacher=ensemble", f"{key}=no.pt")
