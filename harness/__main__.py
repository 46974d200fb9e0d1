"""``python -m harness`` is ``sealmatrix``."""

from harness.cli import main

main()
