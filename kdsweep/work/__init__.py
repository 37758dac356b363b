"""Placement: which work unit is trained when, and by which process.

`controller.Controller` trains the runs of a sweep: in this process, or by an `executor.Executor`
that starts others. Such a process is `worker.Worker`: it reads a unit from a file in the sweep's
folder, and trains it as this process would. `status` reads how far all of them are.
"""
