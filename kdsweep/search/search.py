"""The search itself: claim a block of trials, train it in lockstep, tell the study, until done."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState

from kdsweep.config import SearchConfig
from kdsweep.errors import RunFailed, UserError
from kdsweep.plan import Plan, check, make_plans
from kdsweep.run import Place, Result, Session
from kdsweep.search.answer import Finalist, publish
from kdsweep.search.duration import seconds_of
from kdsweep.search.hydra_optuna import OptunaSweeperImpl, SearchStudy
from kdsweep.search.identity import applies_with, base_config, search_name
from kdsweep.search.mlflow_runs import SearchRuns
from kdsweep.search.racing import incumbent, may_be_best, seed_noise
from kdsweep.search.sampling import make_sampler
from kdsweep.search.space import grid_size, parse
from kdsweep.search.study import BEAT_SECONDS, OWNER, claim, enqueue, open_study, owner, park
from kdsweep.sweep.cohorts import train
from kdsweep.sweep.folder import open_sweep, result_of
from kdsweep.sweep.launcher import LockstepLauncher, task_of
from kdsweep.tracking.files import read_json, write_json_atomic
from kdsweep.tracking.progress import Progress

PRUNERS = ("optuna.pruners.*",)

log = logging.getLogger(__name__)


class Parked(SystemExit):
    """The time of the search is up; what is open goes on at the next start."""


class Search(OptunaSweeperImpl):
    """One controller of a search. Several may work on one study at the same time."""

    launcher: LockstepLauncher
    config: DictConfig
    hydra_context: HydraContext

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Find out which search this is, and where: everything else waits for `sweep`."""
        self.options: SearchConfig = OmegaConf.to_object(config.search)  # type: ignore[assignment]
        self.words = [*self._parse_sweeper_params_config(), *config.hydra.overrides.task]
        self.hydra_context, self.config = hydra_context, config
        space = parse(self.words, lambda key, loss: True)
        self.space = replace(space, applies=applies_with(hydra_context, config, space.fixed))
        base = base_config(hydra_context, config, self.space.fixed)
        self.name = self.options.name or search_name(config, base, self.space.keys)
        self.folder = Path("multirun") / self.name
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )
        if not isinstance(launcher, LockstepLauncher):
            raise UserError(
                "hydra/launcher must be lockstep in a search, got another one;"
                " hydra/sweeper=optuna searches with any launcher"
            )
        self.launcher = launcher
        self.launcher.move_to(self.folder)

    def sweep(self, arguments: list[str]) -> None:
        """Train until the study has all its trials, then the finalists, then say the answer."""
        setup_globals()
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.hydra_context.execution_whitelist,
        )
        self._refuse()
        self.n_trials = int(min(self.n_trials, self._grid_limit()))
        self.folder.mkdir(parents=True, exist_ok=True)
        with Progress(total_runs=self.n_trials) as progress:
            session = Session(OmegaConf.to_object(self.config.tracking), progress)  # type: ignore[arg-type]
            try:
                finalists = self._run(session)
            finally:
                session.close()
        publish(self.study, self.space, self.name, self.folder, finalists)

    def _refuse(self) -> None:
        if self.options.seeds != sorted(set(self.options.seeds)) or not self.options.seeds:
            raise UserError(f"search.seeds must be rising integers >= 0, got {self.options.seeds}")
        if "seed" in self.space.keys:
            raise UserError("seed must not be searched, got several; search.seeds are averaged")
        for key in ("resume", "dry_run"):
            if self.config[key]:
                raise UserError(f"{key} must be false in a search, got true: it always goes on")
        self.deadline = time.monotonic() + seconds_of(self.options.timeout)

    def _grid_limit(self) -> float:
        is_grid = str(self.config.hydra.sweeper.sampler._target_).endswith("GridSampler")
        return grid_size(self.space) if is_grid else float("inf")

    def _run(self, session: Session) -> list[Finalist]:
        self.session = session
        self.study = self._open_study()
        first = self._place_all([(self._template(), self.options.seeds[0])], parents=False)
        self._check([place.plan for place in first], searching=True)
        self._known = _results_by_fingerprint(self.folder)
        sweep = open_sweep(
            self.folder, session, name=self.name, role="search", nested=True, plans=[]
        )
        self.runs = SearchRuns(session.store, sweep.parent_id, self.folder)
        self.runs.describe(self.space, self.config, self.options)
        enqueue(self.study, self.n_trials, self.folder)
        self._trials()
        finalists = self._finalists()
        session.flush()
        self.runs.finish("FINISHED")
        return finalists

    def _open_study(self) -> SearchStudy:
        pruner = instantiate(self.options.pruner, _convert_="all", _execution_whitelist_=PRUNERS)
        return open_study(
            str(self.storage),
            self.name,
            [direction.lower() for direction in self._get_directions()],
            {
                "space": self.space.describe(),
                "search.seeds": self.options.seeds,
                "search.objectives": self.options.objectives,
            },
            pruner,
            self.folder,
        )

    def _trials(self) -> None:
        """Work until no trial waits. Who is interrupted leaves the block to the next start."""
        while block := claim(self.study, self.n_trials, self.n_jobs, self.folder):
            self.beat = time.monotonic()
            try:
                self._train_block(block)
            except BaseException:
                park(self.study, block)
                self.session.flush()
                self.runs.finish("KILLED")
                raise
            self.runs.best_so_far(self.study)
            self._refuse_more_failures()

    def _refuse_more_failures(self) -> None:
        failed = [t for t in self.study.trials if t.state is TrialState.FAIL]
        if len(failed) > self.options.max_failures:
            self.runs.finish("FAILED")
            raise RunFailed(
                f"search.max_failures: {len(failed)} trials failed, more than"
                f" {self.options.max_failures}; the last one: {failed[-1].user_attrs.get('reason')}"
            )

    def _train_block(self, numbers: Sequence[int]) -> None:
        """Suggest, train seed by seed, and tell; the study hears of a block all at once."""
        trials = {number: self._suggest(number) for number in numbers}
        history = [_seed_values(t) for t in self.study.trials if t.state is TrialState.COMPLETE]
        results: dict[int, list[Result]] = {number: [] for number in numbers}
        for position, seed in enumerate(self.options.seeds):
            racing = self._still_racing(results, history) if position else list(numbers)
            if racing:
                self._train_seed({n: trials[n] for n in racing}, seed, results)
        self.session.flush()
        for number, trial in trials.items():
            self._tell(number, trial, results[number])

    def _suggest(self, number: int) -> Trial:
        self.study.sampler = make_sampler(self.sampler_node, self.space, number)
        trial = self.study.go_on(number)
        with self.study.learning_from_failures():
            self.space.suggest(trial)
        return trial

    @property
    def sampler_node(self) -> DictConfig:
        node = self.config.hydra.sweeper.sampler
        assert isinstance(node, DictConfig)
        return node

    def _still_racing(
        self, results: dict[int, list[Result]], history: Sequence[Sequence[float]]
    ) -> list[int]:
        """The trials of a block that get another seed: kdsweep.search.racing has the rule."""
        alive = {
            number: [r["val/acc"] for r in ended]
            for number, ended in results.items()
            if ended and all(r["status"] == "FINISHED" for r in ended)
        }
        if len(self.options.objectives) > 1:
            return list(alive)
        seen = [*history, *alive.values()]
        noise, best = seed_noise(seen), incumbent(history, len(self.options.seeds))
        behind = {n for n, values in alive.items() if not may_be_best(values, best, noise)}
        # A trial that was raced out one seed ago has fewer values than this round's others.
        longest = max((len(values) for values in alive.values()), default=0)
        return [n for n in alive if n not in behind and len(alive[n]) == longest]

    def _train_seed(
        self, trials: dict[int, Trial], seed: int, results: dict[int, list[Result]]
    ) -> None:
        places = self._place_all([(trial, seed) for trial in trials.values()], parents=True)
        self._check([place.plan for place in places], searching=False)
        ended = self._train(
            places, {p.folder: t for p, t in zip(places, trials.values(), strict=True)}
        )
        for number, result in zip(trials, ended, strict=True):
            results[number].append(result)

    def _train(self, places: Sequence[Place], trials: dict[Path, Trial]) -> list[Result]:
        """Train what is not done yet; equal runs once."""
        todo: dict[str, Place] = {}
        for place in places:
            done = result_of(place.folder)
            if done is not None and done["status"] != "KILLED":
                if done["same_as"] is None:
                    self.session.catch_up(place.folder)
            elif place.plan.fingerprint not in self._known:
                todo.setdefault(place.plan.fingerprint, place)
        jobs = {place.folder: self._open_job(place) for place in todo.values()}
        by_plan = {
            p.plan.fingerprint: trials[p.folder] for p in todo.values() if p.folder in trials
        }
        train(
            list(todo.values()),
            self.session,
            capacity=self.launcher.cohort_size,
            resume=True,
            watch=lambda plan, epochs, metrics: self._watch(
                by_plan.get(plan.fingerprint), plan, epochs, metrics
            ),
        )
        for place in todo.values():
            result = result_of(place.folder)
            assert result is not None
            if result["status"] == "FINISHED":
                self._known[place.plan.fingerprint] = place.folder
            config, job = jobs[place.folder]
            self.launcher.close_job(config, job, result)
        return [self._result(place) for place in places]

    def _result(self, place: Place) -> Result:
        result = result_of(place.folder)
        if result is None or result["status"] == "KILLED":
            owner_folder = self._known[place.plan.fingerprint]
            place.folder.mkdir(parents=True, exist_ok=True)
            same = str(owner_folder.relative_to(self.folder))
            result = {**read_json(owner_folder / "result.json"), "same_as": same}
            write_json_atomic(place.folder / "result.json", result)
        return result

    def _open_job(self, place: Place) -> tuple[DictConfig, JobReturn]:
        config = self._configs[place.folder]
        subdir = str(place.folder.relative_to(self.folder))
        return config, self.launcher.open_job(config, self.folder, subdir)

    def _watch(
        self, trial: Trial | None, plan: Plan, epochs: int, metrics: dict[str, float]
    ) -> str | None:
        """Report the first seed's epochs to the pruner; stop in time."""
        if time.monotonic() > self.deadline:
            self.session.progress.note(
                f"search.timeout={self.options.timeout} is over; the same command goes on"
            )
            raise Parked(0)
        if trial is None or plan.values["seed"] != self.options.seeds[0]:
            return None
        if time.monotonic() - self.beat > BEAT_SECONDS:
            self.beat = time.monotonic()
            self.study.note(trial.number, OWNER, owner())
        value = metrics.get("val/acc")
        last = plan.values["trainer"]["epochs"]
        if value is None or value != value or len(self.options.objectives) > 1:
            return None
        if epochs not in self._reported(trial):
            trial.report(value, epochs)
        if epochs < last and trial.should_prune():
            return f"pruned after epoch {epochs} of {last}"
        return None

    def _reported(self, trial: Trial) -> set[int]:
        frozen: FrozenTrial = self.study.trials[trial.number]
        return set(frozen.intermediate_values)

    def _tell(self, number: int, trial: Trial, results: Sequence[Result]) -> None:
        """MLflow first: a trial that the study knows to be done is done everywhere."""
        failed = next((r for r in results if r["status"] == "FAILED"), None)
        pruned = any(r["status"] == "PRUNED" for r in results)
        values = [
            sum(float(r[key]) for r in results) / len(results)
            for key in self.options.objectives
            if not failed and not pruned
        ]
        trial.set_user_attr("seeds", {str(r["seed"]): r["val/acc"] for r in results})
        trial.set_user_attr("test/acc", {str(r["seed"]): r["test/acc"] for r in results})
        if failed is not None:
            trial.set_user_attr("reason", failed["reason"])
        self.runs.trial_ended(number, results, "FAILED" if failed else "FINISHED")
        if failed is not None:
            self.study.tell(trial, state=TrialState.FAIL)
        elif pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, values)

    def _finalists(self) -> list[Finalist]:
        """The best trials once more, with seeds that had no part in choosing them."""
        done = [t for t in self.study.trials if t.state is TrialState.COMPLETE]
        if len(self.options.objectives) > 1 or not done:
            return []
        highest = self._get_directions()[0].lower() == "maximize"
        ranked = sorted(done, key=lambda t: (t.value or 0.0) * (-1 if highest else 1))
        chosen = ranked[: self.options.finalists]
        seeds = range(
            self.options.seeds[-1] + 1, self.options.seeds[-1] + 1 + self.options.finalist_seeds
        )
        found: dict[int, list[Result]] = {trial.number: [] for trial in chosen}
        for seed in seeds if chosen else ():
            places = self._place_all([(trial, seed) for trial in chosen], parents=True)
            for trial, result in zip(chosen, self._train(places, {}), strict=True):
                found[trial.number].append(result)
        return [Finalist(trial, found[trial.number]) for trial in chosen]

    def _template(self) -> FrozenTrial:
        """A trial that stands for all in the check before the first: the middle of the space."""
        from optuna.trial import create_trial

        return create_trial(state=TrialState.RUNNING)

    def _place_all(
        self, pairs: Sequence[tuple[Trial | FrozenTrial, int]], *, parents: bool
    ) -> list[Place]:
        """A place for each trial and seed: its plan, its folder, its parent run in MLflow."""
        places = []
        self._configs: dict[Path, DictConfig] = getattr(self, "_configs", {})
        for trial, seed in pairs:
            values = self.space.values(trial.params)
            words = (*self.space.overrides(values), f"seed={seed}")
            number = max(trial.number, 0)
            config = self.launcher.compose(number, words)
            swept = [*self.space.keys, "seed"]
            (plan,) = make_plans([task_of(config)], [words], number, swept)
            folder = self.folder / str(number) / f"seed-{seed}"
            parent = self.runs.trial(number, plan.cell, values) if parents else None
            self._configs[folder] = config
            places.append(Place(plan, folder, parent))
        return places

    def _check(self, plans: Sequence[Plan], *, searching: bool) -> None:
        check(plans, self.session.dataset)
        if not searching:
            return
        for plan in plans:
            if self.session.dataset(plan.values).val is None:
                raise UserError(
                    "dataset.val_fraction must be > 0 in a search, got"
                    f" {plan.values['dataset']['val_fraction']:g}: there is nothing to choose by"
                )


def _seed_values(trial: FrozenTrial) -> list[float]:
    return [float(value) for value in trial.user_attrs.get("seeds", {}).values()]


def _results_by_fingerprint(folder: Path) -> dict[str, Path]:
    """Every finished run that the search has, so that equal points are not trained twice."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*/seed-*/result.json")):
        result = read_json(path)
        if result["status"] == "FINISHED" and result["same_as"] is None:
            found[result["fingerprint"]] = path.parent
    return found
