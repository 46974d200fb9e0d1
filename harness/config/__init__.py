"""YAML files with the line of every key: what the matrix, a policy and other files of a user are read with."""
