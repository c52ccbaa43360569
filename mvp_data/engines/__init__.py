"""Engines run a job function over jobs: in processes of this machine, or on a cluster (`fleet`, with Ray in `ray`).

`start` picks the engine by name. Engines must not depend on the content of jobs: they import nothing about videos,
banks, encoders or the configuration of a build.
"""
