"""The options of a build: `options` has one dataclass field for each option, `fields` checks their values.

The command line, the YAML file and docs/options.md are generated from these fields. This package must not import the
implementations: it lists the names of detectors, decoders and policies, and a test compares them with the code.
"""
