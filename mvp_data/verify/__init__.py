"""`mvp-data verify`: checks the bytes of a finished build and the rules of its puzzles, and repairs it from its bank.

It may use the whole package except the command line. Only the command line imports it.
"""
