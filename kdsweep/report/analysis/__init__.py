"""Statistics on runs: cells and their comparisons, calibration of networks.

Public: `aggregate.grid`, `statistics.compare`, `temperature_scaling`.
"""
