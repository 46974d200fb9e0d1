"""Which lines and branches of the kernel's sealing code ran while sealed memory was present."""
