from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, UsageError
from harness.matrix.load import default_path, load_matrix, lock_path, parse_matrix, shipped_path
from harness.matrix.model import Matrix
from harness.matrix.sources.debian import DebianSource
from harness.matrix.sources.file import FileSource

PATH = Path("kernels.yaml")

GOOD = """\
version: 1
kernels:
  one:
    source: debian
    suites: [trixie]
    release: 6.10
    architectures: [x86_64, arm64]
  large:
    source: debian
    suites: [trixie]
    flavour: 16k
    release: newest
    architectures: [arm64]
    labels: [16k]
  meta: {source: debian, suites: [sid], package: "linux-image-{arch}", architectures: [x86_64]}
  mine:
    source: file
    image: build/bzImage
    architectures: [x86_64]
profiles:
  big: {smp: 2, memory: 1024, cpu: {x86_64: max}, board: {arm64: mte=on}, boot: [quiet]}
selections:
  default:
    kernels: [one, large]
"""


def test_good_matrix() -> None:
    matrix = parse_matrix(GOOD.encode(), Path("/somewhere/kernels.yaml"))
    one = matrix.kernels["one"]
    assert one.source == DebianSource(("trixie",), "cloud", "6.10")  # not 6.1
    assert one.arches == ("x86_64", "arm64")
    assert matrix.kernels["meta"].source == DebianSource(("sid",), "full", package="linux-image-{arch}")
    assert matrix.kernels["mine"].source == FileSource(Path("/somewhere/build/bzImage"))
    assert matrix.profiles["big"].memory == 1024
    assert matrix.profiles["big"].cpu == {"x86_64": "max"}
    assert matrix.profiles["big"].board == {"arm64": "mte=on"}
    assert matrix.profiles["standard"].smp == 1  # always there
    assert matrix.selections["default"].kernels == ("one", "large")
    assert len(matrix.sha256) == 64


FAULTS = [
    # what is replaced, by what, the whole line that must be said
    (
        "flavour: 16k",
        "flavor: 16k",
        "kernels.yaml:11: kernels.large: unknown key 'flavor' (did you mean 'flavour'?)",
    ),
    ("flavour: 16k", "flavour: 16K", "kernels.yaml:11: kernels.large.flavour: unknown flavour '16K'"),
    ("[arm64]", "[x86_64]", "kernels.yaml:8: kernels.large: flavour 16k does not exist for x86_64"),
    ("[arm64]", "[arm64, arm64]", "kernels.large: architectures names arm64 twice"),
    ("[arm64]", "[amd64]", "kernels.large.architectures[0]: unknown value 'amd64' (here it is called 'x86_64')"),
    ("[arm64]", "arm64", "kernels.yaml:13: kernels.large.architectures: must be a list"),
    ("[arm64]", "[]", "kernels.yaml:13: kernels.large.architectures: must not be empty"),
    ("version: 1", "version: 2", "kernels.yaml:1: version: unknown value '2'"),
    ("version: 1\n", "", "version: is missing"),
    ("  large:", "  one:", "kernels.yaml:8: kernels.one: given twice; the first is in line 3"),
    (
        "    flavour: 16k",
        "    release: 6.1",
        "kernels.large.release: given twice; the first is in line 11",
    ),
    ("  large:", "  ../large:", "kernels.yaml:8: kernels.../large: '../large' is not a name"),
    ("  large:", "  [a]:", "kernels.yaml:8: kernels: a key must be a plain word"),
    ("source: file", "source: fiel", "kernels.mine.source: unknown value 'fiel' (did you mean 'file'?)"),
    (
        "    source: file\n",
        "",
        "kernels.mine: source is missing (valid: debian, debian-source, file, machine, package, tree, url)",
    ),
    ("release: 6.10", "release: six", "kernels.one.release: 'six' is not a release"),
    ("release: 6.10", "release: ''", "kernels.one.release: '' is not a release"),
    (
        "release: 6.10",
        "release: 6.10\n    version: 6.10-1",
        "kernels.yaml:3: kernels.one: exactly one of release, version, package says which kernel is meant; "
        "both release and version are given",
    ),
    ("    release: 6.10\n", "", "kernels.one: exactly one of release, version, package"),
    ("suites: [trixie]", "suites: ['../etc']", "kernels.one.suites[0]: '../etc' is not the name of a suite"),
    (
        "linux-image-{arch}",
        "linux-image-arm64",
        "kernels.yaml:15: kernels.meta: package linux-image-arm64 is not a kernel metapackage for x86_64",
    ),
    (
        "architectures: [x86_64]\nprofiles",
        "architectures: [x86_64, arm64]\nprofiles",
        "kernels.mine: one image file is for one architecture; make an entry for each",
    ),
    ("smp: 2", "smp: two", "kernels.yaml:21: profiles.big.smp: must be a whole number"),
    ("smp: 2", "smp: 2, counted: true", "profiles.big: a machine that is counted has `guest: qemu` and one CPU"),
    ("smp: 2", "smp: 0", "profiles.big.smp: must be greater than or equal to 1"),
    (
        "mte=on",
        "'mte=on -hda x'",
        "profiles.big.board.arm64: 'mte=on -hda x' is not options of a QEMU machine such as mte=on",
    ),
    ("{x86_64: max}", "{mips: max}", "profiles.big.cpu.mips: unknown value 'mips'"),
    ("[quiet]", "['a b']", "profiles.big.boot[0]: 'a b' is not one boot parameter"),
    ("  big:", "  arm64:", "profiles.arm64: a profile cannot have the name of an architecture"),
    (
        "kernels: [one, large]",
        "kernels: [on, large]",
        "kernels.yaml:24: selections.default.kernels[0]: unknown kernel 'on' (did you mean 'one'?)",
    ),
    (
        "kernels: [one, large]",
        "kernels: [one, large]\n    profiles: [bug]",
        "selections.default.profiles[0]: unknown profile 'bug' (did you mean 'big'?)",
    ),
    (
        "kernels: [one, large]",
        "kernels: [large]\n    architectures: [x86_64]",
        "selections.default.kernels[0]: large exists for none of these architectures: x86_64",
    ),
    ("labels: [16k]", "labels: &x [16k]", "kernels.yaml:14: kernels.large.labels: anchors and aliases"),
    ("labels: [16k]", "labels: *x", "kernels.yaml:14: kernels.large.labels: anchors and aliases"),
    ("labels: [16k]", "labels: !!python/name:os.system [x]", "kernels.yaml:14: kernels.large.labels: tags"),
    ("labels: [16k]", "labels: [16k", "kernels.yaml:15: not YAML: "),
    ("labels: [16k]", "labels: " + "[" * 13, "nested deeper than 12 levels"),
    ("labels: [16k]", 'labels: ["\\UFFFFFFFF"]', "not YAML"),
    ("selections:", "---\nselections:", "kernels.yaml:22: a second document"),
]


