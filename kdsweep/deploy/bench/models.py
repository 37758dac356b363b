"""The classifiers that the user names, and the teachers that they learned from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.sources import load
from kdsweep.deploy.teachers import teacher_if_here
from kdsweep.errors import UserError
from kdsweep.report.sources.address import Address
from kdsweep.tracking.find_sweep import sweep_folder
from kdsweep.tracking.results_table import ResultRow, collect, is_duplicate, ranked

Named = tuple[str, Classifier]


def named_models(words: Sequence[str], address: Address, *, teachers: bool) -> list[Named]:
    """Each classifier with a name that no other has, their teachers last.

    A sweep stands for its best run by validation of each network. A teacher that cannot be loaded
    is left out with a warning. Raises UserError if a word names nothing.
    """
    uri, experiment = address
    sources = [source for word in words for source in _runs(word)]
    students = [load(source, uri=uri, experiment=experiment) for source in sources]
    return _with_names([*students, *(_teachers(students, address) if teachers else [])])


def _runs(word: str) -> list[str]:
    """The word itself; of a sweep, the folder of the best run of each network."""
    sweep = sweep_folder(word)
    if sweep is None:
        return [word]
    rows = [row for row in collect(sweep) if row["status"] == "FINISHED" and not is_duplicate(row)]
    best: dict[tuple[object, object], ResultRow] = {}
    for row in ranked(rows):
        best.setdefault((row["student"], row["num_params"]), row)
    if not best:
        raise UserError(f"SOURCE must be a sweep with a finished run, got {sweep}, which has none")
    return [str(sweep / str(row["run"])) for row in best.values()]


def _teachers(students: Sequence[Classifier], address: Address) -> Iterator[Classifier]:
    """Those of the students, each once."""
    known: set[str] = set()
    for student in students:
        recorded = str(student.manifest.teachers)
        if recorded in known:
            continue
        known.add(recorded)
        if (teacher := teacher_if_here(student, address.open)) is not None:
            yield teacher


def _with_names(classifiers: Sequence[Classifier]) -> list[Named]:
    named: dict[str, Classifier] = {}
    for classifier in classifiers:
        source = classifier.source
        folder = Path(str(source.get("folder", "model")))
        name = base = str(source.get("name") or folder.name)
        number = 1
        while name in named:
            number += 1
            name = f"{base} ({number})"
        named[name] = classifier
    return list(named.items())
