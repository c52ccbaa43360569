"""The export targets: one module for each trainer or plain format, with one `Target` object called `TARGET`.

A target defines the content of its files. It must not write them or import other targets.
"""
