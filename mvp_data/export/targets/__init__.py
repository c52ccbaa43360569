"""The export targets: one module for each project, with one `Target` object called `TARGET`.

A target knows the layout of its project. It must not know where the files are written, nor the other targets.
"""
