"""benchmarks/performance.py: its tables, its bounds, and what it writes."""

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture
def script(load: Any) -> Any:
    return load("performance")


def results(lockstep: float = 1.0) -> dict[str, Any]:
    """As in the JSON file, of two rounds; nine runs alone take 4 s."""
    row = {"alone": 3.6, "lockstep": lockstep, "teacher": 0.2, "floor": 0.75}
    row |= {"cached alone": 0.9, "cached lockstep": 0.8}
    samples = {"solo": [4.0, 8.0]}
    samples |= {f"fp32 auto: {name}": [value, 2 * value] for name, value in row.items()}
    kinds = ("with MLflow and report", "with neither")
    return {
        "machine": {"cpu": "Made CPU", "instructions": "AVX2", "cores": "2", "threads": "1"},
        "extent": {
            **{"rounds": 2, "batches": {"vgg": 2, "resnet": 1}, "alone": 3, "threads": 1},
            **{"command_rounds": 1, "real": True},
        },
        "seconds": {"vgg": 60, "resnet": 60, "digits": 3, "starts": 60, "sweeps": 60, "memory": 9},
        "steps": {"vgg": samples, "resnet": samples},
        "starts": {
            **{"import torch": [2.0], "import hydra, compose": [1.0], "train.py --help": [1.4]},
            **{"digits, cold": [12.0], "digits, warm": [5.0]},
        },
        "sweeps": {
            "torch": [2.0],
            "whole": {kind: {"60": [20.0], "10": [9.0]} for kind in kinds},
            "training": {kind: {"60": [3.0], "10": [2.0]} for kind in kinds},
            **{"run_bytes": 123456, "sweep_bytes": 7000, "mlflow_bytes": 20000},
        },
        "memory": {
            "vgg": {
                "1": {"peak": 600 * 2**20, "state": 3 * 2**20},
                "9": {"peak": 632 * 2**20, "state": 3 * 2**20},
            }
        },
    }


def steps_only(lockstep: float = 1.0) -> dict[str, Any]:
    """The results of the training steps."""
    return {key: results(lockstep)[key] for key in ("machine", "extent", "steps")}


def on_request() -> dict[str, Any]:
    """Results of the parts that are measured on request only."""
    whole = {"10": [10.0], "60": [20.0], "500": [110.0]}
    training = {"10": [2.0], "60": [7.0], "500": [51.0]}
    kind = "with MLflow and report"
    seconds = {"this checkout": [20.0, 22.0], "the other one": [80.0, 44.0]}
    return {
        "many": {"torch": [2.0], "whole": {kind: whole}, "training": {kind: training}},
        "against": {
            f"{kind}, {checkout}": values
            for kind in (kind, "with neither")
            for checkout, values in seconds.items()
        },
    }


def test_the_tables(load: Any) -> None:
    blocks = load("speed.tables").blocks(results())
    lines = "\n".join(blocks.values()).splitlines()
    assert blocks["machine"].startswith("Made CPU; instructions AVX2, cores 2, threads 1. 2 inter")
    assert (
        "| fp32 auto | computed | 0.900 (0.900..0.900) | 0.250 (0.250..0.250)"
        " | 0.188 (0.188..0.188) | 0.050 (0.050..0.050) | 1.05 (1.05..1.05) |"
    ) in lines
    assert (
        "| fp32 auto | cached | 0.225 (0.225..0.225) | 0.200 (0.200..0.200)"
        " | 0.188 (0.188..0.188) | none | 1.07 (1.07..1.07) |"
    ) in lines
    assert "| digits, cold | import torch | 6.00 (6.00..6.00) |" in lines
    assert "| train.py --help | import hydra, compose | 1.40 (1.40..1.40) |" in lines
    neither = "10.0 (10.0..10.0) | 8.50 (8.50..8.50) | 0.100 (0.100..0.100)"
    assert f"| with neither | {neither} |" in lines
    assert "| its folder | 123 |" in lines
    assert "| VGG16 -> convnet4 | 600.0 | 632.0 | 4.0 | 3.0 |" in lines
    widths = {len(line.split(" | ")) for line in blocks["steps"].splitlines() if "|" in line}
    assert widths == {7}


def test_the_tables_of_parts_on_request(load: Any) -> None:
    blocks = load("speed.tables").blocks(results() | on_request())
    # (20 - 7 - 8) / 50 runs of 60, and (110 - 51 - 8) / 490 runs of 500
    assert "| 500 | 1.04 (1.04..1.04) |" in blocks["many"]
    assert "| with neither | 0.375 (0.250..0.500) |" in blocks["against"]
    assert blocks["against"].endswith("2 interleaved rounds.")
    assert set(load("speed.tables").blocks(results())) == set(blocks) - {"many", "against"}


