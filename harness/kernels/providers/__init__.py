"""From each kernel source to a build in the store: one module for each source, listed in ``resolve.PROVIDERS``."""
