"""The steps, oldest first. A step that was released is never changed: the next one changes the tables."""
