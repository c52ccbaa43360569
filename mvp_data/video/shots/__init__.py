"""Finds the shot boundaries of one video, with one module for each detector; `detector` picks one by name.

A detector must not decode: it sees tiny frames only.
"""
