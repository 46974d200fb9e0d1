"""Images of mutants that were built once, so that another suite needs no compiler.

An image depends on the unchanged kernel (its bytes stand for tree, configuration and compiler) and on the edits; both
digests are in its name, and so is its own sha256, which is checked whenever it is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import zstandard

from harness.errors import ImageError
from harness.kernels.compression import decompress
from harness.kernels.store import telling
from harness.model.atomic_files import write_atomically

_LEVEL = 3  # a quarter of the size in a twentieth of a second


@dataclass(frozen=True)
class KeptImages:
    """The images of one unchanged kernel in ``folder``; another's are dropped on opening."""

    folder: Path
    pristine: str

    def __post_init__(self) -> None:
        with telling(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob("*.zst"):
                if not path.name.startswith(f"{self.pristine[:16]}-"):
                    path.unlink(missing_ok=True)

    def take(self, mutant: str, digest: str, target: Path) -> str | None:
        """Unpack a kept image into ``target`` and return its sha256; None when there is none that is whole."""
        for path in self.folder.glob(f"{self._stem(mutant, digest)}-*.zst"):
            expected = path.stem.rpartition("-")[2]
            try:
                content = decompress(path.read_bytes(), path.name)
            except (OSError, ImageError):
                content = b""
            if sha256(content).hexdigest() != expected:
                path.unlink(missing_ok=True)
                continue
            with telling(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            return expected
        return None

    def keep(self, mutant: str, digest: str, image: Path) -> None:
        """Keep a copy of an image just built."""
        with telling(image):
            content = image.read_bytes()
        path = self.folder / f"{self._stem(mutant, digest)}-{sha256(content).hexdigest()}.zst"
        with telling(path):
            write_atomically(path, zstandard.ZstdCompressor(level=_LEVEL).compress(content))

    def has(self, mutant: str, digest: str) -> bool:
        """Whether an image is kept, whole or not."""
        return any(self.folder.glob(f"{self._stem(mutant, digest)}-*.zst"))

    def _stem(self, mutant: str, digest: str) -> str:
        return f"{self.pristine[:16]}-{mutant}-{digest}"
