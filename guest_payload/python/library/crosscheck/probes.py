"""Which operation is asked on which regions and spans: by the contract, the required rules of six families."""

from crosscheck.operations import DISCARDS, OPERATIONS
from crosscheck.window import LAYOUTS

INSIDE = "exact head middle tail"  # the range is sealed throughout
MIXED = "into out-of around across-holes first last"  # sealed and plain
ANY = f"{INSIDE} {MIXED}"
TELLING = "exact into around"
LONG = "exact head tail into out-of around"  # two units or more
GAPS = "gap-amid gap-around"
PLAIN = "plain exact"
BADLY = "plain exact hole-middle unmapped"

TYPICAL = "anon-rw anon-r file-private-copied-r shared-anon-rw"
READ_ONLY = "anon-r anon-none anon-rx"
READ_ONLY_ODD = "anon-locked-r anon-untouched-r anon-untouched-none"
KEYS = "pkey-no-write-rw pkey-no-access-rw"
ALL = (
    f"anon-rw {READ_ONLY} shared-anon-rw shared-anon-r file-private-clean-r file-private-clean-rw "
    "file-private-copied-r file-private-copied-rw memfd-private-rw file-shared-rw file-shared-r memfd-shared-rw"
)
ODD = f"anon-locked-rw anon-untouched-rw {READ_ONLY_ODD} zero-private-rw zero-private-r {KEYS}"
OWN = "file-private-clean-r file-private-copied-r file-shared-rw memfd-shared-rw"

