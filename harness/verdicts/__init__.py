"""Rule + observation + kernel facts → verdict. Pure."""
