"""The model you ship: what the report has of the records next to a run."""

from typing import Any

import pytest
from collection import MadeRun, collection, run
from deployed_records import IMAGES, benched, measured, quantized, records, rows_of_quantize

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.render.markdown import markdown
from kdsweep.report.report import report
from kdsweep.report.sections import shipped
from kdsweep.report.sections.section import Section


def section(*runs: MadeRun) -> Section | None:
    found = collection(runs)
    return shipped.section(found, grid(found.rows))


def drawn(**deployed: Any) -> Section:
    """That of a sweep whose best run has these records."""
    found = section(run("ce", 0, 0.8), run("kl T=4", 0, 0.9, deployed=deployed))
    assert found is not None
    return found


def test_there_is_none_where_nothing_was_deployed() -> None:
    assert section(run("ce", 0, 0.8), run("kl T=4", 0, 0.9)) is None
    assert section() is None


def test_teacher_student_and_int8_have_accuracy_size_and_latency_with_intervals() -> None:
    found = drawn(**records())
    models, exports = found.tables
    assert models.header == (
        "model", "accuracy (%)", "vs student", "p", "size", "x size", "ms", "x ms",
    )  # fmt: skip
    assert models.rows == [
        ("teacher", "95.00 [93.47, 96.19]", "+5.00 [3.00, 7.00]", "< 0.0001",
         "400.0 kB", "10.00", "2", "10.00"),
        ("student, torch fp32", "90.00 [87.98, 91.71]", "", "", "40.0 kB", "1.00", "0.2", "1.00"),
        ("student, ONNX fp32", "90.00 [87.98, 91.71]", "+0.00 [-0.10, 0.10]", "1",
         "40.5 kB", "1.01", "0.1", "0.50"),
        ("int8 static", "89.00 [86.91, 90.79]", "-1.00 [-2.00, 0.00]", "0.1",
         "10.0 kB", "0.25", "0.05", "0.25"),
    ]  # fmt: skip
    assert IMAGES in models.note
    assert exports.rows == [("model.onnx", "40.5 kB", "91.00", "300 of 300", "3e-06")]


def test_sentences_name_the_run_and_what_it_costs() -> None:
    which, student, file = drawn(**records()).sentences
    assert which == "Deployed is kl T=4 seed=0, the best run by validation."
    assert student == (
        "The student has 90.00 [87.98, 91.71] % on the 1,000 test images of digits, with 0.1 x the"
        " size and 0.1 x the latency of its teacher, and -5.00 [-7.00, -3.00] points against it."
    )
    assert file == (
        "Its smallest file, int8 static, has 89.00 [86.91, 90.79] % on the 1,000 test images of"
        " digits, with 0.25 x the size and 0.25 x the latency of the student in torch, and"
        " -1.00 [-2.00, 0.00] points against it (McNemar's exact test, p = 0.1)."
    )


def test_accuracy_is_drawn_against_latency_with_its_interval() -> None:
    (figure,) = drawn(**records()).figures
    teacher, student = figure.data[:2]
    assert (teacher.name, student.name) == ("teacher", "student")
    assert list(student.x) == [0.2, 0.1, 0.05]
    assert list(student.y) == [90, 90, 89]
    assert student.error_y.array[0] == pytest.approx(1.71, abs=0.01)
    assert len(set(student.marker.symbol)) == 3
    assert [trace.name for trace in figure.data[2:]] == ["torch fp32", "ONNX fp32", "int8 static"]


def test_models_of_a_bench_are_in_a_table_and_in_the_figure() -> None:
    found = drawn(**records(bench=benched("cnn", "kl T=4", "kl T=4 student=mlp")))
    table = found.tables[-1]
    assert "memory" not in table.header
    assert table.rows[0] == (
        "cnn, torch fp32", "90.00", "10,000", "20,000", "40.0 kB", "0.25", "64", "12,346",
    )  # fmt: skip
    assert "2 threads" in table.note
    (figure,) = found.figures
    assert [trace.name for trace in figure.data[:3]] == ["cnn", "kl T=4", "kl T=4 student=mlp"]


def test_without_labels_there_is_no_accuracy_and_no_figure() -> None:
    rows = [measured("torch fp32", 40, 0.2, None), measured("bf16 weights", 20, 0.2, None)]
    found = drawn(quantize=quantized(*rows), bench=benched("kl", accuracy=None))
    assert found.tables[0].header == ("model", "size", "x size", "ms", "x ms")
    assert "no accuracy (its images have no labels), with 0.5 x the size" in found.sentences[1]
    assert not found.figures


def test_figures_of_other_weights_are_left_out() -> None:
    deployed = {"quantize": quantized(*rows_of_quantize(), weights_sha256="old")}
    found = section(run("kl T=4", 0, 0.9, weights_sha256="new", deployed=deployed))
    assert found is not None
    assert not found.tables
    assert not found.figures


def test_another_run_than_the_best_is_named_as_such() -> None:
    found = section(
        run("kl T=4", 0, 0.9),
        run("ce", 0, 0.8, deployed=records()),
        run("ce", 1, 0.7, deployed=records()),
    )
    assert found is not None
    assert found.sentences[0] == (
        "Deployed is ce seed=0. It is not the best run by validation, which is kl T=4 seed=0."
        " Others that were deployed or measured: ce seed=1."
    )


def test_it_is_in_the_page_of_text() -> None:
    text = markdown(report(collection([run("ce", 0, 0.8), run("kl", 0, 0.9, deployed=records())])))
    assert "## The model you ship" in text
    assert "| int8 static | 89.00 [86.91, 90.79] |" in text
