"""Finds the shot boundaries of one video, with one module for each detector; `detector` lists them.

A detector must not decode: it sees only tiny frames.
"""
