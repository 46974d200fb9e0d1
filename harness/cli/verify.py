"""``sealmatrix verify``: is the evidence of a qualification as it was?"""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import UsageError
from harness.model.verdict import EXIT_FAILED, EXIT_OK
from harness.qualify.evidence import SUMS, verify
from harness.reports.style import Page, screen
from harness.runs.cells import plural


@click.command("verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--digest", metavar="SHA256", help=f"Digest of {SUMS}, as printed with the verdict.")
def verify_command(folder: Path, digest: str | None) -> int:
    """Verify the checksums of a qualification folder: nothing altered, missing or added.

    With --digest, the list of checksums is verified too. Exit status: 0 intact, 1 not intact, 2 the folder is not a
    qualification.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder")
    found = verify(folder)
    page = Page(screen())
    for word, names in (("altered", found.altered), ("missing", found.missing), ("added", found.added)):
        for name in names:
            page.line(f"{word}: {name}", style="bold red")
    sealed = digest is None or found.digest == digest.strip().lower()
    if not sealed:
        page.line(f"altered: {SUMS} itself; its digest is {found.digest}", style="bold red")
    if found.intact and sealed:
        page.console.print(f"intact: {plural(found.files, 'file')}, sha256 of {SUMS}: {found.digest}", soft_wrap=True)
        return EXIT_OK
    return EXIT_FAILED
