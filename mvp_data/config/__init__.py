"""Every option of a build, one field each; the command line, the YAML file and docs/options.md are made from them.

It must not import an implementation: it lists the names of detectors, decoders and policies, and a test compares them.
"""
