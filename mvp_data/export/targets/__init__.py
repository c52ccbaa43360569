"""The export targets: one module for each trainer or plain format, with one `Target` object called `TARGET`.

A target knows the layout of its files. It must not know where they are written, nor the other targets.
"""
