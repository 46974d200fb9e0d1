"""Programs we start, so that none of them outlives us, and git, which is one of them."""
