from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BuildError
from harness.mutants.edit import apply_edit
from harness.mutants.model import Edit

SOURCE = """\
#include <linux/mm.h>

static bool listed(int advice);

/* listed(advice) is in a comment */
static bool listed(int advice)
{
\tswitch (advice) {
\tcase MADV_FREE:
\tcase MADV_DONTNEED:
\t\treturn true;
\t}
\treturn false;
}

SYSCALL_DEFINE3(mseal, unsigned long, start, size_t, len,
\t\tunsigned long, flags)
{
\tif (flags)
\t\treturn -EINVAL;
\treturn listed(1);
}

struct behavior {
\tint behavior;
};

static int other(void)
{
\tif (flags)
\t\treturn -EINVAL;
\treturn 0;
}
"""


def edit(**fields: Any) -> Edit:
    return Edit(**{"file": "mm/a.c", "scope": "", "find": "", "place": "put", "text": "", **fields})


def test_white_space_between_words_does_not_matter() -> None:
    changed = apply_edit(
        SOURCE, edit(scope="SYSCALL_DEFINE3(mseal", find="if (flags) return -EINVAL;", text="flags = 0;")
    )
    assert "{\n\tflags = 0;\n\treturn listed(1);" in changed
    assert changed.count("if (flags)") == 1


@pytest.mark.parametrize(
    ("place", "wanted"), [("before", "break;\ncase MADV_DONTNEED:"), ("after", "case MADV_DONTNEED:\nbreak;")]
)
def test_before_and_after(place: str, wanted: str) -> None:
    assert wanted in apply_edit(SOURCE, edit(scope="listed", find="case MADV_DONTNEED:", place=place, text="break;"))


def test_a_struct_is_a_scope() -> None:
    changed = apply_edit(
        SOURCE, edit(scope="struct behavior {", find="int behavior;", place="after", text="bool more;")
    )
    assert "int behavior;\nbool more;\n};" in changed


@pytest.mark.parametrize(
    ("scope", "find", "words"),
    [
        ("", "if (flags)", "2 times"),
        ("listed", "if (flags)", "not at all in listed"),
        ("list", "return true;", "does not define list"),
        ("absent", "return true;", "does not define absent"),
    ],
)
def test_what_is_not_there_once_is_an_error(scope: str, find: str, words: str) -> None:
    with pytest.raises(BuildError, match=words) as error:
        apply_edit(SOURCE, edit(scope=scope, find=find))
    assert str(error.value).startswith("mm/a.c: the source has moved on: ")


@given(st.text(max_size=300), st.text(min_size=1, max_size=20), st.text(max_size=10))
def test_any_source_gives_an_edit_or_a_build_error(source: str, find: str, scope: str) -> None:
    if not find.split():
        return
    try:
        changed = apply_edit(source, edit(scope=scope, find=find, place="after", text="X"))
    except BuildError:
        return
    assert len(changed) == len(source) + 2
