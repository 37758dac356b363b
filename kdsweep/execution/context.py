"""What all cohorts of a process share: MLflow, data sets, teachers, the display."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdsweep.builders.data import build_dataset
from kdsweep.builders.device import resolve_device
from kdsweep.builders.sources import DataSources
from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.files import drop_drafts
from kdsweep.common.validation import check_package
from kdsweep.config.run_config import RunConfig, to_values
from kdsweep.config.schema import CacheConfig, DatasetConfig, TrackingConfig
from kdsweep.data.pipeline.inspection import DatasetInspector
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import CachedSource, DataError
from kdsweep.errors import UserError
from kdsweep.execution.target import SweepLocation
from kdsweep.tracking.console import Progress
from kdsweep.tracking.metadata import read_run_metadata
from kdsweep.tracking.mlflow.backend import is_makeable
from kdsweep.tracking.mlflow.experiment import check_name
from kdsweep.tracking.mlflow.pending import PendingUpload, UploadRetrier, pending_uploads
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.mlflow.system_metrics import SystemMetrics
from kdsweep.tracking.mlflow.upload_queue import UploadQueue
from kdsweep.training.partition import CohortKey
from kdsweep.training.teacher import Ensemble, Teacher

NO_CACHE = CacheConfig(gib=0)


@contextmanager
def readable_data() -> Iterator[None]:
    """Raise UserError, a message without a traceback, for images that can no longer be read."""
    try:
        yield
    except DataError as error:
        raise UserError(str(error)) from error


class TrainingContext:
    """Resources shared by all cohorts of a process.

    Args:
        tracking: the `tracking` node, or what differs from its defaults; with `uri: null` only run
            directories are written.
        progress: the terminal's display.
        cache: the `cache` node; by default nothing is kept on disk or read from there.
        makes_store: whether a store that is not there yet is made now; else `open_store` makes it,
            once nothing can be refused any more.

    Raises UserError if the MLflow store cannot be used.
    """

    def __init__(
        self,
        tracking: TrackingConfig | dict[str, Any],
        progress: Progress,
        cache: CacheConfig = NO_CACHE,
        *,
        makes_store: bool = True,
    ) -> None:
        options = TrackingConfig(**tracking) if isinstance(tracking, dict) else tracking
        self.options, self.progress = options, progress
        self.cache = DiskCache(Path(cache.folder), cache.gib)
        self.store: MLflowStore | None = None
        self.lacks_store = False  # whether there should be one, and it did not work
        self.system_metrics: SystemMetrics | None = None
        try:
            if options.tensorboard:
                check_package("tracking.tensorboard", "tensorboard", "tensorboard")
            if options.system_metrics:
                check_package("tracking.system_metrics", "psutil", "system")
            if options.uri is not None:
                check_name(options.experiment)
                if makes_store or not is_makeable(options.uri):
                    self.open_store()
        except ValueError as error:
            raise UserError(str(error)) from error
        self.uploads = UploadQueue(threaded=options.uri is not None)
        self.retrier = UploadRetrier(
            self.uploads,
            lambda: self.store,
            options.wait,
            # The display changes with every batch.
            lambda count, seconds: self.progress.waiting(count, seconds),
        )
        self.sweep: SweepLocation | None = None  # known once the sweep is opened
        self.run_dirs: set[Path] = set()  # of the runs that this process has opened or uploaded
        # Called when a student has recorded an epoch, and after each step; raise SystemExit once
        # the time of a search is over, or the process has to end.
        self.stop_in_time: Callable[[], None] | None = None
        self.stop_at_step: Callable[[], None] | None = None
        self.teachers: dict[str, Teacher | Ensemble] = {}  # loaded
        self.announced: set[str] = set()  # teachers whose accuracy has been printed
        self.guarded: dict[CohortKey, dict[str, str]] = {}  # tags of `guard_teacher`
        self.data_sources = DataSources()  # that the specs of the runs were built from, if known
        self._val_accs: dict[str, float] = {}  # of every live run's latest epoch
        self._datasets: dict[str, Dataset] = {}
        self._inspection = DatasetInspector()
        self._sources: dict[str, CachedSource] = {}

    def open_store(self) -> None:
        """Open the store, which is made if it is not there yet. Raises UserError."""
        options = self.options
        if options.uri is None or self.store is not None:
            return
        try:
            self.store = MLflowStore.open(options.uri, options.experiment, options.artifacts)
        except ValueError as error:
            raise UserError(str(error)) from error
        if options.system_metrics:
            self.system_metrics = SystemMetrics(self.store.uri)

    def dataset(self, config: RunConfig) -> Dataset:
        """The data set of a run, loaded once; augmentation is part of the stream."""
        return self.load_dataset(config.dataset, config.trainer.device)

    def load_dataset(self, dataset: DatasetConfig, device: str) -> Dataset:
        """A data set on a device, loaded once."""
        device, node = resolve_device(device), to_values(dataset)
        source = json.dumps(node["source"], sort_keys=True)
        key = json.dumps([{k: v for k, v in node.items() if k != "augment"}, device])
        if key not in self._datasets:
            with self.progress.warnings_of("kdsweep"), readable_data():
                if source not in self._sources:  # read once for all that are cut from it
                    built = self.data_sources.source(dataset, self.cache)
                    self._sources[source] = CachedSource(built)
                loaded = build_dataset(dataset, device, self._sources[source])
                self._datasets[key] = loaded
                self._inspection.inspect(loaded, source)
        return self._datasets[key]

    @property
    def has_data(self) -> bool:
        """Whether some data set has been loaded."""
        return bool(self._datasets)

    def forget_sources(self) -> None:
        """Free the images that no data set has taken; another one would read them again."""
        self._sources.clear()
        self._inspection.clear_digests()

    def monitor(self, run_id: str, role: str) -> None:
        """Log the machine's load to the sweep's run, or to a run that has no sweep above it."""
        sweep = None if self.sweep is None else self.sweep.parent_run_id
        monitor, target = self.system_metrics, sweep or (run_id if role == "run" else None)
        if monitor is not None and target is not None:
            self.uploads.submit("the machine's load", lambda: monitor.start(target))

    def update_leader(self, name: str, val_acc: float | None) -> None:
        """Note a run's latest val/acc for the display; None for a run that has failed."""
        if val_acc is None:
            self._val_accs.pop(name, None)
        else:
            self._val_accs[name] = val_acc

    @property
    def leader(self) -> str | None:
        """The run with the best latest val/acc, and that."""
        if not self._val_accs:
            return None
        name, acc = max(self._val_accs.items(), key=lambda entry: entry[1])
        return f"{name} {acc:.2%}"

    def upload_missing(self, run_dir: Path) -> None:
        """Upload what MLflow lacks of a run that had ended when its process died."""
        self.run_dirs.add(run_dir)
        if not (read_run_metadata(run_dir) or {}).get("shipped"):
            drop_drafts(run_dir)
        for task in self.pending_uploads([run_dir]):
            self.uploads.submit(str(run_dir), task.upload, folder=run_dir)

    def pending_uploads(self, run_dirs: Sequence[Path] | None = None) -> list[PendingUpload]:
        """What has ended in these directories, or of this process, and MLflow lacks in part."""
        if self.store is None:
            return []
        return pending_uploads(sorted(self.run_dirs) if run_dirs is None else run_dirs, self.store)

    def upload_pending(
        self, pending_uploads: Callable[[], Sequence[PendingUpload]] | None = None
    ) -> bool:
        """Try once more to upload what MLflow lacks; False if it still lacks something.

        All waiting of a process together takes at most `tracking.wait` seconds.
        """
        return self.retrier.upload_pending(pending_uploads or self.pending_uploads)

    def close(self) -> None:
        """Upload the rest and end the threads; a message names what MLflow still lacks."""
        self.upload_pending()
        self.uploads.close()
        if self.system_metrics is not None:
            self.system_metrics.close()
