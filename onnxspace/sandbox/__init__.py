"""Worker processes with limits on memory and time, in which everything runs that opens, measures, converts or runs a model file.

`limits` are how much a process may use, `process` starts and ends one, `worker` sends it requests, `child` is what it runs. What a
request means is decided by the module of tasks that a worker is started with.
"""
