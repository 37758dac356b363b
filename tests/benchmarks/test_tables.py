"""The tables of docs/performance.md, and the bounds on their figures."""

from typing import Any

from bench_results import on_request, results, steps_only


def test_the_tables(load: Any) -> None:
    blocks = load("speed.contents").blocks(results())
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
    blocks = load("speed.contents").blocks(results() | on_request())
    # (20 - 7 - 8) / 50 runs of 60, and (110 - 51 - 8) / 490 runs of 500
    assert "| 500 | 1.04 (1.04..1.04) |" in blocks["many"]
    assert "| with neither | 0.375 (0.250..0.500) |" in blocks["against"]
    assert blocks["against"].endswith("2 interleaved rounds.")
    assert set(load("speed.contents").blocks(results())) == set(blocks) - {"many", "against"}


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
        "VGG16 -> convnet4, 9 runs x 4 seeds: 2 workers / 1 worker: 0.550 (0.550..0.550) <= 0.58"
        " holds",
        *(
            f"60 runs {kind}, this checkout / the other one: 0.375 (0.250..0.500) <= 0.35"
            " DOES NOT HOLD"
            for kind in ("with MLflow and report", "with neither")
        ),
    ]


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
