"""Sets of Hugging Face, made here. None is downloaded; without the library one test is left."""

import re
import shutil
import sys
import tarfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.builders.data import build_dataset
from kdsweep.common.disk_cache import DiskCache
from kdsweep.config.resolve import resolve_config
from kdsweep.data.huggingface import HuggingFace
from kdsweep.data.images import content, encoded
from kdsweep.data.images.lazy import StoredImages


def test_without_the_library_the_message_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    message = r"^datasets cannot be imported .*: pip install 'kdsweep\[hf\]'"
    with pytest.raises(ValueError, match=message):
        HuggingFace("owner/name").digest()


@pytest.fixture
def hf(tmp_path, monkeypatch):
    """The library, quiet and with a cache of its own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


def png(pixels, mode="RGB"):
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def table(hf, rows, seed, mode="RGB", size=(6, 5), label=None):
    """``rows`` images of (H, W), cats and dogs in turn."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (rows, *size, 3), dtype=np.uint8)
    columns = {"image": [png(image, mode) for image in pixels]}
    columns["label"] = [row % 2 for row in range(rows)]
    if label is not None:
        columns["label"] = [label[number] for number in columns["label"]]
    kind = hf.ClassLabel(names=["cat", "dog"]) if label is None else hf.Value("string")
    return hf.Dataset.from_dict(columns, features=hf.Features(image=hf.Image(), label=kind))


def saved(hf, folder, **splits):
    hf.DatasetDict(splits).save_to_disk(str(folder))
    return str(folder)


@pytest.fixture
def path(hf, tmp_path):
    return saved(hf, tmp_path / "pets", train=table(hf, 12, 0), test=table(hf, 6, 1))


def refusal(path, **options):
    with pytest.raises(ValueError, match=r"^dataset\.source") as refused:
        HuggingFace(path, **options).load()
    return str(refused.value)


def test_pixels_and_labels_are_those_of_the_table(hf, path):
    raw = HuggingFace(path).load()
    assert raw.class_names == ("cat", "dog")
    assert raw.train.labels.tolist() == [0, 1] * 6
    assert raw.test.labels.tolist() == [0, 1] * 3
    assert raw.val is None
    third = np.array(hf.load_from_disk(path)["train"][2]["image"])
    assert np.array_equal(raw.train.images[2].permute(1, 2, 0).numpy(), third)


def test_parquet_files_of_a_folder_are_read(hf, path, tmp_path):
    folder = tmp_path / "parquet"
    for split, rows in hf.load_from_disk(path).items():
        rows.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    raw, expected = (HuggingFace(str(place)).load() for place in (folder, path))
    assert torch.equal(raw.train.images, expected.train.images)
    assert torch.equal(raw.test.labels, expected.test.labels)
    assert HuggingFace(str(folder)).digest() == HuggingFace(path).digest()


def write_shards(folder, tables, rows_of_shard=5):
    """WebDataset's shards: tar files with ``<key>.png`` and ``<key>.cls`` for each image."""
    folder.mkdir()
    for split, rows in tables.items():
        for first in range(0, len(rows), rows_of_shard):
            with tarfile.open(folder / f"{split}-{first // rows_of_shard:06}.tar", "w") as shard:
                for row in range(first, min(first + rows_of_shard, len(rows))):
                    image = BytesIO()
                    rows[row]["image"].save(image, "png")
                    label = str(rows[row]["label"]).encode()
                    for ending, content in (("png", image.getvalue()), ("cls", label)):
                        member = tarfile.TarInfo(f"{row:08}.{ending}")
                        member.size = len(content)
                        shard.addfile(member, BytesIO(content))


def test_shards_of_webdataset_are_read(hf, path, tmp_path):
    write_shards(tmp_path / "shards", hf.load_from_disk(path))
    options = {"label_column": "cls", "memory_gib": 1e-9, "workers": 2}
    raw, expected = (
        HuggingFace(str(tmp_path / "shards"), **options).load(),
        HuggingFace(path).load(),
    )
    assert raw.class_names == ("0", "1")
    assert torch.equal(raw.train.labels, expected.train.labels)
    # In any order, across shards: an epoch is replayed from its seed, whatever was read before.
    order = torch.tensor([11, 0, 7, 4, 5, 10, 0])
    (pixels,) = raw.train.images.read([order])
    assert torch.equal(pixels, expected.train.images[order])


def test_image_files_of_a_folder_are_read(hf, tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "files" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (5, 6), (number, 0, 0)).save(folder / f"{number}.png")
    source = HuggingFace(str(tmp_path / "files"))
    raw = source.load()
    assert raw.train.labels.bincount().tolist() == [4, 4]
    assert raw.class_names == ("cat", "dog")
    assert len(source.digest()) == 64


def test_single_table_is_the_training_split(hf, tmp_path):
    table(hf, 12, 0).save_to_disk(str(tmp_path / "one"))
    raw = HuggingFace(str(tmp_path / "one"), test_split=None).load()
    assert raw.test is None
    assert len(raw.train.labels) == 12


