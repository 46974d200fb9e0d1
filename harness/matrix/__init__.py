"""The matrix: ``kernels.yaml`` turned into frozen nouns."""
