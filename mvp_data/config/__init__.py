"""The options of a build: `options` has one field for each, `fields` checks the values of such fields.

The command line, the YAML file and docs/options.md are made from the fields. This package must not import an
implementation: it lists the names of detectors, decoders and policies, and a test compares them with the code.
"""
