"""Load of the machine while it trains: MLflow's own monitor, on the run of a sweep.

All runs of a cohort share one process, so that the machine's load belongs to no single one of them;
a run that has no sweep above it has the metrics itself. MLflow samples every ten seconds
(MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL), in a thread of its own, and its errors stay there.
"""

import threading
from typing import Any

from kdsweep.common.passwords import reveal
from kdsweep.tracking.mlflow.connections import bounded


class SystemMetrics:
    """The monitor of one process. `uri` is that of the store."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._monitor: Any = None

    def start(self, run_id: str) -> None:
        """Log `system/...` to a run until it ends or `close`; only the first call has an effect."""
        if self._monitor is not None:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor: Any = SystemMetricsMonitor  # not typed
        address = bounded(reveal(self._uri))
        self._monitor = monitor(run_id, resume_logging=True, tracking_uri=address)
        self._monitor.start()

    def close(self, seconds: float = 5.0) -> None:
        """Stop, and log what is measured but not yet logged, in at most so many seconds."""
        if self._monitor is not None:
            # It waits for its own request, to which a store that hangs does not respond.
            ending = threading.Thread(target=self._monitor.finish, daemon=True)
            ending.start()
            ending.join(seconds)
            self._monitor = None
