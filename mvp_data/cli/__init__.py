"""The command `mvp-data`: one module for each subcommand, which parses arguments, calls the package and prints.

Nothing else in the package imports it. It must not compute anything itself.
"""
