"""URLs that may hold a secret, and how they are told: never whole, also when they are malformed.

What hides a secret must not depend on reading the URL right: a password is hidden wherever it can be meant to be, and
rather too much is hidden than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# The user of these is often a token, and says nothing to a reader.
_TOKENS = re.compile(r"(git\+)?(https?|ftps?)://", re.IGNORECASE)
_SECRET_KEY = re.compile(r"pass|pwd|secret|token|credential|key|auth|sig", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=[?&;\s])([\w.%-]+)=|^([\w.%-]+)=")
_WORD = re.compile(r"\S+")


def masked(url: str) -> str:
    """Return a URL, or what was meant to be one, with ``***`` for what may be a secret.

    That is what stands between the first colon behind the scheme and the last ``@``, and all from the first parameter
    on whose name sounds like a secret.
    """
    for parameter in _PARAMETER.finditer(url):
        if _SECRET_KEY.search(unquote(parameter[1] or parameter[2])):
            url = f"{url[: parameter.end()]}{HIDDEN}"
            break
    before, at, behind = url.rpartition("@")
    if not at:
        return url
    scheme = before[: found.end()] if (found := _SCHEME.search(before)) else ""
    user, colon, _ = before.removeprefix(scheme).partition(":")
    if _TOKENS.search(scheme):
        return f"{scheme}{HIDDEN}@{behind}"
    return f"{scheme}{user}:{HIDDEN}@{behind}" if colon else url


def bare_url(url: str) -> str:
    """Return a URL for reports and messages, without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def masked_text(text: str) -> str:
    """Return a text in which every word that looks like a URL with a secret is masked."""
    return _WORD.sub(lambda word: masked(word[0]) if _looks_secret(word[0]) else word[0], text)


def _looks_secret(word: str) -> bool:
    return ("://" in word and ("@" in word or "=" in word)) or bool(re.search(r":[^\s:]*@|^\W*pass\w*=", word, re.I))


def masked_words(words: Iterable[str]) -> tuple[str, ...]:
    """Return a command line as it may be kept and shown."""
    return tuple(masked(word) if _looks_secret(word) else word for word in words)
