"""Accuracy against the cost of a student."""

from measured import drawn_section, section_of, several_students, soft_rows

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import pareto


def test_the_front_has_what_nothing_cheaper_beats() -> None:
    section = drawn_section(pareto, several_students())
    assert "alpha=0.5 student=mlp, kl T=4 alpha=0.5 student=cnn: no" in section.sentences[0]
    assert "student=vit" not in section.sentences[0]
    assert [axis.type for axis in section.figures[0].select_xaxes()] == ["log", "log"]


def test_the_front_is_made_of_what_validation_chose() -> None:
    lucky = [
        {**r, "num_params": 10, "latency_ms": 1.0, "val/acc": 0.1}
        for r in soft_rows((8.0,), (0.5,), rest="student=small", student="small")
    ]
    chosen = [
        {**r, "num_params": 10, "latency_ms": 1.0, "test/acc": r["test/acc"] - 0.2}
        for r in soft_rows((4.0,), (0.5,), rest="student=small", student="small")
    ]
    found = pareto.students(grid([*lucky, *chosen]).cells)
    assert [student.first.name for student in found] == ["kl T=4 alpha=0.5 student=small"]
    assert pareto.frontier(found, "num_params") == found
    assert len(found[0].cells) == 2


def test_students_of_one_size_have_no_front() -> None:
    assert section_of(pareto, soft_rows(num_params=9000, latency_ms=0.1)) is None
