"""Optuna's plots of synthetic studies: which are chosen, what they show, and a complete page."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from kdsweep.search import plots
from kdsweep.search.plots import draw, plots_of
from kdsweep.search.space import Space, parse

RANGES = ["T=tag(log,interval(1,16))", "alpha=interval(0,1)"]
ALL = {"history", "importances", "slice", "contour"}
FAIL = TrialState.FAIL


@pytest.fixture(scope="module", autouse=True)
def _coarse() -> Iterator[None]:
    """Drawing takes most of the time, and half the resolution shows the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DPI", 60)
        yield


@pytest.fixture(autouse=True)
def _quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def space_of(*words: str) -> Space:
    return parse(words, lambda key, loss: loss != "ce")


def searched(
    space: Space, *values: float | Sequence[float] | TrialState, directions: Sequence[str] = ()
) -> optuna.Study:
    """A study of random points of a space with these values."""
    study = optuna.create_study(
        directions=directions or ["maximize"], sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for value in values:
        trial = study.ask()
        space.suggest(trial)
        if isinstance(value, TrialState):
            study.tell(trial, state=value)
        else:
            study.tell(trial, value)
    return study


def accuracies(count: int) -> list[float]:
    return [0.8 + 0.01 * (7 * index % count) for index in range(count)]


def drawn(folder: Path) -> set[str]:
    """The names of the pictures, none of which is blank or missing on the page."""
    pictures = sorted((folder / "plots").glob("*.png"))
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) > 200
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10, f"{picture} is blank"
    names = {picture.stem for picture in pictures}
    if names:
        assert set(divisions(folder)) == names
    return names


def page(folder: Path) -> str:
    return (folder / "plots" / "search.html").read_text(encoding="utf-8")


def divisions(folder: Path) -> list[str]:
    return re.findall(r'<div id="([^"]+)" class="plotly-graph-div"', page(folder))


def own_part(folder: Path) -> str:
    """The page without plotly's script."""
    return page(folder).rpartition("<h1>")[2]


def chosen(study: optuna.Study, space: Space, objectives: Sequence[str] = ("val/acc",)) -> set[str]:
    """The names of the plots that a study of these objectives has."""
    return {plot.name for plot in plots_of(study, space, objectives)}


class Drawing(NamedTuple):
    folder: Path
    warned: list[warnings.WarningMessage]
    pyplot_is_restored: bool


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Drawing:
    """The plots of a search, drawn over earlier ones while pyplot has a figure open."""
    from matplotlib import pyplot, rcParams

    folder, space = tmp_path_factory.mktemp("search"), space_of(*RANGES)
    (folder / "plots").mkdir()
    for name in ("history.png", "search.html"):
        (folder / "plots" / name).write_text("of fewer trials")
    study = searched(space, *accuracies(12))
    pyplot.switch_backend("agg")
    figure, settings = pyplot.figure(), dict(rcParams)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draw(study, space, ["val/acc"], folder)
    is_restored = pyplot.get_fignums() == [figure.number] and dict(rcParams) == settings
    pyplot.close(figure)
    return Drawing(folder, caught, is_restored)


@pytest.fixture
def folder(drawing: Drawing) -> Path:
    return drawing.folder


def test_a_search_has_four_plots_and_a_page(folder: Path) -> None:
    assert drawn(folder) == ALL
    assert own_part(folder).count(r'"text":"val\u002facc"') == len(ALL) - 1
    assert len(list((folder / "plots").iterdir())) == 5


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", own_part(folder))
    assert tags, "no script that draws"
    assert not [tag for tag in tags if "src=" in tag or "href=" in tag]
    assert "<script src" not in page(folder)
    assert page(folder).count("plotly.js v") == 1, "plotly's script is not there once"


