"""Plan → cells → workers → journal; the only room that composes the others."""
