"""What system calls on memory cost, in instructions: measured in a guest whose clock counts them, and compared."""
