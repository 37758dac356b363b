"""What `make bench` writes between the markers of docs/performance.md."""

from speed import tables
from speed.summary import summary


def blocks(results: tables.Results) -> dict[str, str]:
    """Each block by the name of its markers, if it was measured."""
    parts = {
        "summary": ("steps", summary),
        "machine": ("machine", tables.machine_lines),
        "steps": ("steps", tables.step_tables),
        "starts": ("starts", tables.start_table),
        "sweeps": ("sweeps", tables.sweep_table),
        "disk": ("sweeps", tables.disk_table),
        "workers": ("workers", tables.worker_table),
        "memory": ("memory", tables.memory_table),
        "many": ("many", tables.many_table),
        "against": ("against", tables.against_table),
    }
    return {name: made(results) for name, (part, made) in parts.items() if results.get(part)}
