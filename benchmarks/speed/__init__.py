"""The parts of benchmarks/performance.py (`make bench`) and of benchmarks/gpu.py.

solo_loop: a user's own training loop. cohorts: the same runs as kdsweep trains them. floor: the
bare steps. rounds: interleaved timing. machine: what it was measured on. step_times, start_times,
sweep_costs, memory: the measurements. tables, comparisons, pages: what is written and shown.
"""
