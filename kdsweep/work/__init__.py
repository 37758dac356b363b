"""Which work unit is trained when, and by which process.

`inline.train` trains the runs of a sweep in this process, `controller.train_by` in those that an
`executor.Executor` starts. Such a process is `worker.Worker`: it reads a unit from a file in the
sweep's folder, and trains it as this process would. `status` reads how far all of them are.
"""
