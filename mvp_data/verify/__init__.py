"""`mvp-data verify`: checks a finished build, byte by byte and rule by rule, and repairs it from its bank.

It may use the whole package except the command line. Only the command line imports it.
"""
