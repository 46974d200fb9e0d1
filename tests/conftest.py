"""For all tests."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes is the machine's affair: other work on it is no defect of ours.
settings.register_profile("sealmatrix", deadline=None)
settings.load_profile("sealmatrix")
