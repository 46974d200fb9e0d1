"""Other people's tests: what they print, read into results that are judged like rules."""
