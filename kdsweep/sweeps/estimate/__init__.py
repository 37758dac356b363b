"""What a sweep costs, by the times of a few steps: for `kdsweep estimate`, and to split cohorts.

Public: `probing.print_estimate`, `probing.measure_kinds`, `splitting.cohorts_for`; `cost_model`
adds up times, disk and memory.
"""
