"""The container image and the services of compose.yaml, run without a daemon."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from images import CHROOT, base_image, buildah, pip_settings
from mlflow import MlflowClient
from postgres import Server
from processes import start
from servers import serving
from uploads import uploaded

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
IMAGE = "localhost/kdsweep-test"
USER_ID = "1000"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^{}]*)|:\?)?\}")


def filled(node: Any, variables: dict[str, str]) -> Any:
    """A node of compose.yaml with its variables, as compose interpolates them."""
    if isinstance(node, dict):
        return {key: filled(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, variables) for value in node]
    while isinstance(node, str) and VARIABLE.search(node):
        node = VARIABLE.sub(lambda match: variables.get(match[1]) or match[2] or "", node)
    return node


def test_the_files_name_no_registry() -> None:
    for name in ("Dockerfile", "compose.yaml", "apptainer.def", ".dockerignore"):
        text = (ROOT / name).read_text()
        images = re.findall(r"^ *(?:FROM|From:|image:|ARG BASE=) *(\S+)", text, re.MULTILINE)
        assert not any("/" in image for image in images), name
        assert re.findall(r"https?://(?!mlflow:|localhost:|127\.0\.0\.1:)\S+", text) == [], name


def test_every_secret_of_compose_is_required() -> None:
    """A service without a password does not start with an empty one."""
    text = (ROOT / "compose.yaml").read_text()
    given = re.findall(r"(\w*(?:PASSWORD|SECRET_KEY)\w*): (\S+)", text)
    assert len(given) >= 5
    for name, value in given:
        assert value.endswith((":?}", ":?}}")), name


def test_the_build_reads_what_the_package_is_made_of() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in kept)
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for words in copied for name in words.split()} == kept
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"]} <= kept


@pytest.fixture(scope="module")
def services(
    postgres_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of the service `mlflow`, and the service `worker` with what it needs."""
    pytest.importorskip("flask_wtf", reason="MLflow's logins need mlflow[auth]")
    folder = tmp_path_factory.mktemp("services")
    first = postgres_server.new_database()
    place, _, _ = first.rpartition("/")
    secret = place.split(":")[2].partition("@")[0]
    with psycopg.connect(first, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")  # POSTGRES_DB
        for line in COMPOSE["configs"]["databases"]["content"].splitlines():
            connection.execute(line.encode())
    variables = {"POSTGRES_PASSWORD": secret, "MLFLOW_ADMIN_PASSWORD": "a-long-password"}
    found = filled(COMPOSE["services"], variables | {"MLFLOW_SECRET_KEY": "secret"})

    def here(text: str) -> str:
        return text.replace("@postgres/", f"@{place.partition('@')[2]}/")

    logins = folder / "logins.ini"
    logins.write_text(here(COMPOSE["configs"]["logins"]["content"]))
    mlflow = found["mlflow"]
    options = dict(here(word).partition("=")[::2] for word in mlflow["command"])
    assert {"--port", "--allowed-hosts"} <= options.keys()  # those of the network of compose
    del options["--port"], options["--allowed-hosts"]
    options |= {"--host": "127.0.0.1", "--artifacts-destination": str(folder / "artifacts")}
    words = [f"{key}={value}" if value else key for key, value in options.items()]
    environment = {**mlflow["environment"], "MLFLOW_AUTH_CONFIG_PATH": str(logins)}
    command = [sys.executable, "-m", *mlflow["entrypoint"], *words, "--workers=1"]
    with serving(command, folder, "/health", environment=environment) as address:
        worker = found["worker"]
        worker["environment"]["MLFLOW_TRACKING_URI"] = address
        worker["studies"] = here("postgresql://kdsweep@postgres/studies")
        yield address, worker


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("kind", ["sweep", "search"])
def test_the_worker_of_compose_reaches_its_services(
    services: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    address, worker = services
    for name, value in worker["environment"].items():
        monkeypatch.setenv(name, value)
    words = worker["command"][1:]
    assert worker["command"][0] == "train"
    if kind == "search":
        words = ["search=bayes", f"hydra.sweeper.storage={worker['studies']}"]
        words += ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "search.finalists=0"]
    process = start(tmp_path, [*words, "trainer.epochs=1", f"tracking.experiment={kind}"])
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert uploaded(tmp_path, MlflowClient(address))


@pytest.mark.slow
def test_an_image_trains_a_sweep(tmp_path: Path) -> None:
    where = pip_settings(tmp_path)
    build = ["build", "--network=host", "--layers", *CHROOT, *where]
    build += ["--build-arg", f"BASE={base_image(tmp_path)}"]
    try:
        output = buildah(*build, "--target", "check", "--tag", f"{IMAGE}:check", str(ROOT))
        table = output[output.index("kl T=") :]
        print(table)
        assert "kl T=16 alpha=0.5" in table
        buildah(*build, "--tag", IMAGE, str(ROOT))
        container = buildah("from", IMAGE).strip()
        try:
            assert_installed(container)
        finally:
            buildah("rm", container)
    finally:
        for name in (f"{IMAGE}:check", IMAGE):
            subprocess.run(["buildah", "rmi", name], capture_output=True, check=False)


def pins(text: str) -> set[tuple[str, str]]:
    """Packages and their versions."""
    found = re.findall(r"^([\w.-]+)==([^ ;\n]+)", text, re.MULTILINE)
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}


def assert_installed(container: str) -> None:
    """The container runs kdsweep as another user than root, with the versions of the lock."""

    def run(*words: str) -> str:
        return buildah("run", *CHROOT, container, "--", *words)

    assert run("id", "-u").strip() == USER_ID
    assert "train" in run("kdsweep", "--help")
    format_ = "{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.User}}"
    assert buildah("inspect", "--format", format_, container).strip() == "[kdsweep] kdsweep"
    refused = run("sh", "-c", "touch /src/file /opt/kdsweep/file 2>&1 || true")
    assert refused.count("Permission denied") == 2
    installed = pins(run("pip", "freeze", "--all", "--exclude", "kdsweep"))
    assert len(installed) > 100
    assert installed <= pins((ROOT / "requirements.lock").read_text())
    history = buildah("inspect", container)
    assert "find-links" not in history
    assert "pip.conf" in history, "the build has read the secret"
