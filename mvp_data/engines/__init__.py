"""Engines run a job function over jobs: in processes of this machine, or on a Ray cluster.

They must not know what the jobs are about: no videos, banks, encoders, and not the configuration of a build.
"""
