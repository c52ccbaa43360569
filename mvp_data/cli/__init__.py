"""The command `mvp-data`: one module for each subcommand parses arguments, calls the package and prints the result.

It must not contain logic of its own, and no other package may import it.
"""