@pytest.mark.parametrize("values", [[], [0.5], [FAIL] * 6, [FAIL, 0.5, FAIL]])
def test_too_few_trials_have_no_plots(
    tmp_path: Path, values: list[float | TrialState], caplog: pytest.LogCaptureFixture
) -> None:
    space = space_of(*RANGES)
    draw(searched(space, *values), space, ["val/acc"], tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""


def test_failed_and_pruned_trials_are_ignored() -> None:
    space = space_of(*RANGES)
    values = [FAIL, *accuracies(6), TrialState.PRUNED, *accuracies(6), FAIL]
    assert chosen(searched(space, *values), space) == ALL


def test_two_trials_are_enough() -> None:
    space = space_of(*RANGES)
    assert chosen(searched(space, 0.5, 0.75), space) == ALL


def test_equal_values_have_no_importances() -> None:
    space = space_of(*RANGES)
    assert chosen(searched(space, *[0.5] * 6), space) == ALL - {"importances"}


def test_one_key_has_no_contour() -> None:
    space = space_of(RANGES[0])
    assert chosen(searched(space, *accuracies(12)), space) == ALL - {"contour"}


def test_keys_that_no_trial_has_together_have_no_contour() -> None:
    space = parse(
        ["loss=choice(ce,kl)", *RANGES], lambda key, loss: key == {"ce": "T", "kl": "alpha"}[loss]
    )
    assert chosen(searched(space, *accuracies(16)), space) == ALL - {"contour"}


def test_without_alpha_the_contour_is_over_the_first_two_numbers() -> None:
    space = space_of("optimizer=choice(adamw,sgd)", RANGES[0], "optimizer.lr=interval(0.1,1)")
    plots = plots_of(searched(space, *accuracies(12)), space, ["val/acc"])
    (contour,) = [plot for plot in plots if plot.name == "contour"]
    assert contour.options["params"] == ["T", "optimizer.lr"]


@pytest.mark.slow
def test_keys_of_some_losses_only(tmp_path: Path) -> None:
    space = space_of("loss=choice(ce,kl)", *RANGES)
    study = searched(space, *accuracies(16))
    assert {len(trial.params) for trial in study.trials} == {1, 3}
    draw(study, space, ["val/acc"], tmp_path)
    assert drawn(tmp_path) == ALL


@pytest.mark.slow
def test_lists_are_labelled_with_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    written: dict[str, list[str]] = {}
    save = Figure.savefig

    def save_labels(self: Figure, path: Path, **options: object) -> None:
        written[path.stem] = [label.get_text() for label in self.axes[0].get_xticklabels()]
        save(self, path, **options)

    monkeypatch.setattr(Figure, "savefig", save_labels)
    space = space_of("T=1,2,4,16", "alpha=0.1,0.5,0.9")
    draw(searched(space, *accuracies(12)), space, ["val/acc"], tmp_path)
    assert drawn(tmp_path) == ALL
    assert written["slice"] == written["contour"] == ["1", "2", "4", "16"]
    assert own_part(tmp_path).count('"ticktext":["1","2","4","16"]') == 2
    assert "position in" not in own_part(tmp_path)


@pytest.mark.slow
def test_several_objectives_have_a_front_and_plots_of_each(tmp_path: Path) -> None:
    objectives, directions = ["val/acc", "num_params"], ["maximize", "minimize"]
    space = space_of(RANGES[0], "student.model.width=4,8,16")
    values = [(acc, 100.0 + index) for index, acc in enumerate(accuracies(12))]
    study = searched(space, *values, directions=directions)
    each = {f"{name}_{objective}" for name in ALL for objective in ("val-acc", "num_params")}
    assert chosen(study, space, objectives) == {"pareto_front", *each}

    one_key = space_of(RANGES[0])
    equal = searched(one_key, *[(0.5, 100.0)] * 6, directions=directions)
    draw(equal, one_key, objectives, tmp_path)
    histories, slices = (
        {f"{name}_{objective}" for objective in ("val-acc", "num_params")}
        for name in ("history", "slice")
    )
    assert drawn(tmp_path) == {"pareto_front"} | histories | slices


def test_importances_follow_the_direction_of_their_objective() -> None:
    """Optuna takes each of several objectives as minimized."""
    space = space_of(*RANGES)
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for _ in range(60):
        trial = study.ask()
        values = space.suggest(trial)
        # High only where T is; low wherever alpha is.
        study.tell(trial, (max(values["T"] - 12, 0.001 * values["alpha"]), 1.0))
    importances = {
        plot.name: optuna.importance.get_param_importances(plot.study)
        for plot in plots_of(study, space, ["val/acc", "num_params"])
        if plot.name.startswith("importances")
    }
    assert list(importances) == ["importances_val-acc"], "num_params are all the same"
    assert importances["importances_val-acc"]["T"] > 0.9


def test_a_plot_that_fails_is_logged_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("no such colour")

    space = space_of(RANGES[0])
    monkeypatch.setattr("optuna.visualization.matplotlib.plot_optimization_history", broken)
    study = searched(space, *[0.5] * 6)
    assert chosen(study, space) == {"history", "slice"}
    draw(study, space, ["val/acc"], tmp_path)
    assert "history" in caplog.text
    assert "no such colour" in caplog.text
    assert {path.stem for path in (tmp_path / "plots").glob("*.png")} == {"slice"}
    assert "history" in divisions(tmp_path)


def test_a_folder_that_cannot_be_written_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "plots").write_text("in the way")
    space = space_of(*RANGES)
    draw(searched(space, *accuracies(12)), space, ["val/acc"], tmp_path)
    assert "plots" in caplog.text


def test_drawing_warns_of_nothing_and_restores_pyplot(drawing: Drawing) -> None:
    assert drawing.warned == []
    assert drawing.pyplot_is_restored


@pytest.mark.slow
def test_values_that_look_like_formulas_are_drawn_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["student.checkpoint=choice('$x^{$.pt','%{y}_$_{.pt','日本.pt')", *RANGES]
    space = space_of(*words)
    draw(searched(space, *accuracies(8)), space, ["val/acc"], tmp_path)
    assert drawn(tmp_path) == ALL
    assert not caplog.records
