"""Kernels broken on purpose, one defect each: does a suite notice?"""
