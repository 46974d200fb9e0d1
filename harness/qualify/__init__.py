"""A candidate against its baseline under a written policy, with everything needed to repeat it."""
