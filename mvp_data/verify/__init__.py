"""Checks a finished build, byte by byte and rule by rule, and repairs it from its bank.

It may use the whole package except the command line; nothing but the command line imports it.
"""
