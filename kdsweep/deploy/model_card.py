"""The model card of a run, in Markdown: what it is, how it was trained, how good it is, its limits.

Mitchell et al. 2019, Model Cards for Model Reporting, https://arxiv.org/abs/1810.03993
"""

from collections.abc import Iterable, Mapping, Sequence

from kdsweep.deploy.card_facts import CardFacts, ClassAccuracy
from kdsweep.report.analysis.proportions import wilson
from kdsweep.report.analysis.statistics import Interval, summary
from kdsweep.report.formatting import interval, percent

METRICS = {
    "test/acc": "accuracy on test, %",
    "val/acc": "accuracy on validation, %",
    "test/loss": "cross-entropy on test",
    "test/ece": "expected calibration error on test",
    "test/agreement": "agreement with the teacher on test, %",
}
IN_PERCENT = ("acc", "agreement")
SETTINGS = ("loss", "T", "alpha", "student", "teacher", "epochs", "num_params")
NOTHING = "—"


def model_card(title: str, facts: CardFacts, load: str, most_classes: int | None = None) -> str:
    """The card.

    Args:
        load: how to load the model, as lines of Python.
        most_classes: those with the lowest accuracy are listed, so many at most; None: all.
    """
    parts = [
        f"# {_text(title)}",
        _summary(facts),
        "## Results",
        _results(facts),
        *_by_class(facts.classes, most_classes),
        "## Training",
        _training(facts),
        "## Limits",
        _list(_limits(facts)),
        "## How to load",
        f"```python\n{load}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(facts: CardFacts) -> str:
    run, result = facts.manifest.run, facts.result
    size = f", {result.num_params:,} parameters" if result.num_params else ""
    line = (
        f"{_code(run.get('student')) or 'A network'}{size}: classifies images of"
        f" {_data_set(facts)} into {len(facts.manifest.classes)} classes."
    )
    if facts.teacher:
        line += f" Distilled from {' and '.join(map(_code, facts.teacher))}."
    if run.get("cell"):
        line += f" Trained as `{run['cell']}`."
    return line


def _data_set(facts: CardFacts) -> str:
    return _code(facts.manifest.run.get("dataset")) or "a data set"


def _results(facts: CardFacts) -> str:
    several, seed = len(facts.seeds) > 1, facts.manifest.run.get("seed")
    head = ["metric", "this model" if seed is None else f"this model, seed {seed}"]
    head += [f"mean of {len(facts.seeds)} seeds [95 % interval]"] if several else []
    rows = []
    known = facts.result.to_json()
    for metric, label in METRICS.items():
        if known.get(metric) is not None:
            over_seeds = [_over_seeds(facts.values(metric), metric)] if several else []
            rows.append([label, _figure(known[metric], metric), *over_seeds])
    for name, accuracy in facts.teacher.items():
        if accuracy is not None:
            rows.append([f"accuracy of the teacher `{name}` on test, %", percent(accuracy)])
    table = _table(head, rows)
    if facts.with_rounding:
        table += "\n\nMeasured with the rounding of int8, as its int8 file computes."
    if several and facts.result.seed is not None:
        seeds = ", ".join(sorted((str(row["seed"]) for row in facts.seeds), key=int))
        table += f"\n\nSeeds {seeds}; intervals are Student's t, of the mean over seeds."
    return table


def _figure(value: float, metric: str) -> str:
    return percent(value) if metric.endswith(IN_PERCENT) else f"{value:.4f}"


def _over_seeds(values: Sequence[float], metric: str) -> str:
    if not values:
        return NOTHING
    stats = summary(values)
    in_percent = metric.endswith(IN_PERCENT)
    ends = interval(stats.t_interval) if in_percent else interval(stats.t_interval, ".4f", 1)
    return f"{_figure(stats.mean, metric)} {ends}".strip()


def _by_class(classes: Sequence[ClassAccuracy], most: int | None) -> list[str]:
    tested = [one for one in classes if one.images]
    if not tested:
        return []
    shown = tested
    title = "## Accuracy of each class on test"
    if most is not None and len(tested) > most:
        shown = sorted(tested, key=_rate)[:most]
        title += f": the {most} lowest of {len(tested)}"
    rows = [[_text(one.name), str(one.images), percent(_rate(one))] for one in shown]
    return [title, _table(["class", "images", "accuracy, %"], rows)]


def _rate(one: ClassAccuracy) -> float:
    return one.correct / one.images


def _training(facts: CardFacts) -> str:
    known, run = facts.result.to_json(), facts.manifest.run
    rows = [
        ("data set", _data(facts)),
        *((key, _code(known[key])) for key in SETTINGS),
        ("optimizer", _code(_optimizer(facts.config.get("optimizer")) or None)),
        ("seed", _code(run.get("seed"))),
        ("precision", _code(facts.manifest.precision)),
        ("input", _input(facts)),
        ("run in MLflow", _code(known.get("mlflow_run_id"))),
        ("fingerprint", _code(run.get("fingerprint"))),
        ("SHA-256 of the weights", _code(facts.manifest.weights_sha256)),
        ("trained by", _version(facts)),
    ]
    return _table(["", ""], [row for row in rows if row[1]])


def _version(facts: CardFacts) -> str:
    """That of kdsweep when the run was trained."""
    environment = (facts.result.provenance or {}).get("environment") or {}
    return f"kdsweep {environment['kdsweep']}" if environment.get("kdsweep") else ""


def _code(value: object) -> str:
    return "" if value is None else f"`{value}`"


def _data(facts: CardFacts) -> str:
    images = ", ".join(f"{count:,} {part}" for part, count in facts.images.items())
    return _code(facts.manifest.run.get("dataset")) + (f" ({images} images)" if images else "")


def _optimizer(config: object) -> str:
    if not isinstance(config, Mapping):
        return ""
    name = str(config.get("_target_", "")).rpartition(".")[2]
    rest = [f"{k}={v}" for k, v in config.items() if not k.startswith("_")]
    return " ".join([name, *rest]).strip()


def _input(facts: CardFacts) -> str:
    made = facts.manifest.preprocessing
    height, width = made.decode_size or made.image_size
    colour = "grey" if made.channels == 1 else "RGB"
    how = "cropped to its proportions" if made.crop else "stretched to its proportions"
    text = f"{colour}, {width} x {height} pixels; an image of another size is {how} and resized"
    if made.view is not None:
        height, width = made.view.size
        text += (
            f", then its centre ({made.view.crop_pct:g} of it) becomes {width} x {height} pixels"
        )
    if made.pixel_shape != made.in_shape:
        height, width = made.image_size
        text += f", which the network is given as {width} x {height}"
    return text


def _limits(facts: CardFacts) -> list[str]:
    result = facts.result
    limits = [
        f"It was trained and measured on {_data_set(facts)} only. Its accuracy on images of another"
        " origin is unknown.",
        f"It assigns one of its {len(facts.manifest.classes)} classes to every image, also to one"
        " that shows none of them.",
    ]
    if result.test_ece is not None:
        limits.append(
            "Its probabilities are those of the softmax, not calibrated afterwards: on test they"
            f" differ from its accuracy by {percent(result.test_ece)} points on average (ECE)."
        )
    tested = [one for one in facts.classes if one.images]
    if tested and result.test_acc is not None:
        worst = min(tested, key=_rate)
        images = sum(one.images for one in tested)
        limits.append(
            f"Test has {images:,} images, which alone leave its accuracy an interval of"
            f" {interval(_wilson(tested))} % (Wilson, 95 %). The lowest class is"
            f" {_text(worst.name)} with {percent(_rate(worst))} % of {worst.images}."
        )
    if facts.cells > 1:
        limits.append(
            f"Its sweep has {facts.cells} cells. If it was chosen among them by validation, its"
            " accuracy on validation is too high; the test set took no part."
        )
    if len(facts.seeds) < 2:
        limits.append("It was trained with one seed: how much its accuracy varies is unknown.")
    return limits


def _wilson(classes: Sequence[ClassAccuracy]) -> Interval:
    right, images = sum(one.correct for one in classes), sum(one.images for one in classes)
    return wilson(right / images, float(images))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[*head], ["---"] * len(head)]
    lines += [[*row, *[""] * (len(head) - len(row))] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _text(value: str) -> str:
    """A name of the user's in Markdown: what has a meaning there is escaped."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in value)
    return " ".join(escaped.split())
