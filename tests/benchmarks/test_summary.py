"""The main figures in words: docs/performance.md and the README begin with them."""

from typing import Any

from bench_results import results, steps_only


def test_the_summary_has_the_medians_of_the_tables(load: Any) -> None:
    assert load("speed.summary").summary(results()).splitlines() == [
        *(
            f"- Nine {name} students in lockstep take 0.250 (fp32) of the time of nine runs of a"
            " plain PyTorch loop in fp32; with the teacher's logits from the cache 0.200 (fp32)."
            for name in ("VGG16 -> convnet4", "resnet56 -> resnet20")
        ),
        "- Lockstep relative to the bare steps of its students and the forward passes of its"
        " teacher: 1.05 to 1.07 (VGG16 -> convnet4), 1.05 to 1.07 (resnet56 -> resnet20).",
        "- From a command to the end of its first training step, where it has trained before, it"
        " takes 2.50 on digits times as long as `import torch`.",
        "- In a sweep of 60 runs with MLflow and report each further run adds 0.100 of"
        " `import torch` to its training steps.",
        "- Each further student of VGG16 -> convnet4 adds 4 MiB to the peak memory.",
    ]


def test_what_was_not_measured_is_in_no_sentence(load: Any) -> None:
    assert len(load("speed.summary").summary(steps_only()).splitlines()) == 3
    without_cache = steps_only()
    for samples in without_cache["steps"].values():
        for name in [name for name in samples if "cached" in name]:
            del samples[name]
    text = load("speed.summary").summary(without_cache)
    assert "from the cache" not in text
    assert "1.05 to 1.05 (VGG16 -> convnet4)" in text


def test_the_table_of_the_readme(load: Any) -> None:
    sentence = load("speed.summary").sentence(results())
    assert "convnet4, real images of CIFAR-10's size; Made CPU with AVX2, 1 thread):" in sentence
    assert "| fp32 auto | 0.250 | 0.200 |\n\nMedians" in sentence
