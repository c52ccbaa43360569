"""Tests, in the folders of the packages that they test."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the repository
