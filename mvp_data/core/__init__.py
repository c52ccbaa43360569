"""Values, errors and small pure functions that all packages use: types, seeds, text, HTML, JPEG headers, statistics.

It must not import another package of this project, open a file that holds data, or know what a task is.
"""