def test_own_validation_split_is_taken_on_request(hf, tmp_path):
    splits = {"train": table(hf, 12, 0), "test": table(hf, 6, 1), "validation": table(hf, 4, 2)}
    raw = HuggingFace(saved(hf, tmp_path / "x", **splits), val_split="validation").load()
    assert len(raw.val.labels) == 4


@pytest.mark.parametrize(("options", "channels"), [({}, 1), ({"channels": 3}, 3)])
def test_grey_images_keep_one_channel(hf, tmp_path, options, channels):
    splits = {"train": table(hf, 12, 0, mode="L"), "test": table(hf, 6, 1, mode="L")}
    raw = HuggingFace(
        saved(hf, tmp_path / "grey", **splits), **{"channels": None, **options}
    ).load()
    assert raw.train.images.shape == (12, channels, 6, 5)


def test_one_colour_image_makes_all_of_them_colour(hf, tmp_path):
    splits = {"train": table(hf, 12, 0, mode="L"), "test": table(hf, 6, 1)}
    raw = HuggingFace(saved(hf, tmp_path / "mixed", **splits), channels=None).load()
    assert raw.train.images.shape == (12, 3, 6, 5)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_too_large_for_memory_stay_encoded(path, workers):
    expected = HuggingFace(path).load().train.images
    stored = HuggingFace(path, memory_gib=1e-9, workers=workers).load().train.images
    assert isinstance(stored, StoredImages)
    assert torch.equal(torch.cat([*stored.read(torch.arange(12).split(5))]), expected)
    index = torch.tensor([7, 2])
    assert torch.equal(stored.subset(index)[torch.tensor([0])], expected[7:8])


def test_images_of_different_sizes_need_an_image_size(hf, tmp_path):
    path = saved(hf, tmp_path / "x", train=table(hf, 8, 0), test=table(hf, 4, 1, size=(9, 7)))
    assert "got null for row 0 of train (6 x 5) and row 0 of test (9 x 7)" in refusal(path)
    assert HuggingFace(path, image_size=8, crop=True).load().test.images.shape == (4, 3, 8, 8)


def test_a_second_load_decodes_nothing(path, tmp_path, monkeypatch):
    def load():
        source = HuggingFace(path)
        source.cache = DiskCache(tmp_path / "kept", 1.0)
        return source.load()

    first = load()
    monkeypatch.setattr(encoded, "_opened", None)
    assert torch.equal(load().train.images, first.train.images)


def test_unreadable_image_is_named_or_left_out(hf, tmp_path):
    columns = table(hf, 8, 0).cast_column("image", hf.Image(decode=False)).to_dict()
    columns["image"][3] = {"bytes": b"no image", "path": None}
    columns["image"][4] = None
    features = table(hf, 2, 0).features
    train = hf.Dataset.from_dict(columns, features=features)
    path = saved(hf, tmp_path / "x", train=train, test=table(hf, 4, 1))
    assert "got row 3 of train: cannot identify image" in refusal(path)
    raw = HuggingFace(path, skip_unreadable=True).load()
    assert raw.train.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_digest_follows_pixels_and_labels_but_not_the_place(hf, path, tmp_path):
    first = HuggingFace(path).digest()
    train, test = table(hf, 12, 0), table(hf, 6, 1)
    again = saved(hf, tmp_path / "again", train=train, test=test)
    assert HuggingFace(again).digest() == first
    pixels = saved(hf, tmp_path / "pixels", train=table(hf, 12, 5), test=test)
    labels = saved(hf, tmp_path / "labels", train=train.select([1, 0, *range(2, 12)]), test=test)
    assert len({first, *(HuggingFace(other).digest() for other in (pixels, labels))}) == 3


def test_digest_of_very_much_data_follows_the_sizes(path, monkeypatch):
    whole = HuggingFace(path).digest()
    monkeypatch.setattr("kdsweep.data.images.content.DIGEST_GIB", 0)
    assert HuggingFace(path).digest() not in (whole, HuggingFace(path, test_split=None).digest())


def test_labels_that_are_text_are_sorted(hf, tmp_path):
    names = ("zebra", "ant")
    train, test = table(hf, 12, 0, label=names), table(hf, 6, 1, label=names)
    raw = HuggingFace(
        saved(hf, tmp_path / "x", train=train, test=test), label_column="label"
    ).load()
    assert raw.class_names == ("ant", "zebra")
    assert raw.train.labels[:2].tolist() == [1, 0]


def test_class_that_only_test_has_is_refused(hf, tmp_path):
    train, test = table(hf, 12, 0, label=("a", "b")), table(hf, 6, 1, label=("a", "c"))
    path = saved(hf, tmp_path / "x", train=train, test=test)
    assert refusal(path, label_column="label") == (
        "dataset.source.label_column must hold a class of the training split for each image, got "
        "label with none in row 1 of test"
    )


