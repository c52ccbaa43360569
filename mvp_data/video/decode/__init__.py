"""Opens and decodes one file, with one module for each back end behind the interface in `stream`.

It must not decide which frames are kept.
"""
