"""Tables of (file, label[, split]) next to images, in the forms that people have."""

import logging
from pathlib import Path

import pytest
import torch
from PIL import Image

from kdsweep.common import pacing
from kdsweep.common.notices import warn_once
from kdsweep.data.image_folder import ImageFolder

FILES = [f"{n}.png" for n in range(6)]
LABELS = ["dog", "cat", "dog", "cat", "dog", "cat"]
SPLITS = ["train", "train", "train", "train", "test", "test"]


def images(folder: Path, names=FILES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("L", (4, 4), 30 * number).save(folder / name)


def table(root: Path, *columns, header: str | None = "file,label", name="labels.csv", sep=","):
    root.mkdir(parents=True, exist_ok=True)
    lines = [sep.join(map(str, row)) for row in zip(*columns, strict=True)]
    if header is not None:
        lines.insert(0, header)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(root: Path, **options):
    return ImageFolder(str(root), **options).load()


def refusal(root: Path, **options) -> str:
    with pytest.raises(ValueError, match=r"^dataset\.") as refused:
        load(root, **options)
    return str(refused.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    images(tmp_path / "images")
    return tmp_path


def labels_of(data) -> tuple:
    test = None if data.test is None else data.test.labels.tolist()
    return data.class_names, data.train.labels.tolist(), test


WHOLE = (("cat", "dog"), [0, 0, 1, 1], [0, 1])
FORMS = {
    "named": ({"header": "filename,class,split"}, FILES),
    "other names": ({"header": "Image Path,Label_Name,Set"}, [f"images/{f}" for f in FILES]),
    "no header": ({"header": None}, [f"images/{f}" for f in FILES]),
    "semicolons": ({"header": "file;label;split", "sep": ";"}, FILES),
    "tabs": ({"header": None, "sep": "\t", "name": "labels.tsv"}, FILES),
    "no endings": ({"header": "id_code,diagnosis,subset"}, [f[0] for f in FILES]),
    "backslashes": ({"header": "path,label,split"}, [f"images\\{f}" for f in FILES]),
    "byte order mark": ({"header": "\ufefffile,label,split"}, FILES),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_tables(root: Path, form: str) -> None:
    options, files = FORMS[form]
    table(root, files, LABELS, SPLITS, **options)
    assert labels_of(load(root)) == WHOLE


def test_one_line_says_how_a_table_is_read(root: Path, caplog) -> None:
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING)
    table(root, range(6), FILES, LABELS, SPLITS, header=",file,label,split")  # with pandas' index
    load(root)
    assert caplog.messages == [
        f"dataset.root: images and labels are those of {root}/labels.csv, files from file, labels"
        " from label, splits from split"
    ]


@pytest.mark.parametrize(
    "names", [("training", "Valid", "TEST"), ("train", "validation", "testing")]
)
def test_splits_of_other_names(root: Path, names) -> None:
    table(
        root, FILES, LABELS, [name for name in names for _ in range(2)], header="file,label,split"
    )
    data = load(root)
    assert [len(part.labels) for part in (data.train, data.val, data.test)] == [2, 2, 2]


def test_a_table_is_the_same_data_as_class_folders(root: Path, tmp_path_factory) -> None:
    folders = tmp_path_factory.mktemp("folders")
    for file, label, split in zip(FILES, LABELS, SPLITS, strict=True):
        (folders / split / label).mkdir(parents=True, exist_ok=True)
        (root / "images" / file).rename(folders / split / label / file)
    paths = [f"{s}/{c}/{f}" for f, c, s in zip(FILES, LABELS, SPLITS, strict=True)]
    expected = ImageFolder(str(folders))
    table(folders, paths[::-1], LABELS[::-1], name="any.csv")
    got = ImageFolder(str(folders), csv="any.csv")
    assert got.digest() == expected.digest()
    assert torch.equal(got.load().train.images, expected.load().train.images)
    table(folders, paths, ["x"] * 6, name="any.csv")  # which is not read unless it is named
    assert ImageFolder(str(folders)).digest() == expected.digest()


def test_splits_are_those_of_the_folders_the_files_are_in(tmp_path: Path) -> None:
    images(tmp_path / "train", FILES[:4])
    images(tmp_path / "test", FILES[4:])
    table(tmp_path, [f"{s}/{f}" for f, s in zip(FILES, SPLITS, strict=True)], LABELS)
    assert labels_of(load(tmp_path)) == WHOLE


def test_a_table_of_each_part(tmp_path: Path) -> None:
    images(tmp_path / "train", FILES[:4])
    images(tmp_path / "test", FILES[:2])  # of the names that train has, too
    table(tmp_path, FILES[:4], LABELS[:4], name="train.csv")
    table(tmp_path, FILES[:2], LABELS[4:], name="test.csv")
    table(tmp_path, ["1"], ["2"], name="sample_submission.csv")
    assert labels_of(load(tmp_path)) == WHOLE
    assert labels_of(load(tmp_path, csv="train.csv"))[2] is None


def test_a_long_table_has_lines(root: Path, monkeypatch, caplog) -> None:
    table(root, FILES, LABELS, SPLITS, header="file,label,split")
    monkeypatch.setattr(pacing, "FIRST_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "kdsweep.common.pacing")
    load(root)
    assert "looking for the images of labels.csv: 0 of 6" in caplog.text


def test_numbers_are_in_the_order_of_numbers(root: Path) -> None:
    table(root, FILES, [10, 9, 2, 10, 9, 2])
    assert load(root).class_names == ("2", "9", "10")


def test_folders_in_the_root_are_classes_unless_the_table_lists_them(tmp_path: Path) -> None:
    images(tmp_path / "a", FILES[:3])
    images(tmp_path / "b", FILES[3:])
    table(tmp_path, ["tom", "kim"], ["3 kg", "4 kg"], header="name,weight")
    assert load(tmp_path).class_names == ("a", "b")
    table(tmp_path, FILES, LABELS)
    assert load(tmp_path).class_names == ("cat", "dog")


def test_a_table_and_a_single_folder_in_an_archive(tmp_path: Path) -> None:
    images(tmp_path / "archive" / "photos" / "images")
    table(tmp_path / "archive", FILES, LABELS, SPLITS, header="file,label,split")
    assert labels_of(load(tmp_path)) == WHOLE


REFUSED = {
    "missing": (
        ["9.png", "8.png"],
        "must list files that exist, got '9.png' (labels.csv, line 6) and 1 more",
    ),
    "twice": (
        ["0.png", "./0.png"],
        "must list every file once, got {root}/images/0.png in labels.csv, line 2 and labels.csv,"
        " line 6",
    ),
    "outside": (["../out.png", "4.png"], "must list files in {root}, got"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(root: Path, case: str) -> None:
    files, message = REFUSED[case]
    images(root.parent, ["out.png"])
    images(root, ["x.png"])
    table(root, [*FILES[:4], *files], LABELS)
    assert message.format(root=root) in refusal(root)
    assert refusal(root).startswith("dataset.source.csv must ")


def test_values_that_are_refused(root: Path) -> None:
    table(root, FILES, LABELS, [*SPLITS[:5], "holdout"], header="file,label,split")
    assert refusal(root) == (
        "dataset.source.csv must have train, val or test as splits, got 'holdout' (labels.csv,"
        " line 7)"
    )
    table(root, FILES, [*LABELS[:5], ""])
    assert refusal(root).endswith(
        "must have a file and a label in every line, got labels.csv, line 7"
    )
    table(root, FILES, [*LABELS[:5], "fox"], SPLITS, header="file,label,split")
    assert refusal(root).endswith("images of every class, got none of 'fox' (labels.csv, line 7)")
    table(root, FILES, ["cat"] * 6)
    assert refusal(root).endswith("images of at least 2 classes, got 1 in labels.csv")


def test_tables_that_are_refused(root: Path) -> None:
    table(root, ["tom"], ["3 kg"], header="name,weight")
    assert refusal(root) == (
        f"dataset.source.csv must have a column of files in {root} (file, filename, path or image),"
        " got labels.csv with name, weight"
    )
    table(root, FILES, LABELS, LABELS, header="file,size,colour")
    assert refusal(root).endswith(
        "one column of labels (label or class), got labels.csv with file, size, colour"
    )
    (root / "labels.csv").write_bytes(b"file,label\n\xff\xfe,cat\n")
    assert refusal(root) == f"dataset.source.csv must be a table in UTF-8, got {root}/labels.csv"
    table(root, ["x" * 200_000], ["cat"])
    assert refusal(root).startswith(
        f"dataset.source.csv must be a table that can be read, got {root}"
    )
    table(root, ["x" * 2_000], ["cat"])
    assert "must list files that exist, got 'xxx" in refusal(root)
    (root / "labels.csv").write_text("\n")
    assert "which is empty" in refusal(root)
    table(root, FILES, LABELS, name="more.csv")
    assert refusal(root) == (
        f"dataset.source.csv must name one of the tables in {root} (labels.csv, more.csv), got null"
    )
    assert load(root, csv="more.csv").class_names == ("cat", "dog")
    assert refusal(root, csv="none.csv").endswith(
        f"a table in {root}, got none.csv, which does not exist"
    )
