"""What a run is before it starts: cells and payload tasks, their order, what is left of an earlier sitting."""