def test_bounds_of_commands(load: Any) -> None:
    whole = results() | on_request() | {"steps": {}}
    whole["starts"] |= {"digits, second command": [4.0], "many images, second command": [9.0]}
    shown = [str(comparison) for comparison in load("speed.comparisons").compare(whole)]
    assert shown == [
        "train.py --help / import hydra, compose: 1.40 (1.40..1.40) <= 1.50 holds",
        "many images, second command / digits, second command: 2.25 (2.25..2.25) <= 2.00"
        " DOES NOT HOLD",
        "VGG16 -> convnet4: memory of a further student / its own state: 1.33 (1.33..1.33) <= 5.00"
        " holds",
        "overhead of a run, 500 runs / 60 runs: 1.04 (1.04..1.04) <= 1.10 holds",
        *(
            f"60 runs {kind}, this checkout / the other one: 0.375 (0.250..0.500) <= 0.35"
            " DOES NOT HOLD"
            for kind in ("with MLflow and report", "with neither")
        ),
    ]


def test_parts_are_added_to_known_results_of_the_same_machine(script: Any) -> None:
    new = {key: results()[key] for key in ("machine", "extent")} | {"steps": {}} | on_request()
    new["seconds"] = {"many": 5, "against": 6}
    new["extent"] = {**new["extent"], "command_rounds": 2}  # of theirs only
    merged = script.added(results(), new)
    assert merged["steps"] == results()["steps"]
    assert merged["seconds"] == {**results()["seconds"], "many": 5, "against": 6}
    assert merged["many"] == new["many"]
    assert merged["extent"] == results()["extent"]
    with pytest.raises(SystemExit, match="--add requires the same extent"):
        script.added(results(), {**new, "seconds": {"starts": 5}})
    new["machine"] = {**new["machine"], "cpu": "Another CPU"}
    with pytest.raises(SystemExit, match="--add requires the same machine"):
        script.added(results(), new)


def test_parts_on_request_are_measured_if_what_they_need_is_given(script: Any) -> None:
    assert script.parse_options([]).only == list(script.PARTS)
    options = script.parse_options(["--many", "500", "--against", "old"])
    assert options.only == [*script.PARTS, "many", "against"]


def test_the_sentence(load: Any) -> None:
    sentence = load("speed.tables").sentence(results())
    assert "convnet4, real images of CIFAR-10's size; Made CPU with AVX2, 1 thread):" in sentence
    assert "| fp32 auto | 0.250 | 0.200 |\n\nMedians" in sentence


def test_the_bounds_are_compared_with_what_was_measured(load: Any) -> None:
    compare = load("speed.comparisons").compare
    shown = [str(comparison) for comparison in compare(steps_only())]
    of_solo = "VGG16 -> convnet4, fp32 auto: lockstep / solo: 0.250 (0.250..0.250) <= 0.29 holds"
    assert shown[0] == of_solo
    title = "resnet56 -> resnet20, fp32 auto: cached lockstep / floor: 1.07 (1.07..1.07)"
    assert shown[-1] == f"{title} <= 1.05 DOES NOT HOLD"
    assert len(shown) == 6
    slow = [comparison.holds for comparison in compare(steps_only(1.2))]
    assert slow == [False, True, False, False, False, False]


