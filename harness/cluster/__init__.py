"""More than one machine: cells on the workers of an ordinary Dask scheduler.

Only ``pool`` and ``worker`` import dask, and only who asks for a cluster imports them.
"""
