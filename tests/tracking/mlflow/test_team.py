"""A team's MLflow: a server on PostgreSQL that passes artifacts on, with and without logins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from postgres import Server
from processes import SMALL, Fork, finish, start
from servers import tracking_server
from typer.testing import CliRunner
from uploads import assert_whole, sweep_of, uploaded

from kdsweep.cli import app
from kdsweep.common.passwords import VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.server]

CONTROLLERS = 8
USER, SECRET = "ada", "hunter2-hunter2"  # MLflow wants twelve characters
GRID = ["T=1,4", *SMALL, "trainer.epochs=3", "tracking.wait=300"]
SEARCH = [
    *["search=bayes", *SMALL, "trainer.epochs=1", "tracking.wait=300", "hydra.sweeper.n_trials=4"],
    *["hydra.sweeper.n_jobs=2", "search.workers=2", "search.finalists=0"],
]
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture(scope="module")
def server(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that accepts everybody."""
    folder = tmp_path_factory.mktemp("server")
    with tracking_server(folder, postgres_server.new_database()) as address:
        yield address


def test_eight_controllers_at_once_lose_nothing(server: str, tmp_path: Path) -> None:
    words = [*GRID, f"tracking.uri={server}", "tracking.experiment=team", "tracking.report=false"]
    words.append(f"teacher.store={tmp_path}/teachers")  # one teacher, which all of them upload
    folders = [tmp_path / f"member-{number}" for number in range(CONTROLLERS)]
    controllers = [Fork(folder, [*words, f"seed={n}"]) for n, folder in enumerate(folders)]
    outputs = [controller.communicate()[0] for controller in controllers]
    assert [controller.returncode for controller in controllers] == [0] * CONTROLLERS, outputs
    assert "kdsweep sync" not in "".join(outputs)
    client = MlflowClient(server)
    (teacher,) = tmp_path.glob("teachers/*/run.json")
    ids = [uploaded(folder, client) for folder in folders]
    ids.append({assert_whole(teacher.parent, client)})
    experiment = client.get_experiment_by_name("team")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    every = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(every) == sum(map(len, ids)) == CONTROLLERS * (1 + 2) + 1
    assert {run.info.run_id for run in every} == set.union(*ids)


@dataclass(frozen=True)
class Guarded:
    """A server with logins."""

    address: str  # without a login
    folder: Path
    postgres: Server
    store: str

    @property
    def with_login(self) -> str:
        return self.address.replace("://", f"://{USER}:{SECRET}@")

    def contents(self) -> str:
        """All that the server has: rows, artifacts, log."""
        files = (path.read_text(errors="replace") for path in self.folder.rglob("*.*"))
        return "\n".join([self.postgres.texts(self.store), *files])


@pytest.fixture(scope="module")
def guarded(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    pytest.importorskip("flask_wtf", reason="MLflow's logins need mlflow[auth]")
    folder, store = tmp_path_factory.mktemp("guarded"), postgres_server.new_database()
    settings = folder / "logins.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = EDIT\nadmin_username = admin\nauth_cache_ttl_seconds = 60\n"
        f"database_uri = {postgres_server.new_database()}\n"
    )
    admin = "not-" + SECRET[::-1]
    environment = {
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin,
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of these tests",
    }
    options = ["--app-name", "basic-auth"]
    with tracking_server(folder, store, *options, environment=environment) as address:
        users, member = f"{address}/api/2.0/mlflow/users", {"username": USER, "password": SECRET}
        made = requests.post(f"{users}/create", json=member, auth=("admin", admin), timeout=60)
        assert made.status_code == 200, made.text
        yield Guarded(address, folder, postgres_server, store)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    for name in LOGIN:
        monkeypatch.setenv(name, "")


def log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(LOGIN, (USER, SECRET), strict=True):
        monkeypatch.setenv(name, value)


def assert_nowhere(guarded: Guarded, folder: Path, *outputs: str) -> None:
    """Neither the command's folder, what was printed nor the server has the password."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET in path.read_text(errors="replace")] == []
    assert not any(SECRET in text for text in outputs)
    contents = guarded.contents()
    assert "kdsweep.fingerprint" in contents
    assert SECRET not in contents


@pytest.mark.parametrize("given", ["environment", "address"])
@pytest.mark.parametrize("words", [[*GRID, "tracking.plots=run"], SEARCH], ids=["grid", "search"])
def test_a_login_is_used_and_written_nowhere(
    guarded: Guarded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    words: list[str],
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.id
    uri = guarded.address
    if given == "environment":
        log_in(monkeypatch)
    else:
        uri = guarded.with_login
    output = finish(tmp_path, [*words, f"tracking.uri={uri}", f"tracking.experiment={name}"])
    log_in(monkeypatch)
    client = MlflowClient(guarded.address)
    ids = uploaded(tmp_path, client)
    (run_id, *_) = ids
    assert client.get_run(run_id).data.tags["mlflow.user"]
    commands: Sequence[list[str]] = (
        ["sync", str(sweep_of(tmp_path))],
        ["report", str(sweep_of(tmp_path))],
        ["leaderboard", "--uri", uri, "--experiment", name],
    )
    outputs = [output]
    for command in commands:
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
    assert "uploaded 0 rows" in outputs[1]
    assert_nowhere(guarded, tmp_path, *outputs)


@pytest.mark.parametrize("login", ["", f"{USER}:{SECRET[::-1]}@"], ids=["none", "wrong"])
def test_a_login_that_is_refused(guarded: Guarded, tmp_path: Path, login: str) -> None:
    uri = guarded.address.replace("://", f"://{login}")
    process = start(tmp_path, [*GRID, f"tracking.uri={uri}"])
    output, _ = process.communicate()
    assert process.returncode == 1
    *_, refusal = output.strip().splitlines()
    assert refusal.startswith("tracking.uri must be an MLflow store that works, got http://")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refusal
    assert "Traceback" not in output
    assert SECRET[::-1] not in output
    assert not list(tmp_path.glob("multirun/*/*/0")), "it is refused before training"


def test_the_server_is_guarded(guarded: Guarded) -> None:
    page = f"{guarded.address}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert requests.get(page, timeout=60).status_code == 401
