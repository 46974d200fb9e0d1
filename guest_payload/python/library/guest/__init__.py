"""What a scenario imports: system calls on memory, and what they did, told to the host."""
