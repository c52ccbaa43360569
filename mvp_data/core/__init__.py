"""Values and small pure functions that all packages use: types, errors, seeds, text, HTML, JPEG headers, statistics.

`containers` lists the file extensions of videos. This package must not import any other package of this project,
open a data file, or know about tasks.
"""
