"""Finds the videos in folders, globs, manifests, tars and URLs, and fetches the bytes of one when they are needed.

It must not decode a video or know what is made of it.
"""