def test_what_was_not_measured_has_no_table_and_no_bound(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {key: value for key, value in results().items() if key in ("machine", "extent")}
    part |= {"steps": {}, "starts": results()["starts"], "seconds": {"starts": 1}}
    assert script.show(part) == 0
    out = capsys.readouterr().out
    assert "digits, warm" in out
    assert "lockstep" not in out


def test_the_exit_code_is_that_of_the_bounds(script: Any) -> None:
    assert script.show(results()) == script.MISSED != 0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the page and the README."""
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/performance.md"):
        shutil.copy(TOP / name, tmp_path / name)
    return tmp_path


def test_the_page_and_the_readme_are_written_between_their_markers(
    script: Any, load: Any, checkout: Path
) -> None:
    pages, tables = load("speed.pages"), load("speed.tables")
    path = checkout / "results.json"
    path.write_text(json.dumps(results()))
    for _ in range(2):  # what was written is replaced
        assert script.write(path, checkout) == 0
    page, readme = (checkout / "docs/performance.md").read_text(), checkout / "README.md"
    for name, content in tables.blocks(results()).items():
        assert pages.block(page, name) == content
    assert pages.block(readme.read_text(), "sentence") == tables.sentence(results())
    headings = [line for line in (TOP / "README.md").read_text().splitlines() if "#" in line]
    assert [line for line in readme.read_text().splitlines() if "#" in line] == headings


def test_results_that_lack_a_part_are_not_written(script: Any, checkout: Path) -> None:
    path = checkout / "results.json"
    part = results()
    del part["seconds"]["starts"]
    path.write_text(json.dumps(part))
    with pytest.raises(SystemExit, match=r"results.json must have all parts, it lacks starts"):
        script.write(path, checkout)
    assert (checkout / "README.md").read_text() == (TOP / "README.md").read_text()


def test_a_page_without_its_markers_is_left_as_it_is(load: Any, tmp_path: Path) -> None:
    pages = load("speed.pages")
    page = tmp_path / "page.md"
    page.write_text(f"a\n{pages.begin('one')}\nold\n{pages.END}\nb\n{pages.begin('two')}\n")
    with pytest.raises(ValueError, match="must have <!-- make bench: two -->"):
        pages.write_blocks(page, {"one": "new", "two": "new"})
    assert "old" in page.read_text()
    pages.write_blocks(page, {"one": "new"})
    begin = pages.begin("one")
    assert page.read_text().startswith(f"a\n{begin}\n\nnew\n\n{pages.END}\nb\n")


def test_the_published_figures_are_those_on_record(script: Any, load: Any) -> None:
    """README and docs have what the last `make bench` printed, or nothing."""
    pages, tables = load("speed.pages"), load("speed.tables")
    page, readme = ((TOP / n).read_text() for n in ("docs/performance.md", "README.md"))
    names = ("machine", "steps", "starts", "sweeps", "disk", "memory", "many", "against")
    expected: tuple[dict[str, str], str] = (dict.fromkeys(names, ""), "")
    if script.RESULTS.is_file():
        known = json.loads(script.RESULTS.read_text())
        expected = expected[0] | tables.blocks(known), tables.sentence(known)
    assert {name: pages.block(page, name) for name in names} == expected[0]
    assert pages.block(readme, "sentence") == expected[1]


def test_the_machine_is_described_without_its_name(load: Any) -> None:
    described = load("speed.machine").describe_machine("cpu", 1)
    assert {"cpu", "instructions", "cores", "threads", "torch"} <= set(described)
    text = " ".join(described.values())
    assert platform.node() not in text
    assert str(Path.home()) not in text


def test_a_limit_on_instructions_is_described(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = load("speed.machine")
    monkeypatch.setattr(machine, "computes_bf16", lambda device: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert machine.has_bf16_arithmetic()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not machine.has_bf16_arithmetic()
    assert machine.instructions().endswith("ONEDNN_MAX_CPU_ISA=AVX2")
    works, settings = load("speed.cohorts").WORKS, load("speed.step_times").settings
    names = {key: [row.name for row in settings(work)] for key, work in works.items()}
    assert names["vgg"] == ["fp32 contiguous", "fp32 auto"]
    assert names["resnet"] == names["digits"] == ["fp32 auto"]


def test_the_time_is_estimated_from_the_last_results(script: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results()))
    options = script.parse_options(["--only", "vgg,sweeps", "--rounds", "8", "--batches", "4"])
    expected = "about 10 minutes, if this machine is a Made CPU, too"  # 60 s x 3 x 2 + 60 s x 4
    assert script.estimate(path, options) == expected
    assert "no results" in script.estimate(tmp_path / "none.json", options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "vgg,x"], "sweeps,memory,many,against, got x"),
        (["--only", "many"], "--many must be given for this part"),
        (["--many", "65"], "--many must be a multiple of 10 above 60, got 65"),
        (["--command-rounds", "0"], "--command-rounds must be at least 1, got 0"),
        (["--alone", "10"], "--alone must be from 1 to 9, got 10"),
    ],
)
def test_options_out_of_range(
    script: Any, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        script.parse_options(words)
    assert message in capsys.readouterr().err


def test_the_files_of_a_sweep(load: Any, tmp_path: Path) -> None:
    costs = load("speed.sweep_costs")
    for name, seconds in {"0": 1.0, "1": 1.0, "teacher-ab": 9.0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"seconds": seconds}))
    assert len(costs.run_folders(tmp_path)) == 2
    assert costs.training_seconds(tmp_path) == 1.0
    assert costs.bytes_below(tmp_path) == 3 * len('{"seconds": 1.0}')
    for runs in (costs.FEW, costs.RUNS, 500):
        counts = [len(set(word.split("=")[1].split(","))) for word in costs.grid_words(runs)]
        assert counts[0] * counts[1] == runs


@pytest.mark.slow
def test_a_command_ends_after_its_first_step(load: Any, tmp_path: Path) -> None:
    commands = load("speed.commands")
    words = ("dataset=fake", "teacher=none", "loss=ce", "tracking=none", "trainer.epochs=1000000")
    commands.run_python((commands.FIRST_STEP, *words), tmp_path)
    assert not list(tmp_path.glob("multirun/**/result.json"))
    with pytest.raises(RuntimeError, match="T must be"):
        commands.run_python((commands.FIRST_STEP, *words, "loss=kl", "T=0"), tmp_path)
