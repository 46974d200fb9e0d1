"""Where kernels come from, and the store that keeps them by content."""
