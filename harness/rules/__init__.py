"""The contract: rules and their catalogue."""