def test_test_set_without_labels_is_refused(hf, tmp_path):
    test = table(hf, 6, 1).map(lambda row: {"label": -1}, load_from_cache_file=False)
    path = saved(hf, tmp_path / "x", train=table(hf, 12, 0), test=test)
    assert "got label with none in row 0 of test" in refusal(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_split": "validation"},
            "dataset.source.test_split must be a split of {path} (train, test) or null, "
            "got validation",
        ),
        (
            {"image_column": "img"},
            "dataset.source.image_column must be a column of type Image, got img, where there are "
            "image (Image), label (ClassLabel)",
        ),
        (
            {"label_column": "image"},
            "dataset.source.label_column must be a column of type ClassLabel or Value, got image, "
            "where there are image (Image), label (ClassLabel)",
        ),
        ({"revision": "main"}, "dataset.source.revision must be null for a folder, got main"),
    ],
)
def test_what_the_set_does_not_have_is_refused(path, options, message):
    assert refusal(path, **options) == message.format(path=path)


def test_two_columns_of_classes_need_a_choice(hf, tmp_path):
    twice = [table(hf, rows, 0).add_column("coarse", [0] * rows) for rows in (12, 6)]
    train, test = (t.cast_column("coarse", hf.ClassLabel(names=["pet"])) for t in twice)
    path = saved(hf, tmp_path / "x", train=train, test=test)
    assert refusal(path) == (
        "dataset.source.label_column must be given where not one column is a ClassLabel, "
        "got null for image, label, coarse"
    )
    assert HuggingFace(path, label_column="label").load().class_names == ("cat", "dog")


@pytest.mark.usefixtures("hf")
@pytest.mark.parametrize("path", ["imagefolder", "/nowhere/at/all", "~/none/there", "../pets"])
def test_neither_folder_nor_name_is_refused(path):
    assert refusal(path) == (
        "dataset.source.path must be an existing folder, or the name of a set on the hub, "
        f"owner/name, got {path}"
    )


def test_set_that_cannot_be_had_is_refused_with_one_message(hf, monkeypatch):
    def no_network(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\nmore of it")

    monkeypatch.setattr(hf, "load_dataset", no_network)
    assert refusal("owner/name") == (
        "dataset.source.path must be a data set that can be loaded here, got owner/name: "
        "Couldn't reach 'owner/name' on the Hub"
    )


def test_name_revision_and_folder_reach_the_hub(hf, path, monkeypatch, tmp_path):
    asked = []

    def from_hub(*args, **kwargs):
        asked.append((args, kwargs))
        return hf.load_from_disk(path)

    monkeypatch.setattr(hf, "load_dataset", from_hub)
    options = {"config": "small", "revision": "v1", "root": str(tmp_path)}
    HuggingFace("owner/name", **options).load()
    assert asked == [(("owner/name", "small"), {"revision": "v1", "cache_dir": str(tmp_path)})]


def test_code_in_a_folder_is_not_run(hf, tmp_path):
    folder = tmp_path / "pets"
    folder.mkdir()
    (folder / "pets.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert re.match(r"dataset\.source\.path must be a data set that can be", refusal(str(folder)))
    assert not (tmp_path / "ran").exists()


def test_config_makes_a_data_set(path, compose):
    config = resolve_config(compose("dataset=huggingface", f"dataset.source.path={path}"))
    dataset = build_dataset(replace(config.dataset, val_fraction=0.25), "cpu")
    assert dataset.image_shape == (3, 6, 5)
    sizes = [len(part.labels) for part in (dataset.train, dataset.val, dataset.test)]
    assert sizes == [9, 3, 6]


@pytest.fixture
def hashed(monkeypatch) -> list[int]:
    """The rows that are hashed."""
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 0)
    rows: list[int] = []
    sha256 = content.content_sha256
    noted = lambda images, row: rows.append(row) or sha256(images, row)  # noqa: E731
    monkeypatch.setattr(content, "content_sha256", noted)
    return rows


def digest(path, cache, **options):
    source = HuggingFace(path, **options)
    source.cache = DiskCache(cache, 1.0)
    return source.digest()


def test_an_unchanged_table_is_hashed_once(hf, path, tmp_path, hashed):
    first = digest(path, tmp_path / "kept")
    assert len(hashed) == 12 + 6
    hashed.clear()
    assert digest(path, tmp_path / "kept") == first == HuggingFace(path).digest()
    assert len(hashed) == 12 + 6  # without a cache
    hashed.clear()
    shutil.rmtree(path)
    saved(hf, path, train=table(hf, 12, 7), test=table(hf, 6, 1))
    assert digest(path, tmp_path / "kept") != first
    assert len(hashed) >= 12


def test_a_table_that_names_files_is_hashed_each_time(hf, tmp_path, hashed):
    for number in range(4):
        folder = tmp_path / "pets" / "train" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(np.full((4, 4, 3), number, np.uint8))["bytes"])
    words = {"test_split": None}
    first = digest(str(tmp_path / "pets"), tmp_path / "kept", **words)
    (folder / "3.png").write_bytes(png(np.full((4, 4, 3), 9, np.uint8))["bytes"])
    assert digest(str(tmp_path / "pets"), tmp_path / "kept", **words) != first


def test_a_table_that_has_just_been_written_is_hashed_again(
    hf, path, tmp_path, hashed, monkeypatch
):
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 10**12)
    for _ in range(2):
        digest(path, tmp_path / "kept")
    assert len(hashed) == 2 * (12 + 6)