# operation: pairs of regions and spans
ASKED = {
    # A1, A2: flags, then alignment, before everything else; A3: nothing to seal; A4: rounding and overflow
    **{
        f"mseal-{name}": [("anon-rw", BADLY)]
        for name in (
            "flags-1", "flags-high", "flags-all", "flags-empty", "flags-unaligned", "unaligned-1", "unaligned-2048",
            "unaligned-empty", "length-wraps", "end-overflows", "end-is-zero", "beyond-task",
        )
    },
    "mseal-flags-bit32": [("anon-rw", "plain")],
    "mseal-empty": [("anon-rw file-shared-rw", BADLY)],
    "mseal-less-one-byte": [(TYPICAL, f"{PLAIN} hole-end")],
    "mseal-one-byte-more": [(TYPICAL, f"{PLAIN} hole-end")],
    # A5: holes; A6: again; A7: exactly the pages asked for, over any mappings; A9: tags
    "mseal": [
        (f"{ALL} {ODD}", PLAIN),
        ("anon-rw file-shared-rw", f"{ANY} beside before after {GAPS} hole-start hole-middle hole-end unmapped"),
        ("anon-mixed", f"{PLAIN} plain-wide hole-middle hole-end into"),
    ],
    "mseal-page": [("anon-huge-r", "beside")],
    "mseal-tagged": [(TYPICAL, f"{PLAIN} hole-middle")],
    # U1
    "munmap": [("anon-rw", ANY), (ALL, TELLING), ("anon-mixed", "exact into out-of"), (TYPICAL, GAPS),
               (ODD, "exact into")],
    "munmap-short": [(TYPICAL, "exact middle last into")],
    "munmap-far": [(TYPICAL, "exact around")],
    "munmap-tagged": [("anon-rw", "exact into")],
    # U2, U3
    "mmap-fixed-anon": [("anon-rw", f"{ANY} {GAPS}"), (ALL, TELLING), (f"anon-mixed {ODD}", "exact")],
    "mmap-fixed-none": [(f"{TYPICAL} anon-none", TELLING)],
    "mmap-fixed-shared": [(TYPICAL, TELLING)],
    "mmap-fixed-file": [(f"{TYPICAL} file-private-clean-r", TELLING)],
    "mmap-fixed-file-none": [(TYPICAL, TELLING)],
    "mmap-fixed-file-shared": [(f"{TYPICAL} file-shared-rw", TELLING)],
    "mmap-fixed-memfd": [(TYPICAL, TELLING)],
    "mmap-fixed-again": [(OWN, TELLING)],
    "mmap-noreplace": [(TYPICAL, f"{TELLING} beside")],
    # R1 to R4
    "mremap-move": [("anon-rw anon-r", ANY), (ALL, "exact into"), (f"anon-mixed {ODD}", "exact into"),
                    (TYPICAL, "gap-amid")],
    "mremap-move-shrink": [(TYPICAL, LONG)],
    "mremap-move-grow": [("anon-rw", ANY), (TYPICAL, "exact into out-of")],
    "mremap-shrink": [("anon-rw", LONG), (ALL, "exact into"), (ODD, "exact")],
    "mremap-expand": [("anon-rw", ANY), (ALL, "exact"), (TYPICAL, "tail last")],
    "mremap-expand-move": [("anon-rw", ANY), (f"{ALL} {ODD}", "exact")],
    "mremap-same": [("anon-rw", ANY), (ALL, "exact"), (TYPICAL, TELLING)],
    "mremap-dontunmap": [("anon-rw", ANY), (ALL, "exact into"), ("anon-mixed", "exact into"), (TYPICAL, "gap-amid")],
    "mremap-dontunmap-fixed": [("anon-rw", ANY), (TYPICAL, "exact into out-of")],
    "mremap-double": [(ALL, "exact head")],
    "mremap-double-fixed": [(ALL, "exact")],
    "mremap-onto": [("anon-rw", f"{ANY} {GAPS}"), (ALL, "exact into"), (f"anon-mixed {ODD}", "exact")],
    "mremap-onto-grow": [(TYPICAL, "exact into last")],
    "mremap-onto-dontunmap": [(TYPICAL, TELLING)],
    "mremap-tagged-shrink": [("anon-rw", "exact")],
    # P1 to P3
    **{
        f"mprotect-{name}": [("anon-rw", f"{ANY} {GAPS}"), (TYPICAL, TELLING), (ALL, "exact into"),
                             ("anon-mixed", "exact into")]
        for name in ("none", "r", "rw", "rx")
    },
    "mprotect-rwx": [(TYPICAL, TELLING), (f"anon-rw {READ_ONLY}", "exact")],
    "mprotect-w": [(f"anon-rw {READ_ONLY}", "exact")],
    "mprotect-x": [(f"anon-rw {READ_ONLY}", "exact")],
    "mprotect-same": [("anon-rw", ANY), (ALL, "exact into")],
    "mprotect-short": [(TYPICAL, "exact middle last")],
    **{
        f"pkey-mprotect-{name}": [(f"{TYPICAL} anon-none {KEYS}", "exact into"), ("anon-r", "middle")]
        for name in ("any", "default", "new")
    },
    "bti-mprotect": [("anon-rx file-private-clean-r", "exact middle into")],
    "mte-mprotect": [("anon-rw anon-r", "exact middle into")],
    "mprotect-tagged": [("anon-rw", "exact into")],
    # M1, M3, M9
    **{
        f"madvise-{name}": [("anon-r", f"{ANY} {GAPS}"), (READ_ONLY, "exact into"), ("anon-mixed", "exact into"),
                            (f"{READ_ONLY_ODD} {KEYS}", "exact")]
        for name in DISCARDS
    },
    "madvise-dontneed-tagged": [("anon-r", "exact into")],
    **{
        f"process-madvise-{name}": [(READ_ONLY, "exact into"), (f"{READ_ONLY_ODD} {KEYS}", "exact")]
        for name in DISCARDS
    },
    "process-madvise-ranges-dontneed": [("anon-r anon-none", "exact into out-of around")],
}  # fmt: skip


class Probe:
    """One operation on one region and span."""

    __slots__ = ("operation", "region", "span")

    def __init__(self, operation, region, span):
        self.operation, self.region, self.span = operation, region, span

    @property
    def id(self):
        """``operation/region/span``."""
        return f"{self.operation}/{self.region}/{self.span}"

    @property
    def layout(self):
        """The span's drawing."""
        return LAYOUTS[self.span]

    @property
    def family(self):
        """Of its operation."""
        return OPERATIONS[self.operation].family


def all_probes():
    """Every probe, each once."""
    found = {}
    for operation in OPERATIONS:
        for regions, spans in ASKED[operation]:
            for region in regions.split():
                for span in spans.split():
                    probe = Probe(operation, region, span)
                    found.setdefault(probe.id, probe)
    return list(found.values())
