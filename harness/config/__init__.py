"""The one loader of YAML files: the matrix, a policy, the catalogues of rules and mutants."""
