"""Opens and decodes one file, with one module for each back end behind the interface in `stream`; `open` picks one.

It must not decide which frames are kept.
"""
