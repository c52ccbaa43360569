"""Engines run a job function over jobs: in processes of this machine, or on a cluster (`fleet`, with Ray in `ray`).

`start` picks the engine by name. Engines must not know what the jobs are about: no videos, no banks, no encoders, and
not the configuration of a build.
"""