@pytest.mark.parametrize(("old", "new", "said"), FAULTS)
def test_fault_is_one_line(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_matrix(GOOD.replace(old, new, 1).encode(), PATH)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("data", [b"", b"version: 1", b"- a", b"x", b"\xff\xfe", b"a: \x00", b"a" * 300_000])
def test_no_matrix_at_all(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_matrix(data, PATH)


def test_several_faults_are_counted() -> None:
    text = GOOD.replace("smp: 2", "smp: two").replace("flavour: 16k", "flavor: 16k")
    with pytest.raises(ConfigError, match=r"unknown key 'flavor'.*\(and 1 more\)$"):
        parse_matrix(text.encode(), PATH)


def _only_config_error(data: bytes) -> None:
    try:
        assert isinstance(parse_matrix(data, PATH), Matrix)
    except ConfigError as error:
        assert "\n" not in str(error)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    _only_config_error(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    _only_config_error(data)


@settings(max_examples=300)
@given(
    st.integers(0, len(GOOD) - 1),
    st.integers(0, 40),
    st.one_of(st.text(alphabet="[]{}:,-&*!|>'\"%@`#\n \t\\?~<0x=y", max_size=12), st.text(max_size=6)),
)
def test_any_edit_of_a_good_matrix(start: int, length: int, insert: str) -> None:
    _only_config_error((GOOD[:start] + insert + GOOD[start + length :]).encode("utf-8", "surrogatepass"))


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["source", "debian", "file", "image", "suites", "[key]", "release", "architectures"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@given(_JSON, st.sampled_from(["kernels", "profiles", "selections"]))
def test_any_shape_of_entry(entry: object, room: str) -> None:
    document = {"version": "1", "kernels": {}, room: {"a": entry, "debian": entry}}
    _only_config_error(json.dumps(document).encode())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the matrix: No such file"):
        load_matrix(tmp_path / "kernels.yaml")
    with pytest.raises(UsageError, match="Is a directory"):
        load_matrix(tmp_path)


def test_own_matrix_before_the_shipped_one(tmp_path: Path) -> None:
    assert default_path(tmp_path) == shipped_path()
    own = tmp_path / "kernels.yaml"
    own.write_text(GOOD)
    assert default_path(tmp_path) == own
    assert lock_path(load_matrix(own)) == tmp_path / "kernels.lock"


def test_shipped_matrix_keeps_its_promises() -> None:
    matrix = load_matrix(shipped_path())
    nightly = matrix.selections["nightly"]
    by_arch = {
        arch: [name for name in nightly.kernels if arch in matrix.kernels[name].arches] for arch in ("x86_64", "arm64")
    }
    assert len(by_arch["x86_64"]) >= 14
    assert len(by_arch["arm64"]) >= 8
    flavours = {getattr(matrix.kernels[name].source, "flavour", "") for name in nightly.kernels}
    assert "16k" in flavours
    assert matrix.profiles["force-override-never"].boot == ("proc_mem.force_override=never",)
