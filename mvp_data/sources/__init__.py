"""Finds videos in folders, globs, manifests, tars and URLs, and fetches the bytes of a video when they are needed.

It must not decode videos or depend on how they are used.
"""
