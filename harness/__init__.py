"""sealmatrix: does this kernel keep the promises of mseal(2), and what changed since the last one?"""

__version__ = "0.2.0"
