"""The command `mvp-data`: one module for each subcommand parses arguments, calls the package and prints the result.

It must not compute anything itself, and no other package imports it.
"""
