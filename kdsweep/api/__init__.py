"""Sweeps from Python and notebooks: train one, open an old one, read its results.

Public names, also as `kdsweep.NAME`: `sweep`, `open`, `Sweep`, `SweepRun`.
"""
