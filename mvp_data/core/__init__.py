"""Values, errors and small pure functions that all packages use: types, seeds, text, HTML, JPEG headers, statistics.

It must not import other packages of this project, read data files, or know what a task is.
"""
