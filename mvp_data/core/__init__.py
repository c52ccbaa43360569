"""Values and small pure functions that all packages use: types, errors, seeds, text, HTML, JPEG headers, statistics.

`containers` lists the file extensions of videos. This package must not import another one of this project, open a file
that holds data, or know what a task is.
"""
