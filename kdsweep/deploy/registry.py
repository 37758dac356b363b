"""`kdsweep promote`: a run's model in MLflow's registry, with a model card."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from kdsweep.builders.checkpoints import DOWNLOADS
from kdsweep.common.text import error_reason, shorten
from kdsweep.deploy.card_facts import card_facts
from kdsweep.deploy.manifest import read_manifest
from kdsweep.deploy.model_card import model_card
from kdsweep.deploy.source_run import address_of, run_id_of, run_of_bundle
from kdsweep.deploy.sources import MODELS, SOURCE, find_bundle
from kdsweep.errors import UserError
from kdsweep.report.sources.address import Address
from kdsweep.tracking import run_dir
from kdsweep.tracking.find_run import STORE, find_run
from kdsweep.tracking.metadata import read_run_config
from kdsweep.tracking.mlflow.logged_model import log_model
from kdsweep.tracking.mlflow.run_sync import sync
from kdsweep.tracking.mlflow.store import ARTIFACTS, MLflowStore, can_be_quoted, quoted

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CARD = "model_card.md"
DESCRIPTION_LENGTH = 5000  # of a version, in MLflow's databases
CLASSES_SHOWN = 10  # in a description that would be too long
VERSIONS_TAG = "mlflow.modelVersions"  # of a LoggedModel: MLflow's UI links its versions by it


class Promoted(NamedTuple):
    """A version in the registry."""

    name: str
    version: str
    alias: str | None
    run: str  # its name
    is_new: bool
    uri: str  # of the store

    @property
    def address(self) -> str:
        """How MLflow and `kdsweep.load` name it."""
        return f"{MODELS}{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")


def promote(source: str, name: str, alias: str | None, address: Address) -> Promoted:
    """Register the model of a run, which is logged first if MLflow lacks it.

    Repeating it changes nothing: a model has one version under a name. The alias moves.

    Raises UserError if the source is no finished run, or MLflow refuses the name or the alias.
    """
    from mlflow.exceptions import MlflowException

    folder = _run_folder(source, address)
    store = _store_of(folder, address)
    run_id = _run_in(store, folder)
    model_id = log_model(store, run_id, folder)
    card = _Card(folder, name, alias)
    try:
        version, is_new = _version(store, name, model_id, run_id, card)
        if alias is not None:
            store.client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise UserError(
            f"--name and --alias must be names that MLflow accepts, got {name} and {alias}:"
            f" {error_reason(error)}"
        ) from error
    return Promoted(name, version, alias, card.run, is_new, store.uri)


def _run_folder(source: str, address: Address) -> Path:
    """The folder of the run that a source is of, which has weights and what loads them."""
    downloads = STORE / DOWNLOADS
    bundle = find_bundle(source, address.open, downloads)
    manifest = read_manifest(bundle)
    folder = run_of_bundle(bundle, manifest)
    if folder is not None:
        return folder
    fingerprint = manifest.run.get("fingerprint")
    if not fingerprint:
        raise UserError(f"{SOURCE} must be a model of a run, got {source}, which names none")
    return find_run(str(fingerprint), address.open, downloads, SOURCE)


def _store_of(folder: Path, address: Address) -> MLflowStore:
    """The store of a run; that of the options, if they name one."""
    config = read_run_config(folder)
    artifacts = ARTIFACTS if config is None else config.tracking.get("artifacts") or ARTIFACTS
    try:
        return MLflowStore.open(*address_of(folder, address).resolved(), artifacts)
    except ValueError as error:
        raise UserError(str(error).replace("tracking.uri", "--uri")) from error


def _run_in(store: MLflowStore, folder: Path) -> str:
    """The id of the run in the store, which gets it now if it has none."""
    known = run_id_of(folder)
    if known is not None and store.has_run(known):
        return known
    sync(folder, store)
    return str(run_id_of(folder))


class _Card:
    """The model card of a run under the name that it is registered by."""

    def __init__(self, folder: Path, name: str, alias: str | None) -> None:
        facts = card_facts((folder / run_dir.CLASSIFIER).parent)
        at = f"{MODELS}{name}@{alias}" if alias else f"{MODELS}{name}/latest"
        load = (
            "import kdsweep\n\n"
            f"classifier = kdsweep.load({at!r})\n"
            'classifier.predict(["image.png"])[0].label'
        )
        self.run = str(facts.manifest.run.get("name"))
        self.fingerprint = str(facts.manifest.run.get("fingerprint"))
        self.text = model_card(name, facts, load)
        self.description = self.text
        if len(self.text) > DESCRIPTION_LENGTH:
            self.description = model_card(name, facts, load, CLASSES_SHOWN)


def _version(
    store: MLflowStore, name: str, model_id: str, run_id: str, card: _Card
) -> tuple[str, bool]:
    """The version of a model under a name, and whether it had to be created."""
    known = _find_version(store, name, model_id)
    tags = {"kdsweep.run": card.run, "kdsweep.fingerprint": card.fingerprint}
    description = shorten(card.description, DESCRIPTION_LENGTH)
    with TemporaryDirectory(prefix="kdsweep-card-") as draft:
        Path(draft, CARD).write_text(card.text, encoding="utf-8")
        store.client.log_model_artifacts(model_id, draft)
    if known is None:
        _ensure_name(store, name)
        known = store.client.create_model_version(
            name,
            f"{MODELS}{model_id}",
            run_id,
            tags=tags,
            description=description,
            model_id=model_id,
        )
        _show_in_models_tab(store, known, model_id)
        return str(known.version), True
    for key, value in tags.items():
        if known.tags.get(key) != value:
            store.client.set_model_version_tag(name, known.version, key, value)
    if known.description != description:
        store.client.update_model_version(name, known.version, description)
    _show_in_models_tab(store, known, model_id)
    return str(known.version), False


def _find_version(store: MLflowStore, name: str, model_id: str) -> "ModelVersion | None":
    if not can_be_quoted(name):
        raise UserError(f"--name must not have both kinds of quotes, got {name}")
    versions = store.client.search_model_versions(f"name = {quoted(name)}")
    return next((one for one in versions if one.source == f"{MODELS}{model_id}"), None)


def _ensure_name(store: MLflowStore, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _show_in_models_tab(store: MLflowStore, version: "ModelVersion", model_id: str) -> None:
    """Have the model's page name the version, as `mlflow.register_model` does."""
    listed = _listed(store.client.get_logged_model(model_id).tags.get(VERSIONS_TAG))
    own = {"name": version.name, "version": str(version.version)}
    if own not in [{**one, "version": str(one.get("version"))} for one in listed]:
        value = json.dumps([*listed, own])
        store.client.set_logged_model_tags(model_id, {VERSIONS_TAG: value})


def _listed(tag: str | None) -> list[dict[str, Any]]:
    """The versions in MLflow's tag; those that can be read, if others have written to it."""
    try:
        content = json.loads(tag or "[]")
    except ValueError:
        return []
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
